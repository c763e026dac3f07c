package migrate

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
)

// brokenJournal takes nothing.
type brokenJournal struct{}

func (brokenJournal) Append(...journal.Record) error { return errors.New("no space left") }
func (brokenJournal) Close() error                   { return nil }

// loneDrive is a drive without a loop.
func loneDrive(f *fakeCluster) (*drive, *fakeRunner) {
	c := &Coordinator{log: slog.New(slog.DiscardHandler), cfg: Config{Now: time.Now, Topology: f.table}}
	runner := &fakeRunner{f: f, gate: noGate{}}
	return &drive{
		c: c, job: newJob("1", &jobSpec{Plan: &plan.Plan{}}, time.Now()), journal: brokenJournal{}, engine: runner,
		presence: testPresence(f, presenceName("me", 1)), pace: testPacer(machine.Options{}), events: make(chan machine.Event, queuedEvents),
	}, runner
}

func TestNothingIsBegunThatTheJournalDoesNotHave(t *testing.T) {
	d, _ := loneDrive(newFakeCluster(3)) // it has no pool, so a step that is begun panics
	unit := machine.Unit{ID: 3, Slots: []uint16{5}}
	d.apply(context.Background(), []machine.Effect{
		machine.Append{Records: []journal.Record{{Kind: journal.UnitCommitting, Unit: &unit}}},
		machine.Run{Unit: unit, Step: machine.Commit, Attempt: 7},
		machine.Wait{Unit: 4, Attempt: 2, For: time.Hour},
	})
	if len(d.backlog) != 3 || len(d.waits) > 0 || d.owed != 1 {
		t.Fatalf("the core hears %v, %d waits, %d steps owed", d.backlog, len(d.waits), d.owed)
	}
	if e, ok := d.backlog[0].(machine.Trouble); !ok || !e.NoJournal || !e.MayTell {
		t.Errorf("first %+v, want a trouble without a journal", d.backlog[0])
	}
	if e, ok := d.backlog[1].(machine.Result); !ok || e.Outcome != machine.Again || e.Unit != 3 || e.Step != machine.Commit || e.Attempt != 7 {
		t.Errorf("then %+v, want that the step is not done", d.backlog[1])
	}
	if want := (machine.Woken{Unit: 4, Attempt: 2}); !reflect.DeepEqual(d.backlog[2], machine.Event(want)) {
		t.Errorf("then %+v, want %+v", d.backlog[2], want)
	}
}

func TestAStepThatChangesSomethingWaitsForALook(t *testing.T) {
	f := newFakeCluster(3)
	f.clients[f.addr(0)] = []fakeClient{{id: 1, cmd: "cluster|setslot"}}
	f.nextID = 10
	unit := machine.Unit{ID: 1, Source: f.ids[0], Target: f.ids[1], Slots: []uint16{1}}
	for s := machine.Prepare; s <= machine.Look; s++ {
		d, runner := loneDrive(f)
		res := d.guarded(context.Background(), machine.Run{Unit: unit, Step: s})
		d.presence.leave()
		refused := res.Outcome == machine.Foreign && len(runner.steps) == 0
		looksOnly := map[machine.Step]bool{machine.Prepare: true, machine.Hold: true, machine.Release: true, machine.Watch: true,
			machine.Verify: true, machine.Look: true}
		if refused == looksOnly[s] {
			t.Errorf("%s beside somebody else: %v (%s), steps done: %v", s, res.Outcome, res.Reason, runner.steps)
		}
	}
}

func TestStreamsNeedValkey9AtBothEnds(t *testing.T) {
	at := func(info engine.Info) version { return (&nodeAnswer{info: info}).version() }
	nine := at(map[string]string{"valkey_version": "9.1.2", "redis_version": "7.2.4"})
	eight := at(map[string]string{"valkey_version": "8.1.1", "redis_version": "7.2.4"})
	redis := at(map[string]string{"redis_version": "10.0.0"})
	tests := []struct {
		name           string
		source, target version
		want           string
	}{
		{"both new", nine, nine, machine.Atomic},
		{"an old target", nine, eight, machine.Legacy},
		{"an old source", eight, nine, machine.Legacy},
		{"another server", redis, redis, machine.Legacy},
		{"one that was not asked", nine, version{}, machine.Legacy},
	}
	for _, tt := range tests {
		d := &drive{versions: map[string]version{"a": tt.source, "b": tt.target}}
		if got := d.engineOf("a", "b"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestAJobThatIsToEndDoesNotWaitForThePacer(t *testing.T) {
	tests := []struct {
		name string
		end  func(b *bench, id string) // nil: a step cannot succeed
		want string
	}{
		{"somebody else is at work", func(b *bench, _ string) {
			b.f.with(func() {
				b.f.clients[b.f.addr(1)] = append(b.f.clients[b.f.addr(1)], fakeClient{id: 999, cmd: "cluster|setslot"})
			})
		}, Failed},
		{"a step cannot succeed", nil, Failed},
		{"it is cancelled", func(b *bench, id string) {
			if err := b.c.Cancel(id, "test"); err != nil {
				b.t.Error(err)
			}
		}, Cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTurnstile(machine.Move)
			b := newBench(t, t.TempDir(), newFakeCluster(4), func(ctx context.Context, u machine.Unit, step machine.Step) *machine.Result {
				if r := s.stop(ctx, u, step); r != nil || step != machine.Move || tt.end != nil {
					return r
				}
				return &machine.Result{Outcome: machine.Fatal, Reason: "no step can succeed"}
			})
			var pace atomic.Pointer[pacer]
			engine := b.c.engine
			b.c.engine = func(d *drive) runner { pace.Store(d.pace); return engine(d) }
			b.run()
			id := b.reshard(1000)
			<-s.here
			if tt.end == nil {
				close(s.open)
			} else {
				tt.end(b, id)
			}
			p := pace.Load()
			p.mu.Lock()
			p.laneLocked(b.f.ids[0]).free = time.Now().Add(time.Hour)
			p.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			if p.settle(ctx, &machine.Unit{Source: b.f.ids[0]}); ctx.Err() != nil {
				t.Error("a unit still waits for the pacer")
			}
			if st, _ := b.c.Job(id); tt.want == Failed && st.State == Stopping {
				if err := b.c.Cancel(id, "test"); err == nil || !strings.HasPrefix(err.Error(), "ERR Job 1 is ending already, as failed") {
					t.Errorf("cancelled now: %v", err)
				}
			}
			if tt.end != nil {
				close(s.open)
			}
			b.ended(id, tt.want)
		})
	}
}

func TestAJobComesToRestBeforeTheProxyEnds(t *testing.T) {
	dir, s := t.TempDir(), newTurnstile(machine.Move)
	b := newBench(t, dir, newFakeCluster(4), s.stop).run()
	id := b.reshard(3000)
	<-s.here
	ended := make(chan error, 1)
	go func() { ended <- b.c.Rest(context.Background()) }()
	b.wait(id, "pausing", func(st Status) bool { return st.State == Pausing })
	if err := b.c.Resume(id, "test"); err == nil {
		t.Error("it was resumed while the proxy goes away")
	}
	select {
	case err := <-ended:
		t.Fatalf("Rest does not wait for the slots in hand: %v", err)
	default:
	}
	close(s.open)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	b.stop()
	st, _ := b.c.Job(id)
	if !st.Finished.IsZero() || st.SlotsDone == 0 || st.SlotsDone == 3000 || st.SlotsDone != b.f.owned(3) || b.gate.count() > 0 {
		t.Errorf("at rest: %+v, the target has %d slots, %d are held", st, b.f.owned(3), b.gate.count())
	}
	b.runner.mu.Lock()
	for _, step := range b.runner.steps {
		if step == machine.Close.String() || step == machine.Cancel.String() {
			t.Errorf("a unit was rolled back: %v", b.runner.steps)
		}
	}
	b.runner.mu.Unlock()
	later := newBench(t, dir, b.f, nil).run()
	if st := later.ended(id, Success); st.SlotsDone != 3000 {
		t.Errorf("after a restart %d of 3000 slots are done", st.SlotsDone)
	}
}

func TestWhatCannotComeToRestIsCutShort(t *testing.T) {
	dir, s := t.TempDir(), newTurnstile(machine.Move)
	b := newBench(t, dir, newFakeCluster(4), s.stop).run()
	id := b.reshard(500)
	<-s.here
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.c.Rest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.stop()
	newBench(t, dir, b.f, nil).run().ended(id, Success)
}

func TestAPausedJobAndAnIdleCoordinatorAreAtRest(t *testing.T) {
	dir := t.TempDir()
	s := newTurnstile(machine.Move)
	close(s.open)
	b := newBench(t, dir, newFakeCluster(4), s.stop).run()
	id := b.reshard(3000)
	<-s.here
	if err := b.c.Pause(id, "test"); err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{true, false} {
		b.wait(id, "paused", func(st Status) bool { return st.State == PausedJob })
		if err := b.c.Rest(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.stop()
		if again {
			b = newBench(t, dir, b.f, nil).run() // it is still paused then
		}
	}
	idle := newBench(t, t.TempDir(), b.f, nil).run()
	if err := idle.c.Rest(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.c.reserve("test"); err == nil || !strings.HasSuffix(err.Error(), goingAway) {
		t.Errorf("a job could start: %v", err)
	}
}
