package proxy

import (
	"math/rand/v2"

	"slotproxy/resp"
	"slotproxy/router"
)

// Commands on the whole keyspace that ask every primary more than the command itself.

// spreadMore adds to a command for all primaries what else it has to ask, behind the part for n.
func (l *loop) spreadMore(r *request, n *node) {
	switch r.rule.Name {
	case "randomkey":
		r.fan.raw = true
		l.askNode(r, n, dbsizeCommand)
	case "flushall", "flushdb":
		r.fan.raw, r.fan.stage, r.fan.merge = true, (*loop).flushed, mergeFlush
		r.moves = l.moves
		l.askNode(r, n, clusterNodes)
	}
}

var dbsizeCommand = resp.AppendCommandStrings(nil, "DBSIZE")

// mergeRandom picks a node with a chance as large as its number of keys, and takes the key that it gave. Its parts are,
// for each node, RANDOMKEY and DBSIZE. A key in a slot that the node does not own is taken only where there is no other.
func mergeRandom(r *request, dst []byte) ([]byte, bool) {
	var chosen []byte
	var weight uint64
	for i := 0; i+1 < len(r.fan.parts); i += 2 {
		key := r.fan.parts[i]
		switch {
		case key.reply[0] == '-':
			return append(dst, key.reply...), true
		case isNull(key.reply):
			continue
		}
		size, ok := integer(r.fan.parts[i+1].reply)
		if !ok || size < 1 {
			size = 1 // the user may not ask
		}
		if slot := router.Slot(scalar(key.reply)); r.sess.l.slots[slot].owner != key.to && chosen != nil {
			continue
		}
		weight += uint64(size)
		if chosen == nil || rand.Uint64N(weight) < uint64(size) {
			chosen = key.reply
		}
	}
	if chosen == nil {
		chosen = r.fan.parts[0].reply
	}
	return append(dst, chosen...), true
}

// flushed looks whether a key can have gone around the flush: from a node that was not flushed yet to one that was. Then
// all are flushed a second time; by now such keys have arrived.
func (l *loop) flushed(r *request) bool {
	again := r.moves != l.moves
	for i := 0; i+1 < len(r.fan.parts); i += 2 {
		flush, nodes := r.fan.parts[i], r.fan.parts[i+1]
		if flush.reply[0] == '-' {
			return false
		}
		again = again || l.moving(flush.to, nodes.reply)
	}
	if !again || len(l.primaries) == 0 {
		return false
	}
	l.dropParts(r, 0)
	r.fan.stage, r.fan.raw, r.fan.merge = nil, false, mergeFirst
	for _, n := range l.primaries {
		p := l.newPart(r)
		p.to = n
		l.setBuf(p, r.buf)
	}
	r.sess.sendParts(r)
	return true
}

// moving says whether slots are being moved, by what a node says to CLUSTER NODES, or by the table where the user may not
// ask that.
func (l *loop) moving(n *node, reply []byte) bool {
	text, ok := infoText(reply)
	if !ok {
		return len(l.table.Open) > 0
	}
	view, err := router.ParseNodes([]byte(text), n.addr)
	if err != nil {
		return len(l.table.Open) > 0
	}
	if view.Moving() {
		return true
	}
	for slot := range l.slots {
		if view.Owns(uint16(slot)) != (l.slots[slot].owner == n) {
			return true
		}
	}
	return false
}

// mergeFlush is the first error, or +OK.
func mergeFlush(r *request, dst []byte) ([]byte, bool) {
	for i := 0; i < len(r.fan.parts); i += 2 {
		if p := r.fan.parts[i]; p.reply[0] == '-' {
			return append(dst, p.reply...), true
		}
	}
	return mergeFirst(r, dst)
}

// onlyDatabase words the refusal of MOVE and COPY to another database, by a cluster that has one, as a server with one
// database would.
func (l *loop) onlyDatabase(r *request, line []byte) []byte {
	var p resp.Parser
	if r.rule.Name != "move" && r.rule.Name != "copy" {
		return line
	}
	if n, err := p.Next(r.buf, &l.limits.AfterAuth); err != nil || n == 0 || len(p.Args) < 3 {
		return line
	}
	text := errTextDBIndex
	if r.rule.Name == "move" {
		switch n, ok := resp.ParseInt(p.Args[2]); {
		case !ok || n != int64(int32(n)):
			text = errTextNotInteger
		case n == 0:
			text = errTextSameObject
		}
	}
	l.scratch = resp.AppendError(l.scratch[:0], text)
	return l.scratch
}
