package machine

import "slotproxy/migrate/journal"

// The ways of a unit. See docs/migration.md for what a crash at each arrow leaves.
var (
	// gated: the data path is held from before the slots are open until the target owns them.
	gated = []stage{
		{step: Prepare},
		{step: Hold, record: journal.UnitOpening, holds: true},
		{step: Open},
		{step: Move},
		{step: Commit, record: journal.UnitCommitting},
		{step: Release},
		{step: Tell, record: journal.UnitCommitted},
		{step: Verify},
	}
	// online: clients follow ASK while the keys move; Move holds for the rest.
	online = []stage{
		{step: Prepare},
		{step: Open, record: journal.UnitOpening},
		{step: Move, holds: true},
		{step: Commit, record: journal.UnitCommitting},
		{step: Release},
		{step: Tell, record: journal.UnitCommitted},
		{step: Verify},
	}
	// streamed: the nodes move the slots, and tell each other.
	streamed = []stage{
		{step: Prepare},
		{step: Start, record: journal.UnitOpening},
		{step: Watch, holds: true},
		{step: Release},
		{step: Verify, record: journal.UnitCommitted},
	}
	// closing rolls back. It holds, since a client that was sent to the target might write a key there behind the look that
	// found none.
	closing = []stage{
		{step: Hold, record: journal.UnitClosing, holds: true},
		{step: Close},
		{step: Release},
	}
	// cancelling stops the stream; a Look after it tells whether the nodes had already handed over.
	cancelling = []stage{
		{step: Cancel, record: journal.UnitClosing},
	}
)

// forward is the way of a unit to its target.
func (u *unit) forward() []stage {
	switch {
	case u.Engine == Atomic:
		return streamed
	case u.Online:
		return online
	}
	return gated
}

// reopen puts a unit that may be open at the first step that changes something. A gate that is held stays so.
func (u *unit) reopen() {
	switch {
	case u.Engine == Atomic:
		u.enter(streamed, Start)
	case u.Online || u.held:
		u.enter(u.forward(), Open)
	default:
		u.enter(gated, Hold)
	}
}

// toTail puts a unit whose slots the target owns behind Commit.
func (u *unit) toTail() {
	u.Committed, u.opened = true, true
	u.enter(u.forward(), Release)
}
