package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// What is counted wrongly by a byte for each command stops a client or a limit after a day.
func TestNothingIsCountedWhenNothingIsUnderWay(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	value := strings.Repeat("v", 30<<10)
	for range 20 {
		c.send("MSET a "+value+" b "+value+" c "+value+" d 1", "MGET a b c d nothing", "GET a", "SET a "+value,
			"DEL a b", "KEYS *", "DBSIZE", "RANDOMKEY", "GET", "LPUSH c x", "INFO", "CLIENT LIST", "SET big "+strings.Repeat("b", 300<<10), "GET big")
		c.want("+OK", "*5", "$", "+OK", ":2", "*", ":", "$", "-ERR", "-WRONGTYPE", "$", "$", "+OK", "$")
		c.send("MULTI", "SET a "+value, "CLIENT ID", "EXEC", "MULTI", "FOO", "EXEC", "MULTI", "SET a 1", "DISCARD", "WATCH a", "GET a", "UNWATCH",
			"WATCH a", "MULTI", "SET a 2", "EXEC", "WATCH b", "MULTI", "EXEC", "RPUSH q x", "BLPOP q 0", "BLPOP q 0.01", "WAIT 0 1", "EXEC")
		c.want("+OK", "+QUEUED", "+QUEUED", "*2", "+OK", "-ERR", "-EXECABORT", "+OK", "+QUEUED", "+OK", "+OK", "$", "+OK",
			"+OK", "+OK", "+QUEUED", "*1", "+OK", "+OK", "*0", ":1", "*2", "*-1", ":", "-ERR")
	}
	var wrong string
	for range 100 {
		p.ask(time.Second, func(l *loop) {
			wrong = ""
			s := l.sessions[0]
			inFlight := int32(0)
			for i := range l.slots {
				inFlight += l.slots[i].inFlight + l.cares[i].multi
			}
			if s.held != 0 || s.unsent != 0 || s.queued != 0 || l.pool.used != 0 || l.stats.InFlight != 0 || l.stats.LeasesBusy != 0 || inFlight != 0 || l.stirred != (slotSet{}) || l.wide != 0 || len(l.waiting) != 0 {
				wrong = fmt.Sprintf("held %d, unsent %d, queued %d, pool %d, in flight %d, in slots %d, wide %d, waiting %d",
					s.held, s.unsent, s.queued, l.pool.used, l.stats.InFlight, inFlight, l.wide, len(l.waiting))
			}
		})
		if wrong == "" {
			return
		}
	}
	t.Fatal(wrong)
}
