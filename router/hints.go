package router

import "slices"

// Cause says why somebody doubts the table.
type Cause uint8

// The causes.
const (
	Moved    Cause = iota + 1 // a node named Addr as the owner of Slot
	Ask                       // Addr says that Slot is being moved
	Lost                      // a connection to Addr broke or could not be made
	ReadOnly                  // Addr refused a write: it is a replica now
	Down                      // Addr says that the cluster is down, that it still loads, or that it lost its primary
	Retry                     // Addr cannot serve several keys of Slot at the moment
)

var causeNames = [...]string{"interval", "moved", "ask", "lost", "readonly", "down", "retry"}

// String returns the word used in logs.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "cause(?)"
}

// Hint is one doubt about the table.
type Hint struct {
	Cause   Cause
	Slot    uint16
	HasSlot bool
	Addr    string // host:port of the node that said it, of Moved the one that it names; "" if not known
}

// maxNoted bounds the addresses and slots that are kept of one wave of hints. A few are enough to know whom to ask; a wave
// may have thousands.
const maxNoted = 8

// hints is what is left of any number of hints: enough to know whom to ask and what changed. The zero value is empty.
type hints struct {
	any   bool
	first Cause             // of the wave
	moved map[uint16]string // the newest MOVED of each slot
	open  map[uint16]bool   // slots that are being moved, as far as anybody knows
	ask   []string          // nodes that know something new
	lost  []string          // nodes that may not answer
	slots []uint16          // slots whose owner knows something
}

func (h *hints) add(n Hint) {
	if !h.any {
		h.any, h.first = true, n.Cause
	}
	switch {
	case n.Addr == "":
	case n.Cause == Lost || n.Cause == Down:
		h.lost = note(h.lost, n.Addr)
	default:
		h.ask = note(h.ask, n.Addr)
	}
	if !n.HasSlot || n.Slot >= Slots {
		return
	}
	h.slots = note(h.slots, n.Slot)
	switch n.Cause {
	case Moved:
		h.setMoved(n.Slot, n.Addr)
	case Ask, Retry:
		h.setOpen(n.Slot)
	}
}

func (h *hints) setOpen(slot uint16) {
	if h.open == nil {
		h.open = make(map[uint16]bool)
	}
	h.open[slot] = true
}

func (h *hints) setMoved(slot uint16, addr string) {
	if h.moved == nil {
		h.moved = make(map[uint16]string)
	}
	h.moved[slot] = addr
}

// note appends what is not there yet, up to the bound.
func note[T comparable](list []T, item T) []T {
	if len(list) >= maxNoted || slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// take returns all and leaves none.
func (h *hints) take() hints {
	all := *h
	*h = hints{}
	return all
}

// putBack returns hints that came to nothing. What came in since is newer.
func (h *hints) putBack(older *hints) {
	if !older.any {
		return
	}
	h.any, h.first = true, older.first
	for slot, addr := range older.moved {
		if _, newer := h.moved[slot]; !newer {
			h.setMoved(slot, addr)
		}
	}
	for slot := range older.open {
		h.setOpen(slot)
	}
	for _, addr := range older.ask {
		h.ask = note(h.ask, addr)
	}
	for _, addr := range older.lost {
		h.lost = note(h.lost, addr)
	}
	for _, slot := range older.slots {
		h.slots = note(h.slots, slot)
	}
}

// overlay writes the owners that MOVED named into a table that nobody has seen yet. A node that the table does not know is
// not believed: the next refresh will find it if it belongs to the cluster.
func (h *hints) overlay(t *Table) {
	for slot, addr := range h.moved {
		if at := t.ByAddr(addr); at >= 0 {
			t.Owner[slot] = int16(at)
		}
	}
	if len(h.moved) > 0 {
		t.recount()
	}
}

// keepOpen marks the slots of next that were open, by the old table or by a hint, and whose owner was not heard: only the
// owner knows that a slot is closed again, and commands must not be sent side by side before.
func (h *hints) keepOpen(old, next *Table, heard map[string]bool) {
	mark := func(slot uint16, open Open) {
		owner := next.Node(slot)
		if owner == nil || heard[owner.ID] || open.Source != "" && open.Source != owner.ID {
			return
		}
		if _, known := next.Open[slot]; known {
			return
		}
		if next.Open == nil {
			next.Open = make(map[uint16]Open)
		}
		open.Source = owner.ID
		next.Open[slot] = open
	}
	if old != nil {
		for slot, open := range old.Open {
			mark(slot, open)
		}
	}
	for slot := range h.open {
		mark(slot, Open{})
	}
}

func (h *hints) cause() string { return h.first.String() }
