package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

func TestTransactionsAreAnsweredAsAServerAnswersThem(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("MULTI", "SET a 1", "INCR a", "PING", "CLIENT GETNAME", "SELECT 0", "ECHO x", "EXEC", "GET a")
			c.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED",
				"*6\r\n+OK\r\n:2\r\n+PONG\r\n$-1\r\n+OK\r\n$1\r\nx\r\n", "$1\r\n2")
			c.send("MULTI", "GET", "SET a 9", "EXEC", "EXEC", "MULTI", "SET a 8", "DISCARD", "GET a", "MULTI", "EXEC")
			c.want("+OK", "-ERR wrong number", "+QUEUED", "-EXECABORT", "-ERR EXEC without", "+OK", "+QUEUED", "+OK", "$1\r\n2", "+OK", "*0\r\n")
			c.send("MULTI", "SET a 5", "SET b 5", "EXEC", "GET a")
			c.want("+OK", "+QUEUED", "-CROSSSLOT", "-EXECABORT", "$1\r\n2")
			d := connect(t, addr)
			c.send("WATCH a", "GET a")
			c.want("+OK", "$1\r\n2")
			d.send("SET a 3")
			d.want("+OK")
			c.send("MULTI", "SET a 4", "EXEC", "GET a", "WATCH a", "MULTI", "SET a 4", "EXEC", "GET a")
			c.want("+OK", "+QUEUED", "*-1\r\n", "$1\r\n3", "+OK", "+OK", "+QUEUED", "*1\r\n+OK\r\n", "$1\r\n4")
		})
	}
}

func TestCLIENTINFOTellsOfItsOwnTransactionNotOfTheNext(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("MULTI", "SET a 1", "CLIENT INFO", "EXEC", "MULTI", "SET a 2", "SET a 3", "SET a 4", "EXEC", "GET a")
	c.want("+OK", "+QUEUED", "+QUEUED")
	if got := c.next(); !strings.Contains(got, " flags=x ") || !strings.Contains(got, " multi=2 ") || !strings.Contains(got, " cmd=exec ") {
		t.Errorf("EXEC answers %q, want flags=x, multi=2 and cmd=exec", got)
	}
	c.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3\r\n", "$1\r\n4")
}

func TestWhatCannotBePartOfATransactionIsRefusedForItsReason(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("MULTI")
	c.want("+OK")
	for _, tt := range []struct{ line, why string }{
		{"DBSIZE", "it concerns more than the node of its keys"},
		{"KEYS *", "it concerns more than the node of its keys"},
		{"SUBSCRIBE ch", "the proxy carries it out, not the node of the transaction"},
		{"HELLO 3", "the proxy carries it out, not the node of the transaction"},
		{"CLIENT KILL ID 1", "the proxy carries it out, not the node of the transaction"},
	} {
		if got, want := c.reply(tt.line), " cannot be part of a transaction: "+tt.why+"\r\n"; !strings.HasSuffix(got, want) {
			t.Errorf("%s answers %q, want it to end with %q", tt.line, got, want)
		}
	}
}

func TestABlockedClientGetsWhatAnotherPushes(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c, d := connect(t, addr), connect(t, addr)
			c.send("BLPOP l 0", "PING")
			until(t, func() bool { return p.Snapshot().LeasesBusy == 1 })
			time.Sleep(50 * time.Millisecond)
			d.send("RPUSH l x", "PING")
			d.want(":1", "+PONG")
			c.want("*2\r\n$1\r\nl\r\n$1\r\nx\r\n", "+PONG")
			c.send("BLPOP l 0.05", "XREAD BLOCK 20 STREAMS s $", "WAIT 0 10", "BLPOP l x")
			c.want("*-1\r\n", "*-1\r\n", ":", "-ERR timeout is not a float")
			c.send("BLPOP l 0")
			until(t, func() bool { return p.Snapshot().LeasesBusy == 1 })
			time.Sleep(20 * time.Millisecond)
			c.Close()
			until(t, func() bool { return p.Snapshot().LeasesBusy == 0 })
			d.send("RPUSH l y", "LLEN l")
			d.want(":1", ":1")
		})
	}
}

// until waits for f, at most ten seconds.
func until(t testing.TB, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it did not come true within 10 s")
}

func TestTransactionsOpenNoConnections(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	var clients []*client
	for i := range 50 {
		c := connect(t, addr)
		c.send("MULTI", fmt.Sprintf("INCR %d", i), "EXEC", fmt.Sprintf("WATCH %d", i), "MULTI", fmt.Sprintf("INCR %d", i), "EXEC")
		c.want("+OK", "+QUEUED", "*1", "+OK", "+OK", "+QUEUED", "*1")
		clients = append(clients, c)
	}
	before := p.Snapshot().UpstreamConnects
	for range 20 {
		for i, c := range clients {
			c.send("MULTI", fmt.Sprintf("INCR %d", i), fmt.Sprintf("GET %d", i), "EXEC", fmt.Sprintf("WATCH %d", i), "MULTI", fmt.Sprintf("INCR %d", i), "EXEC")
		}
		for _, c := range clients {
			c.want("+OK", "+QUEUED", "+QUEUED", "*2", "+OK", "+OK", "+QUEUED", "*1")
		}
	}
	// Watching clients come together only now and then, so a lease more than before may be wanted.
	if n := p.Snapshot().UpstreamConnects - before; n > 60 {
		t.Errorf("2000 transactions opened %d connections", n)
	}
	before = p.Snapshot().UpstreamConnects
	for range 100 {
		clients[0].send("MULTI", "INCR x", "EXEC", "WATCH x", "MULTI", "EXEC")
		clients[0].want("+OK", "+QUEUED", "*1", "+OK", "+OK", "*0")
	}
	if n := p.Snapshot().UpstreamConnects - before; n != 0 {
		t.Errorf("100 transactions opened %d connections, want none", n)
	}
}

// A node that is opening a slot sees the key that has stayed and the one that is new apart from each other while they are queued: the new
// one would be made at the target, and the old one not be found there. All or nothing must go to one place.
func TestATransactionInAHalfMovedSlotWaitsForIt(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("SET {t}old 5")
			c.want("+OK")
			slot := slotOf("{t}")
			from, err := cl.SlotOwner(slot)
			if err != nil {
				t.Fatal(err)
			}
			to := cl.Nodes[0]
			if to == from {
				to = cl.Nodes[1]
			}
			n := fmt.Sprint(slot)
			must := func(at *testcluster.Node, args ...string) {
				t.Helper()
				if _, err := cl.Do(at, args...); err != nil {
					t.Fatal(err)
				}
			}
			must(to, "CLUSTER", "SETSLOT", n, "IMPORTING", from.ID)
			must(from, "CLUSTER", "SETSLOT", n, "MIGRATING", to.ID)
			c.send("MULTI", "INCR {t}old", "SET {t}new 1", "GET {t}old", "EXEC", "INCR {t}old")
			time.Sleep(300 * time.Millisecond)
			must(from, "MIGRATE", to.Host, fmt.Sprint(to.Port), "", "0", "1000", "KEYS", "{t}old")
			must(to, "CLUSTER", "SETSLOT", n, "NODE", to.ID)
			must(from, "CLUSTER", "SETSLOT", n, "NODE", to.ID)
			c.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3\r\n:6\r\n+OK\r\n$1\r\n6\r\n", ":7")
		})
	}
}

func TestAReplyToExecThatCameInPiecesIsTheOneThatIsKept(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.transacts("GET {t}a", "PING")
	x := tagOf(s, s.next, 0)
	turn, rest := make(chan struct{}), make(chan struct{})
	s.next.On("GET "+x, testnode.Until(turn), testnode.Bulk("x"))
	s.owner.On("EXEC", testnode.Raw("*2\r\n$1\r\nv\r\n"), testnode.Until(rest), testnode.Raw("+PONG\r\n"))
	s.send("GET "+x, "MULTI", "GET {t}a", "CLIENT GETNAME", "EXEC")
	s.until("a piece has come", func(l *loop) bool { r := l.sessions[0].tail; return r != nil && len(r.reply) > 0 && r.tx != nil })
	close(rest)
	s.until("EXEC is answered", func(l *loop) bool { return l.sessions[0].tail.state == stateDone })
	close(turn)
	s.want("$1\r\nx", "+OK", "+QUEUED", "+QUEUED", "*2\r\n$1\r\nv\r\n$-1\r\n")
	accounted(t, s.proxy)
}

// A user's permissions may change between two questions about them.
func TestWhatBecomesOfATransactionThatANodeRefuses(t *testing.T) {
	noMulti := testnode.Error("NOPERM User u has no permissions to run the 'multi' command")
	without := testnode.Error("ERR EXEC without MULTI")
	for _, tc := range []struct {
		name, command      string
		multi, reply, exec testnode.Action
		want               string
	}{
		{"without MULTI reads have done no harm", "GET {t}a", noMulti, testnode.Bulk("v"), without, "-NOPERM User u has no permissions to run the 'multi'"},
		{"without MULTI a write is done", "SET {t}a 1", noMulti, testnode.Raw("+OK\r\n"), without, "-PROXYUNKNOWN"},
		{"without MULTI a write whose reply is a number is done", "INCR {t}a", noMulti, number(1), without, "-PROXYUNKNOWN"},
		{"without MULTI and connection a write is perhaps done", "SET {t}a 1", noMulti, testnode.Raw("+OK\r\n"), testnode.Close(), "-PROXYUNKNOWN"},
		{"with a command refused and without connection nothing is done", "SET {t}a 1", testnode.Raw("+OK\r\n"), testnode.Error("OOM command not allowed"), testnode.Close(), "-EXECABORT Transaction discarded because of: OOM"},
		{"with a command redirected and without connection it goes again", "SET {t}a 1", testnode.Raw("+OK\r\n"), testnode.Error("CLUSTERDOWN x"), testnode.Close(), "*1\r\n+OK"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			s.transacts("GET {t}a", "SET {t}a 1", "INCR {t}a")
			s.owner.On("MULTI", tc.multi)
			s.owner.On(tc.command, tc.reply)
			s.owner.On("EXEC", tc.exec)
			s.owner.On("EXEC", testnode.Raw("*1\r\n+OK\r\n"))
			s.send("MULTI", tc.command, "EXEC")
			s.want("+OK", "+QUEUED", tc.want)
			s.until("the user has to be asked again", func(l *loop) bool { return l.plain.multiUntil == 0 })
		})
	}
}

func TestABlockWaitsForTheHandshakeOfItsConnection(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	for i := range 3 { // each user has connections of its own
		c := connect(t, addr)
		c.send("AUTH default " + strings.Repeat("long", 100) + fmt.Sprint(i)) // longer than the block: its bytes must not count for it
		c.want("+OK")
		for _, key := range []string{"a", "b", "c"} { // on all nodes
			c.send("MULTI", "SET "+key+" 1", "GET "+key, "EXEC")
			c.want("+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n$1\r\n1\r\n")
		}
	}
}

func TestWhatHasToStandAloneCannotBePartOfATransaction(t *testing.T) {
	atOnce := setOf("reset", "select") // the transaction itself deals with them
	for _, r := range router.Builtin().Rules() {
		if locals[r.Name].alone && !r.Apart && !atOnce[r.Name] {
			t.Errorf("%s waits for the client's earlier commands, and yet the table lets transactions queue it", r.Name)
		}
	}
}

func TestCommandsForMoreThanOneNodeEndATransaction(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for _, line := range []string{"DBSIZE", "FLUSHALL", "SCAN 0", "KEYS *", "INFO", "HELLO 3", "AUTH x", "SUBSCRIBE x", "CLIENT PAUSE 0", "MONITOR"} {
		c.send("MULTI", "SET a 1", line, "EXEC", "GET a")
		c.want("+OK", "+QUEUED", "-PROXYUNSUPPORTED", "-EXECABORT", "$-1")
	}
}
