package engine_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"slotproxy/migrate/machine"
)

// TestSlotsDoNotChangeHandsWhileTheSourceIsTakenForFailed: the source answers again, but its replica may be winning its election, with an
// epoch that takes the slots away from the target, keys and all.
func TestSlotsDoNotChangeHandsWhileTheSourceIsTakenForFailed(t *testing.T) {
	var failed atomic.Bool
	r := tapRig(t, nil, func(r *rig, addr string, commands [][]string, replies []any) {
		for i, c := range commands {
			text, is := replies[i].(string)
			if !is || !failed.Load() || addr != r.cl.Nodes[3].Addr || strings.Join(c, " ") != "CLUSTER NODES" {
				continue
			}
			lines := strings.Split(text, "\n")
			for i := range lines {
				if strings.HasPrefix(lines[i], r.cl.Nodes[0].ID) {
					lines[i] = strings.Replace(lines[i], " master ", " master,fail ", 1)
				}
			}
			replies[i] = strings.Join(lines, "\n")
		}
	})
	dumps := r.fill(r.cl.Nodes[0], []uint16{5}, 20)
	u := r.unit(1, 5)
	r.runAll(u, gated[:4])
	failed.Store(true)
	if got := r.try(u, machine.Commit); got.Outcome != machine.Again {
		t.Errorf("outcome %d, want %d: %s", got.Outcome, machine.Again, got.Reason)
	}
	failed.Store(false)
	r.runAll(u, gated[4:])
	r.same(r.cl.Nodes[3], dumps)
}
