package machine

import (
	"slices"
	"time"
)

const (
	// startRate is assumed until Moves were measured: below what an idle node does with small keys, so the first holds are
	// short rather than long.
	startRate = 20_000
	// Measured rates beyond these are noise: of a clock, of a stop, or of machines so busy that a Move is all round trips. Those
	// do not become fewer when slots move one by one.
	leastRate, mostRate = 5_000, 1_000_000
	// rateKeys: with fewer keys the round trips are measured, not the keys.
	rateKeys = 50
	// gatedSlots: one CLUSTER SETSLOT a slot goes to both nodes while clients wait.
	gatedSlots = 64

	defaultHold      = 25 * time.Millisecond
	defaultParallel  = 4
	defaultUnitSlots = 256
	defaultUnitKeys  = 100_000
)

func withDefaults(o Options) Options {
	if o.HoldBudget <= 0 {
		o.HoldBudget = defaultHold
	}
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.UnitSlots <= 0 {
		o.UnitSlots = defaultUnitSlots
	}
	if o.UnitKeys <= 0 {
		o.UnitKeys = defaultUnitKeys
	}
	if o.MaxKeysPerSecond > 0 { // a stream goes as fast as its nodes can: it carries a second's worth, and the next one waits
		o.UnitKeys = min(o.UnitKeys, o.MaxKeysPerSecond)
	}
	return o
}

// move is what is not cut yet of one pair.
type move struct {
	source, target string
	engine         string        // of what is not cut
	pieces         []piece       // pending, in order
	rate           float64       // keys per second of legacy Moves
	aside          time.Duration // for which clients are held besides a Move, by the steps that count
	most           int64         // keys that the next stream may have; 0: no bound but that of the options
	fallen         int           // atomic units that became legacy, in a row
}

// piece is pending slots, ascending; no unit reaches over the end of one.
type piece struct {
	slots  []uint16
	engine string
}

func (mv *move) pending() int {
	n := 0
	for _, p := range mv.pieces {
		n += len(p.slots)
	}
	return n
}

// without takes out slots that are not pending.
func (mv *move) without(slots []uint16) {
	for i := range mv.pieces {
		mv.pieces[i].slots = slices.DeleteFunc(mv.pieces[i].slots, func(s uint16) bool {
			_, found := slices.BinarySearch(slots, s)
			return found
		})
	}
	mv.pieces = slices.DeleteFunc(mv.pieces, func(p piece) bool { return len(p.slots) == 0 })
}

// legacyOnly: the pair cannot use the atomic engine.
func (mv *move) legacyOnly() {
	mv.engine = Legacy
	for i := range mv.pieces {
		mv.pieces[i].engine = Legacy
	}
}

func (mv *move) rename(old, now string) {
	if mv.source == old {
		mv.source = now
	}
	if mv.target == old {
		mv.target = now
	}
}

// homeOf is the move that a unit is cut from.
func (m *Machine) homeOf(u *unit) *move {
	if mv := m.home[u.Slots[0]]; mv != nil {
		return mv
	}
	// A journal that names slots beside its plan: they are brought to an end like all others.
	mv := &move{source: u.Source, target: u.Target, engine: u.Engine, rate: startRate}
	m.moves = append(m.moves, mv)
	for _, s := range u.Slots {
		m.home[s] = mv
	}
	return mv
}

// engineOf is the engine that a pair begins with.
func (m *Machine) engineOf(mv *move) string {
	if m.opt.Engine != Auto {
		return m.opt.Engine
	}
	return m.best(mv)
}

// best is what the pair can do.
func (m *Machine) best(mv *move) string {
	if m.spec.Engines != nil && m.spec.Engines(mv.source, mv.target) == Atomic {
		return Atomic
	}
	return Legacy
}

// keys estimates the keys of a slot; -1: not known.
func (m *Machine) keys(slot uint16) int64 {
	if int(slot) >= len(m.spec.Keys) {
		return -1
	}
	return m.spec.Keys[slot]
}

// cut takes the next unit off a move. A slot that does not fit at all is a unit of its own.
func (m *Machine) cut(mv *move) Unit {
	p := &mv.pieces[0]
	u := Unit{Source: mv.source, Target: mv.target, Engine: p.engine}
	slots, keys, lone := m.opt.UnitSlots, m.opt.UnitKeys, int64(0) // lone: keys of a slot that is held by itself, at most
	switch {
	case p.engine == Legacy:
		hold := m.opt.HoldBudget
		slots, keys = gatedSlots, int64(max(mv.rate*mv.budget(hold).Seconds(), leastRate*hold.Seconds()))
		lone = int64(mv.rate * hold.Seconds())
	case mv.most > 0:
		keys = min(keys, mv.most)
	}
	n := 0
	for n < len(p.slots) && n < slots {
		k := m.keys(p.slots[n])
		if n > 0 && (k < 0 || u.Keys+k > keys) {
			break
		}
		n++
		if k < 0 { // nobody knows what else would fit; a Move that takes too long goes on online by itself
			break
		}
		u.Keys += k
	}
	u.Online = p.engine == Legacy && u.Keys > lone
	u.Slots = slices.Clone(p.slots[:n])
	p.slots = p.slots[n:]
	if len(p.slots) == 0 {
		mv.pieces = mv.pieces[1:]
	}
	return u
}

// measure learns from a Move behind a gate. One that goes online also takes its time for the sake of others.
func (mv *move) measure(r Result, online bool) {
	if online || r.Keys < rateKeys || r.Took <= 0 {
		return
	}
	now := float64(r.Keys) / r.Took.Seconds()
	mv.rate = min(max(0.7*mv.rate+0.3*now, leastRate), mostRate)
}

// budget is how long a Move behind a gate may take. What opens and hands over the slots counts too, but leaves it half: on machines so
// busy that all is round trips, slots one by one would be held for longer together. Whether a lone slot is held at all goes by the whole.
func (mv *move) budget(hold time.Duration) time.Duration { return max(hold-mv.aside, hold/2) }

// weighAside learns from a gated unit how long its Hold, Open and Commit took. What lies between steps, as the journal's fsync, is not seen.
func (m *Machine) weighAside(u *unit, r Result) {
	if u.Engine != Legacy || u.Online || r.Outcome != Done || r.Step != Hold && r.Step != Open && r.Step != Commit {
		return
	}
	if r.Step == Hold {
		u.aside = 0 // held anew
	}
	u.aside = min(u.aside+r.Took, m.opt.HoldBudget) // a node that stood still says nothing of the next unit
	if r.Step == Commit {
		mv := m.homeOf(u)
		mv.aside = (7*mv.aside + 3*u.aside) / 10
	}
}
