package proxy

// The order rule: commands of one client that touch one slot take effect in the order in which they were sent.
//
// In calm times it costs nothing: a slot has one owner, an owner has one FIFO in this loop, and the FIFO keeps order.
// Commands take the slow way through advance when one of these holds:
//   - the slot is in trouble (slots.go): its commands may be at two nodes;
//   - an earlier command of the client has not been sent (held or waiting): it must not be overtaken;
//   - a command with several keys is in flight on the slot: a node that is opening the slot may answer it TRYAGAIN,
//     and a later command that succeeds at once would overtake its retry.

// mark is what an order pass has seen of one slot so far, among the requests before the one at hand.
type mark struct {
	pass       uint64
	unsent     bool // held or waiting
	inTrouble  bool // undone, while the slot is in trouble
	multi      bool // undone with several keys
	multiWrite bool // undone write with several keys
}

// blocks says whether r must wait for what the mark has seen.
func (m *mark) blocks(r *request) bool {
	if faultNoOrder {
		return false
	}
	return m.unsent || m.inTrouble || m.multiWrite || m.multi && r.write
}

func (m *mark) add(r *request, troubled bool) {
	m.unsent = m.unsent || unsentIn(r.state) > 0
	m.inTrouble = m.inTrouble || troubled
	m.multi = m.multi || r.multi
	m.multiWrite = m.multiWrite || r.multi && r.write
}

// calm says that r may be sent without looking at the client's earlier requests.
func (s *session) calm(r *request) bool {
	if s.unsent > 0 {
		return false
	}
	return !r.hasSlot || !s.l.stirred.has(r.slot)
}

// advance sends every held request of the client that may go. It costs one walk over the queue, which the limit of
// requests in flight bounds.
func (s *session) advance() {
	if s.advancing {
		s.again = true // what was added is looked at behind this pass
		return
	}
	if s.unsent == 0 || s.closed && !s.ghost {
		return
	}
	if s.l.quiet > 0 {
		if !s.postponed {
			s.postponed = true
			s.l.postponed = append(s.l.postponed, s)
		}
		return
	}
	s.advancing = true
	s.l.pass++
	for r := s.head; r != nil; r = r.next {
		if r.fan == nil {
			s.l.visit(r)
			continue
		}
		if r.state == stateDone {
			continue
		}
		for _, part := range r.fan.parts {
			s.l.visit(part)
		}
	}
	s.advancing = false
	s.deliver()
	s.advanceAgain()
}

// advanceAgain makes the pass that was wanted in the middle of another one.
func (s *session) advanceAgain() {
	if s.again && !s.advancing {
		s.again = false
		s.advance()
	}
}

// visit looks at one request of the walk and sends it if it is held and nothing before it stands in the way.
func (l *loop) visit(r *request) {
	if r.state == stateDone {
		return
	}
	if !r.hasSlot { // commands for any node have no order among themselves, those for all nodes are alone
		switch {
		case r.state != stateHeld:
		case r.wide && len(l.gates) > 0:
			l.park(r)
		default:
			l.letGo(r)
			l.send(r)
		}
		return
	}
	m := &l.marks[r.slot]
	if m.pass != l.pass {
		*m = mark{pass: l.pass}
	}
	switch {
	case r.state != stateHeld:
	case l.gated(r) && !r.root().wide: // the gate waits for those
		l.park(r)
	default:
		l.letGo(r)
		if !m.blocks(r) {
			l.send(r)
		}
	}
	if r.state != stateDone {
		m.add(r, l.cares[r.slot].trouble != nil)
	}
}

// beginQuiet postpones every advance until endQuiet, while several requests change state together.
func (l *loop) beginQuiet() { l.quiet++ }

func (l *loop) endQuiet() {
	l.quiet--
	if l.quiet > 0 {
		return
	}
	for i := 0; i < len(l.postponed); i++ {
		s := l.postponed[i]
		s.postponed = false
		s.advance()
	}
	clear(l.postponed)
	l.postponed = l.postponed[:0]
}
