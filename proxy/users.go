package proxy

import (
	"slices"

	"slotproxy/resp"
)

// forgetPermissions makes nodes say again what the user may do.
func (p *profile) forgetPermissions() {
	p.multiUntil, p.permits, p.asked, p.echo, p.noTails = 0, permissions{}, false, false, 0
}

// inquire puts a question to a node as the client's user, and reports false when there is none to ask. answer comes
// later, with nil when the connection is lost, and not at all when the client leaves meanwhile.
func (s *session) inquire(command []byte, answer func(s *session, reply []byte)) bool {
	var c *nodeConn
	if n := s.l.anyNode(s); n != nil {
		c = n.conn(s.profile, 0)
	}
	if c == nil {
		return false
	}
	s.l.ask(c, command, func(_ *loop, _ *request, reply []byte) {
		if !s.closed {
			answer(s, reply)
		}
	})
	return true
}

// withUsers goes on when a node has said that these users exist, and answers r as the server does when one does not. Who
// may not ask is believed.
func (s *session) withUsers(r *request, users []string, then func()) {
	if len(users) == 0 {
		then()
		return
	}
	asked := s.inquire(resp.AppendCommandStrings(nil, "ACL", "GETUSER", users[0]), func(s *session, reply []byte) {
		if r.state == stateDone {
			return
		}
		if string(reply) == "*-1\r\n" || string(reply) == "_\r\n" || string(reply) == "$-1\r\n" {
			s.l.fail(r, noSuchUser(users[0]))
			return
		}
		s.withUsers(r, users[1:], then)
	})
	if !asked {
		then()
	}
}

// mergeDelUser adds up what ACL DELUSER has done, and ends the clients of the users, as the server does.
func mergeDelUser(r *request, dst []byte) ([]byte, bool) {
	var users []string
	for _, a := range r.arguments()[2:] {
		users = append(users, string(a))
	}
	me := r.sess
	for _, l := range me.l.p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { l.killUsers(users, me) }})
	}
	if slices.Contains(users, me.profile.key.user) && me.profile.key.user != "" {
		me.end()
	}
	return mergeMost(r, dst)
}

// killUsers ends the clients of these users.
func (l *loop) killUsers(users []string, but *session) {
	for i := len(l.sessions) - 1; i >= 0; i-- {
		if s := l.sessions[i]; s != but && s.profile.key.user != "" && slices.Contains(users, s.profile.key.user) {
			s.kill()
		}
	}
}
