package proxy

import "slotproxy/router"

// What a transaction that is being collected takes of the proxy's memory.

const (
	// copyRoom is what a copy takes beside its bytes: the header in a slice that grows by half, and what the size is
	// rounded up by.
	copyRoom = 64
	// keepOwn is how many entries an unused transaction may keep room for: few have more commands that the proxy answers.
	keepOwn = 64
)

// overfills says that the transaction has no room for a further command. While the buffer budget is spent only small
// ones grow: theirs is not the memory that is missing.
func (s *session) overfills(raw []byte) bool {
	t := s.tx
	size := len(t.r.buf) + t.kept + len(raw)
	if t.n >= maxQueuedCommands || size > maxQueuedBytes {
		return true
	}
	used := s.l.pool.used + len(raw)
	if n := len(t.r.buf); n+len(raw) > cap(t.r.buf) {
		used += n // it is about to be twice as large
	}
	return size > bigPayload && used > s.l.budget
}

// enlistOwn queues a command that the proxy answers.
func (s *session) enlistOwn(rule *router.Rule, o ownReply, args ...[]byte) bool {
	if ok, known := s.permitted(rule); !ok {
		s.tx.failed = s.tx.failed || known
		return known
	}
	s.l.answers(s.tx, o, args...)
	s.l.extend(s.tx.r, pingCommand)
	s.tx.n++
	s.answered(rule, queuedReply)
	return true
}

// answers notes what becomes of the reply to the next command, and copies of the arguments that are needed for it.
func (l *loop) answers(t *transaction, o ownReply, args ...[]byte) {
	o.at = int(t.n)
	size := copyRoom
	for _, a := range args {
		o.args = append(o.args, clone(a))
		size += len(a) + copyRoom
	}
	t.own = append(t.own, o)
	l.keeps(t, size)
}

// keeps counts n further bytes of copies.
func (l *loop) keeps(t *transaction, n int) {
	t.kept += n
	l.pool.used += n
}

// blank makes t as good as new, with small slices of the old one.
func (l *loop) blank(t *transaction) {
	l.pool.used -= t.kept
	own, key := t.own, t.key
	clear(own)
	if cap(own) > keepOwn {
		own = nil
	}
	if cap(key) > keepBuf {
		key = nil
	}
	*t = transaction{own: own[:0], key: key[:0]}
}

// holding is how much memory the client takes: what it has not read, what it has sent and not completed, and what it is
// waiting for.
func (s *session) holding() int {
	n := s.out.size + s.held + cap(s.in)
	if t := s.tx; t != nil {
		n += t.r.holding() + t.kept
	}
	for r := s.head; r != nil; r = r.next {
		n += r.holding()
		if r.tx != nil {
			n += r.tx.kept
		}
		if r.fan != nil {
			for _, p := range r.fan.parts {
				n += p.holding()
			}
		}
	}
	return n
}

// holding is how much of the pool the command of r takes.
func (r *request) holding() int {
	if r.pooled {
		return cap(r.buf)
	}
	return 0
}
