package migrate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
)

func TestTheSideFileOfARepairHasEveryByteOfAValue(t *testing.T) {
	dir := t.TempDir()
	c := newBench(t, dir, newFakeCluster(3), nil).c
	t.Cleanup(func() { _ = c.store.Close() })
	p := engine.Pair{Slot: 7, Key: "k\xff", Source: "\x00\xfe\r\n", Target: "\x80", Kept: "source"}
	if err := c.keep(careJob, p); err != nil {
		t.Fatal(err)
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
