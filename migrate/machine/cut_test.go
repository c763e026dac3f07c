package machine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"slotproxy/migrate/plan"
)

func upTo(n int) []uint16 {
	out := make([]uint16, n)
	for i := range out {
		out[i] = uint16(i)
	}
	return out
}

func each(n int, keys int64) []int64 { return slices.Repeat([]int64{keys}, n) }

func TestUnitsFitTheirBudget(t *testing.T) {
	tests := []struct {
		name   string
		engine string
		slots  int
		keys   []int64
		rate   float64
		want   []string // "slots/keys", with "online" where it is
	}{
		// 20 000 keys a second and 25 ms are 500 keys.
		{"as many slots as fit the hold budget", Legacy, 7, each(7, 200), 20_000, []string{"0-1/400", "2-3/400", "4-5/400", "6/200"}},
		{"more where the nodes are faster", Legacy, 7, each(7, 200), 60_000, []string{"0-6/1400"}},
		{"a slot that does not fit moves online, alone", Legacy, 3, []int64{100, 501, 100}, 20_000, []string{"0/100", "1/501 online", "2/100"}},
		{"one that fits exactly is held", Legacy, 2, []int64{500, 500}, 20_000, []string{"0/500", "1/500"}},
		{"empty slots go together, up to 64", Legacy, 130, each(130, 0), 20_000, []string{"0-63/0", "64-127/0", "128-129/0"}},
		{"slots of which nothing is known go one by one", Legacy, 2, nil, 20_000, []string{"0/0", "1/0"}},
		{"streams are bounded by slots", Atomic, 600, each(600, 10), 20_000, []string{"0-255/2560", "256-511/2560", "512-599/880"}},
		{"and by keys", Atomic, 4, each(4, 60_000), 20_000, []string{"0/60000", "1/60000", "2/60000", "3/60000"}},
		{"one slot may be more than that", Atomic, 2, []int64{300_000, 10}, 20_000, []string{"0/300000", "1/10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := New(Spec{
				Plan:    &plan.Plan{Moves: []plan.Move{{Source: "a", Target: "b", Slots: upTo(tt.slots)}}},
				Keys:    tt.keys,
				Options: Options{Engine: tt.engine},
			})
			mv := m.moves[0]
			mv.rate = tt.rate
			var got []string
			for m.pending() {
				u := m.cut(mv)
				text := fmt.Sprintf("%s/%d", Ranges(u.Slots), u.Keys)
				if u.Online {
					text += " online"
				}
				got = append(got, text)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStreamsAreAsLargeAsClientsAndTheJobsBoundLetThem(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		most []int64 // what the streams say in turn
		want []int   // slots of each, with ten keys
	}{
		{"as the options say", Options{UnitSlots: 20}, []int64{0, 0, 0, 0}, []int{20, 20, 20, 20}},
		{"smaller for clients, but for the one that is prepared", Options{UnitSlots: 20}, []int64{100, 55, 0, 1}, []int{20, 20, 10, 5, 20, 1}},
		{"never larger than the options say", Options{UnitSlots: 20}, []int64{1 << 40, 1 << 40, 1 << 40}, []int{20, 20, 20}},
		{"a second's worth of a bounded job", Options{UnitSlots: 20, MaxKeysPerSecond: 70}, []int64{0, 0, 0}, []int{7, 7, 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Engine = Atomic
			m := New(Spec{Plan: &plan.Plan{Moves: []plan.Move{{Source: "a", Target: "b", Slots: upTo(1000)}}}, Keys: each(1000, 10), Options: tt.o})
			var got []int
			streams := 0
			for todo := m.Begin(); len(got) < len(tt.want); todo = todo[1:] {
				r, runs := todo[0].(Run)
				if !runs {
					continue
				}
				res := Result{Unit: r.Unit.ID, Step: r.Step, Attempt: r.Attempt, Outcome: Done}
				switch r.Step {
				case Prepare:
					got = append(got, len(r.Unit.Slots))
				case Watch:
					res.Most = tt.most[streams]
					streams++
				}
				todo = append(todo, m.Step(res)...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("streams of %v slots, want %v", got, tt.want)
			}
		})
	}
}

func TestAStreamThatCameToNothingDoesNotLiftTheBoundOfTheNext(t *testing.T) {
	m := New(Spec{Plan: &plan.Plan{Moves: []plan.Move{{Source: "a", Target: "b", Slots: upTo(1000)}}}, Keys: each(1000, 10), Options: Options{Engine: Atomic}})
	outcomes := []Outcome{Done, Unknown}
	for todo := m.Begin(); len(outcomes) > 0; todo = todo[1:] {
		r, runs := todo[0].(Run)
		if !runs {
			continue
		}
		res := Result{Unit: r.Unit.ID, Step: r.Step, Attempt: r.Attempt, Outcome: Done}
		if r.Step == Watch {
			if res.Outcome, outcomes = outcomes[0], outcomes[1:]; res.Outcome == Done {
				res.Most = 100
			}
		}
		todo = append(todo, m.Step(res)...)
	}
	if most := m.moves[0].most; most != 100 {
		t.Errorf("the next stream may have %d keys, want 100", most)
	}
}

func TestTheRateFollowsWhatWasMeasured(t *testing.T) {
	tests := []struct {
		name   string
		moves  []Result
		want   float64
		online bool
	}{
		{name: "nothing yet", want: startRate},
		{"what is paced is not measured", []Result{{Keys: 1000, Took: 10 * time.Second}}, startRate, true},
		{"a part of each Move", []Result{{Keys: 1000, Took: 10 * time.Millisecond}}, 0.7*startRate + 0.3*100_000, false},
		{"few keys measure the network", []Result{{Keys: 10, Took: time.Millisecond}}, startRate, false},
		{"no time is no measure", []Result{{Keys: 1000}}, startRate, false},
		{"a stopped node is not believed for ever", slices.Repeat([]Result{{Keys: 50, Took: time.Hour}}, 50), leastRate, false},
		{"a clock that jumps neither", slices.Repeat([]Result{{Keys: 1e9, Took: 1}}, 50), mostRate, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mv := &move{rate: startRate}
			for _, r := range tt.moves {
				mv.measure(r, tt.online)
			}
			if mv.rate != tt.want {
				t.Errorf("got %v, want %v", mv.rate, tt.want)
			}
		})
	}
}

func TestWhatClientsWaitForBesidesAMoveComesOffItsBudget(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name             string
		hold, open, done time.Duration
		want             time.Duration
	}{
		{"nothing", 0, 0, 0, 25 * ms},
		{"a machine with other work", ms, 4 * ms, 2 * ms, 18 * ms},
		{"one so busy that all is round trips keeps half", 20 * ms, 20 * ms, 20 * ms, 12 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := New(Spec{
				Plan:    &plan.Plan{Moves: []plan.Move{{Source: "a", Target: "b", Slots: upTo(2)}}},
				Keys:    each(2, 200),
				Options: Options{Engine: Legacy},
			})
			m.opt.HoldBudget = 25 * ms
			mv := m.moves[0]
			for range 50 {
				u := m.take(Unit{Source: "a", Target: "b", Engine: Legacy, Slots: upTo(2)})
				for step, took := range map[Step]time.Duration{Hold: tt.hold, Open: tt.open} {
					m.weighAside(u, Result{Step: step, Took: took, Outcome: Done})
				}
				m.weighAside(u, Result{Step: Move, Took: time.Hour, Outcome: Done})
				m.weighAside(u, Result{Step: Open, Took: time.Hour, Outcome: Unknown})
				m.weighAside(u, Result{Step: Commit, Took: tt.done, Outcome: Done})
			}
			if got := mv.budget(m.opt.HoldBudget).Truncate(ms); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if u := m.cut(&move{pieces: []piece{{slots: upTo(1), engine: Legacy}}, rate: 200 / (25 * ms).Seconds(), aside: mv.aside}); u.Online {
				t.Error("a slot that fits the whole budget moves online")
			}
			mv.aside = 0
			u := m.take(Unit{Source: "a", Target: "b", Engine: Legacy, Slots: upTo(2)})
			for range 3 {
				m.weighAside(u, Result{Step: Open, Took: time.Hour, Outcome: Done})
			}
			m.weighAside(u, Result{Step: Commit, Outcome: Done})
			if got := mv.budget(m.opt.HoldBudget); got != 17_500*time.Microsecond {
				t.Errorf("a node that stood still once leaves %v", got)
			}
		})
	}
}

func TestRangesReadAsPeopleWriteThem(t *testing.T) {
	for want, slots := range map[string][]uint16{
		"": {}, "7": {7}, "0-1": {0, 1}, "0-5 9": {0, 1, 2, 3, 4, 5, 9}, "1 3 16382-16383": {1, 3, 16382, 16383},
	} {
		if got := Ranges(slots); got != want {
			t.Errorf("%v: got %q, want %q", slots, got, want)
		}
	}
}

func TestWaitsDoubleUpToTheirBound(t *testing.T) {
	for n, want := range map[int]time.Duration{
		0: 10 * time.Millisecond, 1: 10 * time.Millisecond, 2: 20 * time.Millisecond, 8: 1280 * time.Millisecond,
		9: 2 * time.Second, 1_000_000: 2 * time.Second,
	} {
		if got := backoff(n); got != want {
			t.Errorf("after %d: got %v, want %v", n, got, want)
		}
	}
}
