package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

func TestTheSideFileOfARepairHasEveryByteOfAValue(t *testing.T) {
	dir := t.TempDir()
	c := newBench(t, dir, newFakeCluster(3), nil).c
	t.Cleanup(func() { _ = c.store.Close() })
	p := engine.Pair{Slot: 7, Key: "k\xff", Source: "\x00\xfe\r\n", Target: "\x80", Kept: "source"}
	if err := c.keep(careJob, p); err != nil {
		t.Fatal(err)
	}
	if got := c.store.SideFile("1"); got != "" {
		t.Errorf("job 1 has the side file %s", got)
	}
	if got := c.store.SideFile(careJob); got != filepath.Join(dir, "0.side") {
		t.Errorf("the repair's is %s", got)
	}
	files, err := filepath.Glob(filepath.Join(dir, careJob+"*side*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("side files %v, %v; want one", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var got pair
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Key) != p.Key || string(got.Source) != p.Source || string(got.Target) != p.Target || got.Kept != p.Kept {
		t.Errorf("got %+v, want %+v", got, p)
	}
}

func TestARepairKnowsThatTheSourceOfTheJournalsUnitHasChanged(t *testing.T) {
	now := journal.Unit{Source: "a", Target: "b", SourceEpoch: 7, SourceRun: "r"}
	tests := []struct {
		name string
		kind string
		unit journal.Unit
		want bool
	}{
		{"nothing has changed", journal.UnitOpening, now, false},
		{"another primary", journal.UnitOpening, journal.Unit{Source: "x", Target: "b", SourceEpoch: 7}, true},
		{"another epoch", journal.UnitCommitting, journal.Unit{Source: "a", Target: "b", SourceEpoch: 6}, true},
		{"another process", journal.UnitOpening, journal.Unit{Source: "a", Target: "b", SourceEpoch: 7, SourceRun: "q"}, true},
		{"a journal that does not know the process", journal.UnitOpening, journal.Unit{Source: "a", Target: "b", SourceEpoch: 7}, false},
		{"the job has seen it", journal.UnitOpening, journal.Unit{Source: "a", Target: "b", SourceEpoch: 7, Failover: true}, true},
		{"the unit is done", journal.UnitDone, journal.Unit{Source: "x", Target: "b", Failover: true}, false},
		{"a move to another node", journal.UnitOpening, journal.Unit{Source: "x", Target: "c", Failover: true}, false},
	}
	for _, tt := range tests {
		if got := failedOver(&journal.Record{Kind: tt.kind, Unit: &tt.unit}, now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if failedOver(nil, now) {
		t.Error("without a journal there is a failover")
	}
}

// careBench is a coordinator that has begun.
func careBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, t.TempDir(), newFakeCluster(4), nil).run()
	b.wait("", "ready", func(Status) bool { return b.c.Ready() })
	return b
}

func TestARepairStopsWhenAnotherCoordinatorGoesBeforeIt(t *testing.T) {
	b := careBench(t)
	err := b.c.alone(context.Background(), chore{what: "fix", by: "test"}, func(ctx context.Context, here *presence) error {
		b.f.with(func() {
			b.f.clients[b.f.addr(0)] = append(b.f.clients[b.f.addr(0)], fakeClient{id: 1, name: presenceName("other", 1)})
		})
		select {
		case <-ctx.Done():
		case <-time.After(testTimeout):
			t.Error("it is not told")
		}
		res := looking{b.runner, here}.Run(context.Background(), machine.Unit{Source: b.f.ids[0], Target: b.f.ids[1]}, machine.Move)
		if res.Outcome != machine.Foreign || len(b.runner.steps) > 0 {
			t.Errorf("the next step ends as %s, done were %v", res.Outcome, b.runner.steps)
		}
		return ctx.Err()
	})
	if !errors.Is(err, errForeign) || !strings.HasPrefix(err.Error(), "FOREIGN_COORDINATOR slotproxy-coord:other:1") {
		t.Errorf("got %v", err)
	}
	b.f.with(func() { b.f.clients[b.f.addr(0)] = nil })
	b.ended(b.reshard(10), Success) // nothing has stayed behind that keeps jobs from starting
}

func TestARepairIsSeenAsLongAsItWorks(t *testing.T) {
	b := careBench(t)
	err := b.c.alone(context.Background(), chore{what: "fix", by: "test"}, func(ctx context.Context, here *presence) error {
		b.f.stop(here, aliveFor)
		ctx, cancel := context.WithTimeout(ctx, testTimeout)
		defer cancel()
		for slices.ContainsFunc(b.f.ids, here.old) { // else the other one may come first at a node
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		if err := testPresence(b.f, presenceName("other", 1)).enter(ctx); !errors.Is(err, errForeign) {
			t.Errorf("another coordinator beside it gets %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWhatHasThePlaceOfAJobKeepsItToItsEnd(t *testing.T) {
	b := newBench(t, t.TempDir(), newFakeCluster(4), nil)
	do := func(context.Context, *presence) error { return nil }
	busy := func(when, want string) {
		t.Helper()
		if err := b.c.alone(context.Background(), chore{what: "fix", by: "test"}, do); err == nil || err.Error() != "BUSYJOB no job can start: "+want {
			t.Errorf("%s: %v, want %s", when, err, want)
		}
	}
	busy("before Run", unread)
	b.run()
	b.wait("", "ready", func(Status) bool { return b.c.Ready() })
	if err := b.c.alone(context.Background(), chore{what: "fix", by: "test"}, func(context.Context, *presence) error {
		busy("beside another", "fix is at work")
		b.stop()
		return nil
	}); err != nil {
		t.Error(err)
	}
	busy("after Run", "the proxy is going away")
}
