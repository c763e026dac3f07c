package proxy

import (
	"fmt"
	"testing"

	"slotproxy/internal/testcluster"
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
