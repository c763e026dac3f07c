package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/panjf2000/ants/v2"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// Config says what a Coordinator works with.
type Config struct {
	Dir      string                                 // of the journal; one coordinator a folder
	Nodes    engine.Nodes                           // required
	Topology func() *router.Table                   // the newest picture of the cluster, nil before the first; required
	Refresh  func()                                 // asks for a newer picture, without waiting for it; may be nil
	Gate     engine.Gate                            // nil: there is no data path, clients see ASK and MOVED
	HoldMax  time.Duration                          // longest hold that Gate allows; 0: longer than any needs to be
	Load     Load                                   // nil: nothing is known of clients' work, and nothing slows a job down for them
	Defaults machine.Options                        // for what Start leaves open
	Latency  func(base time.Duration) time.Duration // the p99 of clients above which a job slows down; nil: 2 x base + 1 ms
	Log      *slog.Logger                           // nil: nothing is logged
	Instance string                                 // what nodes show as our name; "": the folder's own
	Now      func() time.Time                       // for tests; nil: time.Now
}

// Coordinator moves slots, one job at a time. Its methods may be called from anywhere, also before and while Run runs.
type Coordinator struct {
	cfg   Config         // immutable
	log   *slog.Logger   // immutable
	store *journal.Store // immutable
	name  string         // shown to the nodes; immutable
	own   *ownIDs        // of the connections that have shown it; immutable

	begun chan *drive   // from Start to Run
	ended chan struct{} // closed when Run returns
	rest  chan struct{} // closed by Rest
	freed chan struct{} // from free to Run: the place of a job has been given back
	load  *watch        // of the clients' work
	count counters
	// check says after a job what is wrong with the cluster; "" is nothing. Immutable after New.
	check func(ctx context.Context) string
	// engine makes what does the steps of a job, and core what decides on them. Tests replace them before Run.
	engine func(*drive) runner
	core   func(machine.Spec, []journal.Record) core
	// opsWait is how long slots are watched for a plan about what they have to do. Tests shorten it before the first one.
	opsWait time.Duration

	mu      sync.Mutex
	jobs    []*job // guarded by mu: history and the running one, the oldest first
	current *job   // guarded by mu: nil when nothing runs
	busy    string // guarded by mu: why Run lets no job start just now, "" when one may
	taken   string // guarded by mu: what has taken the place of a job meanwhile, "" for nothing
	lastID  int    // guarded by mu
	line    []*job // guarded by mu: interrupted jobs that Run goes on with one after the other; the first is the one it is at
}

// runner does one step of a unit. Implemented by engine.Engine.
type runner interface {
	Run(ctx context.Context, u machine.Unit, s machine.Step) machine.Result
	Close()
}

// maxHistory bounds the jobs in memory, as the journal bounds those on disk.
const maxHistory = 100

// poolSize bounds the steps under way: four units for each of a job's parallel ones, and Parallel is 16 at most.
const poolSize = 64

// New opens the journal. Nothing runs before Run.
func New(cfg Config) (*Coordinator, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Refresh == nil {
		cfg.Refresh = func() {}
	}
	if cfg.Gate == nil {
		cfg.Gate = noGate{}
	}
	if cfg.Latency == nil {
		cfg.Latency = func(base time.Duration) time.Duration { return 2*base + time.Millisecond }
	}
	store, err := journal.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	store.Now = cfg.Now
	instance, fence := store.Identity()
	if cfg.Instance != "" {
		instance = cfg.Instance
	}
	c := &Coordinator{
		cfg: cfg, log: cfg.Log, store: store, name: presenceName(instance, fence), own: newOwnIDs(),
		opsWait: opsWait, begun: make(chan *drive, 1), ended: make(chan struct{}), rest: make(chan struct{}), freed: make(chan struct{}, 1), load: newWatch(cfg.Load, cfg.Now), busy: unread,
	}
	c.check, c.engine, c.core = c.agreement, c.newEngine, newCore
	if err := c.recall(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return c, nil
}

// noGate is for a cluster without a data path of ours.
type noGate struct{}

func (noGate) Hold(context.Context, []uint16, time.Duration) error           { return nil }
func (noGate) Extend(_ []uint16, limit time.Duration) (time.Duration, error) { return limit, nil }
func (noGate) Release([]uint16, string)                                      {}
func (noGate) Waiting([]uint16) bool                                         { return false }

// recall reads what the journal knows of earlier jobs.
func (c *Coordinator) recall() error {
	ids, err := c.store.List()
	if err != nil {
		return err
	}
	for _, id := range ids {
		c.lastID, _ = strconv.Atoi(id)
		first, last, err := c.store.Ends(id)
		if err == nil && first.Kind == "" { // created, and the machine stopped before the first record was durable
			if err := c.store.Remove(id); err != nil {
				return err
			}
			continue
		}
		c.jobs = append(c.jobs, recalled(id, first, last, err))
		if err != nil {
			c.log.Error("journal of a job cannot be read", "job", id, "err", err)
		}
	}
	c.trimLocked()
	return nil
}

// Run goes on with what a restart has interrupted, then carries out jobs until ctx ends, or until Rest has been called and
// nothing is in hand; then it returns nil. What is in hand when ctx ends stays as it is, with its gates open, for the next
// Run on this folder. It must be called once.
func (c *Coordinator) Run(ctx context.Context) error {
	defer c.store.Close()
	defer close(c.ended)
	pool, err := ants.NewPool(poolSize, ants.WithNonblocking(true))
	if err != nil {
		return fmt.Errorf("run coordinator: %w", err)
	}
	defer pool.Release()
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { c.load.run(ctx) })
	for _, j := range c.lineUp() {
		if !c.atRest() {
			c.resume(ctx, pool, j)
		}
		c.stepUp()
	}
	c.setBusy("")
	for rest := c.rest; !c.idle(rest == nil); {
		select {
		case <-ctx.Done():
			c.setBusy(goingAway)
			return nil
		case d := <-c.begun:
			d.run(ctx, pool)
		case <-c.freed:
		case <-rest:
			rest = nil
			c.setBusy(goingAway)
		}
	}
	return nil
}

const goingAway = "the proxy is going away"

// idle tells whether nothing is left to wait for, once nothing more may begin.
func (c *Coordinator) idle(last bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return last && c.taken == "" && c.current == nil
}

// Rest lets nothing more begin, and lets what is in hand finish: slots come to one side, and a job goes on with the others
// at the next Run on this folder. It returns when Run has ended, or with the error of ctx; then ending the context of Run
// cuts short what is left. It must be called once, after Run.
func (c *Coordinator) Rest(ctx context.Context) error {
	close(c.rest)
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Coordinator) atRest() bool {
	select {
	case <-c.rest:
		return true
	default:
		return false
	}
}

func (c *Coordinator) setBusy(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = why
}

// Start begins to carry out a plan, and returns the id of the job at once. by is who wants it, for the log.
func (c *Coordinator) Start(ctx context.Context, p *plan.Plan, o machine.Options, by string) (string, error) {
	id, err := c.reserve("another one is just starting")
	if err != nil {
		return "", err
	}
	d, err := c.prepare(ctx, id, p, o, by)
	if err != nil {
		c.free()
		return "", err
	}
	c.mu.Lock()
	c.taken, c.current, c.lastID = "", d.job, c.lastID+1
	c.jobs = append(c.jobs, d.job)
	c.trimLocked()
	c.mu.Unlock()
	c.log.Info("job started", "job", id, "by", by, "plan", p.Goal, "slots", p.Slots, "options", d.options)
	c.begun <- d // has room: there is one job at a time
	return id, nil
}

// reserve keeps others from starting a job until free, and returns the id of the next one. what says who does.
func (c *Coordinator) reserve(what string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return "", fmt.Errorf("BUSYJOB job %s is %s", c.current.id, c.current.snapshot().State)
	}
	if why := cmp.Or(c.firstLocked(), c.busy, c.taken); why != "" {
		return "", fmt.Errorf("BUSYJOB no job can start: %s", why)
	}
	c.taken = what
	return strconv.Itoa(c.lastID + 1), nil
}

// free ends a reservation. What Run says stays: it may have ended meanwhile.
func (c *Coordinator) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = ""
	select {
	case c.freed <- struct{}{}:
	default: // Run has not taken notice of the last one
	}
}

// trimLocked forgets the oldest jobs; one that runs is among the newest.
func (c *Coordinator) trimLocked() {
	if n := len(c.jobs) - maxHistory; n > 0 {
		c.jobs = slices.Delete(c.jobs, 0, n)
	}
}

// Jobs lists the jobs that are known, the oldest first.
func (c *Coordinator) Jobs() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Status, len(c.jobs))
	for i, j := range c.jobs {
		list[i] = c.statusLocked(j)
	}
	return list
}

// Job returns one job.
func (c *Coordinator) Job(id string) (Status, bool) {
	j := c.job(id)
	if j == nil {
		return Status{}, false
	}
	c.mu.Lock()
	st := c.statusLocked(j)
	c.mu.Unlock()
	st.Side = c.store.SideFile(id)
	return st, true
}

func (c *Coordinator) job(id string) *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jobs {
		if j.id == id {
			return j
		}
	}
	return nil
}

// Running tells whether a job is under way, a paused one too.
func (c *Coordinator) Running() bool { return c.underWay() != nil }

// underWay is the job that runs or is paused, nil for none.
func (c *Coordinator) underWay() *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Pause lets a job finish the slots in hand and begin no others.
func (c *Coordinator) Pause(id, by string) error { return c.order(id, by, "pause") }

// Resume lets a paused job go on.
func (c *Coordinator) Resume(id, by string) error { return c.order(id, by, "resume") }

// Cancel ends a job. Slots in hand are finished or rolled back first; what has moved stays where it is.
func (c *Coordinator) Cancel(id, by string) error { return c.order(id, by, "cancel") }

// order gives an operator's word to the running job, and returns when it is in the journal.
func (c *Coordinator) order(id, by, word string) error {
	j := c.job(id)
	if j == nil {
		return fmt.Errorf("ERR Unknown job %.40s", id)
	}
	if inLine, err := c.orderInLine(j, by, word); inLine {
		return err
	}
	st := j.snapshot()
	switch {
	case !st.Finished.IsZero():
		return fmt.Errorf("ERR Job %s has ended: %s", id, st.State)
	case word == "pause" && st.State != Running, word == "resume" && st.State != Pausing && st.State != PausedJob:
		return fmt.Errorf("ERR Job %s is %s", id, st.State)
	case word == "resume" && c.atRest():
		return errClosed
	case word == "cancel" && st.State == Stopping && st.Reason != "":
		return fmt.Errorf("ERR Job %s is ending already, as %s, when the slots in hand are done: %s", id, Failed, st.Reason)
	case word == "cancel" && st.State == Stopping: // ordered before
		return nil
	}
	o := order{word: word, done: make(chan struct{})}
	c.log.Info("job ordered to "+word, "job", id, "by", by)
	select {
	case j.orders <- o:
	case <-j.done:
		return fmt.Errorf("ERR Job %s has ended", id)
	case <-c.ended:
		return errClosed
	}
	select {
	case <-o.done:
	case <-j.done:
	case <-c.ended:
		return errClosed
	}
	return nil
}

var errClosed = errors.New("ERR The proxy is going away")

var errNoTable = errors.New("ERR The cluster has not been seen yet")
