package repair

import (
	"slices"
	"strings"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// slotState is what the nodes say of one slot.
type slotState struct {
	slot     uint16
	d        *Doctor
	p        *picture
	claims   []*node // primaries that own it in their own view, by id
	owner    *node   // the only one of them, else nil
	leaving  []end   // primaries that show it as migrating
	arriving []end   // primaries that show it as importing
	shadow   *node   // a replica that shows it as open, nil for none
	holders  []*node // primaries that have keys of it and do not own it
}

// end is one side of an open slot as a node shows it.
type end struct {
	n    *node
	peer string // id
}

// state gathers what concerns one slot.
func (d *Doctor) state(p *picture, slot uint16) *slotState {
	s := &slotState{slot: slot, d: d, p: p}
	for _, n := range p.nodes {
		if n.view == nil {
			continue
		}
		if n.self.Primary && n.view.Owns(slot) {
			s.claims = append(s.claims, n)
		} else if n.has(slot) {
			s.holders = append(s.holders, n)
		}
		open, is := n.view.OpenSlots()[slot]
		switch {
		case !is:
		case !n.self.Primary:
			s.shadow = n // its primary's, or a leftover
		case open.Source == n.id:
			s.leaving = append(s.leaving, end{n, open.Target})
		default:
			s.arriving = append(s.arriving, end{n, open.Source})
		}
	}
	if len(s.claims) == 1 {
		s.owner = s.claims[0]
	}
	return s
}

// from returns the end at which a node shows the slot as importing, nil if it does not.
func (s *slotState) from(n *node) *end {
	for i := range s.arriving {
		if s.arriving[i].n == n {
			return &s.arriving[i]
		}
	}
	return nil
}

// working returns a primary that answers, nil if the node with this id is none.
func (s *slotState) working(id string) *node {
	if n := s.p.byID[id]; n != nil && n.primary() {
		return n
	}
	return nil
}

// away says that the slot has an owner that does not answer, and which may claim it when it does, it or its replica.
func (s *slotState) away() *node {
	for _, n := range s.p.nodes {
		if n.view == nil {
			continue
		}
		if o := s.p.byID[n.view.OwnerID(s.slot)]; o != nil && o.view == nil && !s.succeeded(o) {
			return o
		}
	}
	return nil
}

// succeeded says that a node that does not answer has a successor that does not know of the slot: the others take it for
// failed, nobody follows it any more, all that it still has is what the journal has just brought there, and one primary has
// keys of the slot, which it can only have from it. A node without a replica would still have its older slots as well.
func (s *slotState) succeeded(o *node) bool {
	if s.d.Meant == nil || s.d.Meant(s.slot) != o.id {
		return false
	}
	failed := false
	for _, n := range s.p.nodes {
		if n.view == nil {
			continue
		}
		if !n.self.Primary && n.self.PrimaryID == o.id {
			return false
		}
		v := n.view.Node(o.id)
		failed = failed || n.self.Primary && v != nil && v.Failed
		for slot := range uint16(router.Slots) {
			if n.view.OwnerID(slot) == o.id && s.d.Meant(slot) != o.id {
				return false
			}
		}
	}
	return failed && len(s.holders) == 1
}

// strongest is the claimant that the journal committed to, if it has the data, else the one with the highest epoch.
func (s *slotState) strongest() *node {
	best := s.claims[0]
	for _, n := range s.claims[1:] {
		if n.self.Epoch > best.self.Epoch {
			best = n
		}
	}
	if s.d.Meant == nil {
		return best
	}
	for _, n := range s.claims {
		if n.id == s.d.Meant(s.slot) && n.has(s.slot) {
			return n
		}
	}
	return best
}

// heir is who should own a slot that nobody claims; nil when there is no telling.
func (s *slotState) heir() *node {
	if s.d.Meant != nil {
		if n := s.working(s.d.Meant(s.slot)); n != nil {
			return n
		}
	}
	switch {
	case len(s.arriving) == 1 && s.arriving[0].n.primary():
		return s.arriving[0].n
	case len(s.holders) == 1:
		return s.holders[0]
	case len(s.holders) > 1 || len(s.arriving) > 1:
		return nil
	}
	var least *node
	count := 0
	for _, n := range s.p.primaries() {
		if least == nil || n.self.Slots < count {
			least, count = n, n.self.Slots
		}
	}
	return least
}

// action is one step of a repair: a command, or a move that the engine carries out, or keys that are brought to their owner.
type action struct {
	at      *node
	slot    uint16
	command []string // to at
	slots   []uint16 // of command, which ends in their ranges, and of yield
	move    *journal.Unit
	shut    *journal.Unit // closed at both ends, or moved when the target has keys after all
	alone   *journal.Unit // closed at the source; there is no target any more
	counted bool          // the slot is closed at at, when it has no key of it right before and after
	peer    string        // of counted: the node that it is opened from again, if there are keys after all; "": it cannot be
	yield   *node         // at gives its claim up to this node, which gets its keys before
	merge   *node         // keys of the slot at at go to this node, whose copies count
	serving *node         // of merge: copies of this node count too, as clients find them there; nil for none
	drop    bool          // keys of the slot at at are deleted
}

// words are the whole command.
func (a action) words() []string {
	words := slices.Clone(a.command)
	for r := range strings.FieldsSeq(plan.Ranges(a.slots)) {
		first, last, is := strings.Cut(r, "-")
		if !is {
			last = first
		}
		words = append(words, first, last)
	}
	return words
}

func (s *slotState) setslot(at *node, words ...string) action {
	return action{at: at, slot: s.slot, command: append([]string{"CLUSTER", "SETSLOT", number(s.slot)}, words...)}
}

func (s *slotState) stable(at *node) action { return s.setslot(at, "STABLE") }

// closing is stable for a node that must not have keys of the slot, and imports it from peer, if that is not "".
func (s *slotState) closing(at *node, peer string) action {
	return action{at: at, slot: s.slot, counted: true, peer: peer}
}

// resume opens the slot where it is not open, and carries on. The source comes last but for the move: its ASK must find
// the target ready.
func (s *slotState) resume(from, to *node) (list []action) {
	if e := s.from(to); e == nil || e.peer != from.id {
		list = append(list, s.setslot(to, "IMPORTING", from.id))
	}
	if e := s.leavingOwner(); e == nil || e.peer != to.id {
		list = append(list, s.setslot(from, "MIGRATING", to.id))
	}
	return append(list, action{at: from, slot: s.slot, move: s.unit(from, to)})
}

// unit is the move of the slot, to nobody yet for nil. It has an id of its own: the engine remembers units by it.
func (s *slotState) unit(from, to *node) *journal.Unit {
	u := &journal.Unit{ID: int(s.slot), Source: from.id, Slots: []uint16{s.slot}, Engine: "legacy", Online: true,
		SourceEpoch: from.self.Epoch, SourceRun: from.run}
	if to != nil {
		u.Target = to.id
		u.Failover = s.targetCounts(from, to, *u)
	}
	return u
}

func (d *Doctor) failover(u journal.Unit) bool { return d.Failover != nil && d.Failover(u) }

// shut closes the slot, when there is nothing of it at to.
func (s *slotState) shut(from, to *node) []action {
	return []action{{at: from, slot: s.slot, shut: s.unit(from, to)}}
}

// bring moves keys that a node should not have to the owner. The node must be willing to let go of them.
func (s *slotState) bring(from, owner *node) []action {
	return []action{s.setslot(from, "IMPORTING", owner.id), {at: from, slot: s.slot, merge: owner}, s.closing(from, owner.id)}
}
