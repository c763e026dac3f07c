package proxy

import (
	"fmt"
	"strings"
	"testing"

	"slotproxy/internal/metrics"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
	"slotproxy/router"
)

func TestWhatTheProxyAnswersItselfStandsBehindTheReplyBeforeIt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	large := strings.Repeat("x", 300<<10)
	bulk := string(resp.AppendBulkString(nil, large))
	c.send("SET a 1", "SET large "+large)
	c.want("+OK", "+OK")
	for _, tc := range []struct{ name, commands, replies string }{
		{"one", "GET a,PING,GET a", "$1\r\n1\r\n,+PONG\r\n,$1\r\n1\r\n"},
		{"many", "GET a" + strings.Repeat(",PING", 300) + ",GET a", "$1\r\n1\r\n" + strings.Repeat(",+PONG\r\n", 300) + ",$1\r\n1\r\n"},
		{"behind a reply that is passed on in pieces", "GET large,PING,GET a,PING", bulk + ",+PONG\r\n,$1\r\n1\r\n,+PONG\r\n"},
		{"behind a command with parts", "MGET a b,PING,MGET b a", "*2\r\n$1\r\n1\r\n$-1\r\n,+PONG\r\n,*2\r\n$-1\r\n$1\r\n1\r\n"},
		{"an error", "GET a,GET,EXEC,PING", "$1\r\n1\r\n,-ERR wrong number,-ERR EXEC without,+PONG\r\n"},
		{"not wanted", "GET a,CLIENT REPLY SKIP,PING,ECHO 1,CLIENT REPLY OFF,GET a,PING,CLIENT REPLY ON,ECHO 2",
			"$1\r\n1\r\n,$1\r\n1\r\n,+OK\r\n,$1\r\n2\r\n"},
		{"transactions", "GET a,MULTI,GET a,EXEC,MULTI,GET a,DISCARD,PING,MULTI,EXEC",
			"$1\r\n1\r\n,+OK\r\n,+QUEUED\r\n,*1\r\n$1\r\n1\r\n,+OK\r\n,+QUEUED\r\n,+OK\r\n,+PONG\r\n,+OK\r\n,*0\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &client{t: t, Conn: c.Conn, r: c.r}
			c.send(strings.Split(tc.commands, ",")...)
			c.want(strings.Split(tc.replies, ",")...)
		})
	}
}

// Most client libraries send a transaction in one piece; they need not be woken twice for it.
func TestATransactionInOnePieceIsAnsweredInOneWrite(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	block := func() {
		c.send("MULTI", "SET a 1", "GET a", "EXEC")
		c.want("+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n$1\r\n1\r\n")
	}
	block() // asks whether the user may use transactions
	before := clientWrites(p)
	block()
	if n := clientWrites(p) - before; n != 1 {
		t.Fatalf("%d writes, want 1", n)
	}
	for _, tc := range []struct{ send, want string }{ // who waits for each answer gets it
		{"MULTI", "+OK"}, {"SET a 2", "+QUEUED"}, {"GET", "-ERR wrong number"}, {"EXEC", "-EXECABORT"},
		{"MULTI", "+OK"}, {"DISCARD", "+OK"}, {"MULTI", "+OK"}, {"GET a", "+QUEUED"}, {"EXEC", "*1\r\n$1\r\n1"},
	} {
		c.send(tc.send)
		c.want(tc.want)
	}
	c.send("MULTI", "GET a", "QUIT")
	c.want("+OK", "+QUEUED", "+OK")
}

// clientWrites is the number of writes to clients so far, of a proxy with one loop.
func clientWrites(p *Proxy) uint64 {
	got := make(chan uint64)
	p.loops[0].post(message{kind: msgCall, call: func(l *loop) { got <- l.stats.Writes[metrics.SideClient] }})
	return <-got
}

func TestAScriptThatIsOnlyNamedIsNotForgottenBeforeOthers(t *testing.T) {
	p, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := p.loops[0]
	p.scripts.add([]byte(getScript), false)
	name := []byte(sha(getScript))
	l.find(name)
	for i := range 3 * maxScripts {
		p.scripts.add(fmt.Appendf(nil, "return %d", i), false)
		l.now += tellAgain / 1000
		if l.find(name) == nil {
			t.Fatalf("forgotten after %d others", i)
		}
	}
	p.scripts.forget()
	if l.find(name) != nil {
		t.Fatal("known although all are forgotten")
	}
	if l.find([]byte(strings.ToUpper(string(name)))) != nil || l.find([]byte("x")) != nil {
		t.Fatal("found what nobody has loaded")
	}
}

func TestTheNodeOfSubscribersIsLookedUpAgainWhenNodesComeOrGo(t *testing.T) {
	p, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	l, addr := p.loops[0], "10.0.0.1:6379"
	p.home.Store(&addr) // another loop has chosen it
	if n := l.home(); n != nil {
		t.Fatalf("%v, want none: this loop does not know it", n.addr)
	}
	n := l.nodeAt(addr)
	if got := l.home(); got != n {
		t.Fatalf("%v, want the node that the loop has heard of", got)
	}
	l.table = &router.Table{Version: 1} // names nobody
	l.dropLostNodes(nil)
	if got := l.home(); got != nil {
		t.Fatalf("%v, want none: the node has left", got.addr)
	}
}

func TestWhatANodeSaysOfATransactionMayComeInAnyPieces(t *testing.T) {
	const said, answer = "+OK\r\n+QUEUED\r\n+QUEUED\r\n", "*2\r\n+OK\r\n$1\r\n1\r\n"
	block := func(dst []byte, key string) []byte {
		dst = resp.AppendCommandStrings(resp.AppendCommandStrings(dst, "MULTI"), "SET", key, "1")
		return resp.AppendCommandStrings(resp.AppendCommandStrings(dst, "GET", key), "EXEC")
	}
	w := newPathBench(t, block, answer)
	w.l.p.cfg.Keeper = router.NewKeeper(nil, router.KeeperConfig{})
	s, c := w.clients[0], w.l.owners.of(router.Slot([]byte("a"))).conns[0]
	both, two := block(block(nil, "a"), "a"), said+answer+said+answer
	for cut := range len(two) {
		s.arrived(both, len(both))
		w.written()
		for _, piece := range []string{two[:cut], two[cut:]} {
			if len(c.in) > 0 {
				c.in = append(c.in, piece...)
				c.arrived(nil, len(piece))
			} else if piece != "" {
				c.arrived([]byte(piece), len(piece))
			}
		}
		if got := string(s.out.tail); got != two[len(said):] { // the first is written already
			t.Fatalf("cut at %d: %q, want %q", cut, got, two[len(said):])
		}
		w.written()
	}
	s.arrived(both, len(both))
	c.arrived([]byte(said), len(said))
	if !c.closed {
		t.Fatal("the node has answered what was not written, and its connection is still open")
	}
}

func TestATransactionDoesNotRunAScriptBeforeItBringsIt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for i := range 6 { // on all nodes
		body, key := fmt.Sprintf("return %d", i), fmt.Sprint("k", i)
		c.cmd("MULTI")
		c.cmd("EVALSHA", sha(body), "1", key)
		c.cmd("EVAL", body, "1", key)
		c.cmd("EVALSHA", sha(body), "1", key)
		c.cmd("EXEC")
		c.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3\r\n-NOSCRIPT")
	}
}
