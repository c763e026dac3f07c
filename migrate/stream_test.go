package migrate

import (
	"context"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/machine"
)

// slowPulse is a pulse of two nodes with a thousand commands each, of which so many at the first took ten milliseconds.
func slowPulse(slow uint64) *Pulse {
	p99 := time.Millisecond
	if slow > 10 {
		p99 = 10 * time.Millisecond
	}
	over := func(limit time.Duration) uint64 {
		if limit < 10*time.Millisecond {
			return slow
		}
		return 0
	}
	none := func(time.Duration) uint64 { return 0 }
	return &Pulse{Nodes: map[string]NodePulse{
		"a:1": {Commands: 1000, P99: p99, Over: over}, "b:1": {Commands: 1000, P99: time.Millisecond, Over: none},
	}}
}

func streamPacer(o machine.Options) (*pacer, *machine.Unit) {
	p := testPacer(o)
	p.compare(map[string]time.Duration{"a:1": time.Millisecond, "b:1": time.Millisecond})
	return p, &machine.Unit{Source: "a", Target: "b", Engine: machine.Atomic}
}

func TestAfterAStreamThatWasSlowForClientsTimePassesBeforeTheNextOne(t *testing.T) {
	tests := []struct {
		name    string
		pulses  []*Pulse // the first ones during the stream
		during  int
		waits   bool
		because string
	}{
		{"quick commands", []*Pulse{slowPulse(0)}, 1, false, ""},
		{"a few slow ones", []*Pulse{slowPulse(10)}, 1, false, ""},
		{"many slow ones", []*Pulse{slowPulse(500)}, 1, true, "p99 of a:1 is 10ms, above 3ms"},
		{"without a stream", []*Pulse{slowPulse(500)}, 0, false, ""},
		{"the commands of both nodes pay", []*Pulse{slowPulse(20), slowPulse(0), slowPulse(0)}, 1, false, ""},
		{"not yet all of it", []*Pulse{slowPulse(20), slowPulse(0)}, 1, true, "p99 of a:1 is 10ms, above 3ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, u := streamPacer(machine.Options{})
			if tt.during > 0 {
				p.streaming(u)
			}
			for i, pulse := range tt.pulses {
				if i == tt.during && i > 0 {
					p.streamed(u, 100, 1000)
				}
				p.feel(pulse)
			}
			p.mu.Lock()
			pause := p.owingLocked(time.Now())
			late := p.owingLocked(time.Now().Add(-longestRest))
			p.mu.Unlock()
			if (pause > 0) != tt.waits || late > 0 || p.reason() != tt.because {
				t.Errorf("it waits %v, after %v still %v, because of %q; want %v, %q", pause, longestRest, late, p.reason(), tt.waits, tt.because)
			}
		})
	}
}

func TestWhatIsSlowLongAfterAStreamIsNotItsDoing(t *testing.T) {
	p, u := streamPacer(machine.Options{})
	p.streaming(u)
	p.streamed(u, 100, 1000)
	for node, s := range p.streams {
		s.ended = s.ended.Add(-2 * toldFor)
		p.streams[node] = s
	}
	if p.feel(slowPulse(500)); p.slowDebt != 0 {
		t.Errorf("it counts %v commands", p.slowDebt)
	}
}

func TestAStreamWaitsForTheClientsOfTheLastOneAlsoInTheNextJob(t *testing.T) {
	old, u := streamPacer(machine.Options{})
	old.streaming(u)
	old.feel(slowPulse(500))
	old.streamed(u, 100, 1000)
	p, _ := streamPacer(machine.Options{})
	p.inherit(old)
	settled := make(chan struct{})
	go settleFor(t.Context(), p, u, settled)
	select {
	case <-settled:
		t.Fatal("half of the commands were slow, and the next stream begins at once")
	case <-time.After(2 * waitPiece):
	}
	for range 80 { // 160 000 commands
		p.recover(slowPulse(0))
	}
	<-settled
	p.feel(slowPulse(0))
	if p.reason() != "" {
		t.Errorf("afterwards it waits because of %q", p.reason())
	}
}

func TestAStreamThatNobodySawEndIsOver(t *testing.T) {
	d, runner := loneDrive(newFakeCluster(3))
	defer d.presence.leave()
	runner.before = func(context.Context, machine.Unit, machine.Step) *machine.Result { panic("test") }
	u := machine.Unit{ID: 1, Source: "a", Target: "b", Slots: []uint16{1}, Engine: machine.Atomic}
	if d.perform(t.Context(), machine.Run{Unit: u, Step: machine.Watch}); d.pace.streams["a"].running != 0 || d.pace.streams["b"].running != 0 {
		t.Errorf("after a step that panicked there are %+v", d.pace.streams)
	}
	old, _ := streamPacer(machine.Options{})
	old.streaming(&u)
	p, _ := streamPacer(machine.Options{})
	p.inherit(old)
	if p.feel(slowPulse(500)); p.slowDebt != 0 {
		t.Errorf("a stream of an earlier job owes %v commands", p.slowDebt)
	}
}

func TestStreamsGetSmallerWhereTheLongestRestIsNotEnough(t *testing.T) {
	p, u := streamPacer(machine.Options{})
	stream := func(keys int64) int64 {
		p.streaming(u)
		return p.streamed(u, keys, 0)
	}
	if most := stream(8000); most != 0 {
		t.Fatalf("a first stream bounds the next one to %d keys", most)
	}
	for _, step := range []struct {
		owed       float64
		rested     bool
		keys, most int64
		name       string
	}{
		{1, true, 8000, 4000, "not paid"},
		{1, true, 4100, 2000, "not paid again"}, // one slot more than was meant
		{0, true, 2000, 2000, "paid"},
		{0, false, 2000, 4000, "nothing owed"},
		{0, false, 4000, 8000, "nothing owed again"},
		{1, true, 3, 1, "not paid for three keys"},
		{1, true, 1, 1, "there is always a next one"},
	} {
		stream(step.keys)
		p.slowDebt = step.owed
		for range 3 { // it is tried again
			p.fit(u.Source, step.rested)
		}
		if p.streams["a"].most != step.most || p.slowDebt != 0 {
			t.Errorf("%s: the next stream may have %d keys, and %v is owed; want %d, 0", step.name, p.streams["a"].most, p.slowDebt, step.most)
		}
	}
	for range 20 {
		stream(1)
		p.fit(u.Source, false)
	}
	if most := stream(1); most != 0 {
		t.Errorf("when nothing is owed for long streams are bounded to %d keys", most)
	}
}

func TestAStreamThatToldNothingDoesNotChangeTheNextOne(t *testing.T) {
	d, runner := loneDrive(newFakeCluster(3))
	defer d.presence.leave()
	failed, empty := machine.Result{Outcome: machine.NodeLost}, machine.Result{Outcome: machine.Done}
	for _, tt := range []struct {
		name   string
		res    machine.Result
		rested bool
		before stream
		most   int64
	}{
		{"failed, and clients were slow", failed, true, stream{}, 0},
		{"failed, and none was slow", failed, false, stream{keys: 4000, most: 4000}, 4000},
		{"without keys", empty, true, stream{keys: 4000, most: 4000}, 4000},
		{"failed, and the one before it was too large", failed, true, stream{keys: 4000, fresh: true}, 2000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runner.before = func(context.Context, machine.Unit, machine.Step) *machine.Result { return &tt.res }
			u := machine.Unit{ID: 1, Source: "a", Target: "b", Slots: []uint16{1}, Engine: machine.Atomic}
			d.pace.streams[u.Source] = tt.before
			if tt.res.Outcome != machine.Done {
				u.Keys = 9000 // of which nobody knows how many went
			}
			d.perform(t.Context(), machine.Run{Unit: u, Step: machine.Watch})
			if tt.rested {
				d.pace.slowDebt = 1
			}
			if d.pace.fit(u.Source, tt.rested); d.pace.streams[u.Source].most != tt.most {
				t.Errorf("the next stream may have %d keys, want %d", d.pace.streams[u.Source].most, tt.most)
			}
		})
	}
}

func TestStreamsKeepToTheBoundsOfTheJob(t *testing.T) {
	p, u := streamPacer(machine.Options{MaxKeysPerSecond: 1000})
	p.streaming(u)
	p.streamed(u, 60_000, 0)
	p.mu.Lock()
	pause := p.pauseLocked(p.laneLocked("a"), time.Now().Add(strictWait), "a", "b")
	p.mu.Unlock()
	if pause < 30*time.Second || p.reason() != "max_keys_per_second" {
		t.Errorf("after 60 000 keys at 1000 each second the next stream waits %v, because of %q", pause, p.reason())
	}
}

func TestAJobCountsWhatItsStreamsCost(t *testing.T) {
	f := newFakeCluster(4)
	d, runner := loneDrive(f)
	defer d.presence.leave()
	u := machine.Unit{ID: 1, Source: f.ids[0], Target: f.ids[1], Slots: []uint16{1}, Engine: machine.Atomic, Keys: 9000}
	d.pace.streams[u.Source] = stream{most: 5000}
	running := 0
	runner.before = func(_ context.Context, u machine.Unit, s machine.Step) *machine.Result {
		d.pace.mu.Lock()
		running = d.pace.streams[u.Target].running
		d.pace.mu.Unlock()
		return nil
	}
	res := d.guarded(t.Context(), machine.Run{Unit: u, Step: machine.Watch})
	if res.Most != 5000 || running != 1 || d.pace.streams[u.Source].running != 0 || d.pace.streams[u.Source].keys != 9000 {
		t.Errorf("the next stream may have %d keys, want 5000; %d ran, want 1; afterwards %+v", res.Most, running, d.pace.streams)
	}
	d.pace.slowDebt, d.pace.slowWhy = 1000, "clients were slow"
	done := make(chan struct{})
	go guardFor(t.Context(), d, machine.Run{Unit: u, Step: machine.Start}, done)
	for deadline := time.Now().Add(testTimeout); d.pace.reason() != "clients were slow"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a stream does not wait for what is owed")
		}
	}
	runner.mu.Lock()
	if got := strings.Join(runner.steps, " "); got != "watch" {
		t.Errorf("before that it does %s", got)
	}
	runner.mu.Unlock()
	d.pace.hurry()
	<-done
}

func guardFor(ctx context.Context, d *drive, r machine.Run, done chan<- struct{}) {
	d.guarded(ctx, r)
	close(done)
}
