package proxy

import (
	"strings"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// placed remembers, during the splitting of one command, which part the keys of a slot go to.
type placed struct {
	pass uint64
	part uint32
}

// split sends each slot's share of a command to its node and merges the replies in the order of the keys.
func (s *session) split(rule *router.Rule, raw []byte) {
	l := s.l
	args := s.parser.Args
	d, keys := router.Decide(rule, args, l.keys)
	l.keys = keys
	step := max(rule.KeyStep, 1)
	if (len(args)-1)%step != 0 {
		s.refuse(rule, wrongArity(rule))
		return
	}
	if !d.Cross {
		s.shard(rule, raw)
		return
	}
	r := s.request(rule, nil)
	r.class = metrics.ClassMultiKey
	r.fan = l.newFanout()
	r.fan.merge = mergers[rule.Merge]
	l.pass++
	for _, at := range keys {
		l.placeKey(r, args, at, step)
	}
	name := args[0]
	for _, p := range r.fan.parts {
		l.roomFor(p, int(p.end)+len(name)+2*headerRoom)
		p.buf = resp.AppendArray(p.buf, 1+p.args*step)
		p.buf = resp.AppendBulk(p.buf, name)
		p.multi = p.args > 1
	}
	for i, at := range keys {
		p := r.fan.parts[r.fan.order[i].part]
		for _, a := range args[at : at+step] {
			p.buf = resp.AppendBulk(p.buf, a)
		}
	}
	r.weight = len(r.fan.parts)
	s.weigh(r.weight - 1)
	s.goParts(r)
}

// placeKey assigns the key at position at to the part of its slot.
func (l *loop) placeKey(r *request, args [][]byte, at, step int) {
	slot := router.Slot(args[at])
	place := &l.places[slot]
	f := r.fan
	if place.pass != l.pass {
		*place = placed{pass: l.pass, part: uint32(len(f.parts))}
		p := l.newPart(r)
		p.slot, p.hasSlot = slot, true
	}
	p := f.parts[place.part]
	f.order = append(f.order, partRef{part: place.part, index: uint32(p.args)})
	p.args++
	for _, a := range args[at : at+step] {
		p.end += uint64(len(a) + headerRoom) // not sent yet: the position serves to add up its size
	}
}

// headerRoom is more than a bulk's header and end take.
const headerRoom = 32

// newPart adds a part to r.
func (l *loop) newPart(r *request) *request {
	p := l.newRequest()
	p.parent, p.rule, p.write, p.once, p.class = r, r.rule, r.write, r.once, r.class
	p.start, p.deadline, p.caching = r.start, r.deadline, r.caching
	p.part = uint32(len(r.fan.parts))
	p.refs = 1
	r.fan.parts = append(r.fan.parts, p)
	r.fan.left++
	return p
}

// goParts sends the parts that are new and may go; the order pass sends the rest.
func (s *session) goParts(r *request) {
	calm := true
	for _, p := range r.fan.parts {
		calm = calm && (p.state != stateNew || s.calm(p))
	}
	if calm {
		s.sendParts(r)
		return
	}
	for _, p := range r.fan.parts {
		if p.state == stateNew {
			p.enter(stateHeld)
		}
	}
	s.l.stats.HeldTotal++
	s.advance()
}

// sendParts sends every part that is new. Those that fail at once do not finish the command before the others are sent.
func (s *session) sendParts(r *request) {
	outer := s.advancing
	s.advancing = true
	for i := 0; r.fan != nil && i < len(r.fan.parts); i++ { // a part that fails at once may add others, or end them all
		if p := r.fan.parts[i]; p.state == stateNew {
			s.l.send(p)
		}
	}
	s.advancing = outer
	s.deliver()
	s.advanceAgain()
}

// everywhere takes a command for every primary. It stands alone: it waits for the client's earlier commands, which may
// still be redirected to a node that has it behind it, and the later ones wait for it. It reports false when it has to
// be offered again.
func (s *session) everywhere(rule *router.Rule, raw []byte) bool {
	if rule.Name == "config|set" {
		if name := settingOfOneNode(s.parser.Args); name != "" {
			return s.refuse(rule, ofOneNode(name))
		}
	}
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	if strings.HasPrefix(rule.Name, "acl|") {
		s.l.p.forgetPermissions()
	}
	r := s.request(rule, raw)
	r.class = metrics.ClassKeyspace
	s.stop(stopBarrier)
	r.wide = wideCommands[rule.Name]
	if r.wide && len(s.l.gates) > 0 {
		s.l.hold(r)
	} else {
		s.sendInOrder(r)
	}
	return true
}

// respread starts a command for all primaries again, because one of its nodes has gone. It reports false when it may
// not run twice on the nodes that have answered.
func (l *loop) respread(r *request) bool {
	if !r.rule.Repeatable {
		return false
	}
	for _, p := range r.fan.parts {
		l.dropReply(p)
		p.enter(stateDone)
	}
	l.freeFanout(r.fan)
	r.fan = nil
	l.uncount(r)
	l.hold(r)
	return true
}

// spread sends a command to every primary, or lets it wait while one that owns slots has failed: its keys would be
// missing from the answer, and nobody would know.
func (l *loop) spread(r *request) {
	if r.walk != nil {
		l.step(r)
		return
	}
	if l.ownerFailed || len(l.primaries) == 0 {
		l.hint(router.Hint{Cause: router.Down})
		l.tryLater(r, causeNoOwner)
		return
	}
	r.enter(stateSent)
	if r.wide {
		l.countWide(r) // to its end, whatever its parts wait for
	}
	r.fan = l.newFanout()
	r.fan.merge, r.fan.raw = mergers[r.rule.Merge], r.rule.Merge == router.MergeTexts
	how, special := spreadings[r.rule.Name]
	if special {
		r.fan.merge, r.fan.raw = how.merge, how.raw
	}
	for _, n := range l.primaries {
		p := l.newPart(r)
		p.to, p.own = n, how.own
		if r.rule.Merge == router.MergePubsub {
			p.cursor = l.p.audience.patternsAt(n.addr)
		}
		l.setBuf(p, r.buf)
		l.spreadMore(r, n)
	}
	r.sess.sendParts(r)
}

// fixed sends a command to one node and corrects what a standalone server would say differently.
func (s *session) fixed(rule *router.Rule, raw []byte, fix fixFn) {
	r := s.request(rule, raw)
	r.class = metrics.ClassKeyspace
	r.fan = s.l.newFanout()
	s.l.setBuf(s.l.newPart(r), r.buf)
	r.fan.merge = fix(s, r)
	s.goParts(r)
}

// finishPart notes the reply of a part, and merges when it was the last.
func (l *loop) finishPart(p *request, reply []byte) {
	r := p.parent
	if s := r.sess; s != nil && s.login != nil && s.login.request == r {
		if own := s.loggedIn(reply, p.ownError); &own[0] != &reply[0] {
			l.dropReply(p)
			reply = own
		}
	}
	if p.reply == nil {
		if l.overfull(p, len(reply)) {
			reply = []byte("-" + errTextEmulateBytes + "\r\n")
		}
		l.keepReply(p, reply)
	}
	p.enter(stateDone)
	r.ownError, r.fault = r.ownError || p.ownError, r.fault || p.fault
	r.fan.left--
	if r.fan.left == 0 && r.fan.stage != nil && r.fan.stage(l, r) {
		return
	}
	if r.fan.left > 0 {
		if s := r.sess; s != nil && s.unsent > 0 {
			s.advance()
		}
		return
	}
	size := mergedRoom
	for _, p := range r.fan.parts {
		size += len(p.reply)
	}
	merged := l.pool.get(size)
	grown := mergeReplies(r, merged)
	for _, p := range r.fan.parts {
		l.dropReply(p)
	}
	l.finish(r, grown)
	// The merge may have outgrown its buffer; the one that came from the pool goes back.
	l.pool.put(merged)
}

// mergedRoom is for the header of a merged reply, behind which most mergers put what the parts hold, and for sums.
const mergedRoom = 64

// mergeReplies makes the reply of r from those of its parts. The first error wins: an error never becomes a nil or a
// smaller sum.
func mergeReplies(r *request, dst []byte) []byte {
	if !r.fan.raw {
		if out, refused := appendRefusal(r, 1, dst); refused {
			return out
		}
	}
	out, ok := r.fan.merge(r, dst)
	if !ok {
		r.ownError = true
		return resp.AppendError(dst, repliesDiffer(r.rule))
	}
	return out
}

// appendRefusal appends the first error among the replies of every step-th part, if there is one. When some primaries have
// done what others refuse, the nodes are no longer alike, and the client has to know.
func appendRefusal(r *request, step int, dst []byte) (out []byte, refused bool) {
	var first *request
	done, all, unknown := 0, 0, false
	for i := 0; i < len(r.fan.parts); i += step {
		p := r.fan.parts[i]
		all++
		if p.reply[0] != '-' {
			done++
			continue
		}
		unknown = unknown || p.ownError // it may have been carried out
		if first == nil {
			first = p
		}
	}
	switch {
	case first == nil:
		return dst, false
	case done > 0 && r.rule.Policy == router.AllPrimaries && !r.rule.Repeatable:
		return resp.AppendError(dst, doneOnSome(first.reply, done, all, unknown)), true
	}
	return append(dst, first.reply...), true
}
