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

// In these clusters c shows slot 7 as importing from a and has a key of it. b owns it now.

// follows makes node i a replica of another one in a view.
func follows(view string, i int, of string) string {
	lines := strings.SplitAfter(view, "\n")
	lines[i] = strings.Replace(lines[i], "master -", "slave "+of, 1)
	return strings.Join(lines, "")
}

func TestWhoOwnsASlotKeepsItsValuesUnlessItTookOverFromTheSource(t *testing.T) {
	ofA := [3]string{"0-5000", "5001-10000", "10001-16383"}
	ofB := [3]string{"0-6 8-5000", "7 5001-10000", "10001-16383"}
	noneOfA := [3]string{"", "0-10000", "10001-16383"}
	a, b, c, third := nodeIDs[0], nodeIDs[1], nodeIDs[2], nodeIDs[3]
	stable := []string{addrOf(2) + " CLUSTER SETSLOT 7 STABLE"}
	tests := []struct {
		name     string
		slots    [3]string
		replica  string // who a follows
		silent   bool   // a does not answer
		shards   [3]string
		journal  bool   // knows of a failover, whoever is the source now
		owner    string // what it shows
		kind     string
		failover bool
		sent     []string // nil: the move goes on
	}{
		{name: "the owner has taken over from the target", slots: ofB, shards: [3]string{"s", "t", "t"}, journal: true, kind: "outdated-target", sent: stable},
		{name: "the same on Redis 7.0, where the source is still there", slots: ofB, journal: true, kind: "outdated-target", sent: stable},
		{name: "the same, and the source is gone", slots: noneOfA, silent: true, shards: [3]string{"", "t", "t"}, journal: true, kind: "outdated-target", sent: stable},
		{name: "a repair was to bring it to the old target", slots: ofB, shards: [3]string{"s", "t", "t"}, journal: true, owner: "[7->-" + c + "]", kind: "interrupted-move"},
		{name: "the owner has taken over from the source, which follows it", slots: noneOfA, replica: b, kind: "source-forgot", failover: true},
		{name: "the owner has taken over from the source, of which it is known", slots: ofB, shards: [3]string{"s", "s", "t"}, kind: "source-forgot", failover: true},
		{name: "the owner has taken over from the source, which follows a third node since", slots: noneOfA, replica: third, shards: [3]string{"u", "s", "t"}, journal: true, kind: "source-forgot", failover: true},
		{name: "the source is gone, and the journal had it", slots: noneOfA, silent: true, journal: true, kind: "source-forgot", failover: true},
		{name: "the source is gone, and nobody knows of it", slots: noneOfA, silent: true, kind: "source-forgot"},
		{name: "the owner is the source itself", slots: ofA, kind: "source-forgot"},
		{name: "the owner is the source itself, which was started again", slots: ofA, journal: true, kind: "source-forgot", failover: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{nodes: map[string]string{}, keys: map[string]int64{addrOf(2): 1}, shards: map[string]string{}}
			for i, open := range []string{"", tt.owner, "[7-<-" + a + "]", ""} {
				s.nodes[addrOf(i)] = view(i, tt.slots, open)
				if tt.replica != "" {
					s.nodes[addrOf(i)] = follows(s.nodes[addrOf(i)], 0, tt.replica)
				}
			}
			if tt.silent {
				delete(s.nodes, addrOf(0))
			}
			for i, shard := range tt.shards {
				s.shards[addrOf(i)] = shard
			}
			e := &steps{s: s}
			s.after = func(line string) {
				if line == stable[0] { // one round is enough
					e.run(context.Background(), machine.Unit{}, machine.Verify)
				}
			}
			d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Run: e.run, Log: slog.New(slog.DiscardHandler),
				Meant: func(uint16) string { return c }, Failover: func(u machine.Unit) bool { return tt.journal && u.Target == c }}
			if r, err := d.Check(context.Background()); err != nil || find(r, tt.kind) == nil {
				t.Fatalf("found %+v, want %s; %v", r, tt.kind, err)
			}
			if _, err := d.Fix(context.Background(), repair.Options{}); err != nil {
				t.Fatal(err)
			}
			moved := slices.Contains(e.done, machine.Move.String())
			if moved != (tt.sent == nil) || tt.sent != nil && !slices.Equal(s.sent, tt.sent) {
				t.Fatalf("sent %q, steps %v", s.sent, e.done)
			}
			owner := b
			if slices.Equal(tt.slots[:], ofA[:]) {
				owner = a
			}
			if moved && (e.unit.Failover != tt.failover || e.unit.Source != owner || e.unit.Target != c) {
				t.Errorf("moved by %+v, want failover %v", e.unit, tt.failover)
			}
		})
	}
}
