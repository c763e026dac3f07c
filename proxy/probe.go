package proxy

import (
	"math/rand/v2"
	"strconv"
	"sync"

	"slotproxy/resp"
	"slotproxy/router"
)

// Proof that a node had all keys of a slot when it gave a page. Behind the page, on the same connection, it is asked for a
// key of the slot that does not exist: the owner says that there is none, a former owner MOVED, and the source of a slot
// that is being moved ASK. Where there are many slots, CLUSTER NODES says it for all at once. The proof comes after the
// page, so a slot would have to go away and come back between two commands of one write to be missed.

const (
	// firstProbes are sent together with a page: a page of the usual size does not go over more slots, and then one
	// round trip is enough.
	firstProbes = 8
	// maxProbes is where CLUSTER NODES is cheaper: a probe costs a node about half a microsecond, the text about 100.
	maxProbes = 128
)

// fault is the first slot of a step that was not simply there. slot is -1 when all were.
type fault struct {
	slot int
	open bool  // it is being moved away: this node is its source
	to   *node // where it is, or goes; nil if that is not a node of the cluster
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

// prove asks for the slots from first to last that have not been probed yet.
func (l *loop) prove(r *request, first, last int) {
	w := r.walk
	if last-first <= maxProbes {
		l.probe(r, w.from, first, last, false)
		r.fan.stage = (*loop).judgePage
	} else {
		l.askNode(r, w.from, clusterNodes)
		r.fan.stage = (*loop).nodesCame
	}
	r.sess.sendParts(r)
}

var clusterNodes = resp.AppendCommandStrings(nil, "CLUSTER", "NODES")

// nodesCame takes what a node says of its slots. A user who may not ask that has to probe them one by one.
func (l *loop) nodesCame(r *request) bool {
	w := r.walk
	at := len(r.fan.parts) - 1
	p := r.fan.parts[at]
	text, ok := infoText(p.reply)
	if !ok && resp.Classify(p.reply) != resp.NoPerm {
		return l.stepFailed(r, p)
	}
	covered := w.covered()
	view, err := router.ParseNodes([]byte(text), w.from.addr)
	l.dropParts(r, at)
	if err != nil {
		l.probe(r, w.from, min(w.slot+firstProbes, w.upTo), covered, false)
		r.fan.stage = (*loop).judgePage
		r.sess.sendParts(r)
		return true
	}
	for slot := w.slot; slot < covered; slot++ {
		if !view.Owns(uint16(slot)) {
			l.hint(router.Hint{Cause: router.Down, Slot: uint16(slot), HasSlot: true, Addr: w.from.addr})
			w.faulty.note(fault{slot: slot})
			break
		}
		if view.Leaves(uint16(slot)) {
			w.faulty.note(fault{slot: slot, open: true})
			break
		}
	}
	return l.judgePage(r)
}

// trustTable takes the table's word on open slots for a user who may not ask the nodes.
func (l *loop) trustTable(w *walk) {
	if !w.blind || w.target || l.table == nil {
		return
	}
	for slot, open := range l.table.Open {
		if i := l.table.ByID(open.Target); i >= 0 && int(slot) >= w.slot && int(slot) < w.covered() {
			w.faulty.note(fault{slot: int(slot), open: true, to: l.nodeAt(l.table.Nodes[i].Addr)})
		}
	}
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
	w.faulty.note(fault{slot: int(to.Slot), open: kind == resp.Ask, to: n})
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
