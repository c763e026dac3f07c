package engine_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// family is how another primary is known to be of the target's shard.
type family struct {
	name     string
	replica  bool // the engine has seen it as the target's replica
	one      bool // both nodes name the same shard
	siblings bool
}

func TestASlotThatASiblingOfTheTargetHasTakenIsFoundThere(t *testing.T) {
	for _, f := range []family{
		{name: "as the engine remembers", replica: true, siblings: true},
		{name: "as both nodes say", one: true, siblings: true},
		{name: "not of another shard"},
	} {
		t.Run(strings.ReplaceAll(f.name, " ", "_"), f.look)
	}
}

func (f family) look(t *testing.T) {
	r := newRig(t, testcluster.Options{}, nil)
	target, other := r.cl.Nodes[3], r.cl.Nodes[2]
	var before atomic.Bool
	before.Store(f.replica)
	r.e = r.engine(func(c *engine.Config) {
		c.Topology = func() *router.Table {
			table := r.table()
			if n := &table.Nodes[table.ByID(other.ID)]; before.Load() {
				n.Primary, n.PrimaryID = false, target.ID
			}
			return table
		}
		c.Nodes = tap{r.src, func(_ string, commands [][]string, replies []any) {
			for i, c := range commands {
				if f.one && c[len(c)-1] == "MYSHARDID" {
					replies[i] = "theirs"
				}
			}
		}}
	})
	u := r.unit(1, 5, 6)
	r.run(u, machine.Look)
	before.Store(false)
	r.runAll(u, gated[:7])
	u.Committed = true
	r.do(other, "CLUSTER", "SETSLOT", "6", "IMPORTING", target.ID)
	r.do(other, "CLUSTER", "SETSLOT", "6", "NODE", other.ID)

	var last machine.Result
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if last = r.e.Run(context.Background(), u, machine.Verify); last.Outcome == machine.Unknown {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the last Verify: %s %s", last.Outcome, last.Reason)
		}
	}
	if !strings.Contains(last.Reason, "has lost slot 6 to "+other.Addr) {
		t.Errorf("Verify says %q", last.Reason)
	}
	want := []machine.SlotLook{{Slot: 5, TargetOwns: true}, {Slot: 6}}
	if f.siblings {
		want[1].Beside = other.ID
	}
	for i, l := range r.run(u, machine.Look).Looks {
		if l != want[i] {
			t.Errorf("slot %d: %+v, want %+v", l.Slot, l, want[i])
		}
	}
	u.Slots = []uint16{5}
	r.runAll(u, []machine.Step{machine.Tell, machine.Verify})
	u.ID, u.Slots, u.Target = 2, []uint16{6}, other.ID
	r.runAll(u, []machine.Step{machine.Tell, machine.Verify})
}
