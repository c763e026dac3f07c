package migrate

import (
	"context"
	"testing"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

func TestAnEstimateKnowsTheRatesThatAreAllowed(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeCluster(4), nil).run()
	plan := func(o machine.Options) (time.Duration, string) {
		t.Helper()
		p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: b.f.ids[3], Slots: 300, Options: o})
		if err != nil || p.Keys != 600 {
			t.Fatalf("got %+v, %v", p, err)
		}
		return p.Estimate, p.EstimateBy
	}
	if got, by := plan(machine.Options{MaxKeysPerSecond: 10}); got != time.Minute || by != "by the most keys and bytes a second" {
		t.Errorf("600 keys at 10 a second take %s %s, want a minute", got, by)
	}
	free, _ := plan(machine.Options{})
	if got, by := plan(machine.Options{MaxKeysPerSecond: 1e6}); got != free || by != "assumed" {
		t.Errorf("a rate that is never reached makes it %s, %s; without it is %s", got, by, free)
	}
}

func TestAJobTellsLaterPlansHowLongItTook(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, newFakeCluster(2), nil).run()
	st := b.ended(b.reshard(300), Success)
	if len(st.Measures) != 1 {
		t.Fatalf("it has measured %+v, want one pair", st.Measures)
	}
	m := st.Measures[0]
	if m.Source != b.f.ids[0] || m.Target != b.f.ids[1] || m.Engine != machine.Legacy || m.Slots != 300 || m.SlotsTook <= 0 || m.Keys != 0 {
		t.Errorf("it has measured %+v", m)
	}
	if took := st.Finished.Sub(st.Started); m.SlotsTook > took {
		t.Errorf("its slots took %s of %s", m.SlotsTook, took)
	}
	b.stop()
	later := newBench(t, dir, b.f, nil)
	if got := later.c.measures(); len(got) != 1 || got[0].Job != "1" || got[0].Slots != 300 || got[0].SlotsTook != m.SlotsTook {
		t.Errorf("after a restart it is %+v, was %+v", got, m)
	}
}

func TestAPlanIsEstimatedByTheJobBefore(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeCluster(2), nil).run()
	for _, took := range []time.Duration{time.Hour, 30 * time.Second} {
		id := b.reshard(300)
		b.ended(id, Success)
		j := b.c.job(id)
		j.mu.Lock()
		j.status.Measures[0].SlotsTook = took
		j.mu.Unlock()
	}
	for _, tt := range []struct {
		engine string
		want   time.Duration
		by     string
	}{
		{"", 5 * time.Second, "measured by job 2"},
		{machine.Legacy, 5 * time.Second, "measured by job 2"},
		{machine.Atomic, 153 * time.Millisecond, "assumed"},
	} {
		p, err := b.c.Plan(context.Background(), Goal{Kind: Reshard, To: b.f.ids[1], Slots: 50, Options: machine.Options{Engine: tt.engine}})
		if err != nil {
			t.Fatal(err)
		}
		if p.Estimate != tt.want || p.EstimateBy != tt.by {
			t.Errorf("engine %q: got %s, %s; want %s, %s", tt.engine, p.Estimate, p.EstimateBy, tt.want, tt.by)
		}
	}
}

func TestAGaugeCountsEachSourceSinceItsLastSlots(t *testing.T) {
	keys := make([]int64, router.Slots)
	for slot := range keys {
		keys[slot] = 1000
	}
	j := newJob("1", &jobSpec{Plan: &plan.Plan{}, Keys: keys}, time.Now())
	j.start(time.Now())
	start := j.gauge.since
	for _, u := range []struct {
		source, engine string
		slot           uint16
		at             time.Duration
	}{
		{"a", "legacy", 1, time.Second}, {"b", "legacy", 2, 3 * time.Second}, {"a", "legacy", 3, 5 * time.Second}, {"a", "atomic", 4, 6 * time.Second},
	} {
		j.measure(&journal.Unit{Source: u.source, Target: "c", Engine: u.engine, Slots: []uint16{u.slot}}, start.Add(u.at))
	}
	want := []plan.Measure{
		{Source: "a", Target: "c", Engine: "legacy", Keys: 2000, KeysTook: 5 * time.Second},
		{Source: "b", Target: "c", Engine: "legacy", Keys: 1000, KeysTook: 3 * time.Second},
		{Source: "a", Target: "c", Engine: "atomic", Keys: 1000, KeysTook: time.Second},
	}
	got := j.snapshot().Measures
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
}

// What an operator has slowed down or stopped says nothing of how long slots take.
func TestWhatAnOperatorHasSlowedDownIsNoMeasure(t *testing.T) {
	keys := make([]int64, router.Slots)
	for _, o := range []machine.Options{{MaxKeysPerSecond: 1}, {MaxBytesPerSecond: 1}} {
		j := newJob("1", &jobSpec{Plan: &plan.Plan{}, Keys: keys, Options: o}, time.Now())
		if j.measure(&journal.Unit{Slots: []uint16{1}}, time.Now()); len(j.snapshot().Measures) != 0 {
			t.Errorf("with %+v it measures", o)
		}
	}
	j := newJob("1", &jobSpec{Plan: &plan.Plan{}, Keys: keys}, time.Now())
	j.start(time.Now())
	j.gauge.since = time.Now().Add(-time.Hour)
	j.follow(&machine.View{State: PausedJob})
	j.follow(&machine.View{State: Running})
	j.measure(&journal.Unit{Slots: []uint16{1}}, time.Now())
	if m := j.snapshot().Measures; len(m) != 1 || m[0].SlotsTook >= time.Hour {
		t.Errorf("with a pause of an hour it measures %+v", m)
	}
}

func TestACappedGoalIsReachedInSeveralJobs(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeCluster(2), nil).run()
	moved := 0
	for _, want := range []struct {
		slots, limit int
		capped       bool
	}{{200, 200, true}, {300, 300, true}, {router.Slots/2 - 500, router.Slots, false}} {
		goal := Goal{Kind: Rebalance, UseEmpty: true, Caps: plan.Caps{Slots: want.limit}}
		p, err := b.c.Plan(context.Background(), goal)
		if err != nil || p.Slots != want.slots || (p.Capped != "") != want.capped {
			t.Fatalf("got %d slots, capped %q, %v; want %+v", p.Slots, p.Capped, err, want)
		}
		if !want.capped {
			break // thousands of slots one by one take the fake a while
		}
		if st := b.ended(b.start(p), Success); st.Capped != p.Capped {
			t.Errorf("the job says %q, its plan %q", st.Capped, p.Capped)
		}
		moved += want.slots
	}
	if n := b.f.owned(1); n != moved {
		t.Errorf("the empty node has %d slots, want %d", n, moved)
	}
}
