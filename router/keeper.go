package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Source asks one node of the cluster for CLUSTER NODES. It must return soon after ctx ends, and be safe for concurrent use.
type Source interface {
	Nodes(ctx context.Context, addr string) ([]byte, error)
}

// KeeperConfig configures a Keeper. The zero value of a field but Seeds stands for its default.
type KeeperConfig struct {
	Seeds    []string                 // host:port of nodes to ask first, at least one
	Interval time.Duration            // between refreshes when nothing is wrong, varied by a tenth; 1 s
	MinGap   time.Duration            // between the starts of two refreshes; 100 ms
	Timeout  time.Duration            // for the answer of a node; 1 s
	Map      func(addr string) string // from an announced address to the one to dial; nil: the same
	Log      *slog.Logger             // nil: nothing is logged
	OnTable  func(*Table)             // called after each publish, from the keeper's goroutine; may be nil
}

const (
	defaultInterval = time.Second
	defaultMinGap   = 100 * time.Millisecond
	defaultTimeout  = time.Second
	// eagerFor is how many refreshes in a row may find an unsettled cluster unchanged before the keeper slows down: five
	// seconds, longer than a failover takes. A slot that somebody left open must not cost ten refreshes a second for ever.
	eagerFor = 50
	// tellGap is the least time between two lines in the log about new tables. A tool that moves slots one by one makes ten
	// tables a second, for hours.
	tellGap = time.Second
)

// Keeper is the one writer of tables: it asks the cluster, checks what it hears and publishes. Run is its one goroutine.
type Keeper struct {
	src Source       // immutable
	cfg KeeperConfig // immutable
	log *slog.Logger // immutable

	table atomic.Pointer[Table] // written by Run only
	wake  chan struct{}         // from Hint to Run; one token says that hints wait

	mu    sync.Mutex
	hints hints           // guarded by mu: not looked at yet
	busy  map[string]bool // guarded by mu: addresses whose Source call has not returned

	asking sync.WaitGroup // the goroutines that ask nodes; Run waits for them

	// Owned by Run.
	started  time.Time            // of the last refresh
	silent   map[string]time.Time // addresses that did not answer, and when
	lost     []string             // addresses of owners in doubt that did not answer since
	turn     int                  // rotates the primaries that are asked
	same     int                  // refreshes in a row that found nothing new and were not asked for
	failures int                  // refreshes in a row that gave no table
	refusal  error                // why the last silent node of this refresh did not answer
	told     time.Time            // when the log was last told of a change
	untold   changes              // since then
}

// NewKeeper returns a keeper that does nothing until Run.
func NewKeeper(src Source, cfg KeeperConfig) *Keeper {
	cfg.Interval = orDefault(cfg.Interval, defaultInterval)
	cfg.MinGap = orDefault(cfg.MinGap, defaultMinGap)
	cfg.Timeout = orDefault(cfg.Timeout, defaultTimeout)
	if cfg.Map == nil {
		cfg.Map = func(addr string) string { return addr }
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		src: src, cfg: cfg, log: log,
		wake:   make(chan struct{}, 1),
		busy:   make(map[string]bool),
		silent: make(map[string]time.Time),
	}
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Table returns the newest table, nil before the first.
func (k *Keeper) Table() *Table { return k.table.Load() }

// Hint tells the keeper of a doubt about the table. It never waits: hints are put together until the keeper looks.
func (k *Keeper) Hint(h Hint) {
	k.mu.Lock()
	k.hints.add(h)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the table until ctx ends; then it returns nil. It must be called once.
func (k *Keeper) Run(ctx context.Context) error {
	if len(k.cfg.Seeds) == 0 {
		return errors.New("keep table: no seeds")
	}
	defer k.asking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
			if wait := time.Until(k.started.Add(k.cfg.MinGap)); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		k.started = time.Now()
		k.refresh(ctx)
		timer.Reset(time.Until(k.started.Add(k.gap())))
	}
}

// gap is the time from the start of one refresh to that of the next if no hint comes.
func (k *Keeper) gap() time.Duration {
	t := k.table.Load()
	failing := t == nil || k.failures > 0
	if failing && k.failures < eagerFor || !failing && k.same < eagerFor && (len(k.lost) > 0 || t.Unsettled()) {
		return k.cfg.MinGap
	}
	tenth := int64(k.cfg.Interval) / 10
	gap := k.cfg.Interval - time.Duration(tenth) + time.Duration(rand.Int64N(2*tenth+1))
	if k.untold.tables > 0 { // somebody reads the log
		gap = min(gap, tellGap)
	}
	return gap
}

// refresh asks the cluster once and publishes what is new.
func (k *Keeper) refresh(ctx context.Context) {
	k.mu.Lock()
	doubts := k.hints.take()
	k.mu.Unlock()
	old := k.table.Load()
	k.refusal = nil
	k.noteLost(old, &doubts)
	next, err := k.look(ctx, old, &doubts)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		k.fail(err, &doubts)
		return
	}
	if k.failures > 0 {
		k.log.Info("cluster answers again", "count", k.failures)
	}
	k.failures = 0
	k.publish(old, next, &doubts)
}

// noteLost remembers the owners of slots that somebody could not reach. Until one answers us, or another node owns its slots,
// a failover is likely, and nobody may send a further hint while it goes on.
func (k *Keeper) noteLost(t *Table, doubts *hints) {
	if t == nil {
		return
	}
	for _, addr := range doubts.lost {
		if at := t.ByAddr(addr); at >= 0 {
			k.lost = note(k.lost, t.Nodes[at].Addr)
		}
	}
	k.lost = slices.DeleteFunc(k.lost, func(addr string) bool {
		at := t.ByAddr(addr)
		return at < 0 || t.Nodes[at].Slots == 0
	})
}

// fail keeps the doubts of a refresh that led to nothing.
func (k *Keeper) fail(err error, doubts *hints) {
	k.failures++
	if k.failures == 1 {
		if k.refusal != nil {
			err = fmt.Errorf("%w; last tried: %w", err, k.refusal)
		}
		k.log.Warn("table not refreshed", "err", err)
	}
	k.mu.Lock()
	k.hints.putBack(doubts)
	k.mu.Unlock()
}

// look asks a few nodes, and more of them if what they say cannot be believed over the table we have.
func (k *Keeper) look(ctx context.Context, old *Table, doubts *hints) (*Table, error) {
	// The nodes of a cluster know of a change within milliseconds of each other. One that takes longer than half the gap
	// is busy or frozen, and the others must not wait for it.
	first := k.candidates(old, doubts)
	views := k.ask(ctx, first, k.cfg.MinGap/2)
	next, err := k.judge(old, views, doubts)
	if err == nil || ctx.Err() != nil {
		return next, err
	}
	more := k.others(old, next, first)
	if len(more) == 0 {
		return nil, err
	}
	views = append(views, k.ask(ctx, more, k.cfg.Timeout/2)...)
	return k.judge(old, views, doubts)
}

// judge makes a table of the views. With an error the table, if there is one, must not be published.
func (k *Keeper) judge(old *Table, views []*View, doubts *hints) (*Table, error) {
	next, err := Build(views)
	if err != nil {
		return nil, err
	}
	for i := range next.Nodes {
		next.Nodes[i].Addr = k.cfg.Map(next.Nodes[i].Addr)
	}
	heard := make(map[string]bool, len(views))
	for _, v := range views {
		heard[v.Myself] = true
	}
	doubts.keepOpen(old, next, heard)
	return next, credible(old, next, heard)
}

// publish makes next the table if it says something new, or if somebody doubted the old one and wants to know.
func (k *Keeper) publish(old, next *Table, doubts *hints) {
	k.mu.Lock()
	k.hints.overlay(next) // what came in while the nodes were asked is newer than what they said
	k.mu.Unlock()
	changed := old == nil || !old.equal(next)
	k.same++
	if changed || doubts.any {
		k.same = 0
		k.install(old, next)
	}
	if changed {
		k.untold.add(moved(old, next), doubts.cause())
	}
	k.report(next, changed)
}

// install makes next the table.
func (k *Keeper) install(old, next *Table) {
	if old != nil {
		next.Version = old.Version
	}
	next.Version++
	k.table.Store(next)
	if k.cfg.OnTable != nil {
		k.cfg.OnTable(next)
	}
}

// changes are those of the table that nobody has read about.
type changes struct {
	tables, slots int
	cause         string // of the last one
}

func (c *changes) add(slots int, cause string) {
	c.tables++
	c.slots += slots
	c.cause = cause
}

// report tells who reads the log of changes: of a single one at once, of further ones together. Those at the end of a row are
// told without another one, so that the last line is about the table that counts.
func (k *Keeper) report(t *Table, changed bool) {
	level := slog.LevelInfo
	switch {
	case k.untold.tables == 0:
		return
	case k.started.Sub(k.told) >= tellGap:
	case changed:
		level = slog.LevelDebug
	default:
		return
	}
	k.log.Log(context.Background(), level, "table changed", "epoch", t.Epoch, "tables", k.untold.tables, "count", k.untold.slots, "cause", k.untold.cause)
	if level == slog.LevelInfo {
		k.told, k.untold = k.started, changes{}
	}
}
