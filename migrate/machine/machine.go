package machine

import (
	"fmt"
	"slices"
	"strings"

	"slotproxy/migrate/journal"
	"slotproxy/router"
)

// States of a job.
const (
	Running   = "running"
	Pausing   = "pausing" // finishes the units in hand
	Paused    = "paused"
	Stopping  = "cancelling" // finishes or rolls back the units in hand
	Success   = "success"    // all of it has moved
	Partial   = "partial"    // some of it has moved; of what is blocked, nothing is open
	Failed    = "failed"
	Cancelled = "cancelled"
)

// Machine is one job. Not safe for concurrent use.
type Machine struct {
	spec  Spec
	opt   Options
	state string
	// end is how the job will end, once nothing is in hand: "" while it may succeed.
	end     string
	reason  string
	trouble *Trouble

	moves  []*move
	home   [router.Slots]*move // the move that a slot belongs to
	units  []*unit             // in hand, by ID
	lastID int
	moved  [router.Slots]bool

	slotsTotal, slotsDone int
	keysDone, bytesDone   int64
	retries               int
	blocked               []Block
	notes                 []string // what has moved with something to say about it
	left                  []string // slots that may be open or unverified at the end, a sentence each

	out []Effect
}

// Block is slots that could not be moved. Nothing of them is open.
type Block struct {
	Slots  []uint16
	Reason string
}

// New makes the machine of a fresh job.
func New(spec Spec) *Machine {
	m := &Machine{spec: spec, opt: withDefaults(spec.Options), state: Running}
	for _, p := range spec.Plan.Moves {
		mv := &move{source: p.Source, target: p.Target, rate: startRate}
		mv.engine = m.engineOf(mv)
		mv.pieces = []piece{{slots: slices.Clone(p.Slots), engine: mv.engine}}
		m.moves = append(m.moves, mv)
		for _, s := range p.Slots {
			m.home[s] = mv
		}
		m.slotsTotal += len(p.Slots)
	}
	return m
}

// Begin gives the first effects.
func (m *Machine) Begin() []Effect {
	for _, u := range m.units {
		m.look(u)
	}
	return m.settle()
}

// Step takes one event. What does not belong to anything in hand, like a late answer, changes nothing.
func (m *Machine) Step(e Event) []Effect {
	if m.Over() {
		return nil
	}
	switch e := e.(type) {
	case Result:
		if u := m.unit(e.Unit); u != nil && u.running && u.attempt == e.Attempt && u.step == e.Step {
			m.answered(u, e)
		}
	case Woken:
		if u := m.unit(e.Unit); u != nil && u.waiting && u.attempt == e.Attempt {
			u.waiting = false
			u.lookNext = u.lookNext || m.wantsBack(u) && u.opened && !u.Committed
			m.proceed(u)
		}
	case Command:
		m.command(e.Word)
	case Trouble:
		m.troubled(e)
	}
	return m.settle()
}

// settle begins what may begin now, sees whether the job has come to its end, and hands out the effects.
func (m *Machine) settle() []Effect {
	m.schedule()
	m.conclude()
	out := m.out
	m.out = nil
	return out
}

// Over says that the job has ended: there will be no more effects.
func (m *Machine) Over() bool { return Over(m.state) }

// Over tells the states that a job does not leave.
func Over(state string) bool {
	return state == Success || state == Partial || state == Failed || state == Cancelled
}

// may tells that units that are not open yet may go on.
func (m *Machine) may() bool { return m.state == Running && m.end == "" }

func (m *Machine) command(word string) {
	switch {
	case m.end != "": // it is ending: nothing to pause, nothing to resume, and no better end
	case word == "pause" && m.state == Running:
		m.record(journal.Record{Kind: journal.Paused})
		m.state = Pausing
		m.dropUnopened()
	case word == "rest" && m.state == Running: // of no record: whoever goes on after a restart is to begin again
		m.state = Pausing
		m.dropUnopened()
	case word == "resume" && (m.state == Pausing || m.state == Paused):
		m.record(journal.Record{Kind: journal.Resumed})
		m.state, m.reason = Running, ""
		m.wakeStalled()
	case word == "cancel":
		m.record(journal.Record{Kind: journal.Cancelled})
		m.state, m.end, m.reason = Stopping, Cancelled, ""
		m.dropUnopened()
		m.wakeStalled()
	}
}

// troubled stops the job: what runs is waited for, what waits is left as it is.
func (m *Machine) troubled(t Trouble) {
	if m.trouble != nil {
		m.trouble.MayTell = m.trouble.MayTell && t.MayTell
		m.trouble.NoJournal = m.trouble.NoJournal || t.NoJournal
		return
	}
	m.trouble = &t
	m.fail(t.Reason)
	m.leaveIdle(nil)
}

// leaveIdle leaves the units that wait or are stalled, so hold nothing; but not one of them.
func (m *Machine) leaveIdle(but *unit) {
	for _, u := range slices.Clone(m.units) {
		if u != but && !u.running {
			m.leave(u, m.trouble.Reason)
		}
	}
}

// fail makes the job end as failed when the units in hand are finished or rolled back.
func (m *Machine) fail(reason string) {
	if m.end == Failed {
		return
	}
	m.state, m.end, m.reason = Stopping, Failed, reason
	m.dropUnopened()
	if m.trouble == nil {
		m.wakeStalled()
	}
}

// conclude ends or pauses the job when nothing is in hand any more.
func (m *Machine) conclude() {
	if m.Over() {
		return
	}
	for _, u := range m.units {
		if !u.stalled {
			return
		}
	}
	switch {
	case m.state == Pausing:
		m.state = Paused
	case m.end != "":
		m.ended(m.end)
	case m.state == Running && len(m.units) == 0 && !m.pending():
		m.triedAll()
	}
}

// triedAll ends a job that has tried all slots. Only one that has moved them all is a success: scripts go on behind it, and what
// follows an evacuation is the removal of the node.
func (m *Machine) triedAll() {
	n := 0
	for _, b := range m.blocked {
		n += len(b.Slots)
	}
	if n == 0 {
		m.ended(Success)
		return
	}
	m.reason = fmt.Sprintf("%d slots were not moved: %s", n, m.blocked[0].Reason)
	if m.slotsDone == 0 {
		m.ended(Failed)
		return
	}
	m.ended(Partial)
}

func (m *Machine) ended(state string) {
	if len(m.left) > 0 {
		state = Failed
	}
	parts := slices.Concat([]string{m.reason}, m.left, m.notes)
	if m.reason == "" {
		parts = parts[1:]
	}
	m.reason = strings.Join(parts, "; ")
	m.state = state
	m.record(journal.Record{Kind: journal.Ended, State: state, Reason: m.reason})
	m.out = append(m.out, Ended{State: state, Reason: m.reason})
}

// record makes records durable before the effects that come after it.
func (m *Machine) record(records ...journal.Record) {
	if m.trouble != nil && m.trouble.NoJournal {
		return
	}
	for i := range records {
		records[i].Job = m.spec.ID
	}
	for i, e := range m.out {
		if a, ok := e.(Append); ok { // one sync for all of a list; earlier than needed is durable too
			m.out[i] = Append{Records: append(a.Records, records...)}
			return
		}
	}
	m.out = append(m.out, Append{Records: records})
}

func (m *Machine) recordUnit(kind string, u *unit, reason string) {
	u.written = kind
	c := u.Unit
	c.Slots = slices.Clone(u.Slots)
	m.record(journal.Record{Kind: kind, Unit: &c, Reason: reason})
}
