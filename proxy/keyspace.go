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
		r.fan.raw, r.fan.stage = true, (*loop).randomCame
		l.askNode(r, n, dbsizeCommand)
	case "flushall", "flushdb":
		r.fan.raw, r.fan.stage, r.fan.merge = true, (*loop).flushed, mergeFlush
		r.moves = l.moves
		l.askNode(r, n, clusterNodes)
	}
}

var dbsizeCommand = resp.AppendCommandStrings(nil, "DBSIZE")

// mostLooks is how often nodes are asked for a key before the keyspace is called empty, when all that they give is what is
// left of slots that have gone. The server itself looks a hundred times before it gives an expired key; each time here is
// two round trips.
const mostLooks = 16

// randomCame looks at what the nodes gave. A key in a slot that its node does not own may be left over from a move, or the
// slot is just being moved there: if there are only such keys, one of them is looked for where it should be.
func (l *loop) randomCame(r *request) bool {
	var doubtful []int
	for i := 0; i+1 < len(r.fan.parts); i += 2 {
		p := r.fan.parts[i]
		switch {
		case p.reply[0] == '-' || l.givenByOwner(p):
			return false
		case !isNull(p.reply):
			doubtful = append(doubtful, i)
		}
	}
	if len(doubtful) == 0 {
		return false
	}
	chosen, parts := doubtful[rand.IntN(len(doubtful))], r.fan.parts
	parts[0], parts[chosen] = parts[chosen], parts[0]
	l.dropParts(r, 1)
	key := scalar(parts[0].reply)
	p := l.newPart(r)
	p.slot, p.hasSlot = router.Slot(key), true
	l.setBuf(p, resp.AppendCommand(l.scratch[:0], typeName, key))
	r.fan.stage = (*loop).randomFound
	r.sess.sendParts(r)
	return true
}

// randomFound takes the doubtful key if it is there, or asks all nodes again. Who may not ask for it gets it as it is.
func (l *loop) randomFound(r *request) bool {
	r.fan.stage, r.fan.merge = nil, mergeFirst
	if string(r.fan.parts[1].reply) != "+none\r\n" {
		l.dropParts(r, 1)
		return false
	}
	if r.fan.looks++; r.fan.looks >= mostLooks || len(l.primaries) == 0 {
		l.dropParts(r, 1)
		p := r.fan.parts[0]
		l.dropReply(p)
		l.keepReply(p, resp.AppendNull(l.scratch[:0], r.sess.profile.key.proto))
		return false
	}
	l.dropParts(r, 0)
	r.fan.merge = mergeRandom
	for _, n := range l.primaries {
		l.setBuf(l.partFor(r, n), r.buf)
		l.spreadMore(r, n)
	}
	r.sess.sendParts(r)
	return true
}

// givenByOwner says that p brought a key in a slot that its node owns.
func (l *loop) givenByOwner(p *request) bool {
	return !isNull(p.reply) && l.owners.of(router.Slot(scalar(p.reply))) == p.to
}

// mergeRandom picks a node with a chance as large as its number of keys, and takes the key that it gave. Its parts are,
// for each node, RANDOMKEY and DBSIZE.
func mergeRandom(r *request, dst []byte) ([]byte, bool) {
	var chosen []byte
	var weight uint64
	for i := 0; i+1 < len(r.fan.parts); i += 2 {
		key := r.fan.parts[i]
		if key.reply[0] == '-' {
			return append(dst, key.reply...), true
		}
		if !r.sess.l.givenByOwner(key) {
			continue
		}
		size, ok := integer(r.fan.parts[i+1].reply)
		if !ok || size < 1 {
			size = 1 // the user may not ask
		}
		weight += uint64(size)
		if rand.Uint64N(weight) < uint64(size) {
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
		l.setBuf(l.partFor(r, n), r.buf)
	}
	r.sess.sendParts(r)
	return true
}

// partFor adds a part for one node.
func (l *loop) partFor(r *request, n *node) *request {
	p := l.newPart(r)
	p.to = n
	return p
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
		if view.Owns(uint16(slot)) != (l.owners.of(uint16(slot)) == n) {
			return true
		}
	}
	return false
}

// mergeFlush is the first error, or +OK.
func mergeFlush(r *request, dst []byte) ([]byte, bool) {
	if out, refused := appendRefusal(r, 2, dst); refused {
		return out, true
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
