package proxy

import (
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// A node counts the replicas that have what the asking connection has written. WAIT comes on another connection than the writes, so
// only a frozen replica shows whether it waits for them.
func TestWaitCountsTheReplicasThatHaveTheClientsWrites(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v, Primaries: 3, Replicas: 1, NodeTimeout: time.Minute})
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("SET a 1", "WAIT 1 5000")
			c.want("+OK", ":1\r\n")
			for _, n := range cl.Nodes[3:] {
				if err := cl.Freeze(n); err != nil {
					t.Fatal(err)
				}
			}
			c.send("SET a 2", "WAIT 1 100")
			c.want("+OK", ":0\r\n")
		})
	}
}
