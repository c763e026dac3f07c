package proxy

import "slotproxy/router"

// slotView is what one loop knows of one slot.
type slotView struct {
	owner    *node    // where its commands go; nil while nobody serves it
	trouble  *trouble // nil in calm times
	inFlight int32    // commands sent and not answered
	multi    int32    // of these, the ones with two or more keys, which a node may refuse with TRYAGAIN
	ops      uint64   // commands ever sent
}

// trouble marks a slot whose commands must be taken one at a time for each client: its owner has changed while
// commands were in flight to the old one, or it is open (keys are at two nodes). Without it a later command could
// overtake an earlier one of the same client on the other connection.
type trouble struct {
	gen uint32 // requests sent since carry this generation
	old int32  // requests in flight that were sent before
	// The slot is open: an ASK was seen. Cleared when a table that was fetched afterwards shows it closed.
	open bool
	// First table version whose word on open counts: the one being fetched when the ASK came may be older than it.
	trust uint64
	gate  *gate // nothing is sent, see gate.go; nil: none
}

// unsettle starts (or renews) trouble for a slot: everything in flight belongs to the past.
func (l *loop) unsettle(slot uint16) *trouble {
	l.restless = l.now + restlessFor
	v := &l.slots[slot]
	if v.trouble == nil {
		v.trouble = &trouble{}
		l.troubled = append(l.troubled, slot)
	}
	l.lastGen++
	if l.lastGen == 0 {
		l.lastGen = 1 // 0 means: sent in calm times
	}
	v.trouble.gen = l.lastGen
	v.trouble.old = v.inFlight
	return v.trouble
}

// settle ends trouble when nothing of the past is left.
func (l *loop) settle(v *slotView) {
	t := v.trouble
	if t.old > 0 || t.open || t.gate != nil {
		return
	}
	v.trouble = nil
}

// sweepTrouble forgets slots that have become calm and believes a fresh table about open ones.
func (l *loop) sweepTrouble() {
	keep := l.troubled[:0]
	for _, slot := range l.troubled {
		v := &l.slots[slot]
		if v.trouble != nil {
			l.believe(slot, v.trouble)
			l.settle(v)
		}
		if v.trouble != nil {
			keep = append(keep, slot)
		}
	}
	l.troubled = keep
}

// believe lets a table that is new enough say that an open slot is closed.
func (l *loop) believe(slot uint16, t *trouble) {
	if !t.open {
		return
	}
	if l.tableVersion() < t.trust {
		l.hint(router.Hint{Cause: router.Ask, Slot: slot, HasSlot: true})
		return
	}
	_, t.open = l.table.Open[slot]
}

// tally says in which numbers a request is, so that it leaves those that it has entered.
type tally uint8

const (
	countedNowhere tally = iota
	countedInSlot        // in those of its slot
	countedWide          // in loop.wide
)

// count notes that r went to a node connection; uncount that it is answered or taken back.
func (l *loop) count(r *request) {
	if !r.hasSlot || r.block != nil {
		if r.root().wide {
			l.countWide(r) // its command may be over before it, when the client leaves
		}
		return
	}
	v := &l.slots[r.slot]
	v.inFlight++
	v.ops++
	if r.multi {
		v.multi++
	}
	r.counted, r.gen = countedInSlot, 0
	if v.trouble != nil {
		r.gen = v.trouble.gen
	}
}

// countWide notes that a command on the whole keyspace, or a part of one, is under way.
func (l *loop) countWide(r *request) {
	l.wide++
	r.counted = countedWide
}

func (l *loop) uncount(r *request) {
	from := r.counted
	r.counted = countedNowhere
	switch from {
	case countedNowhere:
		return
	case countedWide:
		l.wide--
		return
	}
	v := &l.slots[r.slot]
	v.inFlight--
	if r.multi {
		v.multi--
	}
	if t := v.trouble; t != nil {
		if r.gen != t.gen {
			t.old--
		}
		l.settle(v)
	}
}

// setOwner moves a slot to n in this loop's view.
func (l *loop) setOwner(slot uint16, n *node) {
	v := &l.slots[slot]
	if v.owner == n {
		return
	}
	if v.owner != nil {
		l.slotLeft(slot)
	}
	v.owner = n
	l.moves++
	if len(l.claims) > 0 {
		delete(l.claims, slot) // whoever says this is newer
	}
	if v.inFlight > 0 || v.trouble != nil {
		l.unsettle(slot)
	}
}

// adoptTable makes the loop's view follow a published table.
func (l *loop) adoptTable(t *router.Table) {
	if l.table != nil && t.Version <= l.table.Version {
		return
	}
	l.table = t
	byIndex := make([]*node, len(t.Nodes))
	for i := range t.Nodes {
		byIndex[i] = l.nodeAt(t.Nodes[i].Addr)
		byIndex[i].info = &t.Nodes[i]
	}
	for slot := range l.slots {
		var owner *node
		if i := t.Owner[slot]; i >= 0 {
			owner = byIndex[i]
		}
		if len(l.claims) > 0 {
			owner = l.claimed(uint16(slot), owner, t.Version)
		}
		if l.slots[slot].owner != owner {
			l.setOwner(uint16(slot), owner)
		}
	}
	if len(t.Open) > 0 {
		l.restless = l.now + restlessFor
	}
	l.dropLostNodes(byIndex)
	l.ownerFailed = false
	for _, i := range t.Owner {
		l.ownerFailed = l.ownerFailed || i >= 0 && t.Nodes[i].Failed
	}
	l.primaries = l.primaries[:0]
	for _, i := range t.Primaries() {
		l.primaries = append(l.primaries, byIndex[i])
	}
	l.reachAll()
	l.sweepTrouble()
	l.followTable()
	l.wakeWaiting()
}

// dropLostNodes closes the connections to nodes that left the cluster or that the cluster calls failed: what is in
// flight there will not be answered, and reads can go to the successor at once.
func (l *loop) dropLostNodes(known []*node) {
	for _, n := range known {
		n.seen = l.table.Version
	}
	for addr, n := range l.nodes {
		gone := n.seen != l.table.Version
		if gone || n.info.Failed {
			n.closeAll(errNodeGone)
		}
		if gone && len(n.conns) == 0 {
			delete(l.nodes, addr)
			l.homeAddr = nil
		}
	}
}
