package engine_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"slotproxy/migrate/machine"
)

// TestClientsAreHeldForFewRoundTrips counts what is sent while a gate is closed: all one after the other, but for two looks at once.
func TestClientsAreHeldForFewRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name  string
		slots []uint16
		each  int
		most  int64
	}{
		// IMPORTING, MIGRATING with the keys of the slots; NODE with a look at both before it.
		{"nothing to move", slotsOf(5, 10), 0, 5},
		// MIGRATE too.
		{"a slot whose keys go at once", slotsOf(5, 1), 100, 6},
		{"slots whose keys go at once", slotsOf(5, 4), 20, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &stopGate{}
			var trips atomic.Int64
			var mu sync.Mutex // for said: both looks are heard at the same time
			var said []string
			r := tapRig(t, g, func(_ *rig, addr string, commands [][]string, _ []any) {
				if g.held.Load() {
					trips.Add(1)
					mu.Lock()
					defer mu.Unlock()
					said = append(said, addr+" "+strings.Join(commands[0][:min(3, len(commands[0]))], " "))
				}
			})
			dumps := r.fill(r.cl.Nodes[0], c.slots, c.each)
			u := r.unit(1, c.slots...)
			r.runAll(u, []machine.Step{machine.Prepare}) // facts of nodes, connections
			r.runAll(u, gated[1:])
			r.same(r.cl.Nodes[3], dumps)
			if n := trips.Load(); n > c.most {
				t.Errorf("%d round trips while clients were held, want %d at most:\n%s", n, c.most, strings.Join(said, "\n"))
			}
		})
	}
}
