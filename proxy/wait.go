package proxy

import (
	"slices"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// restoreNothing has the dump of a Redis 7.0 without functions: every later server reads it.
var restoreNothing = resp.AppendCommandStrings(nil, "FUNCTION", "RESTORE", "\n\x00]\x9b\\@\x0f\x7f\xa2\xda", "APPEND")

// leased takes a command that needs a connection of its client's own.
func (s *session) leased(rule *router.Rule, raw []byte) bool {
	if rule.Name == "wait" || rule.Name == "waitaof" {
		return s.await(rule)
	}
	return s.blockOn(rule, raw)
}

// await asks every node that got a write of this client how many replicas have it, and answers the least.
//
// A node waits for what the asking connection itself has written, which on a lease would be nothing. So a command goes
// before WAIT that is replicated and changes nothing: functions are restored from a dump that holds none. Everything
// written before it is before it in the stream of replication, too.
func (s *session) await(rule *router.Rule) bool {
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	b := s.blockingOf(rule, s.parser.Args)
	if b == nil {
		s.anywhere(rule, resp.AppendCommand(nil, s.parser.Args...))
		return true
	}
	to := s.wrote
	s.wrote = nil
	if len(to) == 0 {
		if n := s.l.anyNode(s); n != nil {
			to = []*node{n}
		}
	}
	for _, n := range to {
		if !slices.Contains(s.l.primaries, n) { // its successor cannot say what the writes of before have reached
			s.answered(rule, nobodyHasIt(rule))
			return true
		}
	}
	r := s.request(rule, nil)
	r.class = metrics.ClassBlocking
	r.fan = s.l.newFanout()
	r.fan.merge = mergers[rule.Merge]
	for _, n := range to {
		p := s.l.newPart(r)
		p.to, p.own, p.block, p.pre, p.once = n, true, b, 1, false
		p.deadline = max(p.deadline, b.until)
		s.l.setBuf(p, resp.AppendCommand(append([]byte(nil), restoreNothing...), s.parser.Args...))
	}
	s.block(r)
	if len(to) == 0 {
		s.l.fail(r, causeNoOwner.giveUp(s.l, r))
		return true
	}
	s.goParts(r)
	return true
}

// nobodyHasIt is the answer of WAIT, or WAITAOF, when no replica is known to have the client's writes.
func nobodyHasIt(rule *router.Rule) []byte {
	if rule.Name == "wait" {
		return resp.AppendInt(nil, 0)
	}
	return resp.AppendInt(resp.AppendInt(resp.AppendArray(nil, 2), 0), 0)
}
