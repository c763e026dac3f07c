package migrate

import (
	"context"
	"strings"
	"sync"
	"testing"

	"slotproxy/migrate/machine"
)

func TestAJobRunsFromPlanToHistory(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, newFakeCluster(4), nil).run()
	id := b.reshard(300)
	st := b.ended(id, Success)
	if st.SlotsDone != 300 || st.KeysMoved != 600 || st.KeysTotal != 600 || b.f.owned(3) != 300 {
		t.Errorf("%d of 300 slots and %d of %d keys, the target has %d slots", st.SlotsDone, st.KeysMoved, st.KeysTotal, b.f.owned(3))
	}
	if len(st.After) != 4 || st.After[3].Slots != 300 || len(st.Before) != 4 || len(st.Units) != 0 || st.ETA != 0 {
		t.Errorf("at its end it shows %+v", st)
	}
	if b.c.Running() {
		t.Error("it still runs")
	}
	if again := b.reshard(10); again != "2" {
		t.Errorf("the next job is %s", again)
	}
	b.ended("2", Success)
	b.stop()
	later := newBench(t, dir, b.f, nil).run()
	jobs := later.c.Jobs()
	if len(jobs) != 2 || jobs[0].State != Success || jobs[0].KeysMoved != 600 || jobs[0].SlotsDone != 300 || jobs[1].ID != "2" {
		t.Errorf("after a restart the history is %+v", jobs)
	}
	if third := later.reshard(5); third != "3" {
		t.Errorf("the job after the restart is %s, want 3", third)
	}
}

// gateOf stops steps of one kind until it is opened.
type turnstile struct {
	step machine.Step
	once sync.Once
	here chan struct{} // closed when the first has come
	open chan struct{}
}

func newTurnstile(s machine.Step) *turnstile {
	return &turnstile{step: s, here: make(chan struct{}), open: make(chan struct{})}
}

func (s *turnstile) stop(ctx context.Context, _ machine.Unit, step machine.Step) *machine.Result {
	if step != s.step {
		return nil
	}
	s.once.Do(func() { close(s.here) })
	select {
	case <-s.open:
		return nil
	case <-ctx.Done():
		return &machine.Result{Outcome: machine.Unknown, Reason: ctx.Err().Error()}
	}
}

func TestOnlyOneJobRunsAtATime(t *testing.T) {
	s := newTurnstile(machine.Move)
	b := newBench(t, t.TempDir(), newFakeCluster(4), s.stop).run()
	p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: b.f.addr(3), Slots: 10})
	if err != nil {
		t.Fatal(err)
	}
	id := b.reshard(10)
	<-s.here
	if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "BUSYJOB job "+id) {
		t.Errorf("a second job: %v", err)
	}
	close(s.open)
	b.ended(id, Success)
	if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "STALEPLAN") {
		t.Errorf("the plan from before: %v", err)
	}
}

func TestAJobIsPausedResumedAndCancelled(t *testing.T) {
	s := newTurnstile(machine.Move)
	b := newBench(t, t.TempDir(), newFakeCluster(4), s.stop).run()
	id := b.reshard(3000)
	<-s.here
	if err := b.c.Resume(id, "test"); err == nil {
		t.Error("a running job was resumed")
	}
	if err := b.c.Pause(id, "test"); err != nil {
		t.Fatal(err)
	}
	close(s.open)
	st := b.wait(id, "paused", func(s Status) bool { return s.State == PausedJob })
	if st.SlotsDone == 0 || st.SlotsDone == 3000 || b.gate.count() > 0 || !b.c.Running() {
		t.Errorf("paused with %d of 3000 slots done, %d held", st.SlotsDone, b.gate.count())
	}
	if err := b.c.Resume(id, "test"); err != nil {
		t.Fatal(err)
	}
	if err := b.c.Cancel(id, "test"); err != nil {
		t.Fatal(err)
	}
	st = b.ended(id, Cancelled)
	if st.SlotsDone != b.f.owned(3) {
		t.Errorf("%d slots are done and %d have moved", st.SlotsDone, b.f.owned(3))
	}
	if err := b.c.Cancel(id, "test"); err == nil {
		t.Error("a job was cancelled that has ended")
	}
	if err := b.c.Cancel("77", "test"); err == nil {
		t.Error("a job was cancelled that never was")
	}
}

func TestAnInterruptedJobGoesOnAfterARestart(t *testing.T) {
	for _, step := range []machine.Step{machine.Prepare, machine.Hold, machine.Open, machine.Move, machine.Commit, machine.Tell, machine.Verify} {
		t.Run(step.String(), func(t *testing.T) {
			dir := t.TempDir()
			s := newTurnstile(step)
			b := newBench(t, dir, newFakeCluster(4), s.stop).run()
			id := b.reshard(500)
			<-s.here
			b.stop()
			if n := b.gate.count(); n > 0 {
				t.Errorf("%d slots are held after the end", n)
			}
			if st, _ := b.c.Job(id); !st.Finished.IsZero() {
				t.Fatalf("interrupted, it says %+v", st)
			}
			later := newBench(t, dir, b.f, nil).run()
			st := later.ended(id, Success)
			if st.SlotsDone != 500 || b.f.owned(3) != 500 {
				t.Errorf("%d of 500 slots done, %d moved", st.SlotsDone, b.f.owned(3))
			}
		})
	}
}
