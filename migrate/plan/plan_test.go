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

// cluster makes a snapshot of primaries a, b, c ... with so many slots each, in that order.
func cluster(slots ...int) *Snapshot {
	s := &Snapshot{}
	for i := range s.Owner {
		s.Owner[i] = -1
	}
	next := 0
	for i, n := range slots {
		s.Nodes = append(s.Nodes, Node{
			ID: strings.Repeat(string(rune('a'+i)), 40), Addr: fmt.Sprintf("127.0.0.1:%d", 7000+i), Host: "127.0.0.1",
			Primary: true, Replicas: 1, Epoch: uint64(i + 1),
		})
		for range n {
			s.Owner[next] = int16(i)
			next++
		}
	}
	return s
}

func id(i int) string { return strings.Repeat(string(rune('a'+i)), 40) }

func slotsAfter(t *testing.T, p *Plan) (n []int) {
	t.Helper()
	total := 0
	for _, s := range p.After {
		n = append(n, s.Slots)
		total += s.Slots
	}
	if before := 0; total != func() int {
		for _, s := range p.Before {
			before += s.Slots
		}
		return before
	}() {
		t.Errorf("%d slots after, not as before", total)
	}
	return n
}

func TestGoalsEndAsTheyShould(t *testing.T) {
	withReplica := cluster(5461, 5462, 5461)
	withReplica.Nodes = append(withReplica.Nodes, Node{ID: id(3), Addr: "127.0.0.1:7003", PrimaryID: id(0)})
	tests := []struct {
		name  string
		plan  func() (*Plan, error)
		after []int
		moved int
		err   string
	}{
		{"reshard from all", func() (*Plan, error) { return Reshard(cluster(5461, 5462, 5461, 0), nil, id(3), 1000, Caps{}) }, []int{5128, 5128, 5128, 1000}, 1000, ""},
		{"reshard from one", func() (*Plan, error) { return Reshard(cluster(8192, 8192), []string{id(0)}, id(1), 92, Caps{}) }, []int{8100, 8284}, 92, ""},
		{"reshard all it has", func() (*Plan, error) { return Reshard(cluster(10, 16374), []string{id(0)}, id(1), 10, Caps{}) }, []int{0, 16384}, 10, ""},
		{"reshard more than there are", func() (*Plan, error) { return Reshard(cluster(10, 16374), []string{id(0)}, id(1), 11, Caps{}) }, nil, 0, "ERR The sources have 10 slots, 11 are wanted"},
		{"reshard to itself", func() (*Plan, error) { return Reshard(cluster(10, 16374), []string{id(1)}, id(1), 1, Caps{}) }, nil, 0, "both source and target"},
		{"reshard to a replica", func() (*Plan, error) { return Reshard(withReplica, nil, id(3), 1, Caps{}) }, nil, 0, "is a replica"},
		{"reshard to nobody", func() (*Plan, error) { return Reshard(withReplica, nil, id(9), 1, Caps{}) }, nil, 0, "ERR Unknown node"},
		{"reshard nothing", func() (*Plan, error) { return Reshard(withReplica, nil, id(0), 0, Caps{}) }, nil, 0, "between 1 and 16384"},
		{"evacuate", func() (*Plan, error) { return Evacuate(cluster(4096, 4096, 8192, 0), id(0), Caps{}) }, []int{0, 8192, 8192, 0}, 4096, ""},
		{"evacuate to an empty node when there is no other", func() (*Plan, error) { return Evacuate(cluster(16384, 0), id(0), Caps{}) }, []int{0, 16384}, 16384, ""},
		{"evacuate the only one", func() (*Plan, error) { return Evacuate(cluster(16384), id(0), Caps{}) }, nil, 0, "no other primary"},
		{"named", func() (*Plan, error) { return Named(cluster(8192, 8192), []uint16{1, 2, 8193}, id(1), Caps{}) }, []int{8190, 8194}, 2, ""},
		{"named without an owner", func() (*Plan, error) { return Named(cluster(10), []uint16{11}, id(0), Caps{}) }, nil, 0, "has no owner"},
		{"rebalance", func() (*Plan, error) { return Rebalance(cluster(8192, 4096, 4096), Balance{}) }, []int{5462, 5461, 5461}, 2730, ""},
		{"rebalance onto an empty one", func() (*Plan, error) { return Rebalance(cluster(5461, 5462, 5461, 0), Balance{UseEmpty: true}) }, []int{4096, 4096, 4096, 4096}, 4096, ""},
		{"rebalance leaves an empty one alone", func() (*Plan, error) { return Rebalance(cluster(5461, 5462, 5461, 0), Balance{}) }, []int{5461, 5462, 5461, 0}, 0, ""},
		{"rebalance with a weight", func() (*Plan, error) {
			return Rebalance(cluster(8192, 8192), Balance{Weights: map[string]float64{id(1): 3}})
		}, []int{4096, 12288}, 4096, ""},
		{"rebalance empties a node", func() (*Plan, error) {
			return Rebalance(cluster(1, 8192, 8191), Balance{Weights: map[string]float64{id(0): 0}})
		}, []int{0, 8192, 8192}, 1, ""},
		{"rebalance below the threshold", func() (*Plan, error) { return Rebalance(cluster(8200, 8184), Balance{}) }, []int{8200, 8184}, 0, ""},
		{"rebalance above a small threshold", func() (*Plan, error) { return Rebalance(cluster(8200, 8184), Balance{Threshold: 0.01}) }, []int{8192, 8192}, 8, ""},
		{"rebalance by what is not known", func() (*Plan, error) { return Rebalance(cluster(8200, 8184), Balance{By: "keys"}) }, nil, 0, "not known"},
		{"rebalance by commands that nobody has counted", func() (*Plan, error) {
			s := cluster(8200, 8184)
			s.Stats = make([]SlotStat, router.Slots)
			s.Stats[0].Keys = 1000
			return Rebalance(s, Balance{By: "OPS"})
		}, nil, 0, "not known"},
		{"rebalance by nonsense", func() (*Plan, error) { return Rebalance(cluster(8200, 8184), Balance{By: "mood"}) }, nil, 0, "SLOTS, KEYS or OPS"},
		{"rebalance onto nobody", func() (*Plan, error) {
			return Rebalance(cluster(16384), Balance{Weights: map[string]float64{id(0): 0}})
		}, nil, 0, "all weights are 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.plan()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := slotsAfter(t, p); !slices.Equal(got, tt.after) || p.Slots != tt.moved {
				t.Errorf("got %v after %d moves, want %v after %d", got, p.Slots, tt.after, tt.moved)
			}
		})
	}
}

// random makes a snapshot with any distribution, loads included.
func random(rng *rand.Rand) *Snapshot {
	n := 2 + rng.IntN(8)
	s := cluster(make([]int, n)...)
	s.Stats = make([]SlotStat, router.Slots)
	for slot := 0; slot < router.Slots; {
		owner, run := rng.IntN(n), 1+rng.IntN(3000)
		for ; run > 0 && slot < router.Slots; run-- {
			s.Owner[slot] = int16(owner)
			s.Stats[slot] = SlotStat{Keys: rng.Int64N(1000), Ops: int64(rng.ExpFloat64() * 100)}
			slot++
		}
	}
	return s
}

// apply makes the cluster that a plan leads to.
func apply(s *Snapshot, p *Plan) *Snapshot {
	next := *s
	for _, m := range p.Moves {
		for _, slot := range m.Slots {
			next.Owner[slot] = int16(s.index(m.Target))
		}
	}
	return &next
}

func TestARebalanceIsDeterministicMovesTheLeastAndLeavesNothingToDo(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := random(rng)
		for _, by := range []string{"slots", "keys", "ops"} {
			b := Balance{By: by, UseEmpty: true, Weights: map[string]float64{id(0): float64(rng.IntN(4))}}
			p, err := Rebalance(s, b)
			if err != nil {
				t.Fatalf("seed %d by %s: %v", seed, by, err)
			}
			again, _ := Rebalance(s, b)
			if !reflect.DeepEqual(p, again) {
				t.Fatalf("seed %d by %s: two plans from one snapshot differ", seed, by)
			}
			for _, m := range p.Moves {
				for _, slot := range m.Slots {
					if s.ownerID(int(slot)) != m.Source || m.Source == m.Target {
						t.Fatalf("seed %d by %s: slot %d moves from %.4s, it is at %.4s", seed, by, slot, m.Source, s.ownerID(int(slot)))
					}
				}
			}
			rest, err := Rebalance(apply(s, p), b)
			if err != nil || rest.Slots != 0 {
				t.Errorf("seed %d by %s: a second run moves %d slots of %d more, err %v", seed, by, rest.Slots, p.Slots, err)
			}
			if by == "slots" && p.Slots != leastMoves(s, p) {
				t.Errorf("seed %d: %d slots move, %d are enough", seed, p.Slots, leastMoves(s, p))
			}
		}
	}
}

// leastMoves is the sum of what nodes gain.
func leastMoves(s *Snapshot, p *Plan) (n int) {
	for i, after := range p.After {
		n += max(0, after.Slots-p.Before[i].Slots)
	}
	return n
}

func TestASlotThatIsMoreThanAShareIsNamed(t *testing.T) {
	s := cluster(8192, 8192)
	s.Stats = make([]SlotStat, router.Slots)
	for i := range s.Stats {
		s.Stats[i].Ops = 1
	}
	s.Stats[7].Ops = 1_000_000
	p, err := Rebalance(s, Balance{By: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(p.Warnings, "\n"); !strings.Contains(text, "slot 7 alone") {
		t.Errorf("got warnings %q, want one about slot 7", text)
	}
	if next, err := Rebalance(apply(s, p), Balance{By: "ops"}); err != nil || next.Slots != 0 {
		t.Errorf("a second run moves %d slots, err %v: it would never end", next.Slots, err)
	}
}

func TestSlotsNextToTheTargetsComeFirst(t *testing.T) {
	p, err := Reshard(cluster(8192, 8192), []string{id(0)}, id(1), 100, Caps{})
	if err != nil {
		t.Fatal(err)
	}
	if got := Ranges(p.Moves[0].Slots); got != "8092-8191" {
		t.Errorf("got slots %s, want 8092-8191: one range stays one", got)
	}
}

func TestNodesHaveNames(t *testing.T) {
	s := cluster(1, 1)
	s.Nodes[1].ID = "ab" + id(0)[2:]
	for _, tt := range []struct{ name, want, err string }{
		{id(0), id(0), ""}, {"ab", s.Nodes[1].ID, ""}, {"AB", s.Nodes[1].ID, ""}, {"a", "", "fits 2 nodes"},
		{"127.0.0.1:7001", s.Nodes[1].ID, ""}, {"x", "", "Unknown node"}, {"", "", "Unknown node"},
	} {
		got, err := Resolve(s, tt.name)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestAFingerprintChangesWithTheCluster(t *testing.T) {
	s := cluster(8192, 8192)
	before := Fingerprint(s)
	moved, failedOver := *s, *s
	moved.Owner[5] = 1
	failedOver.Nodes = slices.Clone(s.Nodes)
	failedOver.Nodes[0].Epoch = 9
	for name, other := range map[string]*Snapshot{"a slot": &moved, "an epoch": &failedOver} {
		if Fingerprint(other) == before {
			t.Errorf("%s changed, the fingerprint did not", name)
		}
	}
	if Fingerprint(cluster(8192, 8192)) != before {
		t.Error("the same cluster has another fingerprint")
	}
}
