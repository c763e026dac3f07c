package migrate

import (
	"context"
	"testing"
	"time"

	"slotproxy/migrate/machine"
)

// crowdGate is a gate at which commands wait.
type crowdGate struct{ fakeGate }

func (*crowdGate) Waiting([]uint16) bool { return true }

func TestThePacerHearsOfHoldsAndOfCommandsThatWait(t *testing.T) {
	p := testPacer(machine.Options{})
	g := &crowdGate{fakeGate{held: map[uint16]bool{}}}
	h := newHolds(g, p, func([]uint16) string { return "a" }, &counters{})
	urgent := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.laneLocked("a").urgent()
	}
	for _, slot := range []uint16{1, 2} {
		if err := h.Hold(context.Background(), []uint16{slot}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	h.Release([]uint16{1}, "")
	if !urgent() {
		t.Error("a source with a slot that is held is paced")
	}
	h.Release([]uint16{2}, "")
	if urgent() {
		t.Error("a source is not paced though nothing of it is held any more")
	}
	if !h.Waiting([]uint16{1}) || !urgent() {
		t.Error("a source is paced though commands wait for its slots")
	}
}
