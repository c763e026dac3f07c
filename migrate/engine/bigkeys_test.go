package engine_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// big makes keys of about n bytes each, in slot 5.
func (r *rig) big(n int) {
	r.Helper()
	from := r.cl.Nodes[0]
	tag := "{" + tags()[5] + "}"
	r.do(from, "SET", tag+"string", strings.Repeat("x", n))
	for i := 0; i < n/100; i += 500 {
		hash, list, zset := []string{"HSET", tag + "hash"}, []string{"RPUSH", tag + "list"}, []string{"ZADD", tag + "zset"}
		for k := range 500 {
			id := strconv.Itoa(i + k)
			hash = append(hash, "field"+id, "value"+id)
			list = append(list, "some element of a list "+id)
			zset = append(zset, id, "member"+id)
		}
		r.do(from, hash...)
		r.do(from, list...)
		r.do(from, zset...)
	}
}

func TestAKeyThatWouldStopItsNodesIsFoundBeforeItsSlotIsOpened(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v, NodeTimeout: 60 * time.Second}, func(c *engine.Config) {
			c.Limits.Block = 20 * time.Millisecond
		})
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		r.fill(from, []uint16{4, 6}, 50)
		r.big(4 << 20)
		u := r.unit(1, 4, 5, 6)
		got := r.e.Run(context.Background(), u, machine.Prepare)
		if got.Outcome != machine.Blocked || !strings.Contains(got.Reason, "slot 5 has a key") {
			t.Fatalf("outcome %d: %s", got.Outcome, got.Reason)
		}
		r.run(r.unit(2, 4, 6), machine.Prepare)
		r.e = r.engine(func(c *engine.Config) { c.AllowBlocking = true })
		for _, s := range gated {
			u.Committed = u.Committed || s == machine.Release
			r.run(u, s)
		}
		if n := r.do(to, "CLUSTER", "COUNTKEYSINSLOT", "5"); n != int64(4) {
			t.Errorf("%v big keys have arrived, want 4", n)
		}
	})
}
