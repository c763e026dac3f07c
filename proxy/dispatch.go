package proxy

import (
	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// command takes one complete command. It reports false when the command must be offered again after the client's
// earlier ones are done. raw is the command as it came; the parser's arguments point into it.
func (s *session) command(raw []byte) bool {
	args := s.parser.Args
	s.commands++
	rule := s.l.cmds.Lookup(args)
	s.rule = rule
	if (!s.authed || rule == nil || rule.Subs != nil) && s.objects(rule) {
		return true
	}
	if !rule.ArityOK(len(args)) {
		return s.wrongArity(rule)
	}
	if s.subs != nil && s.listening() && !whileListening[rule.Name] {
		return s.refuse(rule, onlySubscribe(rule))
	}
	if !rule.Built {
		return s.refuse(rule, unsupported(rule))
	}
	if s.monitors && touchesKeys(rule) {
		return s.refuse(rule, errTextMonitors)
	}
	if s.l.pause.until != 0 && s.pausing(rule) {
		s.stop(stopPaused)
		return false
	}
	s.watched = s.l.p.monitors.Load() != 0
	if s.tx != nil && rule.Policy != router.Transaction {
		return s.enlist(rule, raw)
	}
	switch rule.Policy {
	case router.Transaction:
		return s.transact(rule)
	case router.Lease:
		return s.leased(rule, raw)
	case router.Shard:
		if rule.BlockOption && rule.Blocks(args) {
			return s.blockOn(rule, raw)
		}
		return s.shard(rule, raw)
	case router.Split:
		s.split(rule, raw)
	case router.AllPrimaries:
		return s.everywhere(rule, raw)
	case router.Script:
		return s.script(rule, raw)
	case router.AnyNode:
		s.anywhere(rule, raw)
	case router.Publish:
		return s.publish(rule, raw)
	case router.Subscribe:
		return s.subscribe(rule)
	case router.Local:
		return s.answer(rule)
	case router.Scan:
		return s.walkKeys(rule, raw)
	case router.Iterate:
		s.iterate(rule, raw)
	case router.Refused:
		s.refuse(rule, unsupported(rule))
	default:
		s.refuse(rule, unsupported(rule))
	}
	return true
}

// wrongArity refuses a command with too many or too few arguments. EXEC ends its transaction even so.
func (s *session) wrongArity(rule *router.Rule) bool {
	text := wrongArity(rule)
	if rule.Name == "exec" {
		text = abortedBecause([]byte("-" + text[len("ERR "):]))
		s.dropTransaction()
		s.unwatch()
	}
	return s.refuse(rule, text)
}

// refuse answers with an error of the proxy's own and goes on. It always reports true: the command is dealt with.
func (s *session) refuse(rule *router.Rule, text string) bool {
	if rule != nil {
		s.l.stats.Commands[rule.ID].ProxyError++
	}
	if s.tx != nil {
		s.tx.failed = true
	}
	s.ownError(text)
	return true
}

func (s *session) ownError(text string) {
	s.wrong = true
	s.l.scratch = resp.AppendError(s.l.scratch[:0], text)
	s.say(s.l.scratch)
}

// say puts a reply that is already known behind the replies that are still due.
func (s *session) say(reply []byte) {
	switch {
	case s.capturing:
		s.captured = append(s.captured, reply...)
		return
	case s.hearing.deaf() && !isConfirmation(s.rule, reply):
		return
	case s.tail != nil:
		s.l.keepBehind(s.tail, reply)
	case s.tx != nil:
		s.whisper(reply)
	default:
		s.write(reply)
	}
	s.checkOutput()
}

// request makes the request for the command that the parser holds and puts it into the queue. Its bytes are taken
// over when they are a large payload alone in the buffer, and copied otherwise.
func (s *session) request(rule *router.Rule, raw []byte) *request {
	l := s.l
	r := l.newRequest()
	s.label(r, rule)
	switch {
	case raw == nil:
	case !s.parser.Canonical:
		l.scratch = resp.AppendCommand(l.scratch[:0], s.parser.Args...)
		l.setBuf(r, l.scratch)
	case len(raw) >= bigPayload && len(raw) == len(s.in) && &raw[0] == &s.in[0]:
		r.take(s.in)
		s.in = nil
	default:
		l.setBuf(r, raw)
	}
	s.enqueue(r)
	return r
}

// label notes what r is a request for.
func (s *session) label(r *request, rule *router.Rule) {
	r.rule = rule
	r.start = s.l.now
	r.deadline = r.start + s.l.limits.RedirectBudget.Nanoseconds()
	r.write = rule.Flags&router.FlagWrite != 0
	if s.caching != "" {
		r.caching, s.caching = s.caching, ""
	}
	r.once = !rule.Repeatable
	r.class = metrics.ClassRead
	if r.write {
		r.class = metrics.ClassWrite
	}
}

// sendInOrder sends r now if nothing of the client's stands before it, and leaves it to the order pass otherwise.
func (s *session) sendInOrder(r *request) {
	if s.calm(r) {
		s.l.send(r)
		return
	}
	r.enter(stateHeld)
	s.l.stats.HeldTotal++
	s.advance()
}

// shard sends a command to the node of its keys. It reports false when it has to be offered again.
func (s *session) shard(rule *router.Rule, raw []byte) bool {
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	if d.Cross && s.emulates(rule) {
		return s.emulate(rule)
	}
	if d.Cross {
		return s.refuse(rule, errTextCrossSlot)
	}
	if !d.HasSlot {
		s.anywhere(rule, raw) // no keys where keys belong: the server has the right words for it
		return true
	}
	r := s.request(rule, raw)
	r.slot, r.hasSlot, r.multi = d.Slot, true, d.Multi
	s.sendInOrder(r)
	return true
}

// anywhere sends a command without keys to one node.
func (s *session) anywhere(rule *router.Rule, raw []byte) {
	if fix := fixers[rule.Name]; fix != nil {
		s.fixed(rule, raw, fix)
		return
	}
	r := s.request(rule, raw)
	r.class = metrics.ClassKeyspace
	s.sendInOrder(r)
}
