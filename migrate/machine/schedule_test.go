package machine

import (
	"fmt"
	"slices"
	"testing"

	"slotproxy/migrate/plan"
)

// smooth carries a job out with an engine that never fails and answers the oldest step first, but keeps those of one kind
// back as long as there is something else to answer. It calls see before each answer.
func smooth(t *testing.T, m *Machine, slow Step, see func(inHand []*unit)) {
	t.Helper()
	runs := []Run{}
	take := func(effects []Effect) {
		for _, e := range effects {
			if r, ok := e.(Run); ok {
				runs = append(runs, r)
			}
		}
	}
	take(m.Begin())
	for steps := 0; !m.Over(); steps++ {
		if steps > 100_000 || len(runs) == 0 {
			t.Fatalf("the job does not end: %+v", m.View())
		}
		see(m.units)
		i := max(0, slices.IndexFunc(runs, func(r Run) bool { return r.Step != slow }))
		r := runs[i]
		runs = slices.Delete(runs, i, i+1)
		take(m.Step(Result{Unit: r.Unit.ID, Step: r.Step, Attempt: r.Attempt, Outcome: Done}))
	}
	if v := m.View(); v.State != Success || v.SlotsDone != v.SlotsTotal {
		t.Errorf("got %s with %d of %d slots", v.State, v.SlotsDone, v.SlotsTotal)
	}
}

// jobs for schedules: ten slots of each pair, one slot a unit.
func jobOf(parallel int, engines func(a, b string) string, pairs ...string) *Machine {
	p := &plan.Plan{}
	for i, pair := range pairs {
		mv := plan.Move{Source: pair[:1], Target: pair[2:]}
		for s := range 10 {
			mv.Slots = append(mv.Slots, uint16(10*i+s))
		}
		p.Moves = append(p.Moves, mv)
	}
	return New(Spec{Plan: p, Keys: each(10*len(pairs), 400), Engines: engines, Options: Options{Parallel: parallel, UnitSlots: 1}})
}

func TestSchedulesKeepTheirBounds(t *testing.T) {
	tests := []struct {
		name     string
		pairs    []string
		parallel int
		atomic   string // source whose pairs are atomic
		slow     Step
		most     int // units between opening and release at once, as many as are possible
	}{
		{"one source", []string{"a>b", "a>c"}, 4, "", Move, 1},
		{"three sources onto one target", []string{"a>z", "b>z", "c>z"}, 4, "", Move, 3},
		{"a target takes three", []string{"a>z", "b>z", "c>z", "d>z", "e>z"}, 8, "", Move, 3},
		{"two targets share", []string{"a>y", "a>z", "b>y", "b>z", "c>y", "c>z", "d>y", "d>z"}, 4, "", Move, 4},
		{"no more than allowed", []string{"a>w", "b>x", "c>y", "d>z"}, 2, "", Move, 2},
		{"a chain goes one by one", []string{"a>b", "b>c"}, 4, "", Move, 1},
		{"there and back", []string{"a>b", "b>a"}, 4, "", Verify, 1},
		{"streams", []string{"a>z", "b>z"}, 4, "ab", Watch, 2},
		{"streams not beside others", []string{"a>z", "b>z"}, 4, "a", Move, 1},
		{"verifying holds up nobody", []string{"a>z"}, 4, "", Verify, 1},
		{"but only so many wait for it", []string{"a>z"}, 1, "", Verify, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			engines := func(a, _ string) string {
				if slices.Contains([]byte(tt.atomic), a[0]) {
					return Atomic
				}
				return Legacy
			}
			most := 0
			smooth(t, jobOf(tt.parallel, engines, tt.pairs...), tt.slow, func(units []*unit) {
				most = max(most, checkHand(t, units, tt.parallel))
			})
			if most != tt.most {
				t.Errorf("at most %d units at once, want %d", most, tt.most)
			}
		})
	}
}

// checkHand checks what is in hand against the rules, and counts what is between opening and release.
func checkHand(t *testing.T, units []*unit, parallel int) int {
	t.Helper()
	sources, ahead, targets, open := map[string]int{}, map[string]int{}, map[string]int{}, 0
	for _, u := range units {
		switch {
		case !u.opened:
			ahead[u.Source]++
		case u.occupies():
			open++
			sources[u.Source]++
			targets[u.Target]++
		}
		for _, o := range units {
			if u.opened && o.opened && (u.Source == o.Target || u.Engine != o.Engine && touch(u, o)) {
				t.Errorf("%s beside %s", unitText(u), unitText(o))
			}
		}
	}
	for n, c := range sources {
		if c > 1 || ahead[n] > 1 {
			t.Errorf("source %s has %d units open and %d ahead", n, c, ahead[n])
		}
	}
	for n, c := range targets {
		if c > targetUnits {
			t.Errorf("target %s takes %d units", n, c)
		}
	}
	if len(units) > handFactor*parallel {
		t.Errorf("%d units in hand", len(units))
	}
	return open
}

func unitText(u *unit) string {
	return fmt.Sprintf("%s of %s>%s (%s)", Ranges(u.Slots), u.Source, u.Target, u.Engine)
}

func TestTheSameEventsGiveTheSameEffects(t *testing.T) {
	var texts [2][]string
	for i := range texts {
		s := newSim(77)
		s.w.loud = true
		s.run()
		texts[i] = s.w.log
	}
	if !slices.Equal(texts[0], texts[1]) {
		t.Error("two runs of one seed differ")
	}
	if len(texts[0]) < 50 {
		t.Errorf("only %d lines: the seed shows nothing", len(texts[0]))
	}
}

func TestLateAnswersChangeNothing(t *testing.T) {
	m := jobOf(1, nil, "a>b")
	first := m.Begin()[0].(Run)
	again := Result{Unit: first.Unit.ID, Step: first.Step, Attempt: first.Attempt, Outcome: Again}
	m.Step(again)
	for _, e := range []Event{
		again,
		Result{Unit: first.Unit.ID, Step: Move, Attempt: first.Attempt, Outcome: Done},
		Result{Unit: 99, Step: Move, Attempt: 1, Outcome: Done},
		Woken{Unit: first.Unit.ID, Attempt: first.Attempt},
		Command{Word: "resume"}, Command{Word: "dance"},
		"what",
	} {
		if got := m.Step(e); len(got) > 0 {
			t.Errorf("%+v: got %v, want nothing", e, got)
		}
	}
}
