package migrate

import (
	"testing"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
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

func TestTheLastMomentsOfAJobDoNotCountAsRest(t *testing.T) {
	at := func(p99 time.Duration) Pulse {
		return Pulse{Nodes: map[string]NodePulse{"a:1": {Commands: 1000, P99: p99}}}
	}
	w := newWatch(&pulses{at(time.Millisecond), at(time.Second), at(time.Second), at(time.Millisecond)}, time.Now)
	w.look()
	w.begin(newJob("1", &jobSpec{Plan: &plan.Plan{}}, time.Now()), testPacer(machine.Options{}))
	select {
	case <-w.wake:
	default:
		t.Error("the first pulse of a job waits for the beat at rest")
	}
	for range 3 { // one in the job, one that it still has a part of, one at rest
		w.look()
		if w.job != nil {
			w.end()
		}
	}
	if got := w.rest["a:1"]; len(got) != 2 || got[0] != time.Millisecond || got[1] != time.Millisecond {
		t.Errorf("p99s at rest are %v, want twice 1ms", got)
	}
}
