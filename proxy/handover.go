package proxy

import (
	"slices"

	"slotproxy/resp"
	"slotproxy/router"
)

// What happens in a loop when a gate is released: the slots change their owner, and everything that has to do with them
// follows at once, instead of finding out from the old owner.

// claim is the word of the one who moved a slot, which tables that may be older do not take back.
type claim struct {
	owner *node
	trust uint64 // first table version whose word on the slot counts
}

// openSlots opens the gates of the slots, which the node at owner serves now unless that is "".
func (l *loop) openSlots(slots []uint16, owner string, trust uint64) {
	l.beginQuiet()
	defer l.endQuiet()
	var set slotSet
	for _, slot := range slots {
		set.add(slot)
		l.lift(slot)
	}
	l.pending = slices.DeleteFunc(l.pending, func(h *hold) bool {
		mine := slices.ContainsFunc(h.slots, set.has)
		if mine {
			h.told <- errGateReleased
		}
		return mine
	})
	if owner != "" {
		n := l.namedNode(owner)
		for _, slot := range slots {
			l.handOver(slot, n, trust)
		}
		l.wakeBlocked(n, &set)
		l.moveShards(n, &set)
	}
	l.wakeSlots(&set)
	l.unpark()
}

// namedNode finds the node with this address, as the table writes it if the table has it. One that it does not know yet
// stays until a table that counts says otherwise.
func (l *loop) namedNode(addr string) *node {
	if l.table != nil {
		if i := l.table.ByAddr(addr); i >= 0 {
			addr = l.table.Nodes[i].Addr
		}
	}
	n := l.nodeAt(addr)
	n.seen = l.tableVersion()
	return n
}

// handOver makes n the owner of a slot, whatever older tables say.
func (l *loop) handOver(slot uint16, n *node, trust uint64) {
	l.setOwner(slot, n)
	if l.claims == nil {
		l.claims = map[uint16]claim{}
	}
	l.claims[slot] = claim{owner: n, trust: trust}
	if t := l.cares[slot].trouble; t != nil {
		t.open = false
		l.settle(slot)
	}
}

// claimed is the owner of a slot by a table of this version, or by the claim that is newer.
func (l *loop) claimed(slot uint16, owner *node, version uint64) *node {
	c, ok := l.claims[slot]
	if !ok {
		return owner
	}
	if version >= c.trust {
		delete(l.claims, slot)
		return owner
	}
	c.owner.seen = version // it must not go before the table that counts
	return c.owner
}

// pressClaims asks for the table that ends the claims.
func (l *loop) pressClaims() {
	for _, c := range l.claims {
		l.hint(router.Hint{Cause: router.Moved, Addr: c.owner.addr})
		return // one question brings a table for all
	}
}

// wakeSlots lets what waits for one of the slots go on before its time.
func (l *loop) wakeSlots(set *slotSet) {
	waiting := l.waiting
	l.waiting = nil
	for _, x := range waiting {
		if r := x.r; r.state == stateWaiting && r.hasSlot && set.has(r.slot) {
			l.goAgain(r)
		} else {
			l.waiting.push(x)
		}
	}
}

// wakeBlocked makes the clients come to n that wait for keys of the slots in other nodes. Those would send them away by
// themselves, but only when they look, once a second.
func (l *loop) wakeBlocked(n *node, set *slotSet) {
	for _, old := range l.nodes {
		if old == n {
			continue
		}
		for _, c := range old.leases {
			if r := c.queue.first(); r != nil && r.block != nil && r.hasSlot && r.state == stateSent && set.has(r.slot) {
				l.wake(r)
			}
		}
	}
}

// wake ends the wait of r in its node, without its client noticing. If the node refuses, or has not seen the command
// yet, r will be told by itself where its slot is.
func (l *loop) wake(r *request) {
	c := r.conn
	if r.sess == nil || r.block.woken || !c.ready || c.clientID == 0 {
		return
	}
	to := c.node.conn(c.profile, 0)
	if to == nil {
		return
	}
	r.block.woken = true
	r.refs++
	c.cancels++
	l.ask(to, resp.AppendCommandStrings(nil, "CLIENT", "UNBLOCK", decimal(c.clientID), endByError), func(l *loop, _ *request, reply []byte) {
		c.cancels--
		if n, ok := integer(reply); r.state == stateSent && r.conn == c && (!ok || n != 1) {
			r.block.woken = false
		}
		if c.leased && c.queue.n == 0 && !c.kept {
			c.node.returned(c)
		}
		l.release(r)
	})
}

// moveShards makes the subscriptions to sharded channels of the slots follow to n. What was published before the gate
// closed has been answered, so it comes before the old node's confirmation that they are over.
func (l *loop) moveShards(n *node, set *slotSet) {
	for _, h := range l.hubs {
		for _, t := range h.topics[shardTopic] {
			switch {
			case !set.has(t.slot):
			case len(t.at) == 0:
				h.strand(t)
				h.retryAt = l.now
				h.due(l.now)
			case t.at[0].n != n:
				t.elsewhere = l.now - moveAfter // nothing is to be waited for
				h.misses(t)
			}
		}
	}
}
