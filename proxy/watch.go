package proxy

import (
	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// watch is what a client holds between WATCH and EXEC: a lease on the node of its keys. When the keys go elsewhere, or
// the connection breaks, they count as touched: EXEC answers null, and the client tries again as it would after any
// other change.
type watch struct {
	conn   *nodeConn
	slot   uint16
	asking bool // the slot is moving to this node
	broken bool
}

// watchKeys takes WATCH. It stands alone, so that no later command can run before the keys are watched.
func (s *session) watchKeys(rule *router.Rule) bool {
	if s.tx != nil {
		s.l.stats.Commands[rule.ID].ProxyError++
		s.ownError(errTextWatchInMulti)
		return true
	}
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	if d.Cross || s.watch != nil && s.watch.slot != d.Slot {
		return s.refuse(rule, errTextCrossSlot)
	}
	r := s.request(rule, nil)
	r.class = metrics.ClassKeyspace
	r.fan = s.l.newFanout()
	r.fan.merge = mergeWatch
	p := s.l.newPart(r)
	p.slot, p.hasSlot, p.multi, p.own, p.once = d.Slot, true, d.Multi, true, false
	p.sticky = true
	s.l.setBuf(p, resp.AppendCommand(nil, s.parser.Args...))
	s.stop(stopBarrier)
	w := s.watch
	if w == nil {
		s.goParts(r)
		return true
	}
	if w.gone(s) {
		s.l.finish(p, okReply) // EXEC will answer null in any case
		return true
	}
	p.raw, p.asking, p.pinned = true, w.asking, w.conn
	r.fan.raw = true
	s.goParts(r)
	return true
}

// mergeWatch keeps the lease on which the keys are watched.
func mergeWatch(r *request, dst []byte) ([]byte, bool) {
	p, s := r.fan.parts[0], r.sess
	if s.watch != nil {
		if p.reply[0] == '-' { // the slot has moved since the first WATCH
			s.watch.broken = true
		}
		return append(dst, okReply...), true
	}
	if string(p.reply) == string(okReply) {
		p.conn.kept = true
		s.watch = &watch{conn: p.conn, slot: p.slot, asking: p.asking}
	}
	return append(dst, p.reply...), true
}

// gone says that the watched keys are no longer where they were, or that the client is no longer who it was.
func (w *watch) gone(s *session) bool {
	return w.broken || w.conn.closed || w.conn.profile != s.profile
}

// unwatchAll takes UNWATCH.
func (s *session) unwatchAll(rule *router.Rule) bool {
	switch {
	case s.tx == nil:
	case s.overfills(unwatchBytes):
		return s.refuse(rule, errTextBigTransaction)
	default:
		return s.enlistBytes(rule, unwatchBytes)
	}
	s.unwatch()
	s.answered(rule, okReply)
	return true
}

// unwatch gives the lease back.
func (s *session) unwatch() {
	if w := s.watch; w != nil {
		s.watch = nil
		s.l.endWatch(w.conn)
	}
}

// endWatch gives back a lease on which keys are watched.
func (l *loop) endWatch(c *nodeConn) {
	if !c.closed {
		c.kept = false
		l.ask(c, unwatchBytes, nil)
	}
}

// execWatched sends a transaction where its keys are watched.
func (s *session) execWatched(r *request) {
	w := s.watch
	s.watch = nil
	s.stop(stopBarrier)
	if w.gone(s) {
		s.l.endWatch(w.conn)
		s.l.finish(r, s.l.nullArray(r))
		return
	}
	r.watched, r.asking, r.pinned = true, w.asking, w.conn
	s.sendInOrder(r)
}

// sendPinned sends a WATCH or an EXEC on the one connection where its client watches keys. A gate may have held it until
// the slot was elsewhere: then the node says so, which is one more way for a watched key to have been touched.
func (l *loop) sendPinned(r *request) {
	c := r.pinned
	r.pinned = nil
	switch {
	case c.closed && r.watched:
		l.finish(r, l.nullArray(r))
		return
	case c.closed:
		l.finish(r, okReply) // EXEC will answer null
		return
	}
	if r.watched {
		c.kept = false
	}
	if r.write {
		r.root().sess.noteWrite(c.node)
	}
	c.send(r)
}
