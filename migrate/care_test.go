package migrate

import (
	"testing"

	"slotproxy/migrate/journal"
)

func TestARepairKnowsThatTheSourceOfTheJournalsUnitHasChanged(t *testing.T) {
	now := journal.Unit{Source: "a", Target: "b", SourceEpoch: 7}
	tests := []struct {
		name string
		kind string
		unit journal.Unit
		want bool
	}{
		{"nothing has changed", journal.UnitOpening, now, false},
		{"another primary", journal.UnitOpening, journal.Unit{Source: "x", Target: "b", SourceEpoch: 7}, true},
		{"another epoch", journal.UnitCommitting, journal.Unit{Source: "a", Target: "b", SourceEpoch: 6}, true},
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
