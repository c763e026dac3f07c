package repair

import (
	"fmt"
	"strconv"
)

// row is one line of the repair table. The first that fits a slot is the one.
type row struct {
	kind string
	bad  bool // an error; else a warning
	fits func(s *slotState) bool
	text func(s *slotState) string
	// repair returns nothing when a person has to decide.
	repair func(s *slotState) []action
}

// rows is the repair table, research and reasons in docs/migration.md.
var rows = []row{
	{"failed-owner", true, func(s *slotState) bool { return len(s.claims) == 0 && s.away() != nil },
		func(s *slotState) string { return "its owner " + s.away().addr + " does not answer" }, nothing},
	{"no-owner", true, func(s *slotState) bool { return len(s.claims) == 0 },
		func(s *slotState) string {
			if n := s.heir(); n != nil {
				return "nobody owns it, " + n.addr + " should"
			}
			return "nobody owns it, and several nodes could"
		}, inherit},
	{"two-owners", true, func(s *slotState) bool { return len(s.claims) > 1 },
		func(s *slotState) string {
			return fmt.Sprintf("%d nodes own it, each in its own view; %s counts", len(s.claims), s.strongest().addr)
		}, settleClaims},
	{"open-on-replica", false, func(s *slotState) bool { return s.shadow != nil && len(s.leaving)+len(s.arriving) == 0 },
		func(s *slotState) string { return "only the replica " + s.shadow.addr + " shows it as open" }, closeReplica},
	{"stale-importing", true, func(s *slotState) bool { return s.from(s.owner) != nil },
		func(s *slotState) string { return s.owner.addr + " owns it and still shows it as importing" },
		func(s *slotState) []action { return []action{s.stable(s.owner)} }},
	{"stale-migrating", true, func(s *slotState) bool { return s.staleSource() != nil },
		func(s *slotState) string {
			n := s.staleSource()
			return fmt.Sprintf("%s shows it as migrating, but %s owns it", n.addr, s.owner.addr)
		}, dropStaleSource},
	{"outdated-target", true, func(s *slotState) bool { return s.outdated() != nil },
		func(s *slotState) string {
			return fmt.Sprintf("%s still shows it as importing, but %s has it since, and has what clients have written", s.outdated().addr, s.owner.addr)
		}, func(s *slotState) []action { return []action{s.stable(s.outdated())} }},
	{"several-targets", true, func(s *slotState) bool { return len(s.arriving) > 1 },
		func(s *slotState) string { return fmt.Sprintf("%d nodes show it as importing", len(s.arriving)) }, oneTarget},
	{"interrupted-move", true, func(s *slotState) bool { return s.halfMoved() != nil },
		func(s *slotState) string {
			return fmt.Sprintf("its move from %s to %s was interrupted", s.owner.addr, s.halfMoved().addr)
		}, finishOrClose},
	{"dead-target", true, func(s *slotState) bool { return s.leavingOwner() != nil && s.working(s.leavingOwner().peer) == nil },
		func(s *slotState) string {
			return fmt.Sprintf("%s moves it to a node that is not there any more", s.owner.addr)
		}, repoint},
	{"target-forgot", true, func(s *slotState) bool { return s.leavingOwner() != nil },
		func(s *slotState) string {
			return fmt.Sprintf("%s moves it to %s, which does not know of it", s.owner.addr, s.working(s.leavingOwner().peer).addr)
		}, reopen},
	{"target-waits", true, func(s *slotState) bool { return len(s.arriving) == 1 && !s.arriving[0].n.has(s.slot) },
		func(s *slotState) string {
			return fmt.Sprintf("%s waits for it, but %s does not move it", s.arriving[0].n.addr, s.owner.addr)
		}, func(s *slotState) []action { return s.shut(s.owner, s.arriving[0].n) }},
	{"source-forgot", true, func(s *slotState) bool { return len(s.arriving) == 1 },
		func(s *slotState) string {
			return fmt.Sprintf("%s has keys of it that clients do not find, because %s does not move it there any more", s.arriving[0].n.addr, s.owner.addr)
		}, func(s *slotState) []action { return s.resume(s.owner, s.arriving[0].n) }},
	{"orphans", false, func(s *slotState) bool { return len(s.holders) > 0 },
		func(s *slotState) string {
			return fmt.Sprintf("%s has keys of it that nobody can see, and deletes them when it restarts (8.0 and later)", s.holders[0].addr)
		}, nothing},
}

func nothing(*slotState) []action { return nil }

// leavingOwner is the owner's end, nil if it does not move the slot.
func (s *slotState) leavingOwner() *end {
	for i := range s.leaving {
		if s.leaving[i].n == s.owner {
			return &s.leaving[i]
		}
	}
	return nil
}

// staleSource is a primary that does not own the slot and shows it as migrating.
func (s *slotState) staleSource() *node {
	for _, e := range s.leaving {
		if e.n != s.owner {
			return e.n
		}
	}
	return nil
}

// halfMoved is the target when both sides show the move.
func (s *slotState) halfMoved() *node {
	e := s.leavingOwner()
	if e == nil {
		return nil
	}
	to := s.working(e.peer)
	if to == nil || s.from(to) == nil {
		return nil
	}
	return to
}

// inherit gives a slot to its heir. What its view says of another owner has to go first.
func inherit(s *slotState) []action {
	to := s.heir()
	if to == nil {
		return nil
	}
	var list []action
	if to.view.OwnerID(s.slot) != "" {
		list = append(list, action{at: to, command: []string{"CLUSTER", "DELSLOTSRANGE"}, slots: []uint16{s.slot}})
	}
	if s.from(to) != nil {
		list = append(list, s.stable(to))
	}
	list = append(list, action{at: to, command: []string{"CLUSTER", "ADDSLOTSRANGE"}, slots: []uint16{s.slot}},
		action{at: to, command: []string{"CLUSTER", "BUMPEPOCH"}})
	for _, n := range s.holders {
		if n != to {
			list = append(list, s.bring(n, to)...)
		}
	}
	return list
}

// settleClaims lets the strongest claim win. What the others have of the slot is brought there before anybody hears of the
// winner's new epoch: who loses a slot by hearing of a higher one deletes its keys.
func settleClaims(s *slotState) (list []action) {
	winner := s.strongest()
	for _, n := range s.claims {
		if n != winner {
			list = append(list, action{at: n, slots: []uint16{s.slot}, yield: winner})
		}
	}
	return append(list, action{at: winner, command: []string{"CLUSTER", "BUMPEPOCH"}})
}

// closeReplica closes the slot on the primary, which passes it on (8.0 and later).
func closeReplica(s *slotState) []action {
	if p := s.working(s.shadow.self.PrimaryID); p != nil {
		return []action{s.stable(p)}
	}
	return nil
}

func dropStaleSource(s *slotState) []action {
	n := s.staleSource()
	if n.has(s.slot) {
		return s.bring(n, s.owner)
	}
	return []action{s.closing(n, "")} // it cannot be made migrating again, but nobody is sent to it either
}

// oneTarget leaves the target that is meant, and is another row's then. While a slot is open its keys are in parts on its nodes,
// so what only another target has goes to the one that is meant. Without any the targets that have no keys are closed.
func oneTarget(s *slotState) []action {
	meant := s.meantTarget()
	var list []action
	for _, e := range s.arriving {
		if e.n == meant || meant == nil && e.n.has(s.slot) {
			continue
		}
		if e.n.has(s.slot) {
			list = append(list, action{at: e.n, slot: s.slot, merge: meant, serving: s.owner})
		}
		list = append(list, s.closing(e.n, e.peer))
	}
	return list
}

// finishOrClose goes on with a move that has begun, and forgets one that has not.
func finishOrClose(s *slotState) []action {
	to := s.halfMoved()
	if to.has(s.slot) {
		return s.resume(s.owner, to)
	}
	return s.shut(s.owner, to)
}

// reopen goes on when the target has keys already, which nobody finds without it.
func reopen(s *slotState) []action {
	to := s.working(s.leavingOwner().peer)
	if to.has(s.slot) {
		return s.resume(s.owner, to)
	}
	return s.shut(s.owner, to)
}

// repoint finds the successor of a target by what only it can have: keys of the slot. Without any, and when the old target is
// not expected back, there is nothing to go on with.
func repoint(s *slotState) []action {
	switch {
	case len(s.holders) == 1:
		return s.resume(s.owner, s.holders[0])
	case len(s.holders) > 1:
		return nil
	}
	if old := s.p.byID[s.leavingOwner().peer]; old != nil && old.view == nil {
		return nil // it may have keys: wait for it, or for its replica
	}
	return []action{{at: s.owner, slot: s.slot, alone: s.unit(s.owner, nil)}}
}

func number(slot uint16) string { return strconv.Itoa(int(slot)) }
