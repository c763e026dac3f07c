package test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/test/storm"
	"slotproxy/test/wire"
)

// slot0 and slot2 are slots of the first and the last node of a set of three.
const (
	slot0 = 7
	slot2 = 16000
)

// keyIn is a key of a slot.
func keyIn(slot int, name string) string { return "{" + storm.Tag(uint16(slot)) + "}" + name }

// fake starts three scripted primaries and a proxy before them, and forgets what the proxy asked them while starting.
func fake(t *testing.T, args ...string) (*testnode.Set, *proxy) {
	t.Helper()
	set := testnode.NewSet(t, 3)
	p := startProxy(t, set.Addrs(), args...)
	return set, p
}

func TestARedirectIsFollowedAndNotSeenByTheClient(t *testing.T) {
	k := keyIn(slot0, "k")
	for name, c := range map[string]struct {
		script func(set *testnode.Set)
		asking bool
	}{
		"MOVED": {script: func(set *testnode.Set) {
			set.Node(0).On("GET "+k, testnode.Do(func() { set.Give(slot0, 1) }), testnode.Moved(slot0, set.Node(1).Addr()))
		}},
		"MOVED with an empty host means the node that said it": {script: func(set *testnode.Set) {
			set.Node(0).On("GET "+k, testnode.Do(func() { set.Give(slot0, 1) }), testnode.Moved(slot0, fmt.Sprintf(":%d", set.Node(1).Port())))
		}},
		"MOVED before any node shows it in CLUSTER NODES": {script: func(set *testnode.Set) {
			set.Node(0).On("GET "+k, testnode.Moved(slot0, set.Node(1).Addr()))
		}},
		"ASK": {asking: true, script: func(set *testnode.Set) {
			set.Node(0).On("GET "+k, testnode.Ask(slot0, set.Node(1).Addr()))
		}},
		"MOVED to and fro, then an answer": {script: func(set *testnode.Set) {
			set.Node(0).On("GET "+k, testnode.Moved(slot0, set.Node(1).Addr()))
			set.Node(1).On("GET "+k, testnode.Moved(slot0, set.Node(0).Addr()))
			set.Node(0).On("GET "+k, testnode.Moved(slot0, set.Node(1).Addr()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			set, p := fake(t)
			set.Node(1).Every("GET "+k, testnode.Bulk("there"))
			c.script(set)
			want(t, p.dial(t), `"there"`, "GET", k)
			seen := set.Node(1).Wait(t, "GET "+k, 1)
			if last := seen[len(seen)-1]; last.Asking != c.asking {
				t.Errorf("the command came with asking %v, want %v", last.Asking, c.asking)
			}
		})
	}
}

func TestAfterMOVEDTheSlotIsAskedAtItsNewNodeOnly(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t)
	set.Node(0).On("GET "+k, testnode.Do(func() { set.Give(slot0, 1) }), testnode.Moved(slot0, set.Node(1).Addr()))
	set.Node(1).Every("GET "+k, testnode.Bulk("there"))
	c := p.dial(t)
	for range 5 {
		want(t, c, `"there"`, "GET", k)
	}
	if n := len(set.Node(0).Seen("GET " + k)); n != 1 {
		t.Errorf("the old node was asked %d times, want once", n)
	}
}

func TestAfterASKTheSlotStaysWhereItIs(t *testing.T) {
	k, other := keyIn(slot0, "k"), keyIn(slot0, "other")
	set, p := fake(t)
	set.Node(0).On("GET "+k, testnode.Ask(slot0, set.Node(1).Addr()))
	set.Node(1).Every("GET "+k, testnode.Bulk("there"))
	set.Node(0).Every("GET "+other, testnode.Bulk("here"))
	c := p.dial(t)
	want(t, c, `"there"`, "GET", k)
	want(t, c, `"here"`, "GET", other)
	if n := len(set.Node(1).Seen("GET " + other)); n != 0 {
		t.Errorf("ASK for one key sent another key to the target %d times", n)
	}
}

func TestASKINGIsRightBeforeItsCommandWhoeverElseTalksToTheNode(t *testing.T) {
	const clients, each = 8, 50
	set, p := fake(t)
	asked, plain := keyIn(slot0, ""), keyIn(8000, "plain")
	set.Node(0).Every("GET *", testnode.Ask(slot0, set.Node(1).Addr()))
	set.Node(1).Every("GET *", testnode.Answer(func(c testnode.Command) string {
		return fmt.Sprintf("$%d\r\n%s\r\n", len(c.Args[1]), c.Args[1])
	}))
	var wg sync.WaitGroup
	for i := range clients {
		c := p.dial(t)
		wg.Go(func() {
			for j := range each {
				key := plain
				if (i+j)%2 == 0 {
					key = fmt.Sprintf("%s%d:%d", asked, i, j)
				}
				if v, err := c.Do("GET", key); err != nil || v.Text != key {
					t.Errorf("GET %s: got %v %v", key, v, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, c := range set.Node(1).Seen("GET *") {
		if c.Asking != strings.HasPrefix(c.Args[1], asked) {
			t.Errorf("%s came with asking %v", c, c.Asking)
		}
	}
}

func TestATransientStateIsWaitedOut(t *testing.T) {
	k := keyIn(slot0, "k")
	for _, text := range []string{
		"TRYAGAIN Multiple keys request during rehashing of slot",
		"CLUSTERDOWN The cluster is down",
		"CLUSTERDOWN Hash slot not served",
		"LOADING Valkey is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"READONLY You can't write against a read only replica.",
	} {
		t.Run(strings.Fields(text)[0]+" "+strings.Fields(text)[1], func(t *testing.T) {
			t.Parallel()
			set, p := fake(t)
			set.Node(0).On("SET "+k+" v", testnode.Error(text))
			set.Node(0).On("SET "+k+" v", testnode.Error(text))
			set.Node(0).On("SET "+k+" v", testnode.Error(text))
			set.Node(0).Every("SET "+k+" v", testnode.Raw("+OK\r\n"))
			want(t, p.dial(t), "+OK", "SET", k, "v")
			set.Node(0).Wait(t, "SET "+k+" v", 4)
		})
	}
}

func TestAStateThatLastsEndsInAnErrorAfterTheBudget(t *testing.T) {
	const budget = 600 * time.Millisecond
	k, elsewhere := keyIn(slot0, "k"), keyIn(slot2, "elsewhere")
	for name, c := range map[string]struct {
		reply  func(set *testnode.Set) [2]testnode.Action // of the first and the second node
		prefix string
	}{
		"CLUSTERDOWN": {prefix: "-CLUSTERDOWN", reply: func(*testnode.Set) [2]testnode.Action {
			a := testnode.Error("CLUSTERDOWN The cluster is down")
			return [2]testnode.Action{a, a}
		}},
		"LOADING": {prefix: "-LOADING", reply: func(*testnode.Set) [2]testnode.Action {
			a := testnode.Error("LOADING Valkey is loading the dataset in memory")
			return [2]testnode.Action{a, a}
		}},
		"a loop of MOVED": {prefix: "-", reply: func(set *testnode.Set) [2]testnode.Action {
			return [2]testnode.Action{testnode.Moved(slot0, set.Node(1).Addr()), testnode.Moved(slot0, set.Node(0).Addr())}
		}},
		"MOVED to itself": {prefix: "-", reply: func(set *testnode.Set) [2]testnode.Action {
			a := testnode.Moved(slot0, set.Node(0).Addr())
			return [2]testnode.Action{a, a}
		}},
		"a loop of ASK": {prefix: "-", reply: func(set *testnode.Set) [2]testnode.Action {
			return [2]testnode.Action{testnode.Ask(slot0, set.Node(1).Addr()), testnode.Ask(slot0, set.Node(0).Addr())}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, p := fake(t, "--redirect-budget", budget.String())
			replies := c.reply(set)
			set.Node(0).Every("SET "+k+" v", replies[0])
			set.Node(1).Every("SET "+k+" v", replies[1])
			set.Node(2).Every("GET "+elsewhere, testnode.Bulk("fine"))
			client, other := p.dial(t), p.dial(t)
			client.Append("SET", k, "v")
			start := time.Now()
			if err := client.Flush(); err != nil {
				t.Fatal(err)
			}
			want(t, other, `"fine"`, "GET", elsewhere)
			got, err := client.Read()
			took := time.Since(start)
			if err != nil || !got.IsError() || !strings.HasPrefix(got.String(), c.prefix) {
				t.Errorf("got %v %v, want %s...", got, err, c.prefix)
			}
			if strings.HasPrefix(got.Text, "MOVED ") || strings.HasPrefix(got.Text, "ASK ") {
				t.Errorf("the client sees %s", got)
			}
			// A circle may end earlier, by the number of redirects.
			if waits := c.prefix != "-"; waits && took < budget/2 || took > 4*budget {
				t.Errorf("it took %v, want about %v", took, budget)
			}
			// 600 ms with 1, 2, 4 ... 64 ms between hops is some 15 of them; a spinning proxy makes thousands.
			if n := len(set.Node(0).Seen("SET ...")) + len(set.Node(1).Seen("SET ...")); n > 200 {
				t.Errorf("the nodes were asked %d times", n)
			}
			want(t, client, `"fine"`, "GET", elsewhere)
		})
	}
}

func TestANodeCannotSendTheProxyOutOfTheCluster(t *testing.T) {
	k, elsewhere := keyIn(slot0, "k"), keyIn(slot2, "elsewhere")
	outside := testnode.New(t)
	outside.Every("...", testnode.Bulk("stolen"))
	targets := []string{
		outside.Addr(),
		fmt.Sprintf("localhost:%d", outside.Port()),
		"169.254.169.254:80",
		"0.0.0.0:" + fmt.Sprint(outside.Port()),
		"?:" + fmt.Sprint(outside.Port()),
		":" + fmt.Sprint(outside.Port()),
		fmt.Sprintf("127.0.0.1:%d", outside.Port()+65536),
		"127.0.0.1:0", "127.0.0.1:-1", "127.0.0.1:", "127.0.0.1", "", " ", "[::1:80", "::1",
		strings.Repeat("a", 300) + ":80",
	}
	set, p := fake(t, "--redirect-budget", "300ms")
	set.Node(2).Every("GET "+elsewhere, testnode.Bulk("fine"))
	clients, kinds := []*wire.Conn{}, []string{"MOVED", "ASK"}
	for i, target := range targets {
		for j, kind := range kinds {
			key := fmt.Sprintf("%s%d:%d", k, i, j)
			set.Node(0).Every("SET "+key+" v", testnode.Error(fmt.Sprintf("%s %d %s", kind, slot0, target)))
			c := p.dial(t)
			c.Append("SET", key, "v")
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
	}
	want(t, p.dial(t), `"fine"`, "GET", elsewhere)
	for i, c := range clients {
		v, err := c.Read()
		if err != nil || !v.IsError() {
			t.Errorf("%s %q: got %v %v, want an error", kinds[i%2], targets[i/2], v, err)
		}
		want(t, c, `"fine"`, "GET", elsewhere)
	}
	if n := outside.Dials(); n != 0 {
		t.Errorf("the proxy dialled a stranger %d times", n)
	}
}

func TestANodeThatHasJustJoinedIsFoundWhenMOVEDNamesIt(t *testing.T) {
	k := keyIn(slot0, "k")
	set := testnode.NewSet(t, 3)
	for slot := range testnode.Slots {
		if set.Owner(slot) == set.Node(2) {
			set.Give(slot, 1)
		}
	}
	set.Hide(2, true)
	p := startProxy(t, set.Addrs()[:2])
	set.Node(2).Every("GET "+k, testnode.Bulk("there"))
	var once sync.Once
	join := func() { set.Hide(2, false); set.Give(slot0, 2) }
	set.Node(0).Every("GET "+k, testnode.Do(func() { once.Do(join) }), testnode.Moved(slot0, set.Node(2).Addr()))
	c := p.dial(t)
	want(t, c, `"there"`, "GET", k)
	want(t, c, `"there"`, "GET", k)
}

func TestErrorsThatOnlyLookLikeRedirectsReachTheClientAsTheyAre(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t)
	c := p.dial(t)
	for _, text := range []string{
		"WRONGTYPE Operation against a key holding the wrong kind of value",
		"ERR value is not an integer or out of range",
		"MOVEDX 7 127.0.0.1:1",
		"ASKING 7 127.0.0.1:1",
		"ERR MOVED 7 127.0.0.1:1",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"NOREPLICAS Not enough good replicas to write.",
		"MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"moved 7 127.0.0.1:1",
	} {
		set.Node(0).On("INCR "+k, testnode.Error(text))
		want(t, c, "-"+text, "INCR", k)
	}
	if n := len(set.Node(0).Seen("INCR " + k)); n != 9 {
		t.Errorf("the node was asked %d times, want 9", n)
	}
}

func TestNodesAreReachedUnderEveryKindOfName(t *testing.T) {
	k := keyIn(slot2, "k")
	for name, c := range map[string]struct {
		hosts    []string
		announce func(set *testnode.Set)
		moved    func(n *testnode.Node) string
	}{
		"IPv6 as the nodes write it": {hosts: []string{"127.0.0.1", "::1"}, moved: func(n *testnode.Node) string {
			return fmt.Sprintf("::1:%d", n.Port())
		}},
		"IPv6 in brackets": {hosts: []string{"127.0.0.1", "::1"}, moved: func(n *testnode.Node) string {
			return fmt.Sprintf("[::1]:%d", n.Port())
		}},
		"a host name beside the address": {hosts: []string{"127.0.0.1", "127.0.0.1"},
			announce: func(set *testnode.Set) {
				set.Announce(1, "127.0.0.1", set.Node(1).Port(), "localhost")
			},
			moved: func(n *testnode.Node) string { return fmt.Sprintf("localhost:%d", n.Port()) }},
		"a node that does not know its own address": {hosts: []string{"127.0.0.1", "127.0.0.1"},
			announce: func(set *testnode.Set) { set.Announce(0, "", set.Node(0).Port(), "") },
			moved:    func(n *testnode.Node) string { return n.Addr() }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, h := range c.hosts {
				if !hasHost(t, h) {
					return
				}
			}
			set := testnode.NewSetOn(t, c.hosts...)
			if c.announce != nil {
				c.announce(set)
			}
			p := startProxy(t, set.Addrs()[:1])
			set.Node(1).Every("GET "+k, testnode.Bulk("there"))
			set.Node(0).Every("GET "+keyIn(slot0, "k"), testnode.Moved(slot0, c.moved(set.Node(1))))
			set.Node(1).Every("GET "+keyIn(slot0, "k"), testnode.Bulk("moved there"))
			client := p.dial(t)
			want(t, client, `"there"`, "GET", k)
			want(t, client, `"moved there"`, "GET", keyIn(slot0, "k"))
		})
	}
}

// hasHost says whether this machine has an address; some containers lack IPv6.
func hasHost(t *testing.T, host string) bool {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Logf("NOT RUN: this machine has no %s: %v", host, err)
		return false
	}
	_ = ln.Close()
	return true
}
