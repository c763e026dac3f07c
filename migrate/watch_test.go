package migrate

import (
	"testing"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// pulses is a data path that says these in turn.
type pulses []Pulse

func (l *pulses) Ops() *[router.Slots]uint64 { return new([router.Slots]uint64) }

func (l *pulses) Pulse() Pulse {
	p := (*l)[0]
	*l = (*l)[1:]
	return p
}

func TestALookThatADataPathDoesNotAnswerChangesNothing(t *testing.T) {
	nodes := map[string]NodePulse{"a:1": {Commands: 1000, P99: time.Millisecond}}
	w := newWatch(&pulses{{Nodes: nodes, HeldTotal: 100}, {}, {Nodes: nodes, HeldTotal: 100}}, time.Now)
	for range 3 {
		w.look()
	}
	if got := len(w.rest["a:1"]); got != 2 || w.before != 100 {
		t.Errorf("%d pulses of the node are remembered, want 2; %d commands held, want 100", got, w.before)
	}
}

func TestWhatIsOwedToACrowdEndsWithIt(t *testing.T) {
	p := testPacer(machine.Options{})
	p.gated(1_000_000, 1_000_000)
	for range 40 { // ten seconds
		p.gated(0, 0)
	}
	if p.heldDebt >= 1 {
		t.Errorf("a job still owes %v commands to clients that have gone", p.heldDebt)
	}
}
