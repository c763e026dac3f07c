package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Balance says what a rebalance should make equal.
type Balance struct {
	By        string             // "slots" or "", "keys", "ops"
	Weights   map[string]float64 // by node ID; 1 for those not named; 0 empties a node
	Threshold float64            // percent off its share that a node may be; 0: 2 for slots, 5 else
	UseEmpty  bool               // primaries without slots take part; those with a weight of their own always do
}

// Rebalance makes the primaries equal by what b says, with as few slots moved as it takes.
func Rebalance(s *Snapshot, b Balance) (*Plan, error) {
	cost, byCost, err := s.costs(b.By)
	if err != nil {
		return nil, err
	}
	r := &rebalance{s: s, d: newDraft(s), cost: cost, byCost: byCost, lists: s.slotsOf()}
	if err := r.enlist(b); err != nil {
		return nil, err
	}
	threshold := b.Threshold
	if threshold == 0 {
		if threshold = 2; byCost {
			threshold = 5 // loads change by themselves: below this a move is undone by the next one
		}
	}
	goal := "rebalance by " + cmp.Or(strings.ToLower(b.By), "slots")
	if !r.uneven(threshold) {
		return r.d.plan(goal), nil
	}
	if byCost {
		r.byCosts(threshold)
		return r.d.plan(goal, r.unsplittable()...), nil
	}
	r.bySlots()
	return r.d.plan(goal), nil
}

// costs is what each slot counts for.
func (s *Snapshot) costs(by string) (cost func(slot uint16) int64, byCost bool, err error) {
	switch strings.ToLower(by) {
	case "", "slots":
		return func(uint16) int64 { return 1 }, false, nil
	case "keys":
		cost = func(slot uint16) int64 { return s.stat(int(slot)).Keys }
	case "ops":
		cost = func(slot uint16) int64 { return s.stat(int(slot)).Ops }
	default:
		return nil, false, fmt.Errorf("ERR BY must be SLOTS, KEYS or OPS, not %.32s", by)
	}
	if s.Stats == nil {
		return nil, false, fmt.Errorf("ERR The %s of the slots are not known", by)
	}
	if strings.EqualFold(by, "ops") && !s.sawOps() {
		return nil, false, errors.New("ERR The ops of the slots are not known: this process has seen no commands, and the nodes count them only with cluster-slot-stats-enabled (Valkey 8.0 and later)")
	}
	return cost, true, nil
}

// sawOps tells whether anybody has counted commands: where no slot has had any, it is not known that they are balanced.
func (s *Snapshot) sawOps() bool {
	return slices.ContainsFunc(s.Stats, func(st SlotStat) bool { return st.Ops > 0 })
}

// rebalance is one under way. The slices are by member.
type rebalance struct {
	s      *Snapshot
	d      *draft
	cost   func(slot uint16) int64
	byCost bool
	lists  [][]uint16 // by node

	members []int // indexes of nodes
	weights []float64
	have    []int64
	want    []int64
}

// enlist finds who takes part, what it has and what it should have.
func (r *rebalance) enlist(b Balance) error {
	for id, w := range b.Weights {
		if _, err := r.s.primary(id); err != nil {
			return err
		}
		if !(w >= 0) || math.IsInf(w, 0) {
			return errors.New("ERR A weight must be 0 or more")
		}
	}
	total, sum := int64(0), 0.0
	for i := range r.s.Nodes {
		n := &r.s.Nodes[i]
		weight, named := b.Weights[n.ID]
		if !named {
			weight = 1
		}
		if !n.Primary || n.Failed || len(r.lists[i]) == 0 && !b.UseEmpty && !named {
			continue
		}
		have := int64(0)
		for _, slot := range r.lists[i] {
			have += r.cost(slot)
		}
		total += have
		sum += weight
		r.members, r.weights, r.have = append(r.members, i), append(r.weights, weight), append(r.have, have)
	}
	if len(r.members) == 0 || sum == 0 {
		return errors.New("ERR No primary may have slots: all weights are 0")
	}
	for _, share := range apportion(int(total), r.weights) {
		r.want = append(r.want, int64(share))
	}
	return nil
}

// uneven says that a node is further off its share than the threshold, or has slots and should have none.
func (r *rebalance) uneven(threshold float64) bool {
	for i := range r.members {
		if r.weights[i] == 0 && len(r.lists[r.members[i]]) > 0 || r.off(i) > threshold {
			return true
		}
	}
	return false
}

// off is how many percent of its share a node has too much or too little.
func (r *rebalance) off(i int) float64 {
	if r.want[i] == 0 {
		return 100 * float64(min(r.have[i], 1))
	}
	return 100 * math.Abs(float64(r.have[i]-r.want[i])) / float64(r.want[i])
}

// extremes are the members with the most too much and the most too little; one that should have nothing is never poor.
func (r *rebalance) extremes() (rich, poor int) {
	poor = slices.IndexFunc(r.weights, func(w float64) bool { return w > 0 })
	for i := range r.members {
		if r.have[i]-r.want[i] > r.have[rich]-r.want[rich] {
			rich = i
		}
		if r.weights[i] > 0 && r.want[i]-r.have[i] > r.want[poor]-r.have[poor] {
			poor = i
		}
	}
	return rich, poor
}

// bySlots gives surplus slots away: exactly those, so nothing moves twice.
func (r *rebalance) bySlots() {
	for {
		rich, poor := r.extremes()
		n := min(r.have[rich]-r.want[rich], r.want[poor]-r.have[poor])
		if n <= 0 {
			return
		}
		list := r.lists[r.members[rich]]
		nearTo(list, &r.d.owner, r.members[poor])
		for _, slot := range list[:n] {
			r.d.give(slot, r.members[poor])
		}
		r.lists[r.members[rich]] = list[n:]
		r.have[rich] -= n
		r.have[poor] += n
	}
}

// byCosts moves the largest slot that fits from the node with the most too much to the one with the most too little, until
// all are near enough or no slot makes it better. What a node of weight 0 has left goes in any case.
func (r *rebalance) byCosts(threshold float64) {
	for _, m := range r.members {
		slices.SortStableFunc(r.lists[m], func(a, b uint16) int { return cmp.Compare(r.cost(a), r.cost(b)) })
	}
	for i := range r.members {
		for r.weights[i] == 0 && len(r.lists[r.members[i]]) > 0 {
			_, poor := r.extremes()
			r.pass(i, poor, len(r.lists[r.members[i]])-1)
		}
	}
	for r.uneven(threshold) {
		rich, poor := r.extremes()
		at := r.fitting(rich, r.have[rich]-r.want[rich], r.want[poor]-r.have[poor])
		if at < 0 {
			return
		}
		r.pass(rich, poor, at)
	}
}

// fitting chooses the slot of a member to pass on: the largest that makes neither end go beyond its share, else the smallest
// one if the squares of what both are off still become less, so that it ends. It returns -1 for none.
func (r *rebalance) fitting(rich int, much, little int64) int {
	list := r.lists[r.members[rich]]
	at, _ := slices.BinarySearchFunc(list, min(much, little)+1, func(slot uint16, c int64) int { return cmp.Compare(r.cost(slot), c) })
	switch {
	case much <= 0 || little < 0:
		return -1
	case at > 0 && r.cost(list[at-1]) > 0:
		return at - 1
	case at < len(list) && r.cost(list[at]) < much+little:
		return at
	}
	return -1
}

// pass moves the slot at this place of a member's list.
func (r *rebalance) pass(from, to, at int) {
	list := r.lists[r.members[from]]
	slot := list[at]
	r.lists[r.members[from]] = slices.Delete(list, at, at+1)
	r.have[from] -= r.cost(slot)
	r.have[to] += r.cost(slot)
	r.d.give(slot, r.members[to])
}

// unsplittable names slots that are more than a node's whole share: no move can balance them.
func (r *rebalance) unsplittable() []string {
	var list []string
	for i, m := range r.members {
		for _, slot := range r.lists[m] {
			if c := r.cost(slot); r.want[i] > 0 && c > r.want[i] {
				list = append(list, fmt.Sprintf("slot %d alone is %d %% of the share of %s: it cannot be balanced by moving slots",
					slot, 100*c/r.want[i], r.s.Nodes[m].Addr))
			}
		}
	}
	return list
}
