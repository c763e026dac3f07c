package plan

import (
	"testing"
	"time"
)

func TestAnEstimateGoesByWhatEarlierJobsTook(t *testing.T) {
	const atomic, legacy = "atomic", "legacy"
	measure := func(job string, source, target int, engine string, slots int, keys int64, took time.Duration) Measure {
		m := Measure{Job: job, Source: id(source), Target: id(target), Engine: engine}
		m.Add(slots, keys, took)
		return m
	}
	const few, many = 1, 1000 // keys in each slot
	tests := []struct {
		name     string
		keys     int64
		engine   string
		measures []Measure
		want     time.Duration
		by       string
	}{
		{"nothing is known", few, legacy, nil, 303333 * time.Microsecond, "assumed"},
		{"keys between these nodes", many, legacy, []Measure{measure("7", 0, 1, legacy, 10, 10_000, time.Second)}, 10 * time.Second, "measured by job 7"},
		{"slots between these nodes", few, legacy, []Measure{measure("7", 0, 1, legacy, 1000, 1000, time.Second)}, 100 * time.Millisecond, "measured by job 7"},
		{"the last job between them", many, legacy, []Measure{
			measure("8", 0, 1, legacy, 10, 10_000, 2*time.Second), measure("7", 0, 1, legacy, 10, 10_000, time.Second),
		}, 20 * time.Second, "measured by job 8"},
		{"them before others", many, legacy, []Measure{
			measure("8", 1, 0, legacy, 10, 10_000, 2*time.Second), measure("7", 0, 1, legacy, 10, 10_000, time.Second),
		}, 10 * time.Second, "measured by job 7"},
		{"others with the same engine, all of their job", many, legacy, []Measure{
			measure("9", 1, 0, atomic, 10, 10_000, 9*time.Second),
			measure("8", 1, 0, legacy, 10, 10_000, time.Second), measure("8", 1, 2, legacy, 10, 10_000, 3*time.Second),
			measure("7", 1, 0, legacy, 10, 10_000, 9*time.Second),
		}, 20 * time.Second, "measured by job 8"},
		{"another engine says nothing", few, atomic, []Measure{measure("7", 0, 1, legacy, 1000, 1000, time.Second)}, 303333 * time.Microsecond, "assumed"},
		{"slots of few keys say nothing of many", many, legacy, []Measure{measure("7", 0, 1, legacy, 1000, 1000, time.Second)}, 3633 * time.Millisecond, "assumed"},
		{"too short to be more than chance", many, legacy, []Measure{
			measure("8", 0, 1, legacy, 10, 10_000, leastMeasured-1), measure("7", 0, 1, legacy, 10, 10_000, time.Second),
		}, 10 * time.Second, "measured by job 7"},
		{"what a damaged journal says", few, legacy, []Measure{{Job: "7", Source: id(0), Target: id(1), Engine: legacy, SlotsTook: time.Hour}},
			303333 * time.Microsecond, "assumed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := counted(cluster(8192, 8192), tt.keys, nil)
			s.Measures, s.Engine = tt.measures, func(_, _ string) string { return tt.engine }
			p, err := Reshard(s, []string{id(0)}, id(1), 100, Caps{})
			if err != nil {
				t.Fatal(err)
			}
			if want := tt.want.Round(time.Millisecond); p.Estimate != want || p.EstimateBy != tt.by {
				t.Errorf("got %s, %s; want %s, %s", p.Estimate, p.EstimateBy, want, tt.by)
			}
		})
	}
}

func TestAnEstimateSaysWhatItAssumesInPart(t *testing.T) {
	s := counted(cluster(8192, 8192), 1, map[int]int64{8191: 100_000})
	m := Measure{Job: "7", Source: id(0), Target: id(1), Engine: "legacy"}
	m.Add(1000, 1000, 10*time.Second)
	s.Measures, s.Engine = []Measure{m}, func(_, _ string) string { return "legacy" }
	p, err := Reshard(s, []string{id(0)}, id(1), 11, Caps{})
	if err != nil {
		t.Fatal(err)
	}
	const by = "in part measured by job 7, in part assumed"
	if want := 100*time.Millisecond + assumed(1, 100_000); p.Estimate != want.Round(time.Millisecond) || p.EstimateBy != by {
		t.Errorf("got %s, %s; want %s, %s", p.Estimate, p.EstimateBy, want, by)
	}
}

func TestAFewSlotsAreNoMeasure(t *testing.T) {
	for _, tt := range []struct {
		name  string
		slots int
		keys  int64
		want  bool
	}{
		{"a stream of one slot", 1, 0, false},
		{"one large slot", 1, 4000, false},
		{"many slots", 100, 100, true},
		{"many keys", 10, 10_000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Measure
			m.Add(tt.slots, tt.keys, 400*time.Millisecond)
			if _, ok := m.time(tt.keys / int64(tt.slots)); ok != tt.want {
				t.Errorf("measured: %t, want %t", ok, tt.want)
			}
		})
	}
}
