package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

// twoInterrupted is a folder with a job of 500 slots that was paused by an operator and then interrupted, and one of 10 behind it.
func twoInterrupted(t *testing.T) (f *fakeCluster, dir string) {
	t.Helper()
	dir, f = t.TempDir(), newFakeCluster(4)
	s := newTurnstile(machine.Move)
	b := newBench(t, dir, f, s.stop).run()
	second, err := b.c.Plan(context.Background(), Goal{Kind: MoveSlots, To: f.ids[3], Ranges: [][2]uint16{{16374, 16383}}})
	if err != nil {
		t.Fatal(err)
	}
	id := b.reshard(500)
	<-s.here
	if err := b.c.Pause(id, "test"); err != nil {
		t.Fatal(err)
	}
	b.stop()
	text, err := json.Marshal(&jobSpec{Plan: second, Options: b.c.options(machine.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	j, err := store.Create("2")
	if err == nil {
		err = errors.Join(j.Append(journal.Record{Kind: journal.JobCreated, Spec: text}), j.Close(), store.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

const behindPaused = "waits for job 1, which is paused: PROXY RESUME 1 goes on with that, PROXY CANCEL 1 ends it"

func TestAnInterruptedJobBehindAPausedOneSaysWhatItWaitsFor(t *testing.T) {
	f, dir := twoInterrupted(t)
	b := newBench(t, dir, f, nil).run()
	b.wait("1", "paused", func(s Status) bool { return s.State == PausedJob })
	if st, _ := b.c.Job("2"); st.Reason != behindPaused || !st.Finished.IsZero() {
		t.Errorf("job 2 is %s because it %q, want %q", st.State, st.Reason, behindPaused)
	}
	if jobs := b.c.Jobs(); len(jobs) != 2 || jobs[1].Reason != behindPaused || jobs[0].Reason == behindPaused {
		t.Errorf("the jobs are %+v", jobs)
	}
	if err := b.c.Resume("2", "test"); err == nil || err.Error() != "ERR Job 2 "+behindPaused {
		t.Errorf("resumed in line: %v", err)
	}
	p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: f.ids[3], Slots: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || err.Error() != "BUSYJOB job 1 is paused" {
		t.Errorf("another job meanwhile: %v", err)
	}
	if err := b.c.Resume("1", "test"); err != nil {
		t.Fatal(err)
	}
	b.ended("1", Success)
	if st := b.ended("2", Success); st.SlotsDone != 10 || st.Reason != "" || f.owned(3) != 510 {
		t.Errorf("job 2 has moved %d slots and says %q, the target has %d", st.SlotsDone, st.Reason, f.owned(3))
	}
}

func TestOrdersForAJobInLineAreTakenAtOnceAndHaveTheirEffectAtItsTurn(t *testing.T) {
	for _, tt := range []struct{ order, says, is string }{
		{"cancel", "; then it is cancelled", Cancelled},
		{"pause", "; then it is paused", PausedJob},
	} {
		t.Run(tt.order, func(t *testing.T) {
			f, dir := twoInterrupted(t)
			b := newBench(t, dir, f, nil).run()
			b.wait("1", "paused", func(s Status) bool { return s.State == PausedJob })
			for range 3 { // it stays one order
				if err := b.c.order("2", "test", tt.order); err != nil {
					t.Fatal(err)
				}
			}
			if st, _ := b.c.Job("2"); st.Reason != behindPaused+tt.says {
				t.Errorf("in line job 2 says %q, want %q", st.Reason, behindPaused+tt.says)
			}
			if n := len(b.c.job("2").early); n != 1 {
				t.Errorf("%d orders are kept", n)
			}
			if err := b.c.Cancel("1", "test"); err != nil {
				t.Fatal(err)
			}
			b.ended("1", Cancelled)
			if st := b.wait("2", tt.is, func(s Status) bool { return s.State == tt.is }); st.SlotsDone > 0 {
				t.Errorf("it has moved %d slots before that", st.SlotsDone)
			}
		})
	}
}

func TestAJobInLineSaysWhyTheFirstOneDoesNotGoOn(t *testing.T) {
	f, dir := twoInterrupted(t)
	f.with(func() { f.down[f.addr(0)] = true })
	b := newBench(t, dir, f, nil).run()
	first := b.wait("1", "waiting", func(s Status) bool { return strings.Contains(s.Reason, "does not answer") })
	if st, _ := b.c.Job("2"); st.Reason != "waits for job 1, which does not go on: "+first.Reason {
		t.Errorf("job 2 says %q, job 1 %q", st.Reason, first.Reason)
	}
	if _, err := b.c.reserve("test"); err == nil || err.Error() != "BUSYJOB no job can start: job 1 goes on first; "+first.Reason {
		t.Errorf("a new job: %v", err)
	}
}
