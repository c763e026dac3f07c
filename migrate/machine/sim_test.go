package machine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

var (
	seeds = flag.Int("seeds", 2000, "how many simulations to run")
	first = flag.Uint64("seed", 1, "the first of them; with -seeds 1 it tells what happens")
)

// sim is a coordinator around the machine, its engine, and a world that means no good.
type sim struct {
	w       *world
	spec    Spec
	m       *Machine
	records []journal.Record
	tasks   []*task
	waits   []pendingWait
	chaos   bool
	ended   bool

	noStreams bool
	broken    bool // the journal
	fullStays bool // until an operator comes
	told      *Trouble
	big       [simSlots]bool
	movedKeys int

	// What the monitors know of units.
	looks map[int][]SlotLook
	moved map[int]bool
	kind  map[int]string

	hazard                [hazards]bool
	crashes, ticks, stops int
}

// pendingWait is over at a tick: about one in ten milliseconds where they are short, fewer where they are long.
type pendingWait struct {
	Wait
	due int
}

// Hazards; each seed has some of them.
const (
	crashing = iota
	failing
	freezing
	gateOpens
	commands
	filling
	troubles
	breaking
	meddling
	restarting
	hazards
)

const (
	calmTicks = 60_000 // of a job in a healthy cluster; it is far below, so it is stuck
)

func newSim(seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 4))
	s := &sim{w: newWorld(rng), chaos: true, looks: map[int][]SlotLook{}, moved: map[int]bool{}, kind: map[int]string{}}
	for i := range s.hazard {
		s.hazard[i] = rng.IntN(3) == 0
	}
	s.hazard[troubles] = rng.IntN(12) == 0
	s.hazard[breaking] = rng.IntN(12) == 0
	s.hazard[meddling] = rng.IntN(12) == 0
	s.fullStays = rng.IntN(2) == 0
	s.noStreams = rng.IntN(4) == 0
	streams := rng.IntN(2) == 0
	s.spec = Spec{ID: "1", Plan: s.plot(), Keys: make([]int64, router.Slots)}
	s.spec.Options = Options{Parallel: 1 + rng.IntN(4), UnitSlots: 1 + rng.IntN(4), Engine: []string{Auto, Auto, Auto, Legacy, Atomic}[rng.IntN(5)]}
	for i := range simSlots {
		s.spec.Keys[i] = []int64{0, 100, 200, 200, 1000}[rng.IntN(5)]
		s.big[i] = rng.IntN(40) == 0
	}
	s.spec.Engines = func(source, _ string) string {
		if streams && source[0] != 'b' {
			return Atomic
		}
		return Legacy
	}
	return s
}

// plot plans to move most slots, mostly to the empty shard.
func (s *sim) plot() *plan.Plan {
	w := s.w
	by := map[[2]int]*plan.Move{}
	p := &plan.Plan{}
	last := len(w.shards) - 1
	for x := range simSlots {
		a, b := x%last, last
		if w.rng.IntN(4) == 0 {
			b = (a + 1) % last
		}
		if w.rng.IntN(4) == 0 || a == b {
			continue
		}
		mv := by[[2]int{a, b}]
		if mv == nil {
			mv = &plan.Move{Source: w.shards[a].primary.id, Target: w.shards[b].primary.id}
			by[[2]int{a, b}] = mv
		}
		mv.Slots = append(mv.Slots, uint16(x))
	}
	for a := range last + 1 {
		for b := range last + 1 {
			if mv := by[[2]int{a, b}]; mv != nil {
				p.Moves = append(p.Moves, *mv)
			}
		}
	}
	return p
}

func (s *sim) run() {
	s.m = New(s.spec)
	s.perform(s.m.Begin())
	storm := 200 + s.w.rng.IntN(1500)
	for s.ticks = 0; !s.over() && s.w.wrong == ""; s.ticks++ {
		if s.ticks == storm {
			s.calm()
		}
		if s.ticks > storm+calmTicks {
			s.w.violated("the job does not end: %+v", s.m.View())
			return
		}
		s.tick()
	}
	if s.w.wrong == "" {
		s.judge()
	}
}

func (s *sim) over() bool { return s.ended || s.m.Over() }

func (s *sim) calm() {
	s.chaos = false
	for _, n := range s.w.nodes {
		s.w.rejoin(n)
		n.full = n.full && s.fullStays
	}
	s.w.tell("calm")
}

func (s *sim) event(e Event) {
	if s.over() {
		return
	}
	s.w.tell("> %s", describeEvent(e))
	s.trouble(e)
	s.perform(s.m.Step(e))
}

// trouble remembers what no change may come behind.
func (s *sim) trouble(e Event) {
	switch e := e.(type) {
	case Trouble:
		if s.told != nil {
			e.MayTell = e.MayTell && s.told.MayTell
		}
		s.told = &e
	case Result:
		if e.Outcome == Foreign && s.told == nil && s.m.unit(e.Unit) != nil { // not of a Prepare that a pause has dropped
			s.told = &Trouble{}
		}
	}
}

// perform does effects as a coordinator does, which may be killed anywhere.
func (s *sim) perform(effects []Effect) {
	for i, e := range effects {
		if s.hazard[crashing] && s.chaos && s.w.rng.IntN(300) == 0 {
			s.crash()
			return
		}
		s.w.tell("    %s", (&script{}).describe(e))
		switch e := e.(type) {
		case Append:
			if s.broken {
				s.notWritten(effects[i+1:])
				return
			}
			if !s.write(e.Records) {
				return
			}
		case Run:
			s.monitor(e)
			s.tasks = append(s.tasks, &task{run: e})
		case Wait:
			s.monitorWait(e)
			s.waits = append(s.waits, pendingWait{e, s.ticks + int(e.For/(40*time.Millisecond))})
		case Ended:
			s.ended = true
		}
	}
}

// write is durable when it returns; killed in the middle, some of it is.
func (s *sim) write(records []journal.Record) bool {
	torn := s.hazard[crashing] && s.chaos && s.w.rng.IntN(200) == 0
	if torn {
		records = records[:s.w.rng.IntN(len(records)+1)]
	}
	s.records = append(s.records, records...)
	for _, r := range records {
		if r.Unit != nil {
			s.kind[r.Unit.ID] = r.Kind
		}
	}
	if torn {
		s.crash()
	}
	return !torn
}

func (s *sim) notWritten(rest []Effect) {
	s.event(Trouble{Reason: "the journal cannot be written", NoJournal: true, MayTell: true})
	for _, e := range rest {
		switch e := e.(type) {
		case Run:
			s.event(Result{Unit: e.Unit.ID, Step: e.Step, Attempt: e.Attempt, Outcome: Again, Reason: "not begun"})
		case Wait:
			s.waits = append(s.waits, pendingWait{e, s.ticks})
		}
	}
}

// crash kills the coordinator and the proxy around it. A command on the way may be done or not, now or later.
func (s *sim) crash() {
	s.w.tell("CRASH")
	s.crashes++
	for _, t := range s.tasks {
		if s.w.rng.IntN(2) == 0 && t.run.Step != Look {
			t.forceLate = true
			s.advance(t)
		}
	}
	s.tasks, s.waits, s.told = nil, nil, nil
	s.w.gate = [simSlots]bool{}
	clear(s.looks)
	clear(s.moved)
	s.m = Restore(s.spec, s.records)
	s.perform(s.m.Begin())
}

func (s *sim) tick() {
	w, rng := s.w, s.w.rng
	if len(s.tasks) == 0 && len(s.waits) == 0 {
		s.operator()
		return
	}
	switch p := rng.IntN(100); {
	case p < 40:
		if len(s.tasks) > 0 {
			s.advanceOne(rng.IntN(len(s.tasks)))
		}
	case p < 55:
		if len(s.waits) > 0 {
			i := rng.IntN(len(s.waits))
			wt := s.waits[i]
			if wt.due > s.ticks {
				return
			}
			s.waits = slices.Delete(s.waits, i, i+1)
			s.event(Woken{Unit: wt.Unit, Attempt: wt.Attempt})
		}
	case p < 75:
		w.client()
	case p < 83:
		w.gossip(w.nodes[rng.IntN(len(w.nodes))], w.nodes[rng.IntN(len(w.nodes))])
	case p < 90:
		w.replicate(w.shards[rng.IntN(len(w.shards))], 1+rng.IntN(4))
	case p < 96:
		if len(w.jobs) > 0 {
			w.stir(w.jobs[rng.IntN(len(w.jobs))])
		}
	case p < 98:
		if len(w.late) > 0 {
			i := rng.IntN(len(w.late))
			w.late[i].op()
			w.late = slices.Delete(w.late, i, i+1)
		}
	case s.chaos:
		s.mischief()
	}
}

func (s *sim) advanceOne(i int) {
	t := s.tasks[i]
	r := s.advance(t)
	if r == nil {
		return
	}
	s.tasks = slices.Delete(s.tasks, i, i+1)
	if r.Step == Move && r.Outcome == Done {
		s.moved[r.Unit] = true
	}
	s.event(*r)
}

func (s *sim) mischief() {
	w, rng := s.w, s.w.rng
	h := rng.IntN(hazards)
	n := w.nodes[rng.IntN(len(w.nodes))]
	if !s.hazard[h] {
		w.rejoin(n)
		return
	}
	switch h {
	case crashing:
		s.crash()
	case failing:
		w.failover(n.shard)
	case freezing:
		w.tell("%s is frozen", n.id)
		n.alive = false
	case gateOpens:
		w.gate = [simSlots]bool{}
	case commands:
		s.event(Command{Word: []string{"pause", "pause", "resume", "resume", "resume", "cancel"}[rng.IntN(6)]})
	case filling:
		n.full = !n.full
	case troubles:
		if rng.IntN(4) == 0 {
			s.event(Trouble{Reason: "FOREIGN_COORDINATOR", MayTell: rng.IntN(2) == 0})
		}
	case meddling:
		w.meddle()
	case restarting:
		if rng.IntN(2) == 0 {
			n.disk = n.keys
		} else {
			w.restart(n)
		}
	case breaking:
		s.broken = s.broken || rng.IntN(4) == 0
	}
}

// operator is asked when nothing is under way.
func (s *sim) operator() {
	if s.m.View().State != Paused {
		s.w.violated("the machine waits for nothing: %+v", s.m.View())
		return
	}
	for _, n := range s.w.nodes {
		n.full = n.full && s.stops == 0
	}
	word := "resume"
	if s.stops++; s.stops > 5 || s.w.rng.IntN(8) == 0 {
		word = "cancel"
	}
	s.event(Command{Word: word})
}

func describeEvent(e Event) string {
	if r, ok := e.(Result); ok {
		return fmt.Sprintf("u%d %v %v %s %+v", r.Unit, r.Step, r.Outcome, r.Reason, r.Looks)
	}
	return fmt.Sprintf("%T %+v", e, e)
}

// simWorkers: the machine is single-threaded; two seeds at a time use a small runner without holding it up.
const simWorkers = 2

func TestSimulationLosesNothingAndLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	var next, bad atomic.Int64
	var mu sync.Mutex
	ends := map[string]int{}
	var wg sync.WaitGroup
	for range simWorkers {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(*seeds) && bad.Load() < 10; n = next.Add(1) - 1 {
				s := newSim(*first + uint64(n))
				s.w.loud = *seeds == 1
				s.run()
				mu.Lock()
				ends[s.m.View().State]++
				mu.Unlock()
				if s.w.wrong != "" {
					bad.Add(1)
					t.Errorf("seed %d, tick %d: %s\n%s", *first+uint64(n), s.ticks, s.w.wrong, strings.Join(s.w.log, "\n"))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("ends: %v", ends)
	if *seeds >= 1000 && ends[Success] < *seeds/4 {
		t.Errorf("%d of %d jobs succeeded: the simulation is too rough to say anything", ends[Success], *seeds)
	}
}
