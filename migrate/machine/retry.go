package machine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"slotproxy/migrate/journal"
)

// How long something is tried. Waits double from firstWait to longestWait, so twenty tries take half a minute.
const (
	firstWait   = 10 * time.Millisecond
	longestWait = 2 * time.Second

	// holdTries: a slot that cannot be drained three times has a client with long commands; it moves online.
	holdTries = 3
	// prepareTries and verifyTries are minutes: a node that loads or a replica that is behind comes round in that time.
	prepareTries = 50
	verifyTries  = 50
	// releaseTries: a gate opens by itself after its limit, so more would be in vain.
	releaseTries = 3
	// atomicTries: two failures of one stream, and the other engine does it; ten where there is no other.
	atomicTries, atomicOnlyTries = 2, 10
	// fallenUnits of a pair in a row, and the pair stays with the legacy engine.
	fallenUnits = 3
	// patience is how many steps of a unit may come to nothing before it is rolled back, and lastPatience before it is left.
	patience, lastPatience = 100, 150
	// strangeLooks: gossip and an election take seconds; who owns a slot after half a minute is its owner. A mark of a third
	// shard does not come from that, but may be read in the middle of a failover.
	strangeLooks, otherLooks = 20, 3
	// claimLooks: a PONG of the owner that nobody has heard of yet would come within a second or two.
	claimLooks = 8
	// successorWait covers cluster-node-timeout (15 s by default), the election and its repetition.
	successorWait = 60 * time.Second
	// roomWait is for a target without memory: eviction or an operator may make room.
	roomWait = 30 * time.Second
)

func backoff(n int) time.Duration {
	d := firstWait
	for ; n > 1 && d < longestWait; n-- {
		d *= 2
	}
	return min(d, longestWait)
}

// answered takes the Result of the step that runs.
func (m *Machine) answered(u *unit, r Result) {
	u.running = false
	m.keysDone += r.Keys
	m.bytesDone += r.Bytes
	if r.Keys > 0 {
		u.fails, u.withoutOK = 0, 0
	}
	switch {
	case r.Step == Move:
		m.homeOf(u).measure(r, u.Online)
	case r.Step == Watch && r.Outcome == Done: // else nobody may have asked the pacer
		m.homeOf(u).most = r.Most
	}
	m.weighAside(u, r)
	if r.Step == Hold && r.Outcome != Done && r.Outcome != Unknown {
		u.held = false
	}
	if r.Step != Look {
		u.rested = false
	}
	if r.Outcome != Done && r.Step != Release {
		m.missed(u, r)
		return
	}
	switch r.Step {
	case Look:
		m.looked(u, r)
	case Release:
		m.released(u, r)
	case Cancel:
		u.stopped = true
		m.look(u)
	default:
		switch r.Step {
		case Prepare:
			u.SourceEpoch, u.SourceRun = r.SourceEpoch, r.SourceRun
		case Hold:
			u.undrained = 0
		}
		if r.Step == Commit || r.Step == Watch {
			u.Committed, u.committing, u.fails = true, true, 0
		}
		m.next(u)
	}
}

// released: a gate that cannot be told opens by itself after its limit, so in the end that is as good.
func (m *Machine) released(u *unit, r Result) {
	u.tries++
	if r.Outcome != Done && u.tries < releaseTries {
		m.run(u, Release)
		return
	}
	u.held = false
	if then := u.after; then != nil {
		u.after = nil
		then(u)
		return
	}
	u.tail = u.Committed
	m.next(u)
}

// free releases what a unit may hold before it goes on.
func (m *Machine) free(u *unit, then func(*unit)) {
	if !u.held {
		then(u)
		return
	}
	u.after = then
	m.run(u, Release)
}

// rest waits before the unit goes on. The gate is opened for that time: then it goes on at the first step that changes
// something, since the slots may look different after it.
func (m *Machine) rest(u *unit) {
	m.free(u, m.waits)
}

func (m *Machine) waits(u *unit) {
	if m.trouble != nil {
		m.leave(u, m.trouble.Reason)
		return
	}
	u.restart()
	d := backoff(u.fails)
	u.rested = true
	u.attempt++
	u.waiting = true
	m.out = append(m.out, Wait{Unit: u.ID, Attempt: u.attempt, For: d})
}

// restart puts a unit back to where its path can begin again.
func (u *unit) restart() {
	if u.Committed || !u.opened || u.path == nil {
		return
	}
	if u.path[0].record == journal.UnitClosing {
		u.at = 0
		return
	}
	u.reopen()
}

// missed takes a Result that is not Done.
func (m *Machine) missed(u *unit, r Result) {
	m.retries++
	u.fails++
	u.tries++
	m.staleBeside(u)
	if m.trouble != nil {
		m.unwind(u, r)
		return
	}
	if r.Outcome != Foreign && r.Outcome != Fatal && u.fails > patience && m.exhausted(u, r.Reason) {
		return
	}
	switch r.Outcome {
	case Unknown:
		m.unsure(u)
	case NodeLost:
		m.nodeLost(u, r.Reason)
	case Blocked:
		m.blockedAt(u, r)
	case Switch:
		m.otherEngine(u, r.Reason, true)
	case Foreign:
		m.foreign(u, r.Reason)
	case Fatal:
		m.fail(r.Reason)
		if u.opened {
			u.lookNext = true
			m.rest(u)
		}
	default:
		m.again(u, r)
	}
}

// staleBeside: what was prepared beside a node in trouble may not be true any more.
func (m *Machine) staleBeside(u *unit) {
	for _, o := range m.units {
		if o != u && o.parked && touch(o, u) {
			o.stale = true
		}
	}
}

func (m *Machine) again(u *unit, r Result) {
	if r.Step == Hold {
		u.undrained++
	}
	switch {
	case r.Step == Hold && u.undrained >= holdTries && u.path[0].record == journal.UnitClosing:
		u.back, u.forwardOnly, u.Online = false, true, true // what cannot be drained is not rolled back, but it can always be finished
		u.lookNext = true
	case r.Step == Hold && u.undrained >= holdTries:
		u.Online = true
	case r.Step == Prepare && u.tries >= prepareTries:
		m.block(u, r.Reason)
		return
	case r.Step == Verify && u.tries >= verifyTries:
		m.abandon(u, r.Reason)
		return
	case r.Step == Watch:
		u.failed++
		if u.failed >= atomicTries && m.opt.Engine == Auto {
			m.otherEngine(u, r.Reason, false)
			return
		}
		if u.failed >= atomicOnlyTries {
			u.back, u.why, u.lookNext = true, r.Reason, true
		}
	case r.Step == Close || r.Step == Cancel || r.Step == Look:
		u.lookNext = true
	}
	if m.wantsBack(u) && u.opened && !u.Committed {
		u.lookNext = true
	}
	m.rest(u)
}

// wantsBack: the unit shall be rolled back if that can be done.
func (m *Machine) wantsBack(u *unit) bool { return (m.end != "" || u.back) && !u.forwardOnly }

// unsure: perhaps it was done. The gate stays as it is until that is known, since of a key that may be on both nodes only one
// copy is written while it is closed.
func (m *Machine) unsure(u *unit) {
	if u.opened && u.step != Look {
		m.look(u)
		return
	}
	u.lookNext = u.opened
	m.rest(u)
}

func (m *Machine) nodeLost(u *unit, reason string) {
	u.lost += backoff(u.fails)
	if u.lost > successorWait {
		m.abandon(u, "no successor of a lost node: "+reason)
		return
	}
	u.lookNext = true
	m.rest(u)
}

func (m *Machine) blockedAt(u *unit, r Result) {
	switch r.Step {
	case Prepare:
		if len(u.Slots) == 1 {
			m.block(u, r.Reason)
			return
		}
		m.halve(u)
	case Hold, Open, Start, Watch:
		u.back, u.why, u.lookNext = true, r.Reason, true
		m.rest(u)
	case Verify:
		u.note = fmt.Sprintf("slots %s keep something behind at %s: %s", Ranges(u.Slots), u.Source, r.Reason)
		m.finished(u)
	case Move:
		u.withoutOK += backoff(u.fails)
		u.lookNext = m.wantsBack(u)
		switch {
		case u.withoutOK <= roomWait:
			m.rest(u)
		case m.end != "":
			m.abandon(u, r.Reason)
		default:
			u.why = r.Reason
			m.free(u, m.stall)
		}
	default:
		m.again(u, r)
	}
}

// halve finds the slots that are blocked: the others of the unit may go.
func (m *Machine) halve(u *unit) {
	half := len(u.Slots) / 2
	mv := m.homeOf(u)
	m.unnote(u)
	m.drop(u)
	mv.pieces = slices.Insert(mv.pieces, 0,
		piece{slots: u.Slots[:half], engine: u.Engine}, piece{slots: u.Slots[half:], engine: u.Engine})
}

// stall leaves a unit where it is, open, until an operator resumes or cancels the job.
func (m *Machine) stall(u *unit) {
	if m.end != "" {
		m.abandon(u, u.why)
		return
	}
	u.stalled = true
	m.reason = fmt.Sprintf("slots %s are open and served by both nodes: %s", Ranges(u.Slots), u.why)
	if m.state == Running {
		m.state = Pausing
		m.record(journal.Record{Kind: journal.Paused, Reason: m.reason})
		m.dropUnopened()
	}
}

// otherEngine gives the slots of an atomic unit, or all of its pair, to the legacy engine. There is no way back: a pair is
// legacy in Auto only because the atomic engine cannot do it.
func (m *Machine) otherEngine(u *unit, reason string, pair bool) {
	if m.opt.Engine != Auto || u.Engine == Legacy {
		u.back, u.why = true, reason
	} else {
		mv := m.homeOf(u)
		mv.fallen++
		if pair || mv.fallen >= fallenUnits {
			mv.legacyOnly()
		}
		u.back, u.switched, u.why = true, true, reason
	}
	if !u.opened {
		m.rolledBack(u)
		return
	}
	u.lookNext = true
	m.rest(u)
}

// foreign: somebody else moves slots here. Nothing more is changed.
func (m *Machine) foreign(u *unit, reason string) {
	m.trouble = &Trouble{Reason: reason}
	m.fail(reason)
	m.leaveIdle(u)
	if m.unit(u.ID) != nil {
		m.unwind(u, Result{})
	}
}

// unwind ends a unit after Trouble: what may have been committed is looked at, to release it to the right node.
func (m *Machine) unwind(u *unit, r Result) {
	if (r.Step == Commit || r.Step == Watch) && r.Outcome != Again {
		m.look(u)
		return
	}
	m.free(u, m.leaveTroubled)
}

func (m *Machine) leaveTroubled(u *unit) { m.leave(u, m.trouble.Reason) }

// abandon fails the job because of a unit that can neither be finished nor rolled back.
func (m *Machine) abandon(u *unit, reason string) {
	m.fail(fmt.Sprintf("slots %s: %s", Ranges(u.Slots), reason))
	if m.unit(u.ID) == nil { // it was not open
		return
	}
	u.why = reason
	m.free(u, m.leaveWhy)
}

func (m *Machine) leaveWhy(u *unit) { m.leave(u, u.why) }

// exhausted says whether it has dealt with a unit that has come to nothing too often.
func (m *Machine) exhausted(u *unit, reason string) bool {
	switch {
	case !u.opened:
		m.block(u, reason)
	case u.Committed || u.fails > lastPatience:
		m.abandon(u, reason)
	case !u.back && !u.forwardOnly:
		u.back, u.why, u.lookNext = true, reason, true
		m.rest(u)
	default:
		return false
	}
	return true
}

// leftOver is what an operator has to know of a unit that was not brought to an end.
func leftOver(u *unit) string {
	slots := Ranges(u.Slots)
	switch {
	case u.Committed:
		return fmt.Sprintf("slots %s belong to %s, but not all nodes may know it yet", slots, u.Target)
	case u.Engine == Atomic:
		return fmt.Sprintf("slots %s may still be streamed from %s to %s, PROXY FIX stops that", slots, u.Source, u.Target)
	}
	return fmt.Sprintf("slots %s may be open between %s and %s, PROXY FIX closes them", slots, u.Source, u.Target)
}

// Ranges writes ascending slots as people do: "0-5 9".
func Ranges(slots []uint16) string {
	var b strings.Builder
	for i := 0; i < len(slots); {
		j := i
		for j+1 < len(slots) && slots[j+1] == slots[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, slots[i])
		if j > i {
			fmt.Fprintf(&b, "-%d", slots[j])
		}
		i = j + 1
	}
	return b.String()
}
