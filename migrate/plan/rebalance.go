package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"slotproxy/router"
)

// Balance says what a rebalance should make equal.
type Balance struct {
	By        string             // "slots" or "", "keys", "ops"
	Weights   map[string]float64 // by node ID; 1 for those not named; 0 empties a node
	Threshold float64            // percent off its share that a node may be; 0: 2 for slots, 5 else
	UseEmpty  bool               // primaries without slots take part; those with a weight of their own always do
	Caps      Caps               // a plan that they keep from being whole makes the largest imbalance smaller first
}

// Rebalance makes the primaries equal by what b says, with as few slots moved as it takes.
func Rebalance(s *Snapshot, b Balance) (*Plan, error) {
	cost, byCost, err := s.costs(b.By)
	if err := errors.Join(err, b.Caps.check(s)); err != nil {
		return nil, err
	}
	threshold := b.Threshold
	if threshold == 0 {
		if threshold = 2; byCost {
			threshold = 5 // loads change by themselves: below this a move is undone by the next one
		}
	}
	start := &rebalance{s: s, cost: cost, byCost: byCost, threshold: threshold}
	if err := start.enlist(b); err != nil {
		return nil, err
	}
	r := start.within(Caps{}, router.Slots)
	capped := !b.Caps.allow(r.d.size())
	if capped {
		r = start.most(b.Caps)
	}
	p := r.d.plan(b.Caps.goal("rebalance by " + cmp.Or(strings.ToLower(b.By), "slots")))
	if byCost && !r.even {
		p.Warnings = append(r.unsplittable(), p.Warnings...)
	}
	if capped {
		err = r.explain(p, b)
	}
	return p, err
}

// most is the rebalance that the caps allow. By costs each slot is chosen with them in view; by slots all count the same, and only
// how many go is to be found.
func (r *rebalance) most(c Caps) *rebalance {
	if r.byCost {
		return r.within(c, router.Slots)
	}
	limit := cmp.Or(c.Slots, router.Slots)
	n := sort.Search(limit, func(i int) bool { return !c.allow(r.within(c, i+1).d.size()) })
	return r.within(c, n)
}

// explain says in a plan what its caps have left: what the same goal would move behind it.
func (r *rebalance) explain(p *Plan, b Balance) error {
	next, caps := *r.s, b.Caps
	next.Owner, b.Caps = r.d.owner, Caps{}
	rest, err := Rebalance(&next, b)
	if err != nil {
		return err
	}
	most := 0
	for i := range r.members {
		if r.off(i) > r.off(most) {
			most = i
		}
	}
	text := fmt.Sprintf("%s is %.1f %% off its share", r.s.Nodes[r.members[most]].Addr, r.off(most))
	switch {
	case rest.Slots > 0:
		text += "; " + caps.again()
	case r.off(most) > r.threshold:
		text += ", and no slot makes that better"
	default:
		text += ", which is within the threshold"
	}
	caps.capped(p, rest.Slots, rest.Keys, text)
	return nil
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
	s         *Snapshot
	cost      func(slot uint16) int64
	byCost    bool
	threshold float64

	members []int // indexes of nodes
	weights []float64
	have    []int64
	want    []int64

	// Of one attempt, see within.
	d     *draft
	lists [][]uint16 // by node: the slots that may go
	even  bool       // is within the threshold without any move
	caps  Caps
	left  Caps   // of the caps; only what has a cap means anything
	stuck []bool // has no slot that the caps allow, or that makes it better
}

// within rebalances anew, with the caps; by slots n of them go at most if there is one.
func (r *rebalance) within(c Caps, n int) *rebalance {
	next := *r
	next.d, next.lists, next.caps, next.left = newDraft(r.s), r.s.slotsOf(), c, c
	next.have, next.stuck = slices.Clone(r.have), make([]bool, len(r.members))
	for i, m := range r.members {
		next.lists[m] = c.movable(r.s, next.lists[m])
		next.stuck[i] = len(next.lists[m]) == 0
	}
	switch {
	case !next.uneven():
		next.even = true
	case r.byCost:
		next.byCosts()
	case c == Caps{}:
		next.bySlots()
	default:
		next.towards(n)
	}
	return &next
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
	total, sum, lists := int64(0), 0.0, r.s.slotsOf()
	for i := range r.s.Nodes {
		n := &r.s.Nodes[i]
		weight, named := b.Weights[n.ID]
		if !named {
			weight = 1
		}
		if !n.Primary || n.Failed || len(lists[i]) == 0 && !b.UseEmpty && !named {
			continue
		}
		have := int64(0)
		for _, slot := range lists[i] {
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
func (r *rebalance) uneven() bool {
	for i := range r.members {
		if r.weights[i] == 0 && len(r.lists[r.members[i]]) > 0 || r.off(i) > r.threshold {
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

// extremes are the members with the most too much, among those that are not stuck, and with the most too little; one that should
// have nothing is never poor. rich is -1 when all are stuck.
func (r *rebalance) extremes() (rich, poor int) {
	rich = slices.Index(r.stuck, false)
	poor = slices.IndexFunc(r.weights, func(w float64) bool { return w > 0 })
	for i := range r.members {
		if !r.stuck[i] && r.have[i]-r.want[i] > r.have[rich]-r.want[rich] {
			rich = i
		}
		if r.weights[i] > 0 && r.want[i]-r.have[i] > r.want[poor]-r.have[poor] {
			poor = i
		}
	}
	return rich, poor
}

// towards goes n slots of the way: the aim is lowered to what n slots can do, each from and to the extremes, and that is reached as
// a whole rebalance is, in long ranges.
func (r *rebalance) towards(n int) {
	have, want := slices.Clone(r.have), r.want
	for range n {
		rich, poor := r.extremes()
		if rich < 0 || r.have[rich] <= want[rich] || r.have[poor] >= want[poor] {
			break
		}
		r.have[rich]--
		r.have[poor]++
		r.stuck[rich] = have[rich]-r.have[rich] == int64(len(r.lists[r.members[rich]]))
	}
	r.want, r.have = r.have, have
	clear(r.stuck)
	r.bySlots()
	r.want = want
}

// bySlots gives surplus slots away: exactly those, so nothing moves twice.
func (r *rebalance) bySlots() {
	for {
		rich, poor := r.extremes()
		if rich < 0 {
			return
		}
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
// all are near enough, no slot makes it better or the caps are used up. What a node of weight 0 has left goes in any case.
func (r *rebalance) byCosts() {
	for _, m := range r.members {
		slices.SortStableFunc(r.lists[m], func(a, b uint16) int { return cmp.Compare(r.cost(a), r.cost(b)) })
	}
	for i, m := range r.members {
		for r.weights[i] == 0 {
			at := r.affordable(r.lists[m], len(r.lists[m]))
			if at < 0 {
				break
			}
			_, poor := r.extremes()
			r.pass(i, poor, at)
		}
	}
	for r.uneven() {
		rich, poor := r.extremes()
		if rich < 0 {
			return
		}
		at := r.fitting(rich, r.have[rich]-r.want[rich], r.want[poor]-r.have[poor])
		switch {
		case at >= 0:
			r.pass(rich, poor, at)
		case r.caps == Caps{}:
			return
		default: // the slots of another one may be small enough for the caps
			r.stuck[rich] = true
		}
	}
}

// affordable is the place of the last of the first n slots of a list for which the caps have room, -1 for none.
func (r *rebalance) affordable(list []uint16, n int) int {
	if r.caps.Slots > 0 && r.left.Slots == 0 {
		return -1
	}
	for n--; n >= 0 && r.caps.Keys > 0 && r.s.stat(int(list[n])).Keys > r.left.Keys; n-- {
	}
	return n
}

// fitting chooses the slot of a member to pass on: the largest that makes neither end go beyond its share, else the smallest
// one if the squares of what both are off still become less, so that it ends. It returns -1 for none.
func (r *rebalance) fitting(rich int, much, little int64) int {
	list := r.lists[r.members[rich]]
	if much <= 0 || little < 0 {
		return -1
	}
	first, _ := slices.BinarySearchFunc(list, min(much, little)+1, func(slot uint16, c int64) int { return cmp.Compare(r.cost(slot), c) })
	if at := r.affordable(list, first); at >= 0 && r.cost(list[at]) > 0 {
		return at
	}
	if first < len(list) && r.cost(list[first]) < much+little && r.affordable(list[first:first+1], 1) == 0 {
		return first
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
	r.left.Slots--
	r.left.Keys -= r.s.stat(int(slot)).Keys
	r.d.give(slot, r.members[to])
}

// unsplittable names slots that are more than a node's whole share: no move can balance them.
func (r *rebalance) unsplittable() []string {
	var list []string
	for i, m := range r.members {
		for slot := range uint16(router.Slots) {
			stays := r.s.Owner[slot] == int16(m) && r.d.owner[slot] == int16(m)
			if c := r.cost(slot); stays && r.want[i] > 0 && c > r.want[i] {
				list = append(list, fmt.Sprintf("slot %d alone is %d %% of the share of %s: it cannot be balanced by moving slots",
					slot, 100*c/r.want[i], r.s.Nodes[m].Addr))
			}
		}
	}
	return list
}
