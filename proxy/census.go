package proxy

import "sync/atomic"

// census puts one question to all loops without any of them waiting: each adds its part, and the last one sends the
// answer home.
type census[T any] struct {
	s    *session
	r    *request
	part func(l *loop) T
	// reply words the answer, on the loop that asked; nil when it has given one, or another one comes later. Not called when the client
	// has gone meanwhile.
	reply func(s *session, parts []T) []byte

	users []string // must exist, else the answer is an error

	parts []T // by loop; each written by its loop only
	left  atomic.Int32
}

// start asks for the client of the command at hand. Its later commands wait for the answer.
func (c *census[T]) start() {
	c.r = c.s.ask()
	c.r.enter(stateSent)
	c.s.stop(stopBarrier)
	c.s.withUsers(c.r, c.users, c.spread)
}

func (c *census[T]) spread() {
	c.r.refs++ // held by the census
	c.parts = make([]T, len(c.s.l.p.loops))
	c.left.Store(int32(len(c.parts)))
	home := c.s.l
	for _, l := range home.p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { c.visit(l, home) }})
	}
}

func (c *census[T]) visit(l, home *loop) {
	c.parts[l.id] = c.part(l)
	if c.left.Add(-1) == 0 {
		home.post(message{kind: msgCall, call: c.done})
	}
}

func (c *census[T]) done(l *loop) {
	if c.r.state != stateDone {
		if reply := c.reply(c.s, c.parts); reply != nil {
			l.finish(c.r, reply)
		}
	}
	l.release(c.r)
}

// sum adds the parts of a census that counts.
func sum(parts []int) (n int) {
	for _, p := range parts {
		n += p
	}
	return n
}

// byID finds a client of this loop, nil when it has none with this id.
func (l *loop) byID(id uint64) *session {
	for _, s := range l.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}
