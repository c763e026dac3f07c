package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
)

func TestAJobRunsFromPlanToHistory(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, newFakeCluster(4), nil).run()
	id := b.reshard(300)
	st := b.ended(id, Success)
	if st.SlotsDone != 300 || st.KeysMoved != 600 || st.KeysTotal != 600 || b.f.owned(3) != 300 {
		t.Errorf("%d of 300 slots and %d of %d keys, the target has %d slots", st.SlotsDone, st.KeysMoved, st.KeysTotal, b.f.owned(3))
	}
	if !st.Agree || len(st.After) != 4 || st.After[3].Slots != 300 || len(st.Before) != 4 || len(st.Units) != 0 || st.ETA != 0 {
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

func TestAJobThatLeavesSomethingToSeeToSaysSo(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, newFakeCluster(4), nil)
	b.c.check = func(context.Context) string { return "NOTMOVABLE slot 7 is open on a:1: PROXY FIX closes it" }
	b.run()
	const want = "all slots have moved, but NOTMOVABLE slot 7 is open on a:1: PROXY FIX closes it"
	if st := b.ended(b.reshard(300), Success); st.Reason != want || len(st.After) == 0 || st.Agree {
		t.Errorf("it says %q and shows %v", st.Reason, st.After)
	}
	b.stop()
	if st, _ := newBench(t, dir, b.f, nil).c.Job("1"); st.Reason != want {
		t.Errorf("after a restart it says %q", st.Reason)
	}
}

func TestHoweverAJobEndsItSaysWhatIsWrongAtItsEnd(t *testing.T) {
	for _, state := range []string{Success, Partial, Failed, Cancelled} {
		j := newJob("1", &jobSpec{Plan: &plan.Plan{}}, time.Now())
		if got := j.doneBut(state, "because"); !strings.HasPrefix(got, "because; ") || !strings.HasSuffix(got, unchecked) {
			t.Errorf("%s without a check: %q", state, got)
		}
		if j.warn("slot 7 is open"); !strings.HasSuffix(j.doneBut(state, "because"), "slot 7 is open") {
			t.Errorf("%s with an open slot: %q", state, j.doneBut(state, "because"))
		}
		if j.warn(""); j.doneBut(state, "because") != "because" {
			t.Errorf("%s when all is well: %q", state, j.doneBut(state, "because"))
		}
	}
}

func TestAJobThatCannotMoveEverythingIsNoSuccess(t *testing.T) {
	dir := t.TempDir()
	stuck := map[uint16]bool{7: true}
	b := newBench(t, dir, newFakeCluster(4), func(_ context.Context, u machine.Unit, s machine.Step) *machine.Result {
		if s == machine.Prepare && slices.ContainsFunc(u.Slots, func(x uint16) bool { return stuck[x] }) {
			return &machine.Result{Outcome: machine.Blocked, Reason: "big key"}
		}
		return nil
	}).run()
	p, err := b.c.Plan(context.Background(), Goal{Kind: MoveSlots, To: b.f.addr(3), Ranges: [][2]uint16{{5, 9}}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.c.Start(context.Background(), p, machine.Options{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	const want = "1 slots were not moved: big key"
	if st := b.ended(id, Partial); st.SlotsDone != 4 || st.Reason != want || !slices.Equal(st.Blocked, []string{"7: big key"}) {
		t.Errorf("it says %q of %d slots and shows %q", st.Reason, st.SlotsDone, st.Blocked)
	}
	if m := b.c.Counters(); m.Partial != 1 || m.Succeeded != 0 {
		t.Errorf("it is counted as %+v", m)
	}
	b.stop()
	if st, _ := newBench(t, dir, b.f, nil).c.Job(id); st.State != Partial || st.Reason != want {
		t.Errorf("after a restart it is %s, %q", st.State, st.Reason)
	}
}

// turnstile stops steps of one kind until it is opened.
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
	if m := b.c.Counters(); !m.Running || !m.Paused || m.SlotsLeft != 3000-st.SlotsDone {
		t.Errorf("with %d of 3000 slots done a scrape shows %+v", st.SlotsDone, m)
	}
	if err := b.c.Resume(id, "test"); err != nil {
		t.Fatal(err)
	}
	if err := b.c.Cancel(id, "test"); err != nil {
		t.Fatal(err)
	}
	st = b.ended(id, Cancelled)
	if m := b.c.Counters(); m.Running || m.Paused || m.SlotsLeft != 0 {
		t.Errorf("at its end a scrape shows %+v", m)
	}
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

// interrupted is a job of 500 slots whose coordinator was stopped in the middle of it.
func interrupted(t *testing.T) (b *bench, dir, id string) {
	t.Helper()
	dir = t.TempDir()
	s := newTurnstile(machine.Move)
	b = newBench(t, dir, newFakeCluster(4), s.stop).run()
	id = b.reshard(500)
	<-s.here
	b.stop()
	return b, dir, id
}

// anotherCluster has the addresses of any other fake one, and other nodes.
func anotherCluster() *fakeCluster {
	f := newFakeCluster(4)
	for i := range f.ids {
		f.ids[i] = strings.Repeat(fmt.Sprintf("%x", i+9), 40)
	}
	return f
}

func TestAJobDoesNotGoOnWithAnotherCluster(t *testing.T) {
	b, dir, id := interrupted(t)
	strange := anotherCluster()
	wrong := newBench(t, dir, strange, nil).run()
	st := wrong.wait(id, "refused", func(s Status) bool { return strings.HasPrefix(s.Reason, "OTHERCLUSTER") })
	if !st.Finished.IsZero() || len(wrong.runner.steps) > 0 {
		t.Errorf("%+v after the steps %v", st, wrong.runner.steps)
	}
	p, err := wrong.c.Plan(context.Background(), Goal{Kind: Reshard, To: strange.ids[3], Slots: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "BUSYJOB no job can start: OTHERCLUSTER") {
		t.Errorf("the next job: %v", err)
	}
	wrong.stop()

	back := newBench(t, dir, b.f, nil).run()
	if st := back.ended(id, Success); st.SlotsDone != 500 {
		t.Errorf("at home again %d of 500 slots are done", st.SlotsDone)
	}
}

func TestAJobOfAnotherClusterCanBeCancelled(t *testing.T) {
	_, dir, id := interrupted(t)
	strange := anotherCluster()
	wrong := newBench(t, dir, strange, nil).run()
	wrong.wait(id, "refused", func(s Status) bool { return strings.HasPrefix(s.Reason, "OTHERCLUSTER") })
	if err := wrong.c.Cancel(id, "test"); err != nil {
		t.Fatal(err)
	}
	if st := wrong.ended(id, Cancelled); !strings.HasSuffix(st.Reason, unchecked) {
		t.Errorf("the reason is %q", st.Reason)
	}
	if next := wrong.reshard(10); next != "2" {
		t.Errorf("the next job is %s", next)
	}
	wrong.ended("2", Success)
	wrong.stop()

	later := newBench(t, dir, strange, nil)
	if st, _ := later.c.Job(id); st.State != Cancelled {
		t.Errorf("after a restart it is %s", st.State)
	}
}

func TestAJobIsRefusedWhenNothingMayMove(t *testing.T) {
	tests := []struct {
		name, want string
		spoil      func(*fakeCluster)
	}{
		{"a slot is open", "NOTMOVABLE slot 7 is open on 127.0.0.1:7001", func(f *fakeCluster) { f.marks = " [7->-" + f.ids[1] + "]" }},
		{"a primary is silent", "ERR Cannot connect to 127.0.0.1:7002", func(f *fakeCluster) { f.down[f.addr(1)] = true }},
		{"a slot has no owner", "NOTMOVABLE slot 0 has no owner", func(f *fakeCluster) { f.owner[0] = -1; f.owner[9] = 3 }},
		{"somebody else is at work", "FOREIGN_COORDINATOR client", func(f *fakeCluster) {
			f.clients[f.addr(0)] = []fakeClient{{id: 1, cmd: "cluster|setslot"}}
		}},
		{"another coordinator has a slot open", "FOREIGN_COORDINATOR slotproxy-coord:other:1 is at work", func(f *fakeCluster) {
			f.clients[f.addr(1)] = []fakeClient{{id: 1, name: presenceName("other", 1)}}
			f.marks = " [7->-" + f.ids[1] + "]"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster(4)
			b := newBench(t, t.TempDir(), f, nil).run()
			p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: f.ids[3], Slots: 10})
			if err != nil {
				t.Fatal(err)
			}
			f.with(func() { tt.spoil(f) })
			if s, err := b.c.survey(context.Background(), withCounts); err == nil {
				p.Fingerprint = plan.Fingerprint(s.snap)
			}
			b.wait("", "ready", func(Status) bool { b.c.mu.Lock(); defer b.c.mu.Unlock(); return b.c.busy == "" })
			if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if jobs, err := b.c.store.List(); err != nil || len(jobs) > 0 || b.c.Running() {
				t.Errorf("left behind: %v, %v", jobs, err)
			}
		})
	}
}

// fullDisk is a file that takes nothing after so many writes.
type fullDisk struct {
	journal.File
	left *atomic.Int64
}

func (f fullDisk) WriteAt(p []byte, at int64) (int, error) {
	if f.left.Add(-1) < 0 {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, at)
}

func TestAFullDiskUnderTheJournalEndsTheJobWithAWord(t *testing.T) {
	for _, writes := range []int64{0, 1, 2, 3, 4, 5, 6, 8, 10} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			dir := t.TempDir()
			b := newBench(t, dir, newFakeCluster(4), nil)
			var left atomic.Int64
			left.Store(writes)
			b.c.store.Wrap = func(f journal.File) journal.File { return fullDisk{f, &left} }
			b.run()
			b.wait("", "ready", func(Status) bool { b.c.mu.Lock(); defer b.c.mu.Unlock(); return b.c.busy == "" })
			p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: b.f.ids[3], Slots: 3000})
			if err != nil {
				t.Fatal(err)
			}
			id, err := b.c.Start(context.Background(), p, machine.Options{}, "test")
			if writes == 0 {
				if err == nil || !strings.HasPrefix(err.Error(), "JOURNAL ") {
					t.Errorf("started without a journal: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			st := b.ended(id, Failed)
			if !strings.Contains(st.Reason, "JOURNAL cannot be written") {
				t.Errorf("the reason is %q", st.Reason)
			}
			if !st.Agree && !strings.Contains(st.Reason, unchecked) {
				t.Errorf("the nodes do not agree, and the reason is %q", st.Reason)
			}
			// The next job closes this one's journal first, so that no restart goes on with it.
			if p, err = b.c.Plan(context.Background(), Goal{Kind: Reshard, To: b.f.ids[3], Slots: 10}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "JOURNAL ") {
				t.Errorf("the next one on the full disk: %v", err)
			}
			left.Store(1 << 30)
			b.ended(b.reshard(10), Success)
			b.stop()
			later := newBench(t, dir, b.f, nil).run()
			if st, _ := later.c.Job(id); st.State != Failed || st.Finished.IsZero() {
				t.Errorf("after a restart it is %+v", st)
			}
		})
	}
}

func TestSomebodyElseAtWorkStopsTheJob(t *testing.T) {
	s := newTurnstile(machine.Move)
	f := newFakeCluster(4)
	b := newBench(t, t.TempDir(), f, s.stop).run()
	id := b.reshard(1000)
	<-s.here
	f.with(func() {
		f.clients[f.addr(1)] = append(f.clients[f.addr(1)], fakeClient{id: 999, cmd: "cluster|setslot"})
	})
	b.wait(id, "cancelling", func(st Status) bool { return st.State == Stopping })
	close(s.open)
	if st := b.ended(id, Failed); !strings.Contains(st.Reason, "FOREIGN_COORDINATOR client") {
		t.Errorf("the reason is %q", st.Reason)
	}
	for addr, list := range f.clients {
		for _, k := range list {
			if strings.HasPrefix(k.name, presencePrefix) {
				t.Errorf("%s still shows %s", addr, k.name)
			}
		}
	}
}

func TestAStepThatPanicsDoesNotEndTheProcess(t *testing.T) {
	var once sync.Once
	b := newBench(t, t.TempDir(), newFakeCluster(4), func(_ context.Context, _ machine.Unit, s machine.Step) *machine.Result {
		if s == machine.Move {
			once.Do(func() { panic("a bug") })
		}
		return nil
	}).run()
	st := b.ended(b.reshard(100), Success)
	if st.Retries == 0 {
		t.Error("nothing was tried again")
	}
}

func TestTwoCoordinatorsOnOneClusterDoNotWorkTogether(t *testing.T) {
	f := newFakeCluster(4)
	s := newTurnstile(machine.Move)
	a, b := newBench(t, t.TempDir(), f, s.stop).run(), newBench(t, t.TempDir(), f, nil).run()
	id := a.reshard(100)
	<-s.here
	p, err := b.c.Plan(context.Background(), Goal{Kind: Evacuate, Node: f.ids[0]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "FOREIGN_COORDINATOR slotproxy-coord:") {
		t.Errorf("the second starts: %v", err)
	}
	close(s.open)
	a.ended(id, Success)
	b.ended(b.reshard(50), Success)
}

func TestAResumedJobWaitsForTheCluster(t *testing.T) {
	dir := t.TempDir()
	s := newTurnstile(machine.Move)
	f := newFakeCluster(4)
	b := newBench(t, dir, f, s.stop).run()
	id := b.reshard(200)
	<-s.here
	b.stop()
	f.with(func() { f.down[f.addr(0)] = true })
	later := newBench(t, dir, f, nil).run()
	later.wait(id, "waiting", func(st Status) bool { return strings.Contains(st.Reason, "does not answer") })
	if _, err := later.c.Start(context.Background(), &plan.Plan{}, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "BUSYJOB") {
		t.Errorf("another job meanwhile: %v", err)
	}
	if err := later.c.Cancel(id, "test"); err != nil {
		t.Fatal(err)
	}
	f.with(func() { f.down[f.addr(0)] = false })
	later.ended(id, Cancelled)
}
