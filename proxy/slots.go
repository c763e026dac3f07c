package proxy

import "slotproxy/router"

// slotView is what one loop counts of one slot. Every command touches one of these at random, and all of them together must leave
// room in a core's cache for the buffers: 8 bytes, what is rare is elsewhere.
type slotView struct {
	inFlight int32  // commands sent and not answered
	ops      uint32 // commands ever sent, modulo 2^32: see opsWraps
}

// ownership says where the commands of each slot go. A pointer for each slot would be four times as large, and where a command goes
// has to be known before anything else: these 32 KiB fit the nearest cache.
type ownership struct {
	bySlot [router.Slots]uint16
	nodes  []*node // by number; none at 0, for slots that nobody serves, and at numbers that are free
	owned  []int   // how many slots have the number
}

func newOwnership() ownership { return ownership{nodes: []*node{nil}, owned: []int{router.Slots}} }

// of is the node that serves the slot, nil while nobody does.
func (o *ownership) of(slot uint16) *node { return o.nodes[o.bySlot[slot]] }

// set gives the slot to n, or to nobody. A node has a number while it has slots, so there are at most router.Slots of them.
func (o *ownership) set(slot uint16, n *node) {
	number := uint16(0)
	if n != nil {
		if n.number == 0 {
			n.number = o.number(n)
		}
		number = n.number
	}
	old := o.bySlot[slot]
	o.bySlot[slot] = number
	o.owned[number]++
	if o.owned[old]--; o.owned[old] == 0 && old != 0 {
		o.nodes[old].number, o.nodes[old] = 0, nil
	}
}

// number finds a free number for n.
func (o *ownership) number(n *node) uint16 {
	for i := 1; i < len(o.nodes); i++ {
		if o.nodes[i] == nil {
			o.nodes[i] = n
			return uint16(i)
		}
	}
	o.nodes, o.owned = append(o.nodes, n), append(o.owned, 0)
	return uint16(len(o.nodes) - 1)
}

// slotCare is what makes a slot's commands wait for each other, see stir.
type slotCare struct {
	trouble *trouble // nil in calm times
	multi   int32    // commands in flight with two or more keys, which a node may refuse with TRYAGAIN
}

// slotSet is a set of slots that fits the nearest cache.
type slotSet [router.Slots / 64]uint64

func (s *slotSet) add(slot uint16)      { s[slot/64] |= 1 << (slot % 64) }
func (s *slotSet) drop(slot uint16)     { s[slot/64] &^= 1 << (slot % 64) }
func (s *slotSet) has(slot uint16) bool { return s[slot/64]>>(slot%64)&1 != 0 }

// stir keeps l.stirred: the slots with something in their slotCare.
func (l *loop) stir(slot uint16) {
	if c := &l.cares[slot]; c.trouble != nil || c.multi > 0 {
		l.stirred.add(slot)
	} else {
		l.stirred.drop(slot)
	}
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
	v := &l.cares[slot]
	if v.trouble == nil {
		v.trouble = &trouble{}
		l.troubled = append(l.troubled, slot)
		l.stir(slot)
	}
	l.lastGen++
	if l.lastGen == 0 {
		l.lastGen = 1 // 0 means: sent in calm times
	}
	v.trouble.gen = l.lastGen
	v.trouble.old = l.slots[slot].inFlight
	return v.trouble
}

// settle ends trouble when nothing of the past is left.
func (l *loop) settle(slot uint16) {
	v := &l.cares[slot]
	t := v.trouble
	if t.old > 0 || t.open || t.gate != nil {
		return
	}
	v.trouble = nil
	l.stir(slot)
}

// sweepTrouble forgets slots that have become calm and believes a fresh table about open ones.
func (l *loop) sweepTrouble() {
	keep := l.troubled[:0]
	for _, slot := range l.troubled {
		v := &l.cares[slot]
		if v.trouble != nil {
			l.believe(slot, v.trouble)
			l.settle(slot)
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
	if v.ops++; v.ops == 0 {
		l.opsWraps[r.slot]++
	}
	r.counted, r.gen = countedInSlot, 0
	if !r.multi && !l.stirred.has(r.slot) {
		return
	}
	c := &l.cares[r.slot]
	if r.multi {
		c.multi++
		l.stir(r.slot)
	}
	if c.trouble != nil {
		r.gen = c.trouble.gen
	}
}

// sent is how many commands have ever been sent for a slot.
func (l *loop) sent(slot uint16) uint64 { return l.opsWraps[slot]<<32 + uint64(l.slots[slot].ops) }

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
	l.slots[r.slot].inFlight--
	if !l.stirred.has(r.slot) {
		return
	}
	c := &l.cares[r.slot]
	if r.multi {
		c.multi--
		l.stir(r.slot)
	}
	if t := c.trouble; t != nil {
		if r.gen != t.gen {
			t.old--
		}
		l.settle(r.slot)
	}
}

// setOwner moves a slot to n in this loop's view.
func (l *loop) setOwner(slot uint16, n *node) {
	old := l.owners.of(slot)
	if old == n {
		return
	}
	if old != nil {
		l.slotLeft(slot)
	}
	l.owners.set(slot, n)
	l.moves++
	if len(l.claims) > 0 {
		delete(l.claims, slot) // whoever says this is newer
	}
	if l.slots[slot].inFlight > 0 || l.cares[slot].trouble != nil {
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
		if l.owners.of(uint16(slot)) != owner {
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
