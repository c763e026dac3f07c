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

func TestThePacerForgetsAHoldThatHasOpenedByItself(t *testing.T) {
	for _, c := range []struct {
		name          string
		limit, extend time.Duration
		urgent        bool
	}{
		{"while it is held", time.Minute, -1, true},
		{"when its time is up", 0, -1, false},
		{"when it was made longer", 0, time.Minute, true},
		{"when that is up too", time.Minute, 0, false},
	} {
		p := testPacer(machine.Options{})
		h := newHolds(&fakeGate{held: map[uint16]bool{}}, p, func([]uint16) string { return "a" }, &counters{})
		if err := h.Hold(t.Context(), []uint16{1, 2}, c.limit); err != nil {
			t.Fatal(err)
		}
		if c.extend >= 0 {
			if _, err := h.Extend([]uint16{1, 2}, c.extend); err != nil {
				t.Fatal(err)
			}
		}
		p.mu.Lock()
		got := p.laneLocked("a").urgent()
		p.mu.Unlock()
		if got != c.urgent {
			t.Errorf("%s: the source is not paced: %v, want %v", c.name, got, c.urgent)
		}
	}
}
