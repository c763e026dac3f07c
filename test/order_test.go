package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/test/wire"
)

// args are the commands as the node saw them, in order.
func typed(cs []testnode.Command) []string {
	var out []string
	for _, c := range cs {
		out = append(out, c.String())
	}
	return out
}

func send(t *testing.T, c *wire.Conn, commands ...[]string) {
	t.Helper()
	for _, args := range commands {
		c.Append(args...)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func wantReplies(t *testing.T, c *wire.Conn, replies ...string) {
	t.Helper()
	for i, r := range replies {
		v, err := c.Read()
		if err != nil || v.String() != r {
			t.Fatalf("reply %d: got %v %v, want %s", i, v, err, r)
		}
	}
}

func TestCommandsBehindARedirectedOneDoNotOvertakeIt(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t)
	gate := make(chan struct{})
	// The first two are on their way to the old node when the slot moves; the others come while the proxy may know already.
	set.Node(0).On("SET "+k+" 1", testnode.Until(gate), testnode.Moved(slot0, set.Node(1).Addr()))
	set.Node(0).Every("SET ...", testnode.Moved(slot0, set.Node(1).Addr()))
	set.Node(0).Every("GET ...", testnode.Moved(slot0, set.Node(1).Addr()))
	set.Node(1).Every("SET ...", testnode.Raw("+OK\r\n"))
	set.Node(1).Every("GET "+k, testnode.Bulk("4"))
	c := p.dial(t)
	send(t, c, []string{"SET", k, "1"}, []string{"SET", k, "2"})
	set.Node(0).Wait(t, "SET "+k+" 1", 1)
	set.Give(slot0, 1)
	// Another client learns the new owner meanwhile, so that the proxy's table changes while the first SET is in flight.
	other := p.dial(t)
	send(t, other, []string{"SET", keyIn(slot0, "other"), "x"})
	time.Sleep(300 * time.Millisecond) // a table refresh or two; the order must hold whether they happened or not
	send(t, c, []string{"SET", k, "3"}, []string{"SET", k, "4"}, []string{"GET", k})
	time.Sleep(100 * time.Millisecond)
	close(gate)
	wantReplies(t, c, "+OK", "+OK", "+OK", "+OK", `"4"`)
	wantReplies(t, other, "+OK")
	got := typed(set.Node(1).Seen("SET " + k + " *"))
	wanted := []string{"SET " + k + " 1", "SET " + k + " 2", "SET " + k + " 3", "SET " + k + " 4"}
	if !slices.Equal(got, wanted) {
		t.Errorf("the new node saw %v, want %v", got, wanted)
	}
}

func TestACommandBehindAMultiKeyWriteWaitsForItWhenItMustBeTriedAgain(t *testing.T) {
	a, b := keyIn(slot0, "a"), keyIn(slot0, "b")
	mset := []string{"MSET", a, "1", b, "2"}
	for name, c := range map[string]struct {
		behind []string
		reply  string
	}{
		"a single-key write": {[]string{"SET", a, "3"}, "+OK"},
		"a single-key read":  {[]string{"GET", a}, `"1"`},
		"a multi-key read":   {[]string{"MGET", a, b}, `*["1" "2"]`},
	} {
		t.Run(name, func(t *testing.T) {
			set, p := fake(t)
			again := testnode.Error("TRYAGAIN Multiple keys request during rehashing of slot")
			set.Node(0).On("MSET ...", again)
			set.Node(0).On("MSET ...", again)
			set.Node(0).Every("MSET ...", testnode.Raw("+OK\r\n"))
			set.Node(0).Every("SET ...", testnode.Raw("+OK\r\n"))
			set.Node(0).Every("GET ...", testnode.Bulk("1"))
			set.Node(0).Every("MGET ...", testnode.Raw("*2\r\n$1\r\n1\r\n$1\r\n2\r\n"))
			client := p.dial(t)
			send(t, client, mset, c.behind)
			wantReplies(t, client, "+OK", c.reply)
			seen := set.Node(0).Seen("...")
			seen = slices.DeleteFunc(seen, func(c testnode.Command) bool {
				return !slices.Contains([]string{"MSET", "SET", "GET", "MGET"}, c.Args[0])
			})
			if n := len(seen); n != 4 || seen[3].Args[0] != c.behind[0] {
				t.Errorf("the node saw %v, want three MSET and then %v", typed(seen), c.behind)
			}
		})
	}
}

func TestAWriteBehindAMultiKeyReadWaitsForItWhenItMustBeTriedAgain(t *testing.T) {
	a, b := keyIn(slot0, "a"), keyIn(slot0, "b")
	set, p := fake(t)
	set.Node(0).On("MGET ...", testnode.Error("TRYAGAIN Multiple keys request during rehashing of slot"))
	set.Node(0).Every("MGET ...", testnode.Raw("*2\r\n$1\r\n1\r\n$1\r\n2\r\n"))
	set.Node(0).Every("SET ...", testnode.Raw("+OK\r\n"))
	c := p.dial(t)
	send(t, c, []string{"MGET", a, b}, []string{"SET", a, "3"})
	wantReplies(t, c, `*["1" "2"]`, "+OK")
	seen := typed(append(set.Node(0).Seen("MGET ..."), set.Node(0).Seen("SET ...")...))
	all := slices.DeleteFunc(typed(set.Node(0).Seen("...")), func(s string) bool { return !slices.Contains(seen, s) })
	if last := all[len(all)-1]; last != "SET "+a+" 3" || len(all) != 3 {
		t.Errorf("the node saw %v, want two MGET and then SET", all)
	}
}

func TestRepliesLeaveInTheOrderOfTheRequestsWhateverNodeIsFaster(t *testing.T) {
	slow, fast := keyIn(slot0, "slow"), keyIn(slot2, "fast")
	set, p := fake(t)
	gate := make(chan struct{})
	set.Node(0).On("GET "+slow, testnode.Until(gate), testnode.Bulk("slow"))
	set.Node(2).Every("GET "+fast, testnode.Bulk("fast"))
	c := p.dial(t)
	send(t, c, []string{"GET", slow}, []string{"GET", fast}, []string{"PING", "x"}, []string{"GET", fast})
	set.Node(2).Wait(t, "GET "+fast, 2)
	if n := c.Buffered(); n != 0 {
		t.Errorf("%d bytes came before the first reply was there", n)
	}
	close(gate)
	wantReplies(t, c, `"slow"`, `"fast"`, `"x"`, `"fast"`)
}

func TestAnErrorOfOnePartOfASplitCommandIsTheReply(t *testing.T) {
	k0, k1, k2 := keyIn(slot0, "a"), keyIn(8000, "b"), keyIn(slot2, "c")
	const wrong = "NOPERM this user has no permissions"
	for name, c := range map[string]struct {
		args  []string
		fine  func(testnode.Command) string
		reply string // when no part fails
	}{
		"MGET": {[]string{"MGET", k0, k1, k2}, func(c testnode.Command) string { return mgetReply(c) }, fmt.Sprintf("*[%q %q %q]", k0, k1, k2)},
		"MSET": {[]string{"MSET", k0, "1", k1, "2", k2, "3"}, func(testnode.Command) string { return "+OK\r\n" }, "+OK"},
		"DEL":  {[]string{"DEL", k0, k1, k2}, func(testnode.Command) string { return ":1\r\n" }, ":3"},
	} {
		t.Run(name, func(t *testing.T) {
			set, p := fake(t)
			for i := range 3 {
				set.Node(i).Every(name+" ...", testnode.Answer(c.fine))
			}
			client := p.dial(t)
			want(t, client, c.reply, c.args...)
			set.Node(1).On(name+" ...", testnode.Error(wrong))
			want(t, client, "-"+wrong, c.args...)
			want(t, client, c.reply, c.args...)
		})
	}
}

// mgetReply answers every key with its own name.
func mgetReply(c testnode.Command) string {
	out := fmt.Sprintf("*%d\r\n", len(c.Args)-1)
	for _, k := range c.Args[1:] {
		out += fmt.Sprintf("$%d\r\n%s\r\n", len(k), k)
	}
	return out
}
