package proxy

import (
	"fmt"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
)

func TestWhoFindsNoLeaseStandsInLine(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1, Limits: Limits{Leases: 1}}, cl.Addrs()...)
	d := connect(t, addr)
	var waiting []*client
	for i := range 4 {
		c := connect(t, addr)
		c.send(fmt.Sprintf("BLPOP {t}%d 0", i))
		if i == 2 {
			c.send("PING")
		}
		waiting = append(waiting, c)
		until(t, func() bool { s := p.Snapshot(); return s.LeasesBusy == 1 && s.LeaseWaits == uint64(i) })
	}
	short := connect(t, addr)
	short.send("BLPOP {t}0 0.05", "PING")
	short.want("*-1\r\n", "+PONG")
	waiting[1].Close()
	d.send("RPUSH {t}3 d", "RPUSH {t}2 c", "RPUSH {t}1 b", "RPUSH {t}0 a")
	d.want(":1", ":1", ":1", ":1")
	waiting[0].want("*2\r\n$4\r\n{t}0\r\n$1\r\na")
	waiting[2].want("*2\r\n$4\r\n{t}2\r\n$1\r\nc", "+PONG")
	waiting[3].want("*2\r\n$4\r\n{t}3\r\n$1\r\nd")
	d.send("LLEN {t}1", "WATCH {t}x", "MULTI", "EXEC")
	d.want(":1", "+OK", "+OK", "*0")
	until(t, func() bool { return p.Snapshot().LeasesBusy == 0 })
}

func TestAWatchThatNobodyFinishesLeavesNothingBehind(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1, Limits: Limits{Leases: 1}}, cl.Addrs()...)
	for range 20 {
		c := connect(t, addr)
		c.send("WATCH a", "GET a")
		c.want("+OK", "$-1")
		c.Close()
		until(t, func() bool { return p.Snapshot().LeasesBusy == 0 })
	}
	c := connect(t, addr)
	c.send("SET b 1", "WATCH b", "MULTI", "SET a 1", "EXEC", "WATCH {b}c", "SET b 2", "MULTI", "SET b 3", "EXEC", "DEL a")
	c.want("+OK", "+OK", "+OK", "+QUEUED", "-CROSSSLOT", "+OK", "+OK", "+OK", "+QUEUED", "*1", ":0")
	if n := p.Snapshot().UpstreamConnects; n > 8 {
		t.Errorf("%d connections to nodes, want a few: leases are used again", n)
	}
}

// transacts lets all nodes agree to transactions, and queue what the patterns name.
func (s *scripted) transacts(queued ...string) {
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("MULTI", testnode.Raw("+OK\r\n"))
		n.Every("EXEC", testnode.Raw("*0\r\n"))
		n.Every("WATCH ...", testnode.Raw("+OK\r\n"))
		n.Every("UNWATCH", testnode.Raw("+OK\r\n"))
		for _, pattern := range queued {
			n.Every(pattern, testnode.Raw("+QUEUED\r\n"))
		}
	}
	s.send("MULTI", "DISCARD") // now the proxy knows that the user may
	s.want("+OK", "+OK")
}

// alone waits until no client is left.
func (s *scripted) alone() {
	s.t.Helper()
	s.until("the client is gone", func(l *loop) bool { return len(l.sessions) == 0 })
}

// another is a second client.
func (s *scripted) another() *client { return connect(s.t, s.proxy.Addrs()[0].String()) }

func TestAConnectionInAnotherDatabaseIsNotGivenOn(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.transacts("SELECT 1", "SET ...")
	hold, before := make(chan struct{}), len(s.owner.Seen("EXEC"))
	s.owner.On("EXEC", testnode.Until(hold), testnode.Raw("*2\r\n+OK\r\n+OK\r\n"))
	s.send("MULTI", "SELECT 1", "SET {t}a 1", "EXEC")
	s.want("+OK", "+QUEUED", "+QUEUED")
	exec := s.owner.Wait(t, "EXEC", before+1)[before]
	s.leave() // nobody looks at the reply any more
	s.alone()
	close(hold)
	s.until("the lease is free", func(l *loop) bool { return l.stats.LeasesBusy == 0 })
	d := s.another()
	d.send("WATCH {t}b")
	d.want("+OK")
	if got := s.owner.Seen("WATCH ...")[0].Conn; got == exec.Conn {
		t.Errorf("connection %d, which is in database 1, was given to another client", got)
	}
}

func TestALeaseIsNotGivenOnWhileTheEndOfItsWaitIsUnderWay(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{Leases: 1}})
	popped, cancelled := make(chan struct{}), make(chan struct{})
	s.owner.On("BLPOP {t}a 0", testnode.Until(popped), testnode.Raw("*-1\r\n"))
	s.owner.On("CLIENT UNBLOCK ...", testnode.Until(cancelled), testnode.Raw(":0\r\n"))
	s.owner.On("BLPOP {t}b 0", testnode.Raw("*2\r\n$4\r\n{t}b\r\n$1\r\nv\r\n"))
	s.send("BLPOP {t}a 0")
	s.owner.Wait(t, "BLPOP {t}a 0", 1)
	s.leave()
	s.owner.Wait(t, "CLIENT UNBLOCK ...", 1)
	close(popped)
	s.until("the wait has ended by itself", func(l *loop) bool { return l.nodes[s.owner.Addr()].leases[0].queue.n == 0 })
	d := s.another()
	d.send("BLPOP {t}b 0")
	s.until("the next one stands in line", func(l *loop) bool { return l.stats.LeaseWaits == 1 })
	if got := s.owner.Seen("BLPOP {t}b 0"); len(got) > 0 {
		t.Error("the next client waits on a connection whose wait somebody is about to end")
	}
	close(cancelled)
	d.want("*2\r\n$4\r\n{t}b")
}

func TestWhoStandsInLineGoesToTheNewOwnerAtOnce(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{Leases: 1}})
	s.owner.On("BLPOP {t}a 0", testnode.Silence())
	s.owner.On("CLIENT UNBLOCK ...", testnode.Silence())
	s.next.On("BLPOP ...", testnode.Raw("*2\r\n$4\r\n{t}b\r\n$1\r\nv\r\n"))
	s.send("BLPOP {t}a 0")
	s.owner.Wait(t, "BLPOP {t}a 0", 1)
	d := s.another()
	d.send("BLPOP {t}b 0")
	s.until("the next one stands in line", func(l *loop) bool { return l.stats.LeaseWaits == 1 })
	s.proxy.Release([]uint16{tSlot}, s.next.Addr())
	s.proxy.ask(time.Second, func(l *loop) {
		for _, n := range l.nodes {
			if len(n.line) == 1 && n.line[0].state != stateSent {
				t.Error("it waits on")
			}
		}
	})
	d.want("*2\r\n$4\r\n{t}b")
}

func TestTheNextInLineGoesOnWhenALeaseIsLost(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{Leases: 1}})
	hold := make(chan struct{})
	s.owner.On("BLPOP {t}a 0", testnode.Until(hold), testnode.Close())
	s.owner.On("BLPOP {t}b 0", testnode.Raw("*2\r\n$4\r\n{t}b\r\n$1\r\nv\r\n"))
	s.send("BLPOP {t}a 0")
	s.owner.Wait(t, "BLPOP {t}a 0", 1)
	d := s.another()
	d.send("BLPOP {t}b 0")
	s.until("the next one stands in line", func(l *loop) bool { return l.stats.LeaseWaits == 1 })
	close(hold)
	s.want("-PROXYUNKNOWN")
	d.want("*2\r\n$4\r\n{t}b")
}

func TestTheQuestionAboutTransactionsDoesNotEndAWatch(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.Every("ECHO x", testnode.Bulk("x"))
	s.transacts("EVAL ...")
	s.send("WATCH {t}a", "MULTI", "EVAL s 1 {t}a")
	s.want("+OK", "+OK", "+QUEUED")
	s.proxy.forgetPermissions()
	s.until("the user has to be asked again", func(l *loop) bool { return l.plain.multiUntil == 0 })
	s.owner.On("EXEC", testnode.Raw("*1\r\n:1\r\n"))
	s.send("EXEC")
	s.want("*1\r\n:1\r\n")
}

func TestATransactionBehindWatchIsNeverSentAgain(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.transacts("GET ...")
	s.send("WATCH {t}a", "MULTI", "GET {t}a")
	s.want("+OK", "+OK", "+QUEUED")
	before := len(s.owner.Seen("EXEC"))
	s.owner.On("EXEC", testnode.Close())
	s.send("EXEC")
	s.want("*-1\r\n")
	if n := len(s.owner.Seen("EXEC")) - before; n != 1 {
		t.Errorf("the node saw EXEC %d times, want once: on another connection nothing is watched", n)
	}
}

func TestACommandWhoseTimeoutTheProxyCannotReadHoldsUpNobodyElse(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c, d := connect(t, addr), connect(t, addr)
	c.send("BLPOP k nonsense", "BLPOP k -1")
	c.want("-ERR timeout is not a float or out of range", "-ERR timeout is negative")
	c.send("XGROUP CREATE k block 0 MKSTREAM", "XREADGROUP GROUP block c BLOCK 0 STREAMS k >")
	c.want("+OK")
	d.send("GET {k}other")
	d.want("$-1")
	d.send("XADD k 1-1 f v")
	d.want("$3\r\n1-1")
	c.want("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
}
