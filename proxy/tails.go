package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// XREAD with BLOCK and $ waits for entries behind the last one there is. A node takes the $ for the id of that entry when
// the command comes to it, so in the next node, where a slot has gone, $ would leave out what was added on the way. That is
// why the connection first asks for the ids, and the command goes with them. > of XREADGROUP is known to the group, which
// moves with its stream.

// tails is what is known of the $ of a command while the node is being asked.
type tails struct {
	args [][]byte // the client's command, with the ids that have been told
	at   int      // which argument is asked for; its key is as far in front of it as there are keys
	keys int
}

// asking says that r, whose block b is, asks for the id of a stream at the moment.
func (b *blocking) asking() bool { return b != nil && b.tails != nil }

// findTails makes r ask for the ids that are to replace $, if there are any.
func (l *loop) findTails(r *request, args [][]byte) {
	if r.rule.Name != "xread" || l.now < r.sess.profile.noTails {
		return
	}
	keys := streamsOf(args)
	t := &tails{at: len(args) - keys, keys: keys}
	if keys == 0 || !t.next(args) {
		return
	}
	t.args = make([][]byte, len(args))
	for i, a := range args {
		t.args[i] = bytes.Clone(a)
	}
	r.block.tails = t
	l.rewrite(r, t.question()...)
}

// next goes on to the next $, and reports whether there is one.
func (t *tails) next(args [][]byte) bool {
	for ; t.at < len(args); t.at++ {
		if string(args[t.at]) == "$" {
			return true
		}
	}
	return false
}

func (t *tails) question() [][]byte {
	return [][]byte{[]byte("XINFO"), []byte("STREAM"), t.args[t.at-t.keys]}
}

// streamsOf counts the keys of an XREAD; 0 when the node will not like its arguments.
func streamsOf(args [][]byte) int {
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case bytes.EqualFold(a, []byte("block")), bytes.EqualFold(a, []byte("count")):
			i++
		case bytes.EqualFold(a, []byte("streams")) && (len(args)-i)%2 == 1:
			return (len(args) - i) / 2
		default:
			return 0
		}
	}
	return 0
}

// told takes the answer to the question for an id. It reports false when the question has to go elsewhere.
func (l *loop) told(c *nodeConn, r *request, reply []byte) bool {
	if r.early != nil || redirects(reply) {
		return false
	}
	t, id := r.block.tails, lastID(reply)
	if id == nil && bytes.Contains(reply, []byte("'xinfo")) && resp.Classify(reply) == resp.NoPerm {
		r.sess.profile.noTails = l.now + multiTrust
	}
	l.dropReply(r)
	more := false
	if id != nil {
		t.args[t.at] = id
		more = t.next(t.args)
	}
	if more {
		l.rewrite(r, t.question()...)
	} else { // all are known, or the node says better what is wrong
		r.block.tails = nil
		l.rewrite(r, t.args...)
	}
	if l.gated(r) {
		l.hold(r)
		return true
	}
	if r.hops > 0 {
		l.shorten(r)
	}
	c.send(r)
	return true
}

// lastID finds the id of the last entry that a stream has had in a reply to XINFO STREAM; nil when it does not say.
func lastID(reply []byte) []byte {
	if reply[0] == '-' {
		if bytes.HasPrefix(reply, []byte("-ERR no such key")) {
			return []byte("0-0")
		}
		return nil
	}
	v, ok := parseValue(reply)
	if !ok {
		return nil
	}
	id := v.get("last-generated-id")
	if id == nil || !sized(id.kind) || len(id.text) == 0 {
		return nil
	}
	return bytes.Clone(id.text)
}

// rewrite gives r another command.
func (l *loop) rewrite(r *request, args ...[]byte) {
	buf := resp.AppendCommand(nil, args...)
	if r.pooled {
		l.pool.put(r.buf)
		r.pooled = false
	}
	r.buf = buf
}
