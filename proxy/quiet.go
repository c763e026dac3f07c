package proxy

import (
	"strings"

	"slotproxy/router"
)

// CLIENT REPLY is kept here and never reaches a node: each request remembers whether its client wants to hear of it, and
// emit is where replies go out. Messages that answer no command are not held back, as in the server.

// hearing is what a client has asked for with CLIENT REPLY.
type hearing struct {
	off  bool // nothing, until further notice
	skip bool // not the command at hand
	next bool // not the one after it
}

// deaf says that the command at hand is not answered.
func (h *hearing) deaf() bool { return h.off || h.skip }

// step goes on to the next command.
func (h *hearing) step() { h.skip, h.next = h.next, false }

func clientReply(s *session, args [][]byte) {
	switch strings.ToLower(string(args[2])) {
	case "on":
		s.hearing = hearing{}
		s.sayOK()
	case "off":
		s.hearing.off = true
	case "skip":
		if !s.hearing.off {
			s.hearing.next = true
		}
	default:
		s.ownError(errTextSyntax)
	}
}

// isConfirmation says that a reply to a command of this rule tells what the client is subscribed to: that is a message, too.
func isConfirmation(rule *router.Rule, reply []byte) bool {
	return rule != nil && rule.Policy == router.Subscribe && reply[0] != '-'
}

// muted says that what is written now answers a command whose client does not want to hear of it.
func (s *session) muted() bool {
	if s.head != nil {
		return s.head.muted
	}
	return s.hearing.deaf()
}

// emit writes a reply, or the next piece of one.
func (s *session) emit(b []byte) {
	if !s.muted() || s.head != nil && isConfirmation(s.head.rule, b) {
		s.write(b)
	}
}

// emitThrough is emit for the middle of a large reply.
func (s *session) emitThrough(b []byte) {
	if !s.muted() {
		s.writeThrough(b)
	}
}
