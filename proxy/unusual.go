package proxy

import "slotproxy/router"

// objects deals with a command that is unknown, unknown to the cluster's servers, or from a client that has not logged in.
// It reports false when there is nothing wrong with it after all. What is said first depends on the server: newer ones
// tell strangers nothing but that they are strangers.
func (s *session) objects(rule *router.Rule, raw []byte) bool {
	args := s.parser.Args
	stranger := !s.authed && (rule == nil || rule.Flags&router.FlagNoAuth == 0)
	if stranger && s.l.p.release().valkey(9, 1) {
		return s.refuse(rule, errTextNoAuth)
	}
	switch {
	case rule == nil:
		return s.refuse(nil, unknownCommand(args))
	case rule.Absent:
		if !stranger && s.nodeKnows(rule, raw) {
			return true
		}
		if top := s.l.cmds.Lookup(args[:1]); top != rule && !top.Absent {
			return s.refuse(rule, unknownSubcommand(top, args))
		}
		return s.refuse(rule, unknownCommand(args))
	case rule.Subs != nil && len(args) > 1:
		return s.refuse(rule, unknownSubcommand(rule, args))
	case stranger && !rule.ArityOK(len(args)):
		return s.refuse(rule, wrongArity(rule))
	case stranger:
		return s.refuse(rule, errTextNoAuth)
	}
	return false
}

// neverQueued are the commands that run at once in a transaction, beside its own.
var neverQueued = map[string]bool{"reset": true, "quit": true}

// nodeKnows sends a command to a node that the node we have asked does not know: while a cluster is upgraded, another
// one may. It reports false for a command that no node is asked for.
func (s *session) nodeKnows(rule *router.Rule, raw []byte) bool {
	switch rule.Policy {
	case router.Shard, router.Split:
		s.shard(rule, raw)
	case router.AnyNode, router.AllPrimaries:
		s.anywhere(rule, raw)
	default:
		return false
	}
	return true
}
