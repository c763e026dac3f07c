package migrate

import (
	"context"
	"slices"
	"strings"
	"testing"

	"slotproxy/migrate/plan"
)

func TestARebalanceByCommandsIsAboutTheNewOnes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cpu   map[int]int64 // what the nodes have counted so far
		busy  []int
		err   string
		moves []uint16 // one of them, from the first node to the second
	}{
		{"nobody has counted any", nil, nil, "ERR The ops of the slots are not known", nil},
		{"all are old", map[int]int64{0: 9e9, 1: 9e9}, nil, "ERR The ops of the slots are not known", nil},
		{"the old ones are elsewhere", map[int]int64{8192: 9e9}, []int{5, 6}, "", []uint16{5, 6}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster(3)
			f.cpu, f.busy = tt.cpu, tt.busy
			b := newBench(t, t.TempDir(), f, nil)
			b.c.opsWait = 0
			p, err := b.c.Plan(context.Background(), Goal{Kind: Rebalance, By: "ops"})
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Fatalf("got %v and error %v, want %q", p, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !movesOne(p, f.ids[0], f.ids[1], tt.moves) {
				t.Errorf("it moves %+v, want one of %v from the first node to the second", p.Moves, tt.moves)
			}
		})
	}
}

func movesOne(p *plan.Plan, from, to string, of []uint16) bool {
	return len(p.Moves) == 1 && p.Moves[0].Source == from && p.Moves[0].Target == to && len(p.Moves[0].Slots) == 1 &&
		slices.Contains(of, p.Moves[0].Slots[0])
}
