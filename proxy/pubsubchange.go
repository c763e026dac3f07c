package proxy

import (
	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// start sends a client's command to the nodes that it concerns, or sends it again.
func (h *hub) start(ch *change) {
	l := h.l
	switch {
	case ch.r.state == stateDone:
		h.end(ch, nil)
		return
	case l.now > ch.r.deadline:
		h.end(ch, resp.AppendError(nil, causeUnreachable.giveUp(l, ch.r)))
		return
	case ch.leave:
		h.startLeave(ch)
		return
	}
	ch.again = false
	g := grouping{}
	for _, t := range ch.topics {
		if !h.aim(&g, t, ch) {
			h.park(ch)
			return
		}
	}
	h.sendGroups(g, ch)
}

// park tries a client's command again later.
func (h *hub) park(ch *change) {
	h.stuck = append(h.stuck, ch)
	if h.retryAt <= h.l.now {
		h.backOff()
	}
	h.due(h.retryAt)
}

// startLeave waits until what was published before has come from every node that the topics are at. Where the client is
// the last to listen, the node is told before.
func (h *hub) startLeave(ch *change) {
	s := ch.r.sess
	g := grouping{leave: true}
	var wait []*feed
	for _, name := range ch.names {
		if s.subs == nil {
			break
		}
		sub := s.subs.of[ch.kind][name]
		if sub == nil {
			continue
		}
		t := sub.t
		for _, f := range t.at {
			if t.clients == 1 && t.wanted == 0 && t.parting == 0 {
				g.add(f, t)
			} else {
				wait = append(wait, f)
			}
		}
	}
	h.sendGroups(g, ch)
	sent := map[*feed]bool{}
	for _, o := range g.groups {
		sent[o.f] = true
	}
	for _, f := range wait {
		if !sent[f] {
			sent[f] = true
			ch.left++
			f.send(&entry{ch: ch, kind: ch.kind, leave: true})
		}
	}
	if ch.left == 0 {
		h.end(ch, nil)
	}
}

// through takes a command that its node has answered.
func (h *hub) through(f *feed, e *entry) {
	switch ch := e.ch; {
	case ch != nil:
		if e.err != nil && e.extra {
			h.restrand(e.topics)
		} else if e.err != nil {
			h.refusedClient(f, e)
		}
		h.oneDone(ch)
		if e.leave {
			h.restrand(ch.others(e.topics)) // they may have come meanwhile, and found it subscribed here
		}
	case e.leave:
		h.restrand(e.topics) // a sharded channel leaves one node for another
	case e.err != nil:
		h.refusedOwn(f, e)
	default:
		h.checkWide(e.topics)
		h.stays(f, e.topics)
	}
	if e.err != nil && e.leave && (e.ch == nil || resp.Classify(e.err) == resp.Moved) {
		f.c.close(nil) // it would go on telling: it is a replica now, or the user may not unsubscribe
	}
}

// others are those of topics, which the client of ch is leaving, that somebody else wants. The client itself is counted among their
// listeners until every node has confirmed.
func (ch *change) others(topics []*topic) (wanted []*topic) {
	own := 0
	if ch.left > 0 && ch.r.state != stateDone {
		own = 1
	}
	for _, t := range topics {
		if t.clients+t.wanted > own {
			wanted = append(wanted, t)
		}
	}
	return wanted
}

// refusedClient takes the refusal of a client's command.
func (h *hub) refusedClient(f *feed, e *entry) {
	switch ch := e.ch; {
	case e.leave && resp.Classify(e.err) != resp.NoPerm:
	case !e.leave && h.misplaced(f, e):
		ch.again = true
	case ch.err == nil:
		ch.err = e.err
	}
}

// checkWide looks again whether topics with keyspace events are at all primaries: some could not be reached before.
func (h *hub) checkWide(topics []*topic) {
	for _, t := range topics {
		if t.wide {
			h.strand(t)
		}
	}
}

// interrupted takes a command whose connection was lost.
func (h *hub) interrupted(e *entry) {
	ch := e.ch
	if ch == nil || e.extra {
		h.restrand(e.topics)
	}
	if ch == nil {
		return
	}
	if e.err != nil {
		ch.err = e.err
	}
	ch.again = ch.again || !e.leave && !e.extra
	h.oneDone(ch)
}

// restrand lets settle look at topics of which some may have been forgotten meanwhile.
func (h *hub) restrand(topics []*topic) {
	for _, t := range topics {
		if h.topics[t.kind][t.name] == t {
			h.strand(t)
		}
	}
}

// oneDone counts the answers to a client's command, and ends it with the last.
func (h *hub) oneDone(ch *change) {
	ch.left--
	switch {
	case ch.left > 0:
	case ch.err != nil:
		ch.h.end(ch, ch.err)
	case ch.again:
		ch.h.park(ch)
	default:
		ch.h.end(ch, nil)
	}
}

// end answers a client's command: with an error, or with its confirmations.
func (h *hub) end(ch *change, err []byte) {
	r, s := ch.r, ch.r.sess
	reply := err
	switch {
	case r.state == stateDone:
	case ch.reset:
		s.left(ch)
		if s.leaveNext(r) {
			h.l.release(r)
			return
		}
		reply = s.reset()
	case err != nil:
	case ch.leave:
		reply = s.left(ch)
	default:
		reply = s.joined(ch)
	}
	for _, t := range ch.topics {
		t.wanted--
		h.unwant(t)
		if t.clients > 0 && len(t.at) == 0 {
			h.strand(t) // lost between the confirmation and now
		}
	}
	if err != nil && ch.leave { // some nodes may have confirmed
		for _, name := range ch.names {
			if t := h.topics[ch.kind][name]; t != nil {
				h.strand(t)
			}
		}
	}
	if r.state != stateDone {
		h.l.finish(r, reply)
	}
	h.l.release(r)
}

// misplaced says that the node of e could not serve it now, and follows the slot when it says where it is.
func (h *hub) misplaced(f *feed, e *entry) bool {
	l := h.l
	switch kind := resp.Classify(e.err); kind {
	case resp.Moved:
		to, ok := resp.ParseRedirect(e.err)
		if !ok || e.kind != shardTopic || to.Slot != e.topics[0].slot {
			return false
		}
		l.stats.Redirects[metrics.RedirectMoved]++
		if n := l.target(f.c, to); n != nil {
			l.setOwner(to.Slot, n)
			l.hint(router.Hint{Cause: router.Moved, Slot: to.Slot, HasSlot: true, Addr: n.addr})
		} else {
			l.hint(router.Hint{Cause: router.Down, Slot: to.Slot, HasSlot: true, Addr: f.n.addr})
		}
		return true
	case resp.Ask, resp.TryAgain, resp.ClusterDown, resp.Loading, resp.MasterDown, resp.ReadOnly, resp.Busy:
		l.hint(router.Hint{Cause: router.Down, Slot: e.topics[0].slot, HasSlot: e.kind == shardTopic, Addr: f.n.addr})
		return true
	}
	return false
}

// refusedOwn takes the refusal of a command of the hub's own. A user who may not listen any more is cut off, as a server
// does it.
func (h *hub) refusedOwn(f *feed, e *entry) {
	switch {
	case h.misplaced(f, e):
		h.leaves(f, misled(e))
		h.backOff()
		h.restrand(e.topics)
	case len(e.topics) > 1:
		for _, t := range e.topics { // the node refuses all for one
			f.send(&entry{kind: e.kind, topics: []*topic{t}})
		}
	default:
		for _, t := range e.topics {
			closeSubscribers(t)
		}
	}
}

// misled are the topics of e that we have at a node which does not serve their slot, and may be elsewhere: it takes no messages
// either.
func misled(e *entry) (topics []*topic) {
	switch resp.Classify(e.err) {
	case resp.Moved:
		return e.topics
	case resp.ClusterDown, resp.Loading, resp.MasterDown, resp.ReadOnly:
		for _, t := range e.topics {
			if t.elsewhere != 0 {
				topics = append(topics, t)
			}
		}
	}
	return topics
}

// cutClients closes all clients of the hub, and answers those who are about to listen.
func (h *hub) cutClients() {
	for _, of := range h.topics {
		for _, t := range of {
			closeSubscribers(t)
		}
	}
}

func closeSubscribers(t *topic) {
	for t.clients > 0 {
		t.compact()
		t.subs[0].s.conn.close(errNotAllowed)
	}
}

// checkHubs looks after connections once a second, and forgets hubs that nobody uses.
func (l *loop) checkHubs() {
	for p, h := range l.hubs {
		for _, f := range h.feeds {
			f.check()
		}
		h.checkShards()
		if len(h.topics[plainTopic])+len(h.topics[patternTopic])+len(h.topics[shardTopic])+len(h.stuck)+len(h.feeds) == 0 {
			p.sessions--
			delete(l.hubs, p)
		}
	}
}
