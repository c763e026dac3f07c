package proxy

import "slotproxy/router"

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
	pass       uint32
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
	v := &s.l.slots[r.slot]
	return v.trouble == nil && v.multi == 0 || !r.hasSlot
}

// pass is one walk over a client's queue, oldest first.
type pass struct {
	l        *loop
	anything bool // an earlier request without a slot (for all nodes) has not been sent: nothing may overtake it
	unsent   bool // an earlier request has not been sent: a request for all nodes may not overtake it
}

// advance sends every held request of the client that may go. It costs one walk over the queue, which the limit of
// requests in flight bounds.
func (s *session) advance() {
	if s.unsent == 0 || s.advancing || s.closed {
		return
	}
	if s.l.quiet {
		if !s.postponed {
			s.postponed = true
			s.l.postponed = append(s.l.postponed, s)
		}
		return
	}
	s.advancing = true
	s.l.pass++
	p := pass{l: s.l}
	for r := s.head; r != nil; r = r.next {
		if r.fan == nil {
			p.visit(r)
			continue
		}
		if r.state == stateDone {
			continue
		}
		for _, part := range r.fan.parts {
			p.visit(part)
		}
	}
	s.advancing = false
	s.deliver()
}

func (p *pass) visit(r *request) {
	if r.state == stateDone {
		return
	}
	if !r.hasSlot {
		p.visitKeyless(r)
		return
	}
	m := &p.l.marks[r.slot]
	if m.pass != p.l.pass {
		*m = mark{pass: p.l.pass}
	}
	if r.state == stateHeld && !p.anything && !m.blocks(r) {
		p.l.send(r)
	}
	if r.state != stateDone {
		m.add(r, p.l.slots[r.slot].trouble != nil)
		p.unsent = p.unsent || unsentIn(r.state) > 0
	}
}

func (p *pass) visitKeyless(r *request) {
	everywhere := r.rule != nil && r.rule.Policy == router.AllPrimaries
	if r.state == stateHeld && !p.anything && !(everywhere && p.unsent) {
		p.l.send(r)
	}
	if everywhere && unsentIn(r.state) > 0 {
		p.anything = true
	}
}

// beginQuiet postpones every advance until endQuiet, while several requests change state together.
func (l *loop) beginQuiet() { l.quiet = true }

func (l *loop) endQuiet() {
	l.quiet = false
	for i := 0; i < len(l.postponed); i++ {
		s := l.postponed[i]
		s.postponed = false
		s.advance()
	}
	clear(l.postponed)
	l.postponed = l.postponed[:0]
}
