package proxy

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"sync"

	"slotproxy/resp"
	"slotproxy/router"
)

// Proof that a node had all keys of a slot when it gave a page. It is asked, on the same connection, for a key of the slot
// that does not exist: the owner says that there is none, another node MOVED, and the source of a slot that is being moved
// ASK. Where there are many slots, CLUSTER NODES says it for all at once. It is asked before the page and behind it: only
// before, the slot could have gone, only behind, it could just have come. So a slot would have to go away and come back
// between two commands of one write to be missed.

const (
	// firstProbes is how many slots a page of the usual size goes over at most, where there are many keys. What a page
	// holds of further slots is dropped, and asked for in a step of its own.
	firstProbes = 8
	// maxProbes is where CLUSTER NODES is cheaper: a probe costs a node about half a microsecond, the text about 100.
	maxProbes = 128
)

// fault is the first slot of a step that was not simply there. slot is -1 when all were.
type fault struct {
	slot int
	open bool  // it is being moved away: this node is its source
	to   *node // where it goes; not nil if open
}

// note keeps the fault with the lowest slot.
func (f *fault) note(g fault) {
	if f.slot < 0 || g.slot < f.slot {
		*f = g
	}
}

// slotTags finds, once, a short hash tag for every slot.
var slotTags = sync.OnceValue(func() []string {
	tags := make([]string, router.Slots)
	for i, left := 0, router.Slots; left > 0; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		if slot := router.Slot([]byte(tag)); tags[slot] == "" {
			tags[slot] = tag
			left--
		}
	}
	return tags
})

// nobodysKey ends the keys of the probes. It is not known to clients, who might else make such a key.
var nobodysKey = "}slotproxy:" + strconv.FormatUint(rand.Uint64(), 36)

// probe adds a part that asks n for the slots from first to last, exclusive. The reply of all but the last are swallowed,
// an error among them is kept, see heed. target: n may be the target of an open slot.
func (l *loop) probe(r *request, n *node, first, last int, target bool) {
	if first >= last || r.walk.blind {
		return
	}
	tags := slotTags()
	b := l.scratch[:0]
	for slot := first; slot < last; slot++ {
		b = resp.AppendCommandStrings(b, "TYPE", "{"+tags[slot]+nobodysKey)
	}
	l.scratch = b
	p := l.askNode(r, n, b)
	p.pre = uint32(last - first - 1)
	p.asking = target
}

// prove asks w.from which of the slots of the step it holds.
func (l *loop) prove(r *request) {
	w := r.walk
	switch {
	case w.wide || w.blind:
	case w.upTo-w.slot > maxProbes:
		l.askNode(r, w.from, clusterNodes)
	default:
		l.probe(r, w.from, w.slot, w.upTo, w.target)
	}
}

var clusterNodes = resp.AppendCommandStrings(nil, "CLUSTER", "NODES")

// proven takes the outcome of proofs. It reports false when the step cannot go on; then it has seen to what comes next.
func (l *loop) proven(r *request, proofs ...[]*request) bool {
	w := r.walk
	if !inOrder(r.fan.parts) {
		l.pauseWalk(r, causeLost)
		return false
	}
	for _, parts := range proofs {
		for _, p := range parts {
			ok := true
			if bytes.Equal(p.buf, clusterNodes) {
				ok = l.heedNodes(w, p)
			} else {
				ok = l.heed(r, p)
			}
			if !ok {
				l.stepFailed(r, p)
				return false
			}
		}
	}
	if w.noNodes && !w.blind && w.upTo-w.slot > maxProbes {
		l.step(r) // over fewer slots
		return false
	}
	return true
}

// inOrder says that parts have gone to one connection one behind the other. They may not have if it broke on the way.
func inOrder(parts []*request) bool {
	for i := 1; i < len(parts); i++ {
		if parts[i].conn != parts[0].conn || parts[i].end <= parts[i-1].end {
			return false
		}
	}
	return true
}

// heedNodes takes what a node says of its slots. It reports false when the node did not say it. A user who may not ask it
// has to probe the slots one by one.
func (l *loop) heedNodes(w *walk, p *request) bool {
	text, ok := infoText(p.reply)
	if !ok && resp.Classify(p.reply) != resp.NoPerm {
		return false
	}
	view, err := router.ParseNodes([]byte(text), w.from.addr)
	if err != nil {
		w.noNodes = true
		return true
	}
	for slot := w.slot; slot < w.upTo; slot++ {
		to, leaves := view.Leaves(uint16(slot))
		if view.Owns(uint16(slot)) && !leaves {
			continue
		}
		l.hint(router.Hint{Cause: router.Down, Slot: uint16(slot), HasSlot: true, Addr: w.from.addr})
		f := fault{slot: slot}
		if leaves {
			f.to = l.nodeWithID(to)
			f.open = f.to != nil
		}
		w.faulty.note(f)
		break
	}
	return true
}

// nodeWithID is the node of the table with this ID, nil if there is none.
func (l *loop) nodeWithID(id string) *node {
	if l.table == nil {
		return nil
	}
	if i := l.table.ByID(id); i >= 0 {
		return l.nodeAt(l.table.Nodes[i].Addr)
	}
	return nil
}

// trustTable takes the table's word on open slots for a user who may not ask the nodes.
func (l *loop) trustTable(w *walk) {
	if !w.blind || w.target || w.wide || l.table == nil {
		return
	}
	for slot := range l.table.Open {
		if f := l.tableSays(int(slot)); f.open && f.slot >= w.slot && f.slot < w.covered() {
			w.faulty.note(f)
		}
	}
}

// tableSays is the fault of an open slot in the table, none if it is not open.
func (l *loop) tableSays(slot int) fault {
	if l.table != nil {
		if to := l.nodeWithID(l.table.Open[uint16(slot)].Target); to != nil && to != l.owners.of(uint16(slot)) {
			return fault{slot: slot, open: true, to: to}
		}
	}
	return fault{slot: -1}
}

// heed takes the outcome of a probe. It reports false when the node did not say what it was asked.
func (l *loop) heed(r *request, p *request) bool {
	w := r.walk
	line := p.early
	if line == nil {
		line = p.reply
	}
	if line[0] != '-' {
		return true
	}
	kind := resp.Classify(line)
	switch kind {
	case resp.NoPerm:
		w.blind = true // the user may not read such a key, or not with TYPE
		return true
	case resp.Moved, resp.Ask:
	default:
		return false
	}
	to, ok := resp.ParseRedirect(line)
	if !ok {
		return false
	}
	n := l.target(p.conn, to)
	if kind == resp.Moved && n != nil {
		l.setOwner(to.Slot, n)
	}
	cause := router.Moved
	if kind == resp.Ask {
		cause = router.Ask
	}
	h := router.Hint{Cause: cause, Slot: to.Slot, HasSlot: true, Addr: p.conn.node.addr}
	if kind == resp.Moved && n != nil {
		h.Addr = n.addr
	}
	l.hint(h)
	w.faulty.note(fault{slot: int(to.Slot), open: kind == resp.Ask && n != nil, to: n})
	return true
}

// dropParts takes the parts from at on out of a command. They are all answered.
func (l *loop) dropParts(r *request, at int) {
	for i, p := range r.fan.parts[at:] {
		l.dropReply(p)
		p.enter(stateDone)
		p.parent = nil
		l.release(p)
		r.fan.parts[at+i] = nil
	}
	r.fan.parts = r.fan.parts[:at]
}
