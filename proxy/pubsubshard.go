package proxy

import "slotproxy/router"

// Sharded channels are heard at the owner of their slot. When the slot leaves a node, that ends the subscriptions there
// with a message of its own, which clients do not see: behind it nothing comes from this node, and the channel is
// subscribed at the new owner. A node that says nothing is asked after a while, and left when it is not the owner: one that
// is takes messages, from a publisher of whom we know nothing yet perhaps, and who leaves it would miss them.

// moveAfter is how long the old node of a slot may take to end a subscription: longer than the nodes need to agree.
const moveAfter = int64(500e6)

// publishersWait is how long PUBLISH waits for subscribers that have lost their node. It is counted from the loss, so that
// publishers do not suffer from subscribers that find no other.
const publishersWait = int64(1e9)

// pokeEvery bounds how often subscribers are told that a publisher waits for them.
const pokeEvery = int64(20e6)

// followTable makes the subscriptions follow a new table.
func (l *loop) followTable() {
	for _, h := range l.hubs {
		for _, f := range h.feeds {
			f.primary = l.isPrimary(f.n)
		}
		g := grouping{leave: true}
		for _, kind := range [2]topicKind{plainTopic, patternTopic} {
			for _, t := range h.topics[kind] {
				h.followWide(&g, t)
			}
		}
		h.sendGroups(g, nil)
		for _, t := range h.topics[shardTopic] {
			h.followSlot(t)
		}
	}
}

// followWide subscribes to the events of new primaries and leaves those that are none any more.
func (h *hub) followWide(g *grouping, t *topic) {
	if len(t.at) == 0 || t.wide {
		h.strand(t)
	}
	if !t.wide {
		return
	}
	for _, f := range t.at {
		if !f.primary && f != h.home {
			g.add(f, t)
		}
	}
}

// followSlot notes since when a sharded channel has been at the wrong node.
func (h *hub) followSlot(t *topic) {
	switch owner := h.l.owners.of(t.slot); {
	case len(t.at) == 0:
		h.strand(t)
	case t.at[0].n != owner:
		h.misses(t)
	default:
		t.kept = 0
		if h.l.now-t.poked > moveAfter { // else a publisher may know better than this loop
			t.elsewhere = 0
		}
	}
}

// misses notes that t is not heard where its slot is, and looks again when the old node has had time to end it.
func (h *hub) misses(t *topic) {
	if t.elsewhere == 0 {
		t.elsewhere = h.l.now
	}
	if at := t.elsewhere + moveAfter; at > h.l.now {
		if h.moveAt == 0 || at < h.moveAt {
			h.moveAt = at
		}
		h.due(at)
	}
}

// checkShards asks the nodes that should no longer own the slot and have not said so, by subscribing once more.
func (h *hub) checkShards() {
	g := grouping{}
	for _, t := range h.topics[shardTopic] {
		h.followSlot(t)
		if t.elsewhere != 0 && h.l.now-t.elsewhere >= moveAfter && t.parting+t.asked == 0 {
			for _, f := range t.at {
				g.add(f, t)
			}
		}
	}
	h.sendGroups(g, nil)
}

// stays takes the word of a node that it owns the slot of topics. A table that was made since weighs more: the node may be cut off
// from the others, and not know that it has been replaced.
func (h *hub) stays(f *feed, topics []*topic) {
	var cutOff []*topic
	for _, t := range topics {
		if t.kind != shardTopic || t.elsewhere == 0 || !t.isAt(f) {
			continue
		}
		if version := h.l.tableVersion(); t.kept == 0 {
			t.kept = version
			h.l.hint(router.Hint{Cause: router.Moved, Addr: f.n.addr})
		} else if version > t.kept && h.l.owners.of(t.slot) != f.n {
			cutOff = append(cutOff, t)
			continue
		}
		t.elsewhere = 0
		h.followSlot(t)
	}
	h.leaves(f, cutOff)
}

// leaves ends subscriptions at a node that does not serve their slot.
func (h *hub) leaves(f *feed, topics []*topic) {
	g := grouping{leave: true}
	for _, t := range topics {
		if t.kind == shardTopic && t.isAt(f) && t.parting == 0 {
			g.add(f, t)
		}
	}
	h.sendGroups(g, nil)
}

// tooEarly says that a message has to wait: subscribers of this proxy are not yet where it goes, and would miss it.
func (l *loop) tooEarly(r *request, n *node) bool {
	a := &l.p.audience
	if !r.hasSlot {
		return a.adrift.Load() > 0 && l.now-a.since.Load() < publishersWait
	}
	if a.shards.Load() == 0 || l.now-r.start > l.limits.RedirectBudget.Nanoseconds()/2 {
		return false
	}
	wait, poke := a.awaited(r.slot, n.addr, l.now)
	if poke {
		slot, addr := r.slot, n.addr
		for _, other := range l.p.loops {
			other.post(message{kind: msgCall, call: func(l *loop) { l.pokeShards(slot, addr) }})
		}
	}
	return wait
}

// pokeShards hurries the subscriptions of a slot to the node at addr, where a publisher waits for them.
func (l *loop) pokeShards(slot uint16, addr string) {
	for _, h := range l.hubs {
		for _, t := range h.topics[shardTopic] {
			switch {
			case t.slot != slot:
			case len(t.at) == 0:
				h.strand(t)
				h.retryAt = l.now
				h.due(l.now)
			case t.at[0].n.addr != addr:
				t.poked = l.now
				h.misses(t)
			}
		}
	}
}
