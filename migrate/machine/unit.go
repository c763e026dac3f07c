package machine

import (
	"slices"
	"strings"
	"time"

	"slotproxy/migrate/journal"
)

// stage is one step of a path. Its record is durable before the step begins.
type stage struct {
	step   Step
	record string // kind of the unit's record, "" for none
	holds  bool   // the gate may be closed once this step has begun
}

// outdated stands for the record of a unit that begins anew: it is in hand, but what was written is not true any more.
const outdated = "outdated"

// unit is slots in hand.
type unit struct {
	Unit
	path []stage
	at   int // stage that runs, or is next

	step     Step // the last one that was begun
	attempt  int  // counts Runs and Waits
	running  bool // a Result is owed
	waiting  bool // a Woken is owed
	parked   bool // prepared, until it is its turn
	stale    bool // parked while its nodes had trouble: prepare again
	stalled  bool // cannot go on until an operator has done something
	lookNext bool // Look comes before the stage
	rested   bool // has waited since its last step

	written string // kind of its last record, "" if the journal does not have it in hand
	opened  bool   // UnitOpening is written: slots may be open, or a stream may run
	held    bool   // the gate may be closed
	tail    bool   // released to the target: only Tell and Verify are left
	back    bool   // shall be rolled back if it can be, whatever the job does
	// forwardOnly: it cannot be drained, so it is finished even when the job shall end.
	forwardOnly bool
	switched    bool   // is rolled back for the other engine
	committing  bool   // the target may have taken the slots at some time
	stopped     bool   // Cancel is done: no stream runs
	note        string // what is to be said about it, though it has moved
	why         string
	// after is what follows a Release that does not belong to the path.
	after     func(*unit)
	failed    int // atomic attempts
	tries     int // of this step in a row, without Done
	undrained int // Holds in a row that were not drained
	fails     int // results in a row that brought nothing
	looks     int // Looks in a row that showed nothing to act on
	lost      time.Duration
	aside     time.Duration // of its Hold, Open and Commit, together
	withoutOK time.Duration // waits of a Move that is blocked, in sum
}

func (m *Machine) unit(id int) *unit {
	i, ok := slices.BinarySearchFunc(m.units, id, func(u *unit, id int) int { return u.ID - id })
	if !ok {
		return nil
	}
	return m.units[i]
}

// take adds a unit to those in hand.
func (m *Machine) take(u Unit) *unit {
	m.lastID++
	u.ID = m.lastID
	n := &unit{Unit: u}
	m.units = append(m.units, n)
	return n
}

// drop forgets a unit.
func (m *Machine) drop(u *unit) {
	m.units = slices.DeleteFunc(m.units, func(x *unit) bool { return x == u })
}

// run begins a step.
func (m *Machine) run(u *unit, s Step) {
	if u.step != s {
		u.step, u.tries = s, 0
	}
	u.attempt++
	u.running, u.parked, u.stalled = true, false, false
	c := u.Unit
	c.Slots = slices.Clone(u.Slots)
	m.out = append(m.out, Run{Unit: c, Step: s, Attempt: u.attempt})
}

func (m *Machine) look(u *unit) {
	u.lookNext = false
	m.run(u, Look)
}

// proceed begins what is next of a unit: a Look or the stage that it is at.
func (m *Machine) proceed(u *unit) {
	if u.lookNext {
		m.look(u)
		return
	}
	m.begin(u)
}

// begin starts the stage that the unit is at.
func (m *Machine) begin(u *unit) {
	st := u.path[u.at]
	if m.trouble != nil && changes(st.step) && !(st.step == Tell && m.trouble.MayTell) {
		m.free(u, m.leaveTroubled)
		return
	}
	if st.record == journal.UnitOpening && !u.opened && !m.turn(u) {
		u.parked = true
		return
	}
	if st.record != "" {
		u.opened = true
		u.committing = u.committing || st.step == Commit
		if u.written != st.record { // else it is tried again
			m.recordUnit(st.record, u, "")
		}
	}
	u.held = u.held || st.holds
	m.run(u, st.step)
}

// changes tells which steps change the cluster.
func changes(s Step) bool {
	switch s {
	case Open, Move, Commit, Tell, Close, Start, Cancel:
		return true
	}
	return false
}

// enter puts a unit on the first stage of a path with this step.
func (u *unit) enter(path []stage, s Step) {
	u.path = path
	u.at = slices.IndexFunc(path, func(st stage) bool { return st.step == s })
}

// next goes on after a stage that is done.
func (m *Machine) next(u *unit) {
	u.at++
	if u.at < len(u.path) {
		m.begin(u)
		return
	}
	if u.Committed {
		m.finished(u)
		return
	}
	m.rolledBack(u)
}

// finished is the end of a unit that has moved.
func (m *Machine) finished(u *unit) {
	m.recordUnit(journal.UnitDone, u, u.note)
	m.noted(u.note)
	m.count(u.Slots)
	if u.Engine == Atomic {
		m.homeOf(u).fallen = 0
	}
	m.drop(u)
}

func (m *Machine) noted(note string) {
	if note != "" {
		m.notes = append(m.notes, note)
	}
}

func (m *Machine) count(slots []uint16) {
	for _, s := range slots {
		if !m.moved[s] {
			m.moved[s] = true
			m.slotsDone++
		}
	}
}

// rolledBack is the end of a unit that has not moved, and of which nothing is open.
func (m *Machine) rolledBack(u *unit) {
	if u.back && !u.switched {
		m.block(u, u.why)
		return
	}
	m.giveBack(u)
}

// giveBack returns the slots of a unit to what is pending. Nothing of them is open. The journal must know, since the slots
// may be in other units next.
func (m *Machine) giveBack(u *unit) {
	m.unnote(u)
	p := piece{slots: u.Slots, engine: u.Engine}
	mv := m.homeOf(u)
	if u.switched || mv.engine == Legacy {
		p.engine = Legacy
	}
	mv.pieces = slices.Insert(mv.pieces, 0, p)
	m.drop(u)
}

func (m *Machine) unnote(u *unit) {
	if u.written != "" {
		m.recordUnit(journal.UnitDone, u, u.why)
	}
}

// block gives up slots of which nothing is open.
func (m *Machine) block(u *unit, reason string) {
	m.recordUnit(journal.UnitBlocked, u, reason)
	m.blocked = append(m.blocked, Block{Slots: u.Slots, Reason: reason})
	m.drop(u)
}

// leave forgets a unit that may be open, and says so in the job's reason. It holds nothing.
func (m *Machine) leave(u *unit, reason string) {
	m.drop(u)
	if u.opened {
		text := leftOver(u)
		if !strings.Contains(m.reason, reason) {
			text += " (" + reason + ")"
		}
		m.left = append(m.left, text)
	}
}

// dropUnopened takes back what has not been opened: Prepare only looks, so its answer may come to nobody.
func (m *Machine) dropUnopened() {
	for _, u := range slices.Clone(m.units) {
		if !u.opened {
			m.giveBack(u)
		}
	}
}

func (m *Machine) wakeStalled() {
	for _, u := range m.units {
		if u.stalled {
			u.withoutOK, u.fails = 0, 0
			m.look(u)
		}
	}
}
