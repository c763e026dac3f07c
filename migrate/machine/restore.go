package machine

import (
	"fmt"
	"slices"

	"slotproxy/migrate/journal"
)

// Restore makes the machine of a job that was interrupted. What was in hand is looked at before anything else.
func Restore(spec Spec, records []journal.Record) *Machine {
	m := New(spec)
	inHand := map[int]*unit{}
	for _, r := range records {
		m.replay(r, inHand)
	}
	for _, u := range inHand {
		m.units = append(m.units, u)
	}
	slices.SortFunc(m.units, func(a, b *unit) int { return a.ID - b.ID })
	for _, u := range m.units {
		mv := m.homeOf(u)
		m.rename(mv.source, u.Source) // after a failover
		if u.Aside {
			u.note = asideNote(u, mv.target)
		} else {
			m.rename(mv.target, u.Target)
		}
		mv.without(u.Slots)
	}
	return m
}

func (m *Machine) replay(r journal.Record, inHand map[int]*unit) {
	if r.Unit != nil {
		m.lastID = max(m.lastID, r.Unit.ID)
	}
	switch r.Kind {
	case journal.UnitOpening, journal.UnitCommitting, journal.UnitCommitted, journal.UnitClosing:
		u := &unit{Unit: *r.Unit, opened: true, written: r.Kind}
		if o := inHand[u.ID]; o != nil {
			u.committing = o.committing
		}
		u.committing = u.committing || r.Kind == journal.UnitCommitting || r.Kind == journal.UnitCommitted
		u.path = u.forward()
		yield(inHand, u)
		inHand[u.ID] = u
	case journal.UnitDone:
		delete(inHand, r.Unit.ID)
		if r.Unit.Committed {
			m.keysDone += r.Unit.Keys
			m.noted(r.Reason)
			m.count(r.Unit.Slots)
			m.homeOf(&unit{Unit: *r.Unit}).without(r.Unit.Slots)
		}
	case journal.UnitBlocked:
		delete(inHand, r.Unit.ID)
		m.blocked = append(m.blocked, Block{Slots: r.Unit.Slots, Reason: r.Reason})
		m.homeOf(&unit{Unit: *r.Unit}).without(r.Unit.Slots)
	case journal.Paused:
		m.state, m.reason = Pausing, r.Reason
	case journal.Resumed:
		m.state, m.reason = Running, ""
	case journal.Cancelled:
		m.state, m.end, m.reason = Stopping, Cancelled, ""
	case journal.Ended:
		m.state, m.reason = r.State, r.Reason
	}
}

// yield takes the slots of a unit away from the others: it was split off, and the record of what remained is missing.
func yield(inHand map[int]*unit, u *unit) {
	for id, o := range inHand {
		if id == u.ID {
			continue
		}
		o.Slots = slices.DeleteFunc(slices.Clone(o.Slots), func(s uint16) bool { return slices.Contains(u.Slots, s) })
		if len(o.Slots) == 0 {
			delete(inHand, id)
		}
	}
}

// standing is where one slot is.
type standing uint8

const (
	strange standing = iota // neither node owns it, or a third one has to do with it
	fresh                   // at the source, closed, and nothing of it at the target
	begun                   // at the source, but something has begun
	beside                  // a sibling of the target owns it
	there                   // the target owns it
)

func stand(l SlotLook) standing {
	switch {
	case l.OtherOpen:
		return strange
	case l.TargetOwns:
		return there
	case l.Beside != "":
		return beside
	case !l.SourceOwns:
		return strange
	case l.Migrating || l.Importing || l.TargetKeys > 0:
		return begun
	}
	return fresh
}

// verdict is what a unit does after a Look.
type verdict uint8

const (
	wait       verdict = iota
	toTell             // Release, Tell, Verify
	toBegin            // nothing has begun: from the start
	toEnd              // nothing has begun, and nothing shall
	toSplit            // some slots are there: they go on by themselves
	toGoOn             // Open, Move, ... or Start, Watch
	toClose            // Close, or Cancel
	toClaim            // Commit again
	toSibling          // some slots are beside the target: they go on there
	notOursNow         // somebody else is at it
)

// verdicts, by what was seen of a unit; the first row that fits. The fields that are not named do not matter.
var verdicts = []struct {
	fits func(s *sight) bool
	then verdict
}{
	{func(s *sight) bool { return s.n[beside] > 0 }, toSibling},
	// The target took the slots and was lost before its successor had heard of it (7.0). The keys are there.
	{func(s *sight) bool { return s.n[strange] > 0 && s.unowned+s.n[there] == s.all && s.claimable }, toClaim},
	{func(s *sight) bool { return s.n[strange] > 0 && s.longEnough }, notOursNow},
	{func(s *sight) bool { return s.n[strange] > 0 }, wait},
	{func(s *sight) bool { return s.n[there] == s.all }, toTell},
	{func(s *sight) bool { return s.n[there] > 0 }, toSplit},
	// What has begun without our record of it is not ours; Prepare says what it is.
	{func(s *sight) bool { return s.unopened }, toBegin},
	{func(s *sight) bool { return s.n[fresh] == s.all && s.back }, toEnd},
	{func(s *sight) bool { return s.n[fresh] == s.all }, toBegin},
	// A stream that is stopped leaves keys that the target deletes by itself, a while later.
	{func(s *sight) bool { return s.back && s.atomic && s.stopped }, wait},
	{func(s *sight) bool { return s.back && s.atomic }, toClose},
	// Who has been sent to the target has written there: only forward is safe.
	{func(s *sight) bool { return s.back && s.targetKeys == 0 }, toClose},
	{func(s *sight) bool { return true }, toGoOn},
}

// sight is what a Look has shown of a unit.
type sight struct {
	n                     [there + 1]int
	all                   int
	targetKeys            int64
	back, atomic, stopped bool
	unopened              bool
	unowned               int
	claimable             bool // our Commit has begun, and gossip has had its time
	longEnough            bool
	there                 []uint16
	sibling               string   // the first one that was seen
	beside                []uint16 // the slots that are there
}

func (m *Machine) see(u *unit, looks []SlotLook) *sight {
	s := &sight{all: len(u.Slots), back: m.wantsBack(u), atomic: u.Engine == Atomic, stopped: u.stopped, unopened: !u.opened}
	other := false
	for _, slot := range u.Slots {
		i := slices.IndexFunc(looks, func(l SlotLook) bool { return l.Slot == slot })
		if i < 0 {
			s.n[strange]++
			continue
		}
		st := stand(looks[i])
		if st == beside && s.unopened {
			st = strange // not by our doing
		}
		s.n[st]++
		switch {
		case st == there:
			s.there = append(s.there, slot)
		case st == beside && (s.sibling == "" || s.sibling == looks[i].Beside):
			s.sibling = looks[i].Beside
			s.beside = append(s.beside, slot)
		default:
			s.targetKeys += looks[i].TargetKeys
		}
		other = other || looks[i].OtherOpen
		if looks[i].Unowned {
			s.unowned++
		}
	}
	s.claimable = u.committing && u.looks >= claimLooks
	s.longEnough = u.looks >= strangeLooks || other && u.looks >= otherLooks
	return s
}

// looked decides where a unit goes on.
func (m *Machine) looked(u *unit, r Result) {
	u.lost = 0
	m.follow(u, r)
	s := m.see(u, r.Looks)
	then := wait
	for _, v := range verdicts {
		if v.fits(s) {
			then = v.then
			break
		}
	}
	if then != wait && then != notOursNow {
		u.looks = 0
		if then != toTell { // a successor of the source may have claimed back what was committed
			u.Committed, u.tail = false, false
		}
	}
	if m.trouble != nil && then != toTell {
		m.free(u, m.leaveTroubled)
		return
	}
	m.decided(u, then, s)
}

func (m *Machine) decided(u *unit, then verdict, s *sight) {
	switch then {
	case toTell:
		u.toTail()
		m.begin(u)
	case toSplit:
		m.split(u, s.there, u.Target)
	case toSibling:
		m.aside(u, s)
	case toEnd:
		m.free(u, m.rolledBack)
	case toBegin:
		m.free(u, m.fromStart)
	case toGoOn:
		u.reopen()
		if u.fails > 1 && !u.rested {
			m.rest(u)
			return
		}
		m.begin(u)
	case toClose:
		if u.Engine == Atomic {
			u.enter(cancelling, Cancel)
			m.begin(u)
			return
		}
		m.free(u, m.toClosing) // it holds anew, so that what a Hold says is true
	case toClaim:
		u.enter(gated, Commit)
		m.begin(u)
	case notOursNow:
		m.foreign(u, fmt.Sprintf("FOREIGN slots %s: neither source nor target owns them, or a third node has opened them", Ranges(u.Slots)))
	default:
		m.lookLater(u)
	}
}

func (m *Machine) toClosing(u *unit) {
	u.enter(closing, Hold)
	m.begin(u)
}

func (m *Machine) lookLater(u *unit) {
	u.looks++
	u.fails++
	if u.fails > patience && m.exhausted(u, "the slots do not come to rest") {
		return
	}
	u.lookNext = true
	m.rest(u)
}

// fromStart: nothing is open, so the unit waits for its turn like a new one. While the job does not go on, its slots are
// given back instead.
func (m *Machine) fromStart(u *unit) {
	u.opened, u.stopped, u.committing, u.Failover = false, false, false, false
	if u.written != "" {
		u.written = outdated
	}
	if !m.may() {
		m.rolledBack(u)
		return
	}
	u.enter(u.forward(), Prepare)
	m.begin(u)
}

// split lets the slots that have arrived at a node go on as a unit of their own. It returns nil when the unit has come to its end.
func (m *Machine) split(u *unit, arrived []uint16, at string) *unit {
	if u.fails++; u.fails > patience && m.exhausted(u, "the slots do not come to rest") {
		return nil
	}
	c := u.Unit
	c.Aside = c.Aside || at != c.Target
	c.Slots, c.Target, c.Keys = arrived, at, 0
	n := m.take(c)
	n.held = u.held
	n.toTail()
	u.Slots = slices.DeleteFunc(slices.Clone(u.Slots), func(s uint16) bool { return slices.Contains(arrived, s) })
	u.Committed = false
	m.recordUnit(journal.UnitCommitted, n, "")
	m.recordUnit(journal.UnitOpening, u, "")
	m.begin(n)
	m.look(u)
	return n
}

// aside goes on with slots at a sibling of the target. Whoever owns them has what clients have written; what the other one has
// kept of them is for an operator.
func (m *Machine) aside(u *unit, s *sight) {
	meant := u.Target
	if len(s.beside) < s.all {
		if n := m.split(u, s.beside, s.sibling); n != nil {
			n.note = asideNote(n, meant)
		}
		return
	}
	u.Target, u.Aside = s.sibling, true
	u.note = asideNote(u, meant)
	u.toTail()
	m.recordUnit(journal.UnitCommitted, u, "")
	m.begin(u)
}

func asideNote(u *unit, meant string) string {
	return fmt.Sprintf("slots %s are at %s, which leads a part of the shard of %s; PROXY CHECK names keys that were left at one of them",
		Ranges(u.Slots), u.Target, meant)
}

// follow takes the primaries of the two shards from a Look: after a failover they are others.
func (m *Machine) follow(u *unit, r Result) {
	changed := r.Source != "" && r.Source != u.Source
	if !changed && u.opened {
		changed = r.SourceEpoch != 0 && u.SourceEpoch != 0 && r.SourceEpoch != u.SourceEpoch ||
			r.SourceRun != "" && u.SourceRun != "" && r.SourceRun != u.SourceRun
	}
	target := r.Target != "" && r.Target != u.Target
	if !changed && !target {
		return
	}
	m.rename(u.Source, r.Source)
	m.rename(u.Target, r.Target)
	if changed {
		u.Failover = u.Failover || u.opened
	}
	if r.SourceEpoch != 0 {
		u.SourceEpoch = r.SourceEpoch
	}
	if r.SourceRun != "" {
		u.SourceRun = r.SourceRun
	}
	if r.Source != "" {
		u.Source = r.Source
	}
	if r.Target != "" {
		u.Target = r.Target
	}
	if u.opened && m.trouble == nil {
		m.recordUnit(journal.UnitOpening, u, "")
	}
}

// rename gives the work of a node to its successor. Units that are open find out by their own Looks.
func (m *Machine) rename(old, now string) {
	if now == "" || now == old {
		return
	}
	for _, mv := range m.moves {
		mv.rename(old, now)
	}
	for _, u := range m.units {
		if u.opened {
			continue
		}
		if u.Source == old {
			u.Source, u.stale = now, true
		}
		if u.Target == old {
			u.Target, u.stale = now, true
		}
	}
}
