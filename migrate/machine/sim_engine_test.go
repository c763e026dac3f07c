package machine

import (
	"fmt"
	"slices"
)

// task is one Run on the model's nodes, a command at a time.
type task struct {
	run    Run
	todo   []func() bool // commands; false: what they need is not there
	looked bool
	end    func() Result // once all are done
	moving bool
	// how a command ends that fails by chance
	forceLate bool
	lives     [2]int // of source and target when it began
}

const (
	faultRate = 60 // one command of so many
	againRate = 40 // one step of so many
)

func (w *world) slots(u Unit) []int {
	out := make([]int, len(u.Slots))
	for i, s := range u.Slots {
		out[i] = int(s)
	}
	return out
}

func (t *task) result(o Outcome, reason string) *Result {
	return &Result{Unit: t.run.Unit.ID, Step: t.run.Step, Attempt: t.run.Attempt, Outcome: o, Reason: reason}
}

// advance does the next command of a task; a Result when it is over.
func (s *sim) advance(t *task) *Result {
	w, u := s.w, t.run.Unit
	src, dst := w.node(u.Source), w.node(u.Target)
	switch t.run.Step {
	case Hold, Release:
		return s.gateStep(t)
	case Look:
		return s.lookStep(t)
	}
	if !w.serves(src) || !w.serves(dst) {
		return t.result(NodeLost, "node lost")
	}
	lives := [2]int{src.life, dst.life}
	if t.looked && t.lives != lives {
		return t.result(Unknown, "connection lost")
	}
	if !t.looked {
		t.looked, t.lives = true, lives
		if s.chaos && t.run.Step != Close && w.rng.IntN(againRate) == 0 {
			return t.result(Again, "busy")
		}
		if r := s.plan(t, src, dst); r != nil {
			return r
		}
	}
	if t.moving {
		return s.moveSome(t, src, dst)
	}
	if t.run.Step == Watch {
		return s.watchStep(t, dst)
	}
	if len(t.todo) == 0 {
		r := t.end()
		full := t.result(r.Outcome, r.Reason)
		full.SourceEpoch, full.SourceRun = r.SourceEpoch, r.SourceRun
		return full
	}
	op := t.todo[0]
	t.todo = t.todo[1:]
	if s.fault(t, func() { op() }) {
		return t.result(Unknown, "connection lost")
	}
	if !op() {
		return t.result(Unknown, "not as expected")
	}
	return nil
}

// fault loses a command by chance: not done, done without its reply, or done later.
func (s *sim) fault(t *task, op func()) bool {
	if !t.forceLate && (!s.chaos || s.w.rng.IntN(faultRate) > 0) {
		return false
	}
	switch s.w.rng.IntN(3) {
	case 0:
		op()
	case 1:
		s.w.late = append(s.w.late, lateOp{slots: t.run.Unit.Slots, op: op})
	}
	return true
}

// run names the life of a node's process.
func (n *simNode) run() string { return fmt.Sprint(n.id, " ", n.life) }

func done() Result { return Result{Outcome: Done} }

// plan lists the commands of a step.
func (s *sim) plan(t *task, src, dst *simNode) *Result {
	w, slots := s.w, s.w.slots(t.run.Unit)
	t.end = done
	switch t.run.Step {
	case Prepare:
		t.end = func() Result { return s.prepared(slots, src, dst) }
	case Open:
		for _, x := range slots {
			t.todo = append(t.todo, func() bool { return w.importSlot(dst, src, x) })
		}
		for _, x := range slots {
			t.todo = append(t.todo, func() bool { return w.exportSlot(src, dst, x) })
		}
	case Move:
		t.moving = true
	case Commit:
		for _, x := range slots {
			t.todo = append(t.todo, func() bool {
				if w.serves(dst) && !dst.owns(x) {
					w.claimSlot(dst, x)
				}
				return true
			})
		}
	case Tell:
		for _, x := range slots {
			t.todo = append(t.todo, func() bool { return w.tellSource(src, dst, x) })
		}
	case Close:
		return s.planClose(t, src, dst, slots)
	case Verify:
		t.end = func() Result { return s.verified(slots, src, dst) }
	case Start, Cancel:
		return s.streamStep(t, src, dst)
	}
	return nil
}

func (s *sim) prepared(slots []int, src, dst *simNode) Result {
	for _, x := range slots {
		switch {
		case !src.owns(x):
			return Result{Outcome: Unknown, Reason: "not the owner"}
		case src.migrating[x] != closedSlot || dst.importing[x] != closedSlot:
			return Result{Outcome: Foreign, Reason: "FOREIGN open slot"}
		case s.big[x]:
			return Result{Outcome: Blocked, Reason: "big key"}
		case dst.full || dst.count(x) > 0 || s.w.staged(dst, x):
			return Result{Outcome: Blocked, Reason: "keys or no room on the target"}
		}
	}
	return Result{Outcome: Done, SourceEpoch: uint64(src.epoch), SourceRun: src.run()}
}

func (w *world) importSlot(dst, src *simNode, x int) bool {
	if !dst.owns(x) {
		w.setslot(dst, func(n *simNode) { n.importing[x] = src.shard })
	}
	return true
}

func (w *world) exportSlot(src, dst *simNode, x int) bool {
	if dst.owns(x) {
		return true
	}
	if !src.owns(x) {
		return false
	}
	w.setslot(src, func(n *simNode) { n.migrating[x] = dst.shard })
	return true
}

// moveSome is one MIGRATE of one key.
func (s *sim) moveSome(t *task, src, dst *simNode) *Result {
	w := s.w
	for _, x := range w.slots(t.run.Unit) {
		for k, v := range src.keys[x] {
			if v == absent {
				continue
			}
			if dst.full {
				return t.result(Blocked, "OOM")
			}
			if !src.owns(x) || dst.importing[x] == closedSlot && !dst.owns(x) {
				return t.result(Unknown, "MOVED")
			}
			replace := dst.keys[x][k] != absent
			if replace && t.run.Unit.SourceRun != src.run() {
				return t.result(Unknown, "the source has been started again")
			}
			if replace && t.run.Unit.Failover { // the new source lags: the target's copy counts
				w.part(src, x, k)
				return nil
			}
			restore := func() {
				if src.keys[x][k] != v { // it comes so late that a client has changed the key: a stale copy, if it gets in
					w.tainted[x][k] = true
				}
				if w.serves(dst) && (dst.importing[x] != closedSlot || dst.owns(x)) && (replace || dst.keys[x][k] == absent) {
					w.put(dst, x, k, v)
				}
			}
			if s.fault(t, restore) {
				return t.result(Unknown, "IOERR")
			}
			restore()
			w.part(src, x, k)
			if s.w.rng.IntN(8) == 0 { // progress is told at the end of a step, if at all
				s.movedKeys++
			}
			return nil
		}
	}
	r := t.result(Done, "")
	r.Keys = 1
	return r
}

func (w *world) tellSource(src, dst *simNode, x int) bool {
	if !w.serves(src) || !dst.owns(x) {
		return false
	}
	if src.owns(x) && src.count(x) > 0 {
		return false // "I still hold keys"
	}
	w.setslot(src, func(n *simNode) {
		if n.view[x].epoch <= dst.epoch {
			n.view[x] = claim{dst.idx, dst.epoch}
		}
		n.migrating[x] = closedSlot
	})
	return true
}

func (s *sim) planClose(t *task, src, dst *simNode, slots []int) *Result {
	refuse := func() bool {
		return slices.ContainsFunc(slots, func(x int) bool { return dst.owns(x) || dst.count(x) > 0 })
	}
	if refuse() {
		return t.result(Again, "the target has keys")
	}
	for _, n := range []*simNode{src, dst} {
		for _, x := range slots {
			t.todo = append(t.todo, func() bool {
				if n == dst && refuse() {
					return false
				}
				s.w.setslot(n, func(n *simNode) { n.migrating[x], n.importing[x] = closedSlot, closedSlot })
				return true
			})
		}
	}
	return nil
}

func (s *sim) verified(slots []int, src, dst *simNode) Result {
	orphans := false
	for _, x := range slots {
		if !dst.owns(x) || src.migrating[x] != closedSlot || dst.importing[x] != closedSlot || src.count(x) > 0 && src.owns(x) {
			return Result{Outcome: Unknown, Reason: "not as it should be"}
		}
		sh := s.w.shards[src.shard]
		if src.count(x) > 0 {
			orphans = true
		} else if sh.replica.count(x) > 0 || slices.ContainsFunc(sh.lag, func(o write) bool { return o.slot == x }) {
			return Result{Outcome: Again, Reason: "the source's replica still has keys"}
		}
		for _, n := range s.w.nodes {
			if n.alive && n.view[x].owner != dst.idx {
				s.w.gossip(dst, n)
				return Result{Outcome: Again, Reason: n.id + " does not know yet"}
			}
		}
	}
	if orphans {
		return Result{Outcome: Blocked, Reason: "keys of before a failover"}
	}
	return done()
}

func (s *sim) gateStep(t *task) *Result {
	u := t.run.Unit
	if t.run.Step == Hold {
		if s.chaos && s.w.rng.IntN(6) == 0 {
			return t.result(Again, "not drained")
		}
		for _, x := range u.Slots {
			s.w.gate[x] = true
		}
		return t.result(Done, "")
	}
	for _, x := range u.Slots {
		s.w.gate[x] = false
		if u.Committed {
			s.w.table[x] = s.w.node(u.Target).idx
		}
	}
	return t.result(Done, "")
}

// lookStep answers when no earlier command of the slots can be executed any more.
func (s *sim) lookStep(t *task) *Result {
	w, u := s.w, t.run.Unit
	src, dst := w.shards[w.node(u.Source).shard].primary, w.shards[w.node(u.Target).shard].primary
	if !src.alive || !dst.alive {
		return t.result(NodeLost, "no successor yet")
	}
	w.late = slices.DeleteFunc(w.late, func(l lateOp) bool {
		ours := slices.ContainsFunc(l.slots, func(x uint16) bool { return slices.Contains(u.Slots, x) })
		if ours && w.rng.IntN(2) == 0 {
			l.op()
		}
		return ours
	})
	r := t.result(Done, "")
	r.Source, r.Target, r.SourceEpoch, r.SourceRun = src.id, dst.id, uint64(src.epoch), src.run()
	for _, x := range w.slots(u) {
		l := SlotLook{
			Slot: uint16(x), SourceOwns: src.owns(x), TargetOwns: dst.owns(x),
			Migrating: src.migrating[x] != closedSlot, Importing: dst.importing[x] != closedSlot,
			SourceKeys: int64(src.count(x)), TargetKeys: int64(dst.count(x)),
		}
		l.OtherOpen = l.Migrating && src.migrating[x] != dst.shard || l.Importing && dst.importing[x] != src.shard
		l.Unowned = !slices.ContainsFunc(w.shards, func(sh *simShard) bool { return sh.primary.owns(x) })
		if w.staged(dst, x) {
			l.TargetKeys++
		}
		r.Looks = append(r.Looks, l)
	}
	s.looks[u.ID] = r.Looks
	return r
}

func (s *sim) streamOf(u Unit) *stream {
	for _, j := range slices.Backward(s.w.jobs) {
		if slices.Equal(j.slots, u.Slots) && j.src.id == u.Source && j.dst.id == u.Target {
			return j
		}
	}
	return nil
}

func (s *sim) streamStep(t *task, src, dst *simNode) *Result {
	w, u := s.w, t.run.Unit
	j := s.streamOf(u)
	switch t.run.Step {
	case Start:
		if s.noStreams {
			return t.result(Switch, "NOAUTH")
		}
		if j != nil && j.state <= arrived && (j.state < arrived || dst.owns(int(u.Slots[0]))) {
			return t.result(Done, "")
		}
		for _, x := range w.slots(u) {
			if !src.owns(x) || src.migrating[x] != closedSlot || w.staged(dst, x) {
				return t.result(Again, "ownership does not agree, or still cleaning up")
			}
		}
		t.todo = append(t.todo, func() bool {
			for _, x := range w.slots(u) {
				if !w.serves(src) || !w.serves(dst) || !src.owns(x) || w.staged(dst, x) {
					return false
				}
			}
			w.jobs = append(w.jobs, &stream{slots: slices.Clone(u.Slots), src: src, dst: dst})
			return true
		})
	case Cancel:
		if j != nil && j.state == handover {
			return t.result(Again, "in hand-over")
		}
		t.todo = append(t.todo, func() bool {
			if j != nil && j.state == streaming {
				j.state = cleaning
			}
			return j == nil || j.state != handover
		})
	}
	return nil
}

// watchStep polls once.
func (s *sim) watchStep(t *task, dst *simNode) *Result {
	j := s.streamOf(t.run.Unit)
	switch {
	case j == nil || j.state == gone:
		return t.result(Again, "no such stream")
	case j.state == arrived && dst.owns(int(j.slots[0])):
		return t.result(Done, "")
	case j.state == arrived || s.chaos && s.w.rng.IntN(faultRate) == 0:
		return t.result(Unknown, "connection lost")
	case j.state < arrived && s.chaos && s.w.rng.IntN(againRate) == 0:
		j.state = cleaning
		return t.result(Again, "Protocol error")
	}
	return nil
}
