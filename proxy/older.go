package proxy

import (
	"bytes"
	"strconv"
	"strings"

	"slotproxy/resp"
	"slotproxy/router"
)

// Walking on servers that keep all keys of a node in one table, Redis before 7.4 and Valkey before 8.0: their SCAN goes
// through all slots at once. Here CLUSTER GETKEYSINSLOT gives the keys of a slot, and the proxy does what the server's SCAN
// would do with them: MATCH, TYPE, and leaving out what has expired. A slot too large for that is walked by the node's
// SCAN, of whose pages the keys of this slot are taken. A user who may not use CLUSTER walks the whole node that way,
// for all of its slots; then nothing is certain while slots move.

const (
	// countBatch is how many slots are counted in one step: the empty ones of a small keyspace are passed quickly.
	countBatch = 512
	// bigSlot is how many keys of a slot are taken in one piece. Replies stay below a megabyte or so, and a loop is not
	// held up for more than some milliseconds.
	bigSlot = 10000
	// growth is how many keys a slot may gain between being counted and being read.
	growth = 100
)

// share is one slot of a step that has keys.
type share struct{ slot, count int }

// askCounts asks for the sizes of the next slots. The first part of a SCAN is the command itself: the node judges its
// arguments, and whether the user may use it.
func (l *loop) askCounts(r *request) {
	w := r.walk
	if !w.keys {
		l.askScan(r, 0, 1)
	}
	w.upTo = min(w.upTo, w.slot+countBatch)
	l.prove(r)
	w.pageAt = len(r.fan.parts)
	for slot := w.slot; slot < w.upTo; slot++ {
		l.scratch = resp.AppendCommandStrings(l.scratch[:0], "CLUSTER", "COUNTKEYSINSLOT", itoa(slot))
		l.askNode(r, w.from, l.scratch)
	}
	r.fan.stage = (*loop).countsCame
}

// countsCame chooses how many slots make a page, and asks for their keys.
func (l *loop) countsCame(r *request) bool {
	w := r.walk
	parts := r.fan.parts
	if !w.keys {
		if parts[0].reply[0] == '-' {
			return l.stepFailed(r, parts[0])
		}
		parts = parts[1:]
	}
	counts := r.fan.parts[w.pageAt:]
	if p := counts[0]; resp.Classify(p.reply) == resp.NoPerm {
		return l.askWide(r)
	}
	if !l.proven(r, parts[:len(parts)-len(counts)]) {
		return true
	}
	if f := w.faulty; f.slot >= 0 { // what lies behind it will not be taken
		w.upTo = f.slot + 1
	}
	total := 0
	for i, p := range counts[:w.upTo-w.slot] {
		n, ok := integer(p.reply)
		slot := w.slot + i
		switch {
		case !ok:
			return l.stepFailed(r, p)
		case n > bigSlot && i == 0:
			l.dropParts(r, 0)
			l.askPage(r)
			r.sess.sendParts(r)
			return true
		case total > 0 && total+int(n) > w.count || n > bigSlot:
			w.upTo = slot
		case n > 0:
			total += int(n)
			w.shares = append(w.shares, share{slot: slot, count: int(n)})
		}
		if w.upTo == slot {
			break
		}
	}
	l.dropParts(r, 0)
	w.looked += total
	for _, s := range w.shares {
		l.scratch = resp.AppendCommandStrings(l.scratch[:0], "CLUSTER", "GETKEYSINSLOT", itoa(s.slot), itoa(s.count+growth))
		l.askNode(r, w.from, l.scratch)
	}
	l.prove(r)
	if len(r.fan.parts) == 0 {
		return l.keysCame(r)
	}
	r.fan.stage = (*loop).keysCame
	r.sess.sendParts(r)
	return true
}

// askWide turns to walking the whole node.
func (l *loop) askWide(r *request) bool {
	w := r.walk
	l.dropParts(r, 0)
	w.wide, w.target, w.faulty = true, false, fault{slot: -1}
	w.upTo = max(l.endOfPiece(w.slot, w.from, w.last), w.slot+1) // the target of an open slot does not own it
	l.askPage(r)
	r.sess.sendParts(r)
	return true
}

// keysCame takes the keys of some slots, and asks for the type of each that fits: one that has expired has none.
func (l *loop) keysCame(r *request) bool {
	w := r.walk
	for _, p := range r.fan.parts[:len(w.shares)] {
		if p.reply[0] == '-' {
			return l.stepFailed(r, p)
		}
	}
	if !l.proven(r, r.fan.parts[len(w.shares):]) {
		return true
	}
	w.near = false
	for i, s := range w.shares {
		keys := elements(r.fan.parts[i].reply)
		if len(keys) >= s.count+growth {
			w.upTo = s.slot // it has grown: to be counted again
			break
		}
		for _, key := range keys {
			if w.match == nil || globMatch(w.match, key) {
				w.page = append(w.page, bytes.Clone(key))
			}
		}
	}
	w.next = place{slot: w.upTo}
	l.trustTable(w)
	l.dropParts(r, 0)
	for _, key := range w.page {
		l.scratch = resp.AppendCommand(l.scratch[:0], typeName, key)
		l.askNode(r, w.from, l.scratch).asking = w.target
	}
	if len(w.page) == 0 {
		return l.stepDone(r)
	}
	r.fan.stage = (*loop).typesCame
	r.sess.sendParts(r)
	return true
}

var typeName = []byte("TYPE")

// typesCame accepts the keys that exist and are of the type that is wanted.
func (l *loop) typesCame(r *request) bool {
	w := r.walk
	for i, p := range r.fan.parts {
		line := p.reply
		if line[0] == '-' && resp.Classify(line) == resp.NoPerm {
			if w.kind != nil { // only the node may tell this user, in its SCAN
				w.page = nil
				return l.askWide(r)
			}
			continue
		}
		if line[0] == '-' {
			if !l.heed(r, p) {
				return l.stepFailed(r, p)
			}
			w.page[i] = nil
			continue
		}
		kind := line[1 : len(line)-2]
		if string(kind) == "none" || w.kind != nil && !bytes.EqualFold(kind, w.kind) {
			w.page[i] = nil
		}
	}
	for _, key := range w.page {
		if key != nil {
			w.accept(l, key)
		}
	}
	return l.stepDone(r)
}

// slotOrdered says that a node keeps its keys by slot, and its cursors have the slot in the low bits: Valkey since 8.0,
// Redis since 7.4.
func (l *loop) slotOrdered(n *node) bool {
	face := l.p.cfg.Info()
	return !n.older && (n.known || ordersSlots(face.Name, face.Version))
}

func ordersSlots(name, version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a >= 8 || name == "redis" && a == 7 && b >= 4
}

var helloCommand = resp.AppendCommandStrings(nil, "HELLO")

// introduce asks a node for its version, once, before the first walk over it: in a cluster that is being upgraded not all
// nodes are of the version that the proxy knows.
func (l *loop) introduce(r *request, n *node) {
	r.walk.from = n
	r.enter(stateSent)
	l.askNode(r, n, helloCommand)
	r.fan.stage = (*loop).introduced
	r.sess.sendParts(r)
}

// introduced takes the version. A node that does not tell it is taken for one like the others.
func (l *loop) introduced(r *request) bool {
	n, p := r.walk.from, r.fan.parts[0]
	if p.reply[0] == '-' && (p.ownError || redirects(p.reply)) {
		return l.stepFailed(r, p)
	}
	name, version := bulkAfter(p.reply, "server"), bulkAfter(p.reply, "version")
	if version == "" {
		face := l.p.cfg.Info()
		name, version = face.Name, face.Version
	}
	n.known, n.older = true, n.older || !ordersSlots(name, version)
	l.step(r)
	return true
}

// bulkAfter is the value of a field in the reply to HELLO, an array or a map; empty if there is none.
func bulkAfter(reply []byte, field string) string {
	_, rest, found := bytes.Cut(reply, resp.AppendBulkString(nil, field))
	if size, err := resp.Skip(rest); found && err == nil && size > 0 && rest[0] == '$' {
		return string(scalar(rest[:size]))
	}
	return ""
}

// disproved says that a page, with the node's cursor behind it, cannot come from a node that keeps its keys by slot, whatever
// it said of its version.
func (w *walk) disproved(cursor uint64) bool {
	if cursor != 0 && int(cursor%router.Slots) < w.slot {
		return true
	}
	for _, key := range w.page {
		slot := int(router.Slot(key))
		if slot < w.slot || cursor != 0 && slot > int(cursor%router.Slots) {
			return true
		}
	}
	return false
}

// patternSlot is the only slot that keys of this pattern can lie in, -1 if there is no such slot.
func patternSlot(pattern []byte) int {
	if pattern == nil {
		return -1
	}
	open := -1
	for i, c := range pattern {
		switch {
		case c == '*' || c == '?' || c == '[' || c == '\\':
			return -1
		case c == '{' && open < 0:
			open = i
		case c == '}' && open >= 0 && i > open+1:
			return int(router.Slot(pattern[:i+1]))
		case c == '}' && open >= 0:
			return -1 // an empty tag: rare enough to look everywhere
		}
	}
	return int(router.Slot(pattern))
}
