package plan

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"slotproxy/router"
)

// counted gives each slot so many keys, and some others.
func counted(s *Snapshot, keys int64, others map[int]int64) *Snapshot {
	s.Stats = make([]SlotStat, router.Slots)
	for i := range s.Stats {
		s.Stats[i].Keys = keys
	}
	for slot, n := range others {
		s.Stats[slot].Keys = n
	}
	return s
}

func TestACappedPlanMakesTheLargestImbalanceSmallerFirst(t *testing.T) {
	large, almostAll := map[int]int64{}, map[int]int64{}
	for slot := range 8990 {
		almostAll[slot] = 1000
		if slot < 8192 {
			large[slot] = 1000
		}
	}
	tests := []struct {
		name   string
		plan   func() (*Plan, error)
		after  []int
		capped string
	}{
		{"rebalance", func() (*Plan, error) {
			return Rebalance(cluster(8000, 6000, 2384), Balance{Caps: Caps{Slots: 1000}})
		}, []int{7000, 6000, 3384}, "capped at 1000 slots: 2077 slots with 0 keys are left, 127.0.0.1:7002 is 38.0 % off its share; the same command goes on"},
		{"rebalance, from two that become equal", func() (*Plan, error) {
			return Rebalance(cluster(8000, 6000, 2384), Balance{Caps: Caps{Slots: 3000}})
		}, []int{5500, 5500, 5384}, "capped at 3000 slots: 127.0.0.1:7002 is 1.4 % off its share, which is within the threshold"},
		{"rebalance with room", func() (*Plan, error) {
			return Rebalance(cluster(8000, 6000, 2384), Balance{Caps: Caps{Slots: 3077}})
		}, []int{5462, 5461, 5461}, ""},
		{"rebalance of what is even", func() (*Plan, error) {
			return Rebalance(cluster(8192, 8192), Balance{Caps: Caps{Slots: 1}})
		}, []int{8192, 8192}, ""},
		{"rebalance that empties a node", func() (*Plan, error) {
			return Rebalance(cluster(384, 8000, 8000), Balance{Weights: map[string]float64{id(0): 0}, Caps: Caps{Slots: 100}})
		}, []int{284, 8050, 8050}, "capped at 100 slots: 284 slots with 0 keys are left, 127.0.0.1:7000 is 100.0 % off its share; the same command goes on"},
		{"rebalance onto empty ones", func() (*Plan, error) {
			return Rebalance(cluster(16384, 0, 0), Balance{UseEmpty: true, Caps: Caps{Slots: 100}})
		}, []int{16284, 50, 50}, "10822 slots"},
		{"rebalance within a number of keys", func() (*Plan, error) {
			return Rebalance(counted(cluster(12000, 4384), 10, nil), Balance{Caps: Caps{Keys: 1009}})
		}, []int{11900, 4484}, "capped at 1009 keys: 3708 slots with 37080 keys are left"},
		{"rebalance passes over slots that are too large", func() (*Plan, error) {
			return Rebalance(counted(cluster(12000, 4384), 10, large), Balance{Caps: Caps{Keys: 999, Slots: 2000}})
		}, []int{11901, 4483}, "capped at 2000 slots and 999 keys: 3709 slots"},
		{"rebalance goes on with the next node when the first has only such slots", func() (*Plan, error) {
			return Rebalance(counted(cluster(9000, 6000, 1384), 10, almostAll), Balance{Caps: Caps{Keys: 500}})
		}, []int{8990, 5960, 1434}, "capped at 500 keys: "},
		{"rebalance where all slots are too large", func() (*Plan, error) {
			return Rebalance(counted(cluster(12000, 4384), 10, nil), Balance{Caps: Caps{Keys: 9}})
		}, []int{12000, 4384}, "capped at 9 keys: each of the 3808 slots that should move has more keys"},
		{"rebalance by keys", func() (*Plan, error) {
			return Rebalance(counted(cluster(8192, 8192), 1, map[int]int64{1: 4000, 2: 3000, 3: 2000}), Balance{By: "keys", Threshold: 0.1, Caps: Caps{Slots: 1}})
		}, []int{8191, 8193}, "capped at 1 slots: "},
		{"rebalance by keys takes smaller slots when the largest have too many", func() (*Plan, error) {
			return Rebalance(counted(cluster(8192, 8192), 1, map[int]int64{1: 4000, 2: 3000, 3: 2000}), Balance{By: "keys", Caps: Caps{Keys: 2003}})
		}, []int{8188, 8196}, "capped at 2003 keys: "},
		{"evacuate", func() (*Plan, error) { return Evacuate(cluster(4096, 4096, 8192), id(0), Caps{Slots: 96}) },
			[]int{4000, 4192, 8192}, "capped at 96 slots: 4000 slots with 0 keys are left, the same command goes on"},
		{"named", func() (*Plan, error) {
			return Named(counted(cluster(8192, 8192), 5, map[int]int64{1: 50}), []uint16{9, 1, 2, 8193}, id(1), Caps{Keys: 9})
		}, []int{8191, 8193}, "capped at 9 keys: 2 slots with 55 keys are left, the same command goes on"},
		{"reshard", func() (*Plan, error) { return Reshard(cluster(6000, 6000, 4384), nil, id(2), 1000, Caps{Slots: 400}) },
			[]int{5800, 5800, 4784}, "capped at 400 slots: 600 slots with 0 keys are left, the same command with 600 slots goes on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.plan()
			if err != nil {
				t.Fatal(err)
			}
			if got := slotsAfter(t, p); !slices.Equal(got, tt.after) {
				t.Errorf("got %v, want %v", got, tt.after)
			}
			if !strings.HasPrefix(p.Capped, tt.capped) && !strings.Contains(p.Capped, tt.capped) || (p.Capped == "") != (tt.capped == "") {
				t.Errorf("it says %q, want %q", p.Capped, tt.capped)
			}
			if n := leastMoves(nil, p); p.Slots != n {
				t.Errorf("%d slots move, %d are enough", p.Slots, n)
			}
		})
	}
}

func TestCapsThatNobodyCanKeepAreRefused(t *testing.T) {
	for _, c := range []Caps{{Keys: 5}, {Slots: -1}, {Keys: -1}} {
		_, rebalance := Rebalance(cluster(9000, 7384), Balance{Caps: c})
		_, evacuate := Evacuate(cluster(9000, 7384), id(0), c)
		_, reshard := Reshard(cluster(9000, 7384), nil, id(0), 5, c)
		_, named := Named(cluster(9000, 7384), []uint16{1}, id(1), c)
		for i, err := range []error{rebalance, evacuate, reshard, named} {
			if err == nil || !strings.HasPrefix(err.Error(), "ERR ") {
				t.Errorf("planner %d with %+v: got error %v", i, c, err)
			}
		}
	}
}

// TestCappedPlansTogetherReachTheGoal repeats the same command until it moves nothing, as an operator does.
func TestCappedPlansTogetherReachTheGoal(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := random(rng)
		weights := map[string]float64{id(0): float64(rng.IntN(3))}
		for _, by := range []string{"slots", "keys", "ops"} {
			for _, c := range []Caps{{Slots: 1500 + rng.IntN(3000)}, {Keys: 500_000 + rng.Int64N(1_000_000)}, {Slots: 2000, Keys: 700_000}} {
				b := Balance{By: by, UseEmpty: true, Weights: weights, Threshold: 0.01, Caps: c}
				if by != "slots" {
					b.Threshold = 1
				}
				t.Run(fmt.Sprint(seed, " by ", by, " ", c), func(t *testing.T) { goOn(t, s, b) })
			}
		}
	}
}

// goOn applies capped plans until there is nothing to do.
func goOn(t *testing.T, s *Snapshot, b Balance) {
	whole, err := Rebalance(s, Balance{By: b.By, UseEmpty: b.UseEmpty, Weights: b.Weights, Threshold: b.Threshold})
	if err != nil {
		t.Fatal(err)
	}
	total, last := 0, &Plan{Capped: "at first"}
	for range router.Slots {
		p, err := Rebalance(s, b)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := Rebalance(s, b); !reflect.DeepEqual(p, again) {
			t.Fatal("two plans from one snapshot differ")
		}
		if !b.Caps.allow(p.Slots, p.Keys) {
			t.Fatalf("%d slots with %d keys are more than %v", p.Slots, p.Keys, b.Caps)
		}
		if p.Slots == 0 {
			break
		}
		if !strings.Contains(last.Capped, again) && last.Capped != "at first" {
			t.Fatalf("it goes on, and the one before said %q", last.Capped)
		}
		s, last = apply(s, p), p
		total += p.Slots
	}
	if last.Capped != "" && strings.Contains(last.Capped, again) {
		t.Errorf("nothing goes on, and the last one said %q", last.Capped)
	}
	if rest, err := Rebalance(s, Balance{By: b.By, UseEmpty: b.UseEmpty, Weights: b.Weights, Threshold: b.Threshold}); err != nil || rest.Slots != 0 {
		t.Errorf("without caps %d slots would move, err %v", rest.Slots, err)
	}
	if b.By == "slots" && total > whole.Slots {
		t.Errorf("in all %d slots have moved, %d are enough", total, whole.Slots)
	}
}
