package proxy

import (
	"testing"
	"time"

	"slotproxy/internal/testcluster"
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
