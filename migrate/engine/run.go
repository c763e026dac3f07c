package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// Limits bound the engine. Zero fields get the defaults.
type Limits struct {
	Answer time.Duration // for short commands of one node: 2 s
	Drain  time.Duration // for what is in flight when a gate closes: 100 ms, four hold budgets
	// Gate is when a gate opens by itself: 2 s at most, or what the data path allows if that is less. Much longer than a hold
	// is planned for: while keys may be on both nodes, nobody may delete one, and a target that hangs takes that long.
	Gate       time.Duration
	HoldBudget time.Duration // longest hold that is planned for: 25 ms
	Block      time.Duration // longest time that one key may stop its nodes: 200 ms, or a quarter of the node timeout
	Sessions   int           // idle connections kept of each node: 16, as many as SETSLOT uses at once
}

// longestGate is well below what clients wait for an answer.
const longestGate = 2 * time.Second

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&l.Answer, 2*time.Second)
	set(&l.HoldBudget, 25*time.Millisecond)
	set(&l.Gate, longestGate)
	l.Gate = min(l.Gate, longestGate)
	l.HoldBudget = min(l.HoldBudget, l.Gate/2)
	set(&l.Drain, min(4*l.HoldBudget, l.Gate/4))
	set(&l.Block, 200*time.Millisecond)
	if l.Sessions == 0 {
		l.Sessions = setLanes
	}
	return l
}

// Config is what an Engine works with. Nodes and Topology are needed.
type Config struct {
	Nodes    Nodes
	Gate     Gate  // nil: there is no data path to hold
	Pacer    Pacer // nil: full speed in batches of defaultBatch keys
	Topology func() *router.Table
	Limits   Limits
	// Ours tells which open slots are the caller's own, from its journal; nil: those that this Engine has opened.
	Ours func(slot uint16) bool
	// Side keeps both values of a key that differs on its two nodes, before one is dropped; an error stops that.
	// nil: such a key is not touched, and its unit is Blocked.
	Side func(Pair) error
	// Progress is told how much more has moved, batch by batch; nil: nobody wants to know.
	Progress func(unit int, keys, bytes int64)
	// AllowBlocking moves keys that stop their nodes for longer than Limits.Block.
	AllowBlocking bool
}

// Pair is a key with a value on both nodes of its slot, as DUMP gives them. Kept says which one will stay.
type Pair struct {
	Unit, DB       int
	Slot           uint16
	Key            string
	Source, Target string // DUMP payloads
	Kept           string // "source" or "target"
}

// Engine does steps of the units of one job. Safe for concurrent use; one step of a unit at a time. Close must be called.
type Engine struct {
	cfg Config // immutable, with defaults

	mu     sync.Mutex
	nodes  map[string]*facts       // by id; guarded by mu
	roots  map[string]string       // id of each node to that of the first primary of its shard that was seen; guarded by mu
	led    map[string]string       // id of each node that was a primary to the root of the shard that it led last; guarded by mu
	seen   uint64                  // version of the table that roots has seen; guarded by mu
	units  map[int]*memory         // by unit; guarded by mu
	idle   map[string][]Session    // by address; guarded by mu
	opened map[uint16]int          // slots that this engine has opened, to their unit; guarded by mu
	keeps  map[string]map[int]bool // by address: units that need migrationSetting off, which this engine has switched; guarded by mu
	closed bool                    // guarded by mu
}

// memory is what the engine keeps of a unit between its steps. It speeds steps up and makes them more careful; nothing
// depends on it, as a restart loses it. Doubts are the exception: without them a key that may have come back is not told
// from one that has moved.
type memory struct {
	biggest   int64     // bytes of the largest key that Prepare has seen
	weighed   bool      // Prepare has seen the keys
	weight    weight    // of the source's keys
	heldAt    time.Time // zero: the gate is not held by this engine
	heldUntil time.Time // the gate is closed until then at least, unless this engine opens it
	doubts    []doubt   // what may be on both nodes
	doubtful  int       // bursts that have left doubts
	undrained int       // attempts in a row to close the gate that took too long
	unstayed  int       // comparisons of keys in a row during which it was not closed
	overruns  int       // all of them
	listed    []any     // what Open has heard to a listing, until Move takes it
	fresh     bool      // no MIGRATE of an earlier step may still be on its way
	committed bool
	migration string // name of the atomic migration
	assisted  bool   // the last atomic attempt failed in a way that holding writes cures
}

// New returns an engine for one job.
func New(cfg Config) *Engine {
	cfg.Limits = cfg.Limits.withDefaults()
	return &Engine{cfg: cfg, nodes: map[string]*facts{}, roots: map[string]string{}, led: map[string]string{}, units: map[int]*memory{},
		idle: map[string][]Session{}, opened: map[uint16]int{}, keeps: map[string]map[int]bool{}}
}

// Close switches back what units have left switched on nodes, and ends the engine's idle connections. Steps that run end
// theirs themselves.
func (e *Engine) Close() {
	e.mu.Lock()
	all := e.idle
	e.idle, e.closed = nil, true
	kept := slices.Collect(maps.Keys(e.keeps))
	e.mu.Unlock()
	e.switchBack(context.Background(), kept)
	for _, sessions := range all {
		for _, s := range sessions {
			s.Close()
		}
	}
}

// Run does one step. It returns when the step is done, or when it is known that it is not; ctx ends it early.
func (e *Engine) Run(ctx context.Context, u machine.Unit, step machine.Step) machine.Result {
	began := time.Now()
	e.learnShards()
	r := machine.Result{Unit: u.ID, Step: step}
	j := &job{Engine: e, unit: u, mem: e.memory(u.ID), result: &r}
	err := j.run(ctx, step)
	r.Took = time.Since(began)
	r.Outcome, r.Reason = outcome(err, changes(step))
	if err != nil && changes(step) && !answered(err) {
		j.mem.fresh = false // what was sent may be done later
	}
	return r
}

// job is one step under way.
type job struct {
	*Engine
	unit           machine.Unit
	mem            *memory
	result         *machine.Result
	source, target *peer
}

func (j *job) run(ctx context.Context, step machine.Step) error {
	switch step {
	case machine.Hold:
		return j.hold(ctx)
	case machine.Release:
		return j.release(ctx)
	case machine.Look:
		return j.look(ctx)
	}
	var err error
	if j.source, err = j.peer(ctx, j.unit.Source); err != nil {
		return err
	}
	if j.target, err = j.peer(ctx, j.unit.Target); err != nil {
		return err
	}
	switch step {
	case machine.Prepare:
		return j.prepare(ctx)
	case machine.Open:
		return j.open(ctx)
	case machine.Move:
		return j.move(ctx)
	case machine.Commit:
		return j.commit(ctx)
	case machine.Tell:
		return j.tell(ctx)
	case machine.Close:
		return j.close(ctx)
	case machine.Verify:
		return j.verify(ctx)
	case machine.Start:
		return j.start(ctx)
	case machine.Watch:
		return j.watch(ctx)
	case machine.Cancel:
		return j.cancel(ctx)
	}
	return fail(machine.Fatal, "no step %d", step)
}

// changes tells which steps may have changed something when they end in the middle.
func changes(s machine.Step) bool {
	switch s {
	case machine.Open, machine.Move, machine.Commit, machine.Tell, machine.Close, machine.Start, machine.Watch, machine.Cancel:
		return true
	}
	return false
}

func (e *Engine) memory(unit int) *memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.units[unit]
	if m == nil {
		m = &memory{}
		e.units[unit] = m
	}
	return m
}

// forget drops what is kept of a unit that is done.
func (e *Engine) forget(u machine.Unit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.units, u.ID)
	for _, s := range u.Slots {
		delete(e.opened, s)
	}
}

// failure is an error that knows how its step ended.
type failure struct {
	outcome machine.Outcome
	reason  string
}

func (f *failure) Error() string { return f.reason }

func fail(o machine.Outcome, format string, args ...any) error {
	return &failure{o, fmt.Sprintf(format, args...)}
}

// answered tells that no command of a step is left without an answer.
func answered(err error) bool {
	return errors.As(err, new(*failure)) || errors.As(err, new(*refusal))
}

// outcome turns the error of a step into its outcome.
func outcome(err error, changes bool) (machine.Outcome, string) {
	var f *failure
	var s *refusal
	switch {
	case err == nil:
		return machine.Done, ""
	case errors.As(err, &f):
		return f.outcome, err.Error()
	case errors.As(err, &s):
		return classify(s.text), err.Error()
	case changes:
		return machine.Unknown, err.Error()
	case errors.Is(err, context.Canceled):
		return machine.Again, err.Error()
	}
	return machine.NodeLost, err.Error()
}
