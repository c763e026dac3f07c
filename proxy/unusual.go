package proxy

import "slotproxy/router"

// objects refuses a command that is unknown, or from a client that has not logged in. It reports false when there is
// nothing wrong with it after all. What is said first depends on the server: newer ones tell strangers nothing but that
// they are strangers.
func (s *session) objects(rule *router.Rule) bool {
	args := s.parser.Args
	stranger := !s.authed && (rule == nil || rule.Flags&router.FlagNoAuth == 0)
	switch {
	case stranger && s.l.p.release().valkey(9, 1):
		return s.refuse(rule, errTextNoAuth)
	case rule == nil:
		return s.refuse(nil, unknownCommand(args))
	case rule.Subs != nil && len(args) > 1:
		return s.refuse(rule, unknownSubcommand(rule, args))
	case stranger && !rule.ArityOK(len(args)):
		return s.refuse(rule, wrongArity(rule))
	case stranger:
		return s.refuse(rule, errTextNoAuth)
	}
	return false
}
