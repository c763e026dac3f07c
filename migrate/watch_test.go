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
	w.follow(newJob("1", &jobSpec{Plan: &plan.Plan{}}, time.Now()), testPacer(machine.Options{}))
	w.look() // until the job began
	w.look()
	w.end()
	w.look() // the job still has a part of it
	w.look()
	if got := w.rest["a:1"]; len(got) != 2 || got[0] != time.Millisecond || got[1] != time.Millisecond {
		t.Errorf("p99s at rest are %v, want twice 1ms", got)
	}
}

func TestAJobTellsWhatClientsNoticedWhileItRan(t *testing.T) {
	at := func(redirects, held uint64, long time.Duration) Pulse {
		return Pulse{Nodes: map[string]NodePulse{}, Redirects: redirects, Errors: redirects, HeldTotal: held, LongHold: long}
	}
	w := newWatch(&pulses{at(1, 100, time.Second), at(2, 110, 40*time.Millisecond), at(4, 115, 3*time.Millisecond), at(8, 116, 2*time.Millisecond)}, time.Now)
	w.look()
	j := newJob("1", &jobSpec{Plan: &plan.Plan{}}, time.Now())
	w.follow(j, testPacer(machine.Options{}))
	for range 3 { // one of the time before the job
		w.look()
	}
	st := j.snapshot()
	if st.Redirects != 12 || st.ClientErrors != 12 || st.HeldCommands != 6 || st.LongestHold != 3*time.Millisecond {
		t.Errorf("it tells of %d redirects, %d errors and %d commands that were held, the longest for %v; want 12, 12, 6 and 3ms",
			st.Redirects, st.ClientErrors, st.HeldCommands, st.LongestHold)
	}
}

// noisy is a data path of which every pulse is about one redirect.
type noisy struct{ pulses }

func (*noisy) Pulse() Pulse { return Pulse{Nodes: map[string]NodePulse{}, Redirects: 1} }

func TestTheShortestJobHasAPulseOfItsOwn(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeCluster(4), nil)
	b.c.load.load = &noisy{}
	b.run()
	if st := b.ended(b.reshard(1), Success); st.Redirects == 0 {
		t.Error("nobody has looked at the data path while it ran")
	}
}
