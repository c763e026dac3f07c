package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

// A hundred keys lie in about a hundred slots, and a cluster takes only keys of one slot in a command: what saves is that all that
// goes to a node goes in one call.
func TestMGETOfAHundredKeysIsOneWriteToEachNode(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	command, nulls := mgetOf(100)
	c := connect(t, addr)
	request, reply := resp.AppendCommandStrings(nil, command...), make([]byte, len(nulls))
	c.exchange(request, reply) // opens the connections
	if string(reply) != nulls {
		t.Fatalf("%q", short(string(reply)))
	}
	calls := func() (n uint64) {
		p.ask(time.Second, func(l *loop) { n = l.stats.Writes[metrics.SideUpstream] })
		return n
	}
	const times = 200
	before := calls()
	for range times {
		c.exchange(request, reply)
	}
	// The loop asks its nodes for other things now and then, so a few more are no fault.
	if n := calls() - before; n < 3*times || n > 3*times+20 {
		t.Errorf("%d writes for %d commands on 3 nodes", n, times)
	}
}

// mgetOf is an MGET of n keys, each in a slot of its own but for chance, and the reply when there are none of them.
func mgetOf(n int) (command []string, nulls string) {
	command = []string{"MGET"}
	for i := range n {
		command = append(command, fmt.Sprint("none:", i))
	}
	return command, fmt.Sprintf("*%d\r\n", n) + strings.Repeat("$-1\r\n", n)
}
