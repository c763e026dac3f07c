package proxy

import (
	"slotproxy/resp"
	"slotproxy/router"
)

// Commands that the proxy answers itself never reach a node, which would know whether the user may run them. So a node is
// asked: MULTI, the command, DISCARD. To queue a command checks the permissions and runs nothing. A user who may not use MULTI
// is asked for with the command itself where that does no harm in a node, and may not run the others. Clients that have
// not logged in are the default user and are not asked for: what they may do is the operator's choice for everybody.

// permissions is what nodes have said about one user. Owned by the loop.
type permissions struct {
	until   int64          // loop time until which it counts
	noMulti bool           // the user may not use MULTI
	denied  map[int][]byte // by rule ID: the node's refusal, nil when it is allowed
}

// permitted says whether the client may run a command that the proxy answers; known is false when a node is being asked:
// then the command has to be offered again. It answers a command that is not permitted.
func (s *session) permitted(rule *router.Rule) (ok, known bool) {
	if !s.profile.key.login || rule.Flags&router.FlagNoAuth != 0 {
		return true, true
	}
	p := &s.profile.permits
	if s.l.now >= p.until {
		*p = permissions{until: s.l.now + multiTrust, denied: map[int][]byte{}}
	}
	refusal, asked := p.denied[rule.ID]
	switch {
	case asked && refusal == nil:
		return true, true
	case asked:
		s.l.stats.Commands[rule.ID].ServerError++
		s.say(refusal)
		return false, true
	case s.head != nil:
		s.stop(stopBarrier)
		return false, false
	}
	return s.askNode(rule)
}

// askNode asks whether the user may run MULTI, or, when that is known, the command.
func (s *session) askNode(rule *router.Rule) (ok, known bool) {
	var c *nodeConn
	if n := s.l.anyNode(s); n != nil {
		c = n.conn(s.profile, 0)
	}
	if c == nil {
		s.refuse(rule, causeNoOwner.giveUp(s.l, &request{start: s.l.now}))
		return false, true
	}
	command := resp.AppendCommand(nil, s.parser.Args...)
	switch {
	case s.l.now < s.profile.multiUntil:
		command = append(append(append([]byte(nil), multiCommand...), command...), discardCommand...)
		s.l.askBehind(c, 2, command, func(_ *loop, r *request, reply []byte) { s.heardOf(rule, r, reply) })
	case !s.profile.permits.noMulti:
		s.l.askBehind(c, 1, multiProbe, func(_ *loop, r *request, reply []byte) { s.heardOfMulti(r, reply) })
	case harmful[rule.Name] || rule.Flags&router.FlagAdmin != 0:
		s.profile.permits.note(rule, resp.AppendError(nil, noPermission(s.profile.key.user, rule)))
		return s.permitted(rule)
	default:
		s.l.ask(c, command, func(_ *loop, r *request, reply []byte) { s.heardOf(rule, r, reply) })
	}
	s.stop(stopBarrier)
	return false, false
}

var discardCommand = []byte("*1\r\n$7\r\nDISCARD\r\n")

// heardOfMulti takes the answer to the question about MULTI.
func (s *session) heardOfMulti(r *request, reply []byte) {
	switch {
	case len(reply) == 0 || r.ownError: // lost: asked again
	case r.early == nil:
		s.profile.multiUntil = s.l.now + multiTrust
	default:
		s.profile.permits.noMulti = true
	}
	s.resume(stopBarrier)
}

// harmful commands would change the connection that asks, or others.
var harmful = setOf("client|kill", "client|pause", "client|unpause", "client|unblock", "client|reply", "client|tracking",
	"client|caching", "client|no-evict", "client|no-touch", "monitor")

// heardOf takes the answer to the question about a command.
func (s *session) heardOf(rule *router.Rule, r *request, reply []byte) {
	if len(reply) > 0 && !r.ownError { // or lost: asked again
		var refusal []byte
		if r.pre == 0 {
			r.early = reply
		}
		if resp.Classify(r.early) == resp.NoPerm {
			refusal = append(refusal, r.early...)
		}
		if reply[0] == '-' && r.pre > 0 {
			r.conn.close(errMultiOpen) // MULTI without DISCARD, or a command that has been run and may have changed it
		}
		if r.loose() {
			s.profile.multiUntil = 0 // the command was not judged: asked again, in another way
		} else {
			s.profile.permits.note(rule, refusal)
		}
	}
	s.resume(stopBarrier)
}

// note keeps an answer; nil is a permission.
func (p *permissions) note(rule *router.Rule, refusal []byte) {
	if p.denied == nil {
		p.denied = map[int][]byte{}
	}
	p.denied[rule.ID] = refusal
}
