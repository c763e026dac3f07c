package proxy

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
)

// clientList answers CLIENT LIST with the clients of all loops.
func clientList(s *session, args [][]byte) {
	r := s.l.p.release()
	f := listFilter(args[2:], r)
	if f.text != "" {
		s.ownError(f.text)
		return
	}
	me := s.id
	list := &census[[]ClientInfo]{s: s, part: (*loop).clients, users: f.users}
	list.reply = func(s *session, parts [][]ClientInfo) []byte {
		var b strings.Builder
		for _, c := range f.ordered(slices.Concat(parts...), r) {
			if f.matches(&c, me) {
				b.WriteString(c.line(r))
			}
		}
		return resp.AppendVerbatim(nil, b.String(), s.profile.key.proto)
	}
	list.start()
}

// ordered puts clients into the order in which a server lists them: as they came, or as older ones are asked for them.
func (f *clientFilter) ordered(clients []ClientInfo, r release) []ClientInfo {
	slices.SortFunc(clients, func(a, b ClientInfo) int { return cmp.Compare(a.ID, b.ID) })
	if f.ids == nil || r.valkey(8, 1) {
		return clients
	}
	var asked []ClientInfo
	for _, id := range f.ids {
		at, found := slices.BinarySearchFunc(clients, id, func(c ClientInfo, id uint64) int { return cmp.Compare(c.ID, id) })
		if found {
			asked = append(asked, clients[at])
		}
	}
	return asked
}

// clientKill ends clients: the one with an address, or all that options select.
func clientKill(s *session, args [][]byte) {
	oldForm := len(args) == 3
	f := &clientFilter{}
	if oldForm {
		addr := string(args[2])
		f.tests = map[string]clientTest{"addr": func(c *ClientInfo) bool { return c.Addr == addr }}
	} else if f = killFilter(args[2:], s.l.p.release()); f.text != "" {
		s.ownError(f.text)
		return
	}
	me := s.info()
	suicide := f.matches(&me, me.ID)
	kill := &census[int]{s: s, users: f.users, part: func(l *loop) int { return l.kill(f, me.ID) }}
	kill.reply = func(s *session, parts []int) []byte {
		n := sum(parts)
		if suicide {
			n++
			s.reason = metrics.DisconnectKilled
			s.end() // behind this reply
		}
		switch {
		case !oldForm:
			return resp.AppendInt(nil, int64(n))
		case n == 0:
			return resp.AppendError(nil, errTextNoClient)
		}
		return okReply
	}
	kill.start()
}

// kill ends the clients of this loop that f selects, but not the one that asks, and returns their number.
func (l *loop) kill(f *clientFilter, me uint64) (n int) {
	for i := len(l.sessions) - 1; i >= 0; i-- { // the last one takes the place of one that goes
		s := l.sessions[i]
		c := s.info()
		if s.id == me || !f.matches(&c, me) {
			continue
		}
		s.kill()
		n++
	}
	return n
}

// kill ends a client at once, as the server does: what it has under way takes its course.
func (s *session) kill() {
	s.reason = metrics.DisconnectKilled
	s.conn.close(errKilled)
}

// clientUnblock lets another client go on that waits in a blocking command.
func clientUnblock(s *session, args [][]byte) {
	if len(args) > 4 && !s.l.p.release().valkey(8, 1) {
		s.ownError(wrongSubArity(s.rule))
		return
	}
	id, ok := resp.ParseInt(args[2])
	if !ok {
		s.ownError(errTextNotInteger)
		return
	}
	withError := false
	switch {
	case len(args) == 3 || bytes.EqualFold(args[3], []byte("timeout")):
	case bytes.EqualFold(args[3], []byte("error")):
		withError = true
	default:
		s.ownError(errTextUnblock)
		return
	}
	wake := &census[int]{s: s, part: func(l *loop) int { return l.unblock(uint64(id), withError) }}
	wake.reply = func(_ *session, parts []int) []byte { return resp.AppendInt(nil, int64(sum(parts))) }
	wake.start()
}

// unblock wakes a client of this loop and returns 1 if it has been blocked, else 0.
func (l *loop) unblock(id uint64, withError bool) int {
	if s := l.byID(id); s != nil && s.unblock(withError) {
		return 1
	}
	return 0
}
