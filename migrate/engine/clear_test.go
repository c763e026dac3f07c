package engine_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// TestAGateThatOpensByItselfLeavesKeysInDoubt has keys on both nodes, a machine that stutters for longer than the gate is closed while
// they are compared, and a client that deletes one as soon as it may.
func TestAGateThatOpensByItselfLeavesKeysInDoubt(t *testing.T) {
	for _, c := range []struct {
		name    string
		command string // of the source, whose answer takes that long
		put     bool   // what was deleted cannot be told from what a client has made anew
	}{
		{"between the values and the drop", "DUMP", true},
		{"after the first keys", "MIGRATE", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &briefGate{}
			gone := ""
			var stuttered, open atomic.Bool
			r := tapRig(t, g, func(r *rig, addr string, commands [][]string, _ []any) {
				from := r.cl.Nodes[0]
				last := commands[len(commands)-1]
				if addr != from.Addr || last[0] != c.command || c.command == "MIGRATE" && !slices.Contains(last, "REPLACE") {
					return
				}
				if stuttered.Swap(true) {
					open.Store(open.Load() || !g.held.Load())
					return
				}
				for g.held.Load() {
					time.Sleep(time.Millisecond)
				}
				if c.put {
					gone = last[1]
					r.do(from, "DEL", gone)
				}
			})
			from, to := r.cl.Nodes[0], r.cl.Nodes[3]
			dumps := r.fill(from, []uint16{5}, 40)
			u := r.unit(1, 5)
			r.runAll(u, []machine.Step{machine.Prepare, machine.Hold, machine.Open})
			for n := range 40 {
				r.beside(to, "RESTORE", key(5, n), "0", dumps[key(5, n)])
			}
			r.run(u, machine.Move)
			r.runAll(u, gated[4:])
			if !stuttered.Load() || open.Load() {
				t.Errorf("the gate was open while keys were compared: %v; compared at all: %v", open.Load(), stuttered.Load())
			}
			aside := slices.ContainsFunc(r.side, func(p engine.Pair) bool { return p.Key == gone && p.Kept == "target" })
			if c.put && !aside {
				t.Errorf("a key that was deleted while the gate was open came back, and was not put aside: %+v", r.side)
			}
			if c.put {
				delete(dumps, gone)
				r.do(to, "DEL", gone)
			}
			r.same(to, dumps)
		})
	}
}

// briefGate is one that cannot be held for longer than it was closed for at first.
type briefGate struct{ stopGate }

func (g *briefGate) Extend([]uint16, time.Duration) (time.Duration, error) {
	return 0, errors.New("not longer")
}

func TestKeysOnBothNodesAreResolvedThoughTheGateCannotBeClosed(t *testing.T) {
	g := &busyGate{}
	r := tapRig(t, g, func(*rig, string, [][]string, []any) {})
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	both := key(5, 7)
	r.beside(to, "RESTORE", both, "0", dumps[both])
	r.runAll(u, online[2:])
	r.same(to, dumps)
	// Between the comparison and the drop a client may have deleted it, and nobody would know.
	if len(r.side) == 0 || r.side[0].Key != both || r.side[0].Target != dumps[both] {
		t.Errorf("put aside: %+v, want %s", r.side, both)
	}
}
