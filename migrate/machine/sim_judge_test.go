package machine

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"slotproxy/migrate/journal"
)

// before says which records may be the last one of a unit when a step begins.
var before = map[Step][]string{
	Hold:   {journal.UnitOpening, journal.UnitClosing},
	Open:   {journal.UnitOpening, journal.UnitCommitting},
	Commit: {journal.UnitCommitting},
	Tell:   {journal.UnitCommitted},
	Close:  {journal.UnitClosing},
	Start:  {journal.UnitOpening},
	Cancel: {journal.UnitClosing},
}

func (s *sim) monitor(r Run) {
	id := r.Unit.ID
	if want := before[r.Step]; want != nil && !slices.Contains(want, s.kind[id]) && !s.broken {
		s.w.violated("u%d %v begins behind %q", id, r.Step, s.kind[id])
	}
	if s.told != nil && changes(r.Step) && !(r.Step == Tell && s.told.MayTell) {
		s.w.violated("u%d %v begins after trouble", id, r.Step)
	}
	switch r.Step {
	case Commit:
		if !s.moved[id] && !slices.ContainsFunc(s.looks[id], func(l SlotLook) bool { return l.Unowned }) {
			s.w.violated("u%d commits before its keys have moved", id)
		}
	case Close:
		for _, l := range s.looks[id] {
			if l.TargetKeys > 0 || l.TargetOwns {
				s.w.violated("u%d closes slot %d, which has keys at the target", id, l.Slot)
			}
		}
		if s.looks[id] == nil {
			s.w.violated("u%d closes without a look", id)
		}
	case Hold, Open, Look:
		s.moved[id] = false
	}
	for _, t := range s.tasks {
		o := t.run.Unit
		if changes(r.Step) && changes(t.run.Step) && slices.ContainsFunc(o.Slots, func(x uint16) bool { return slices.Contains(r.Unit.Slots, x) }) {
			s.w.violated("u%d and u%d change the same slot", id, o.ID)
		}
	}
	if r.Step == Open && s.crashes == 0 && s.w.failovers == 0 {
		for _, j := range s.w.jobs {
			if j.state < arrived && slices.ContainsFunc([]string{j.src.id, j.dst.id}, func(n string) bool { return n == r.Unit.Source || n == r.Unit.Target }) {
				s.w.violated("u%d opens slots beside a stream", id)
			}
		}
	}
}

func (s *sim) monitorWait(e Wait) {
	if u := s.m.unit(e.Unit); u != nil {
		for _, x := range u.Slots {
			if s.w.gate[x] {
				s.w.violated("u%d waits, and slot %d is held", u.ID, x)
			}
		}
	}
}

var (
	leftOpen  = regexp.MustCompile(`slots ([0-9 -]+) (?:may|belong)`)
	leftThere = regexp.MustCompile(`slots ([0-9 -]+) keep`)
)

// excused are the slots that the end of a job says something about.
func (s *sim) excused(named *regexp.Regexp) [simSlots]bool {
	var out [simSlots]bool
	for _, hit := range named.FindAllStringSubmatch(s.m.View().Reason, -1) {
		for part := range strings.FieldsSeq(hit[1]) {
			var a, b int
			if n, _ := fmt.Sscanf(part, "%d-%d", &a, &b); n < 2 {
				b = a
			}
			for x := a; x <= b; x++ {
				out[x] = true
			}
		}
	}
	return out
}

// judge looks at what is left when all is quiet.
func (s *sim) judge() {
	w := s.w
	for _, t := range s.tasks { // units that were never opened are forgotten, whatever their Prepare says
		if t.run.Step != Prepare && t.run.Step != Look {
			w.violated("u%d %v is still under way", t.run.Unit.ID, t.run.Step)
		}
	}
	for _, l := range w.late {
		l.op()
	}
	s.calm()
	for range 3 {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				w.gossip(a, b)
			}
		}
		for _, j := range w.jobs {
			w.stir(j)
		}
	}
	excused, orphans := s.excused(leftOpen), s.excused(leftThere)
	if w.failovers > 0 { // a successor that has not heard of its slot's end keeps keys of it; the unit that finds them says so
		for _, b := range s.m.View().Blocked {
			for _, x := range b.Slots {
				orphans[x] = orphans[x] || strings.HasPrefix(b.Reason, "keys")
			}
		}
	}
	for x := range simSlots {
		if w.gate[x] {
			w.violated("slot %d is still held", x)
		}
		if !excused[x] {
			s.judgeSlot(x, orphans[x])
		}
	}
	switch v := s.m.View(); {
	case v.State == Success, v.State == Partial:
		s.judgeMoved(excused)
	case s.kindly():
		w.violated("for no reason: %s, %s", v.State, v.Reason)
	}
}

func (s *sim) judgeSlot(x int, orphans bool) {
	w := s.w
	var owner *simNode
	for _, sh := range w.shards {
		p := sh.primary
		if p.owns(x) && owner != nil {
			w.violated("slot %d belongs to %s and %s", x, owner.id, p.id)
		}
		if p.owns(x) {
			owner = p
		}
		if (p.migrating[x] != closedSlot || p.importing[x] != closedSlot) && !w.meddled[x] {
			w.violated("slot %d is open at %s", x, p.id)
		}
	}
	if owner == nil {
		w.violated("slot %d belongs to nobody", x)
		return
	}
	for k := range simKeys {
		if got := owner.keys[x][k]; got != w.acked[x][k] && !w.tainted[x][k] {
			w.violated("slot %d key %d: %s has %d, a client was told %d", x, k, owner.id, got, w.acked[x][k])
		}
		for _, sh := range w.shards {
			if sh.primary != owner && sh.primary.keys[x][k] != absent && !w.stolen[x] && !orphans {
				w.violated("slot %d key %d is on %s and belongs to %s", x, k, sh.primary.id, owner.id)
			}
		}
	}
}

// kindly: nothing has happened that a job may fail from.
func (s *sim) kindly() bool {
	for _, h := range []int{failing, freezing, commands, filling, troubles, breaking, meddling, restarting} {
		if s.hazard[h] {
			return false
		}
	}
	return !(s.noStreams && s.spec.Options.Engine == Atomic) && s.slotsMoved() > 0
}

func (s *sim) slotsMoved() int { return s.m.View().SlotsDone }

// judgeMoved looks at a job that has tried all slots: only one that has moved every one of them is a success.
func (s *sim) judgeMoved(excused [simSlots]bool) {
	v, blocked := s.m.View(), map[uint16]bool{}
	for _, b := range v.Blocked {
		for _, x := range b.Slots {
			blocked[x] = true
		}
	}
	if (v.State == Success) != (len(blocked) == 0) {
		s.w.violated("%s, and %d slots have not moved", v.State, len(blocked))
	}
	for _, mv := range s.spec.Plan.Moves {
		to := s.w.shards[s.w.node(mv.Target).shard].primary
		for _, x := range mv.Slots {
			if !to.owns(int(x)) && !blocked[x] {
				s.w.violated("%s, but slot %d is not at %s", v.State, x, to.id)
			}
			if blocked[x] && s.kindly() && !s.big[x] {
				s.w.violated("slot %d is blocked for no reason", x)
			}
			if excused[x] {
				s.w.violated("%s, and slot %d is named as left over", v.State, x)
			}
		}
	}
}
