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

func TestASlotThatASiblingOfTheTargetHasTakenIsFoundThere(t *testing.T) {
	r := newRig(t, testcluster.Options{}, nil)
	target, sibling := r.cl.Nodes[3], r.cl.Nodes[2]
	var before atomic.Bool // the sibling was a replica of the target
	before.Store(true)
	r.e = r.engine(func(c *engine.Config) {
		c.Topology = func() *router.Table {
			table := r.table()
			if n := &table.Nodes[table.ByID(sibling.ID)]; before.Load() {
				n.Primary, n.PrimaryID = false, target.ID
			}
			return table
		}
	})
	u := r.unit(1, 5, 6)
	r.run(u, machine.Look)
	before.Store(false)
	r.runAll(u, gated[:7])
	u.Committed = true

	r.do(sibling, "CLUSTER", "SETSLOT", "6", "IMPORTING", target.ID)
	r.do(sibling, "CLUSTER", "SETSLOT", "6", "NODE", sibling.ID)
	var last machine.Result
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if last = r.e.Run(context.Background(), u, machine.Verify); last.Outcome == machine.Unknown {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the last Verify: %s %s", last.Outcome, last.Reason)
		}
	}
	if !strings.Contains(last.Reason, "has lost slot 6 to "+sibling.Addr) {
		t.Errorf("Verify says %q", last.Reason)
	}
	got := r.run(u, machine.Look)
	want := []machine.SlotLook{{Slot: 5, TargetOwns: true}, {Slot: 6, Beside: sibling.ID}}
	for i, l := range got.Looks {
		if l != want[i] {
			t.Errorf("slot %d: %+v, want %+v", l.Slot, l, want[i])
		}
	}
	u.Slots = []uint16{5}
	r.runAll(u, []machine.Step{machine.Tell, machine.Verify})
	u.ID, u.Slots, u.Target = 2, []uint16{6}, sibling.ID
	r.runAll(u, []machine.Step{machine.Tell, machine.Verify})
}
