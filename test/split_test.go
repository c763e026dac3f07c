package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/test/wire"
)

// partWays are the ways in which a node may treat its part of a split command. The last one blocks everything behind it on the
// connection, as in a server, so it needs nodes of its own.
var partWays = []struct {
	name  string
	reply func(set *testnode.Set, node int) string
}{
	{"answers", func(*testnode.Set, int) string { return "*1\r\n$1\r\nv\r\n" }},
	{"is down", func(*testnode.Set, int) string { return "-CLUSTERDOWN The cluster is down\r\n" }},
	{"wants another try", func(*testnode.Set, int) string { return "-TRYAGAIN later\r\n" }},
	{"circles", func(set *testnode.Set, n int) string {
		return fmt.Sprintf("-MOVED %d %s\r\n", []int{slot0, 8000, slot2}[n], set.Node(n).Addr())
	}},
	{"talks nonsense", func(*testnode.Set, int) string { return "-MOVED 99999 nowhere\r\n" }},
	{"says no", func(*testnode.Set, int) string { return "-ERR no\r\n" }},
	{"hangs up", nil},
	{"is silent", nil},
}

const silent = 7

// splitCase is one MGET over three nodes, of which the first two treat their parts in some way.
type splitCase struct {
	ways  [2]int
	set   *testnode.Set
	p     *proxy
	conn  *wire.Conn
	delay chan struct{} // closed when silent nodes may answer
}

// Parts of a split command end at different moments and in different ways: answered, out of time, out of budget, cut. Whatever comes
// last must find its command still there, or know that it is gone.
func TestThePartsOfASplitCommandMayEndInAnyWayAndOrder(t *testing.T) {
	for name, args := range map[string][]string{
		"a silent node first":    {"--upstream-timeout", "300ms", "--redirect-budget", "700ms"},
		"the retry budget first": {"--upstream-timeout", "1200ms", "--redirect-budget", "300ms"},
		"the late answer last":   {"--upstream-timeout", "5s", "--redirect-budget", "300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			set, p := fake(t, args...)
			var cases []*splitCase
			for i := range partWays {
				for j := range partWays {
					c := &splitCase{ways: [2]int{i, j}, set: set, p: p, delay: make(chan struct{})}
					if i == silent || j == silent {
						c.set, c.p = fake(t, args...)
					}
					cases = append(cases, c)
				}
			}
			for _, c := range cases {
				c.start(t)
			}
			time.Sleep(900 * time.Millisecond) // budgets end, short time-outs as well
			for _, c := range cases {
				close(c.delay)
				c.finish(t)
			}
		})
	}
}

func (c *splitCase) start(t *testing.T) {
	t.Helper()
	args := []string{"MGET"}
	for n, slot := range []int{slot0, 8000, slot2} {
		key := keyIn(slot, fmt.Sprint(c.ways))
		key = strings.ReplaceAll(key, " ", ":")
		args = append(args, key)
		way := 0
		if n < 2 {
			way = c.ways[n]
		}
		switch {
		case way == silent:
			c.set.Node(n).Every("* "+key, testnode.Until(c.delay), testnode.Raw("*1\r\n$1\r\nl\r\n"))
		case partWays[way].reply == nil:
			c.set.Node(n).Every("* "+key, testnode.Close())
		default:
			c.set.Node(n).Every("* "+key, testnode.Raw(partWays[way].reply(c.set, n)))
		}
	}
	c.set.Node(2).Every("GET "+keyIn(slot2, "alive"), testnode.Bulk("alive"))
	c.conn = c.p.dial(t)
	send(t, c.conn, args, []string{"PING", "behind"})
	gone := c.p.dial(t) // leaves while its parts are under way
	send(t, gone, args)
	_ = gone.Close()
}

func (c *splitCase) finish(t *testing.T) {
	t.Helper()
	name := partWays[c.ways[0]].name + ", " + partWays[c.ways[1]].name
	v, err := c.conn.Read()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if strings.HasPrefix(v.Text, "MOVED") || !v.IsError() && (len(v.Elems) != 3 || v.Elems[2].Text != "v") {
		t.Errorf("%s: got %v, want an error or all values", name, v)
	}
	wantReplies(t, c.conn, `"behind"`)
	want(t, c.conn, `"alive"`, "GET", keyIn(slot2, "alive"))
}

func TestAnErrorThatComesBeforeItsTurnIsKeptUntilThen(t *testing.T) {
	slow := keyIn(slot2, "slow")
	for name, c := range map[string]struct {
		reply  string
		prefix string
	}{
		"the budget ends":                {"CLUSTERDOWN The cluster is down", "-CLUSTERDOWN"},
		"a redirect that makes no sense": {"MOVED 99999 nowhere", "-"},
		"a redirect to a stranger":       {fmt.Sprintf("MOVED %d 127.0.0.1:1", slot0), "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, p := fake(t, "--redirect-budget", "200ms")
			gate := make(chan struct{})
			k := keyIn(slot0, "k")
			set.Node(2).On("GET "+slow, testnode.Until(gate), testnode.Bulk("slow"))
			set.Node(0).Every("SET "+k+" v", testnode.Error(c.reply))
			client := p.dial(t)
			send(t, client, []string{"GET", slow}, []string{"SET", k, "v"}, []string{"PING"})
			set.Node(0).Wait(t, "SET "+k+" v", 1)
			time.Sleep(600 * time.Millisecond) // the second command has failed by now
			close(gate)
			wantReplies(t, client, `"slow"`)
			v, err := client.Read()
			if err != nil || !strings.HasPrefix(v.String(), c.prefix) || !v.IsError() {
				t.Errorf("got %v %v, want %s...", v, err, c.prefix)
			}
			wantReplies(t, client, "+PONG")
		})
	}
}
