package proxy

import (
	"strconv"

	"slotproxy/resp"
	"slotproxy/router"
)

// Cursors of the proxy. They hold all that the proxy has to know, so they outlive it. What counts places in a table of one
// node means nothing on another, whose hash function has another seed: therefore a cursor bears a tag of that node. Its
// low bits are the ones that change least, so that it stays a small number as long as it can: some clients keep cursors
// in a floating-point number.

// place is where a walk over all slots stands. On the wire, from the lowest bit:
//
//	14 slot | 1 target | 1 wide | 15 tag of the node | 32 cursor of the node
//
// target and wide together mean leaving.
type place struct {
	slot   int  // from here on; router.Slots: at the end
	target bool // the slot is open and done at its source: go on at its target
	wide   bool // cursor walks all slots of the node, see older.go
	// The slot was open when the node, its source, gave the pages up to cursor: what had gone to the target by then is
	// missing in them, so they count for nothing once the slot is not open any more.
	leaving bool
	tag     uint16 // of the node whose cursor it is, or of the target
	cursor  uint64 // 0: at the beginning of the slot
}

// A node's cursor below 2^32 is enough for more keys than a node has memory for.
const (
	tagBits    = 15
	placeShift = 16
)

// encode makes the cursor for the client. Only the end is 0.
func (p place) encode() uint64 {
	if p.slot >= router.Slots {
		return 0
	}
	n := uint64(p.slot)
	if p.target || p.leaving {
		n |= 1 << 14
	}
	if p.wide || p.leaving {
		n |= 1 << 15
	}
	if p.cursor != 0 || p.target {
		n |= uint64(p.tag)<<placeShift | p.cursor<<(placeShift+tagBits)
	}
	if n == 0 {
		n = 1 << placeShift // slot 0, to be begun again
	}
	return n
}

func decodePlace(n uint64) place {
	target, wide := n>>14&1 != 0, n>>15&1 != 0
	return place{
		slot: int(n % router.Slots), target: target && !wide, wide: wide && !target, leaving: target && wide,
		tag: uint16(n >> placeShift & (1<<tagBits - 1)), cursor: n >> (placeShift + tagBits),
	}
}

// tag is a short name of a node for cursors, never 0. Two nodes share one by chance once in 32767; then a walk that was
// in the middle of a slot which moved between these two may miss keys of that slot.
func (n *node) tag() uint16 {
	name := n.info.ID
	if name == "" {
		name = n.addr
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return uint16(h%(1<<tagBits-1)) + 1
}

// Cursors of HSCAN, SSCAN and ZSCAN have the node's tag in the lowest 16 bits. One with a tag and nothing else means:
// begin again.
const elementShift = 16

// iterate takes HSCAN, SSCAN and ZSCAN.
func (s *session) iterate(rule *router.Rule, raw []byte) {
	tag, ok := s.untag(2)
	if !ok {
		s.shard(rule, raw) // no cursor: the server has the right words for it
		return
	}
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	r := s.request(rule, nil)
	r.fan = s.l.newFanout()
	r.fan.merge = mergePage
	p := s.l.newPart(r)
	p.slot, p.hasSlot = d.Slot, true
	p.args = int(tag)
	p.buf = resp.AppendCommand(p.buf[:0], s.parser.Args...)
	s.goParts(r)
}

// untag replaces the cursor among the parser's arguments by the one that the node gave, and tells which node that was; 0
// if it does not matter. It reports false for what is no cursor.
func (s *session) untag(at int) (tag uint16, ok bool) {
	n, err := strconv.ParseUint(string(s.parser.Args[at]), 10, 64)
	if err != nil {
		return 0, false
	}
	inner := n >> elementShift
	s.parser.Args[at] = strconv.AppendUint(nil, inner, 10)
	s.parser.Canonical = false // the command is no longer the bytes that came
	if inner == 0 {
		return 0, true
	}
	return uint16(n), true
}

// mergePage is the reply of the node with its tag in the cursor.
func mergePage(r *request, dst []byte) ([]byte, bool) {
	p := r.fan.parts[0]
	return tagPage(dst, p.reply, uint16(p.args), p.conn.node.tag()), true
}

// tagPage appends a page of elements that the node with tag by gave. The cursor in the command was given by the node with
// tag from, 0: by any. If that was another node, the elements are there but their place means nothing, so the client is
// told to begin again; elements may come twice then, but none is left out.
func tagPage(dst, reply []byte, from, by uint16) []byte {
	cursor, at, ok := pageCursor(reply)
	switch {
	case !ok:
		return append(dst, reply...)
	case from != 0 && from != by:
		cursor = uint64(by)
	case cursor != 0:
		cursor = cursor<<elementShift | uint64(by)
	}
	dst = resp.AppendArray(dst, 2)
	dst = resp.AppendBulkString(dst, strconv.FormatUint(cursor, 10))
	return append(dst, reply[at:]...)
}

// pageCursor reads the cursor of a page and tells where the elements begin.
func pageCursor(reply []byte) (cursor uint64, at int, ok bool) {
	kind, count, n, ok := resp.AggHeader(reply)
	if !ok || kind != '*' || count != 2 {
		return 0, 0, false
	}
	size, err := resp.Skip(reply[n:])
	if err != nil || size == 0 {
		return 0, 0, false
	}
	cursor, err = strconv.ParseUint(string(scalar(reply[n:n+size])), 10, 64)
	return cursor, n + size, err == nil
}
