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

// steps is an engine whose target has got a key since the last look, if late.
type steps struct {
	s    *script
	late bool
	done []string
	unit machine.Unit
}

func (e *steps) run(_ context.Context, u machine.Unit, step machine.Step) machine.Result {
	e.done, e.unit = append(e.done, step.String()), u
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	switch {
	case step == machine.Hold && e.late:
		e.s.keys[addrOf(2)] = 1
	case step == machine.Close && e.late:
		return machine.Result{Outcome: machine.Unknown, Reason: "the target has 1 key"}
	case step == machine.Close || step == machine.Verify:
		for i := range nodeIDs {
			e.s.nodes[addrOf(i)] = view(i, calm, "")
		}
		clear(e.s.keys)
	}
	return machine.Result{Outcome: machine.Done}
}

func TestASlotIsNotClosedOnACountThatHasChangedSince(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	a, c, gone := nodeIDs[0], nodeIDs[2], strings.Repeat("e", 40)
	tests := []struct{ name, source, target string }{
		{"open at both ends", "[7->-" + c + "]", "[7-<-" + a + "]"},
		{"the target forgot", "[7->-" + c + "]", ""},
		{"the target waits", "", "[7-<-" + a + "]"},
		{"the target is gone", "[7->-" + gone + "]", ""},
	}
	for _, tt := range tests {
		for _, late := range []bool{false, true} {
			s := &script{nodes: map[string]string{}, keys: map[string]int64{}}
			for i, open := range []string{tt.source, "", tt.target, ""} {
				s.nodes[addrOf(i)] = view(i, calm, open)
			}
			e := &steps{s: s, late: late}
			d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(0)}, Settle: time.Millisecond, Run: e.run, Log: slog.New(slog.DiscardHandler)}
			if _, err := d.Fix(context.Background(), repair.Options{}); err != nil {
				t.Fatal(err)
			}
			if len(e.done) == 0 || e.done[0] != machine.Hold.String() || !slices.Contains(e.done, machine.Release.String()) {
				t.Errorf("%s: the steps are %v, want a hold first and a release", tt.name, e.done)
			}
			if moved := slices.Contains(e.done, machine.Move.String()); moved != late || late && (e.unit.Source != a || e.unit.Target != c) {
				t.Errorf("%s, with keys since: %v: the steps are %v from %.1s to %.1s", tt.name, late, e.done, e.unit.Source, e.unit.Target)
			}
			for _, command := range s.sent {
				if late && strings.HasSuffix(command, "STABLE") {
					t.Errorf("%s: %s is sent", tt.name, command)
				}
			}
		}
	}
}

func TestATargetThatGetsKeysMeanwhileIsNotClosed(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	a, b := nodeIDs[0], nodeIDs[1]
	stable, importing := addrOf(2)+" CLUSTER SETSLOT 7 STABLE", addrOf(2)+" CLUSTER SETSLOT 7 IMPORTING "+a
	tests := []struct {
		name string
		when string // a key comes
		want []string
	}{
		{"none comes", "", []string{stable}},
		{"one comes after the look", "hold", nil},
		{"one comes after the count", "stable", []string{stable, importing}},
	}
	for _, tt := range tests {
		s := &script{nodes: map[string]string{}, keys: map[string]int64{}}
		for i, open := range []string{"[7->-" + b + "]", "[7-<-" + a + "]", "[7-<-" + a + "]", ""} {
			s.nodes[addrOf(i)] = view(i, calm, open)
		}
		s.after = func(line string) {
			if line == stable && tt.when == "stable" {
				s.keys[addrOf(2)] = 1
			}
		}
		d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(0)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Run: func(_ context.Context, _ machine.Unit, step machine.Step) machine.Result {
				if step == machine.Hold && tt.when == "hold" {
					s.keys[addrOf(2)] = 1
				}
				for i := range nodeIDs { // one round is enough
					s.nodes[addrOf(i)] = view(i, calm, "")
				}
				return machine.Result{Outcome: machine.Done}
			}}
		r, err := d.Fix(context.Background(), repair.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.sent, tt.want) {
			t.Errorf("%s: sent %q, want %q", tt.name, s.sent, tt.want)
		}
		if failed := len(r.Done) != 1 || !strings.HasSuffix(r.Done[0], ": OK"); failed != (tt.when != "") {
			t.Errorf("%s: %q", tt.name, r.Done)
		}
	}
}

func TestNothingIsBuiltOnAnActionThatHasFailed(t *testing.T) {
	withB := [3]string{"0-6 8-5000", "7 5001-10000", "10001-16383"}
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	b := nodeIDs[1]
	tests := []struct {
		name    string
		source  string // what a shows of itself
		slots   [3]string
		refuse  string
		keys    int64 // of a
		never   string
		undone  int
		finding string
	}{
		{"a node that does not let go of keys", "[7->-" + b + "]", withB, "IMPORTING", 3, "STABLE", 2, "stale-migrating"},
		{"a node that does not give up its claim", "", calm, "NODE", 0, "BUMPEPOCH", 1, "two-owners"},
	}
	for _, tt := range tests {
		s := &script{nodes: map[string]string{}, keys: map[string]int64{addrOf(0): tt.keys}, refuse: tt.refuse}
		s.nodes[addrOf(0)] = view(0, tt.slots, tt.source)
		for i := range 3 {
			s.nodes[addrOf(i+1)] = view(i+1, withB, "")
		}
		d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(0)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Run: func(context.Context, machine.Unit, machine.Step) machine.Result {
				return machine.Result{Outcome: machine.Done}
			}}
		r, err := d.Fix(context.Background(), repair.Options{})
		if err != nil {
			t.Fatal(err)
		}
		undone := 0
		for _, line := range r.Done[:min(len(r.Done), 1+tt.undone)] {
			if strings.Contains(line, ": not done") {
				undone++
			}
		}
		if undone != tt.undone || slices.ContainsFunc(s.sent, func(line string) bool { return strings.Contains(line, tt.never) }) {
			t.Errorf("%s: sent %q, said %q; want no %s and %d actions not done", tt.name, s.sent, r.Done, tt.never, tt.undone)
		}
		if r.OK || find(r, tt.finding) == nil {
			t.Errorf("%s: the report is %+v, want %s in it", tt.name, r.Findings, tt.finding)
		}
	}
}

func TestTheTargetsCopyCountsWhenTheSourceIsNotWhatItWas(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	a, c := nodeIDs[0], nodeIDs[2]
	tests := []struct {
		name, source, target string
		journal              bool
		want                 bool
	}{
		{"the source forgot", "", "[7-<-" + a + "]", false, false},
		{"the source forgot, and the journal knows of a failover", "", "[7-<-" + a + "]", true, true},
		{"both know", "[7->-" + c + "]", "[7-<-" + a + "]", false, false},
		{"both know, and the journal knows of a failover", "[7->-" + c + "]", "[7-<-" + a + "]", true, true},
	}
	for _, tt := range tests {
		s := &script{nodes: map[string]string{}, keys: map[string]int64{addrOf(2): 1}}
		for i, open := range []string{tt.source, "", tt.target, ""} {
			s.nodes[addrOf(i)] = view(i, calm, open)
		}
		e := &steps{s: s}
		d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(0)}, Settle: time.Millisecond, Run: e.run, Log: slog.New(slog.DiscardHandler),
			Failover: func(u machine.Unit) bool { return tt.journal && u.Source == a && u.Target == c }}
		if _, err := d.Fix(context.Background(), repair.Options{}); err != nil {
			t.Fatal(err)
		}
		if len(e.done) == 0 || e.unit.Failover != tt.want {
			t.Errorf("%s: steps %v with failover %v, want %v", tt.name, e.done, e.unit.Failover, tt.want)
		}
	}
}
