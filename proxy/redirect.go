package proxy

import (
	"bytes"
	"context"
	"log/slog"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// answered takes the whole reply of r, or its last piece when pieces came before. It is the one place that decides
// whether a reply is the client's or tells us to go elsewhere.
func (l *loop) answered(c *nodeConn, r *request, piece []byte) {
	if r.state == stateDone {
		return // nobody waits any more; the reply only had to be counted
	}
	if r.streaming {
		r.sess.endStream(r, piece)
		return
	}
	if r.reply != nil {
		l.keepReply(r, piece)
		piece = r.reply
	}
	if r.wrapped {
		l.unwrap(c, r, piece)
		return
	}
	if r.tx != nil && piece[0] != '-' {
		if own := l.settled(r, piece); &own[0] != &piece[0] {
			l.dropReply(r)
			piece = own
		}
	}
	if r.early != nil && r.block != nil {
		piece = r.early // what has to go before WAIT was refused
	}
	if r.block.asking() && !r.raw && l.told(c, r, piece) {
		return
	}
	if piece[0] != '-' || r.raw {
		l.finish(r, piece)
		return
	}
	if r.early != nil || r.block != nil || r.script || r.watched {
		l.judge(c, r, piece)
		return
	}
	// What follows may give r another reply or send it again, so nothing of this one may stay in it.
	l.errorLine = append(l.errorLine[:0], piece...)
	l.dropReply(r)
	if l.steered(c, r, l.errorLine) {
		return
	}
	line := l.errorLine
	if bytes.HasSuffix(line, clusterModeText) {
		line = l.onlyDatabase(r, line)
	}
	l.finish(r, line)
}

var clusterModeText = []byte(" is not allowed in cluster mode\r\n")

// steered acts on an error that is meant for a cluster client. It reports false when the error is the client's own.
// Every code here is given before execution, so the command may go again whatever it does.
func (l *loop) steered(c *nodeConn, r *request, line []byte) bool {
	switch kind := resp.Classify(line); kind {
	case resp.Moved, resp.Ask:
		to, ok := resp.ParseRedirect(line)
		if !ok || !r.hasSlot || to.Slot != r.slot {
			l.stats.RedirectsRefused[metrics.RefusedBadAddress]++
			r.fault = true
			l.fail(r, errTextBadRedirect)
			return true
		}
		l.follow(c, r, kind, to)
		return true
	case resp.TryAgain:
		l.stats.Redirects[metrics.RedirectTryAgain]++
		l.unsettle(r.slot)
		r.to, r.asking = nil, false
		l.hint(router.Hint{Cause: router.Ask, Slot: r.slot, HasSlot: r.hasSlot, Addr: c.node.addr})
		if canBreakUp(r) {
			l.breakUp(r)
		} else {
			l.tryLater(r, causeTryAgain)
		}
		return true
	case resp.ClusterDown, resp.Loading, resp.MasterDown, resp.ReadOnly:
		if kind == resp.ReadOnly && !r.write {
			return false
		}
		l.stats.Redirects[redirectOf(kind)]++
		l.hint(router.Hint{Cause: router.Down, Slot: r.slot, HasSlot: r.hasSlot, Addr: c.node.addr})
		r.asking = false
		if r.hasSlot {
			r.to = nil
			l.unsettle(r.slot)
		}
		l.tryLater(r, causeOf(kind))
		return true
	}
	return false
}

// follow sends r where MOVED or ASK points.
func (l *loop) follow(c *nodeConn, r *request, kind resp.ErrorKind, to resp.Redirect) {
	if int(r.redirects) >= l.limits.MaxRedirects {
		l.stats.RedirectsRefused[metrics.RefusedLimit]++
		l.fail(r, causeRedirects.giveUp(l, r))
		return
	}
	r.redirects++
	n := l.target(c, to)
	if n == nil {
		// Not a node of the cluster as we know it. Look again before trusting one node's word about where to connect.
		l.stats.RedirectsRefused[metrics.RefusedNotAllowed]++
		l.hint(router.Hint{Cause: router.Down, Slot: r.slot, HasSlot: true, Addr: c.node.addr})
		l.unsettle(r.slot)
		r.to, r.asking = nil, false
		l.tryLater(r, causeUnknownNode)
		return
	}
	if kind == resp.Moved {
		l.stats.Redirects[metrics.RedirectMoved]++
		l.setOwner(r.slot, n)
		l.unsettle(r.slot)
		r.to, r.asking = nil, false
		l.hint(router.Hint{Cause: router.Moved, Slot: r.slot, HasSlot: true, Addr: n.addr})
	} else {
		l.stats.Redirects[metrics.RedirectAsk]++
		t := l.unsettle(r.slot)
		if !t.open {
			t.open = true
			t.trust = l.tableVersion() + 2 // the next one may have been fetched before the slot was opened
		}
		r.to, r.asking = n, true
		l.hint(router.Hint{Cause: router.Ask, Slot: r.slot, HasSlot: true, Addr: c.node.addr})
	}
	if r.hops == 0 {
		r.hops++
		l.hold(r)
		return
	}
	l.tryLater(r, causeRedirects)
}

// target finds the node that a redirect names: one of the cluster, or one that the operator allows.
func (l *loop) target(c *nodeConn, to resp.Redirect) *node {
	if to.Host == "?" {
		return nil
	}
	if to.Host == "" {
		to.Host = c.node.host // "the host that you already talk to"
	}
	addr := to.Addr()
	if l.table != nil {
		if i := l.table.ByAddr(addr); i >= 0 {
			return l.nodeAt(l.table.Nodes[i].Addr)
		}
	}
	if n := l.nodes[addr]; n != nil && n.seen == l.tableVersion() {
		return n
	}
	if l.p.cfg.AllowRedirect != nil && l.p.cfg.AllowRedirect(addr) {
		n := l.nodeAt(addr)
		n.seen = l.tableVersion()
		return n
	}
	return nil
}

// hold puts r back in front of the order pass, which sends it when it may go.
func (l *loop) hold(r *request) {
	s := r.root().sess
	if s == nil {
		l.abandon(r)
		return
	}
	r.enter(stateHeld)
	l.stats.HeldTotal++
	s.advance()
}

// tryLater lets r wait with growing distance before it goes again.
func (l *loop) tryLater(r *request, why waitCause) {
	d := retryWait(r.hops)
	if r.hops < 255 {
		r.hops++
	}
	if why == causeTryAgain && r.hasSlot {
		l.p.refused[r.slot].Store(l.now)
	}
	l.wait(r, d, why)
}

// orphaned settles a request whose connection broke. written: some of its bytes may have reached the node.
func (l *loop) orphaned(r *request, written bool) {
	if r.state == stateDone {
		return
	}
	if r.then != nil {
		l.tell(r, nil)
		return
	}
	if r.streaming {
		// Part of the reply is with the client: only the end of the connection can tell it that the rest is missing.
		r.sess.conn.close(errReplyCut)
		return
	}
	l.dropReply(r)
	switch {
	case r.loose():
		l.ranLoose(r, r.early)
		return
	case r.discarded() && redirects(r.early):
		written = false // as good as
	case r.discarded():
		l.fail(r, abortedBecause(r.early)) // as EXEC would have said
		return
	}
	if r.watched && (!written || !r.once) {
		l.finish(r, l.nullArray(r))
		return
	}
	if r.raw {
		l.fail(r, errTextUnknown)
		return
	}
	if written && r.once {
		l.stats.Ambiguous++
		r.fault = true
		l.fail(r, errTextUnknown)
		return
	}
	if r.hasSlot {
		r.to, r.asking = nil, false
	}
	if written {
		l.stats.Retries[metrics.RetryRead]++
	} else {
		l.stats.Retries[metrics.RetryUnsent]++
	}
	l.tryLater(r, causeLost)
}

// refused ends r with the error with which a node refused the handshake of its profile.
func (l *loop) refused(r *request, line []byte) {
	if r.state != stateDone {
		l.finish(r, line)
	}
}

// send routes r and puts it on the wire. The caller has made sure of the order.
func (l *loop) send(r *request) {
	s := r.root().sess
	if r.everywhere() {
		l.spread(r)
		return
	}
	if r.pinned != nil {
		l.sendPinned(r)
		return
	}
	if r.to != nil && l.away(r.to) {
		if !r.hasSlot {
			l.hint(router.Hint{Cause: router.Lost, Addr: r.to.addr})
			l.tryLater(r, causeUnreachable)
			return
		}
		r.to, r.asking = nil, false
	}
	n := r.to
	if n == nil && r.hasSlot {
		n = l.owners.of(r.slot)
	} else if n == nil && r.publish {
		n = l.home()
	} else if n == nil {
		n = l.anyNode(s)
	}
	if n == nil {
		l.hint(router.Hint{Cause: router.Down, Slot: r.slot, HasSlot: r.hasSlot})
		l.tryLater(r, causeNoOwner)
		return
	}
	if r.publish && l.tooEarly(r, n) {
		l.tryLater(r, causeSubscribers)
		return
	}
	var c *nodeConn
	if r.own {
		if r.block != nil && r.hops > 0 {
			l.shorten(r)
		}
		if c = n.lease(s, r); c == nil && (r.state == stateWaiting || r.state == stateDone) {
			return // in line for one, or tired of it
		}
	} else {
		c = n.conn(s.profileOf(r), r.slot)
	}
	if c == nil {
		l.hint(router.Hint{Cause: router.Lost, Slot: r.slot, HasSlot: r.hasSlot, Addr: n.addr})
		l.tryLater(r, causeUnreachable)
		return
	}
	if r.write {
		s.noteWrite(n)
	}
	if s.tracking != nil && r.hasSlot && !r.write {
		s.tracking.reads(r.slot)
	}
	c.send(r)
	if c.aboveMark {
		s.stallOn(c)
	}
}

// noteWrite remembers where WAIT has to ask.
func (s *session) noteWrite(n *node) {
	for _, have := range s.wrote {
		if have == n {
			return
		}
	}
	s.wrote = append(s.wrote, n)
}

// away says that a node has left the cluster or failed, so that nothing may be sent to it.
func (l *loop) away(n *node) bool { return n.info.Failed || l.nodes[n.addr] != n }

// anyNode picks a primary for a command without keys: always the same one for a client while it lives, so that its
// commands keep their order.
func (l *loop) anyNode(s *session) *node {
	if len(l.primaries) == 0 {
		return nil
	}
	for i := range l.primaries {
		n := l.primaries[(int(s.id)+i)%len(l.primaries)]
		if l.now >= n.retryAt && !n.info.Failed {
			return n
		}
	}
	return l.primaries[int(s.id)%len(l.primaries)]
}

// hint tells the keeper that the table may be wrong.
func (l *loop) hint(h router.Hint) { l.p.cfg.Keeper.Hint(h) }

// doubt tells the keeper that a node does not answer as it should.
func (l *loop) doubt(n *node, err error) {
	l.hint(router.Hint{Cause: router.Lost, Addr: n.addr})
	level := slog.LevelInfo
	if n.fails > 1 {
		level = slog.LevelDebug // the node is known to be away
	}
	l.log.Log(context.Background(), level, "node connection lost", "node", n.addr, "err", err)
}

func (l *loop) tableVersion() uint64 {
	if l.table == nil {
		return 0
	}
	return l.table.Version
}
