package plan

import (
	"cmp"
	"fmt"
	"slices"

	"slotproxy/router"
)

// draft collects moves and makes a Plan of them.
type draft struct {
	s     *Snapshot
	owner [router.Slots]int16 // as it will be
}

func newDraft(s *Snapshot) *draft { return &draft{s: s, owner: s.Owner} }

// give moves a slot to the node with this index.
func (d *draft) give(slot uint16, to int) { d.owner[slot] = int16(to) }

// plan puts the moves in order, by source and target.
func (d *draft) plan(goal string, warnings ...string) *Plan {
	p := &Plan{Goal: goal, Fingerprint: Fingerprint(d.s), Before: Shares(d.s), After: d.s.shares(&d.owner), Warnings: warnings}
	type pair struct{ from, to int16 }
	moves := map[pair][]uint16{}
	for slot := range router.Slots {
		from, to := d.s.Owner[slot], d.owner[slot]
		if from == to {
			continue
		}
		moves[pair{from, to}] = append(moves[pair{from, to}], uint16(slot))
		st := d.s.stat(slot)
		p.Slots++
		p.Keys += st.Keys
		p.Bytes += st.Bytes
	}
	for pr, slots := range moves {
		p.Moves = append(p.Moves, Move{Source: d.s.Nodes[pr.from].ID, Target: d.s.Nodes[pr.to].ID, Slots: slots})
	}
	slices.SortFunc(p.Moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Target, b.Target))
	})
	p.Estimate, p.EstimateBy = d.s.estimate(p)
	p.Warnings = append(p.Warnings, d.s.doubts(p)...)
	return p
}

// fullMemory is the part of maxmemory above which a target is better not filled: what it evicts was just moved there.
const fullMemory = 0.8

// doubts are what an operator should know before.
func (s *Snapshot) doubts(p *Plan) []string {
	var list []string
	arriving, noted := map[string]int64{}, map[string]bool{}
	for _, m := range p.Moves {
		for _, slot := range m.Slots {
			arriving[m.Target] += s.stat(int(slot)).Bytes
		}
		for _, id := range []string{m.Source, m.Target} {
			n := &s.Nodes[s.index(id)]
			if n.Replicas == 0 && !noted[id] {
				noted[id] = true
				list = append(list, fmt.Sprintf("%s has no replica: what it holds is lost when it dies", n.Addr))
			}
		}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if after := n.UsedMemory + arriving[n.ID]; n.MaxMemory > 0 && arriving[n.ID] > 0 && float64(after) > fullMemory*float64(n.MaxMemory) {
			list = append(list, fmt.Sprintf("%s will use %d %% of its maxmemory", n.Addr, 100*after/n.MaxMemory))
		}
	}
	return list
}

// nearTo sorts slots so that those next to what the target has come first: ranges stay long, and with them the lines of
// CLUSTER NODES short. Among equals the lowest slot comes first.
func nearTo(slots []uint16, owner *[router.Slots]int16, target int) {
	if len(slots) == 0 {
		return
	}
	distance := distances(owner, target)
	slices.SortStableFunc(slots, func(a, b uint16) int { return cmp.Compare(distance[a], distance[b]) })
}

// distances is how far each slot is from the nearest one of a node; all the same when it has none.
func distances(owner *[router.Slots]int16, node int) *[router.Slots]int {
	var d [router.Slots]int
	last := -router.Slots
	for slot := range router.Slots {
		if owner[slot] == int16(node) {
			last = slot
		}
		d[slot] = min(slot-last, router.Slots)
	}
	next := 2 * router.Slots
	for slot := router.Slots - 1; slot >= 0; slot-- {
		if owner[slot] == int16(node) {
			next = slot
		}
		d[slot] = min(d[slot], next-slot)
	}
	return &d
}
