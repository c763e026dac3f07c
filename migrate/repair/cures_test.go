package repair_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/migrate/repair"
)

func TestSlotsOfNobodyAreGivenInRangesAndOneEpoch(t *testing.T) {
	lost, found := [3]string{"0-6 8-99 201-5000", "5001-10000", "10001-16383"}, [3]string{"0-6 8-99 201-5000", "5001-10000", "7 100-200 10001-16383"}
	s := &script{nodes: map[string]string{}, keys: map[string]int64{}}
	for i := range nodeIDs {
		s.nodes[addrOf(i)] = view(i, lost, "")
	}
	s.after = func(line string) {
		for i := range nodeIDs {
			if strings.HasSuffix(line, "BUMPEPOCH") {
				s.nodes[addrOf(i)] = view(i, found, "")
			}
		}
	}
	d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	d.Meant = func(uint16) string { return nodeIDs[2] }
	want := []string{addrOf(2) + " CLUSTER ADDSLOTSRANGE 7 7 100 200", addrOf(2) + " CLUSTER BUMPEPOCH"}
	r, err := d.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if f := find(r, "no-owner"); f == nil || !slices.Equal(f.Repair, want) || len(s.sent) != 0 {
		t.Fatalf("it finds %+v, want the repair %q and nothing sent", r.Findings, want)
	}
	if r, err = d.Fix(context.Background(), repair.Options{}); err != nil || !r.OK || !slices.Equal(s.sent, want) || len(r.Done) != len(want) {
		t.Errorf("it has sent %q and says %+v, %v; want %q", s.sent, r, err, want)
	}
}

func TestASlotThatANodeRefusesKeepsNoOtherFromIt(t *testing.T) {
	lost := [3]string{"0-6 8-99 201-5000", "5001-10000", "10001-16383"}
	s := &script{nodes: map[string]string{}, keys: map[string]int64{}, refuse: "ADDSLOTSRANGE 7 7"}
	for i := range nodeIDs {
		s.nodes[addrOf(i)] = view(i, lost, "")
	}
	d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	d.Meant = func(uint16) string { return nodeIDs[2] }
	s.after = func(line string) {
		if strings.HasSuffix(line, "BUMPEPOCH") { // gossip has brought slot 7
			for i := range nodeIDs {
				s.nodes[addrOf(i)] = view(i, [3]string{"0-99 201-5000", "5001-10000", "100-200 10001-16383"}, "")
			}
		}
	}
	r, err := d.Fix(context.Background(), repair.Options{})
	if err != nil || !r.OK || len(r.Done) != 2 || !strings.HasSuffix(r.Done[0], "OK, but for 7: ERR refused") || !strings.HasSuffix(r.Done[1], "BUMPEPOCH: OK") {
		t.Fatalf("it says %+v, %v", r, err)
	}
	if n := len(s.sent); n != 1+102+1 || s.sent[n-2] != addrOf(2)+" CLUSTER ADDSLOTSRANGE 200 200" {
		t.Errorf("it has sent %d commands, want 104: %q", n, s.sent)
	}
}

func TestSlotsOfTwoOwnersAreSettledWithOneEpoch(t *testing.T) {
	calm, both := [3]string{"0-5000", "5001-10000", "10001-16383"}, [3]string{"0-6 10-5000", "7-9 5001-10000", "10001-16383"}
	s := &script{nodes: map[string]string{}, keys: map[string]int64{}}
	for i := range nodeIDs {
		s.nodes[addrOf(i)] = view(i, calm, "")
	}
	s.nodes[addrOf(1)] = view(1, both, "")
	d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	r, err := d.Check(context.Background())
	want := []string{addrOf(0) + " MIGRATE the keys of slot 7-9 that " + addrOf(1) + " does not have there, drop the rest, then CLUSTER SETSLOT 7-9 NODE " + nodeIDs[1],
		addrOf(1) + " CLUSTER BUMPEPOCH"}
	if f := find(r, "two-owners"); err != nil || f == nil || !slices.Equal(f.Repair, want) {
		t.Fatalf("got %+v, %v; want %q", r, err, want)
	}
	d.Run = func(_ context.Context, u machine.Unit, step machine.Step) machine.Result {
		return machine.Result{Unit: u.ID, Step: step, Outcome: machine.Done}
	}
	s.refuse = "SETSLOT 8"
	if _, err := d.Fix(context.Background(), repair.Options{}); err != nil {
		t.Fatal(err)
	}
	at := func(slot string) int {
		return slices.Index(s.sent, addrOf(0)+" CLUSTER SETSLOT "+slot+" NODE "+nodeIDs[1])
	}
	if at("7") < 0 || at("9") < 0 || slices.Contains(s.sent, addrOf(1)+" CLUSTER BUMPEPOCH") {
		t.Errorf("though slot 8 cannot be given up it has sent %q", s.sent)
	}
}

func TestEachFindingHasItsOwnCommands(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	s := &script{nodes: map[string]string{}, keys: map[string]int64{addrOf(1): 1, addrOf(2): 1}, slot: map[string]string{addrOf(2): "6"}}
	for i := range nodeIDs {
		s.nodes[addrOf(i)] = view(i, calm, "")
	}
	d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	for _, orphans := range []string{"merge", "delete"} {
		r, err := d.Fix(context.Background(), repair.Options{DryRun: true, Orphans: orphans})
		if err != nil {
			t.Fatal(err)
		}
		found := slices.DeleteFunc(r.Findings, func(f repair.Finding) bool { return f.Kind != "orphans" })
		for _, f := range found {
			at := map[uint16]string{6: addrOf(2), 7: addrOf(1)}[f.Slots[0]]
			foreign := func(line string) bool { return !strings.HasPrefix(line, at+" ") }
			if len(f.Repair) != 3 || slices.ContainsFunc(f.Repair, foreign) {
				t.Errorf("%s: %s is repaired by %q, want three commands to %s", orphans, f.Text, f.Repair, at)
			}
		}
		if len(found) != 2 {
			t.Errorf("%s: got %d findings, want one for each slot", orphans, len(found))
		}
	}
}
