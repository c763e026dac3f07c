package machine

const (
	// targetUnits: a target takes keys from several sources at once, and serves its own clients meanwhile.
	targetUnits = 3
	// handFactor bounds the units in hand: those before and behind the middle of their path cost nothing but memory.
	handFactor = 4
)

// schedule lets units begin whose turn it is, and cuts new ones.
func (m *Machine) schedule() {
	if !m.may() {
		return
	}
	for i := 0; i < len(m.units); i++ {
		u := m.units[i]
		if !u.parked || !m.turn(u) {
			continue
		}
		if u.stale {
			u.stale = false
			u.enter(u.forward(), Prepare)
		}
		m.begin(u)
	}
	for len(m.units) < handFactor*m.opt.Parallel {
		mv := m.pick()
		if mv == nil {
			return
		}
		u := m.take(m.cut(mv))
		u.enter(u.forward(), Prepare)
		m.begin(u)
	}
}

func (m *Machine) pending() bool {
	for _, mv := range m.moves {
		if len(mv.pieces) > 0 {
			return true
		}
	}
	return false
}

// pick chooses the move whose next unit is prepared: of those whose source has none in preparation, the one with the least
// busy target, then with the most left to do.
func (m *Machine) pick() *move {
	var best *move
	for _, mv := range m.moves {
		if len(mv.pieces) == 0 || m.preparing(mv.source) {
			continue
		}
		if best == nil || m.busy(mv.target) < m.busy(best.target) ||
			m.busy(mv.target) == m.busy(best.target) && mv.pending() > best.pending() {
			best = mv
		}
	}
	return best
}

// preparing: a source has one unit ahead, so that there is no gap between two.
func (m *Machine) preparing(source string) bool {
	for _, u := range m.units {
		if u.Source == source && !u.opened {
			return true
		}
	}
	return false
}

// busy counts the units that a target is taking, or will take next.
func (m *Machine) busy(target string) int {
	n := 0
	for _, u := range m.units {
		if u.Target == target && !u.tail {
			n++
		}
	}
	return n
}

// turn says whether a unit may be opened now.
func (m *Machine) turn(u *unit) bool {
	if !m.may() {
		return false
	}
	open, target := 0, 0
	for _, o := range m.units {
		if o == u || !o.opened {
			continue
		}
		if o.Engine != u.Engine && touch(o, u) { // the servers refuse SETSLOT beside a stream, and a stream beside open slots
			return false
		}
		// A node that takes slots raises its epoch. Slots that it has just given away, and has not heard of yet, it would claim
		// back with it, and the new owner would delete their keys. So a node gives or takes.
		if o.Source == u.Target || o.Target == u.Source {
			return false
		}
		if !o.occupies() {
			continue
		}
		if o.Source == u.Source {
			return false
		}
		open++
		if o.Target == u.Target {
			target++
		}
	}
	return open < m.opt.Parallel && target < targetUnits
}

// occupies: the source is not free yet. The nodes of a stream settle among themselves what legacy units are told.
func (u *unit) occupies() bool { return u.opened && (!u.tail || u.Engine == Atomic) }

func touch(a, b *unit) bool {
	return a.Source == b.Source || a.Source == b.Target || a.Target == b.Source || a.Target == b.Target
}
