package migrate

import (
	"context"
	"slices"
	"sync"
	"time"

	"slotproxy/router"
)

const (
	// restBeat and workBeat are between two looks at the data path: at rest for the baseline, and while slots move so that a
	// node that becomes slow is noticed before its clients complain.
	restBeat = time.Second
	workBeat = 250 * time.Millisecond
	// restPulses is how many pulses make the baseline: about ten seconds.
	restPulses = 10
	// enough commands in a pulse for its p99 to mean something.
	enough = 100
	// opsSpan is how old the older sample of the slots' commands is at least; plans compare with the one before.
	opsSpan = 30 * time.Second
)

// watch follows what the data path does: always, so that a job that begins knows how it was before.
type watch struct {
	load Load // immutable; nil: there is none

	mu      sync.Mutex
	rest    map[string][]time.Duration // guarded by mu: the last p99s at rest, by address; "" is all nodes together
	samples [2]opsSample               // guarded by mu: the older first
	job     *job                       // guarded by mu: nil at rest
	pace    *pacer                     // guarded by mu: the job's, at rest that of the last one; nil before the first
	fresh   bool                       // guarded by mu: the next pulse is of the time before the job
	tail    bool                       // guarded by mu: the next pulse at rest is of the job's last moments too
	before  uint64                     // guarded by mu: HeldTotal of the last pulse
	seen    bool                       // guarded by mu: before is known
	now     func() time.Time
	asked   chan chan struct{} // from glance to run, which closes what it gets when it has looked
}

type opsSample struct {
	at  time.Time
	ops *[router.Slots]uint64
}

// notice is what clients noticed in a pulse.
type notice struct {
	held, redirects, errors uint64
	longHold                time.Duration
	pace                    string
}

func newWatch(load Load, now func() time.Time) *watch {
	return &watch{load: load, rest: map[string][]time.Duration{}, now: now, asked: make(chan chan struct{})}
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	lastTick := time.Now()
	for {
		var waits chan struct{}
		select {
		case <-ctx.Done():
			return
		case waits = <-w.asked:
		case <-timer.C:
		}
		working := w.look()
		if waits != nil {
			close(waits)
		}
		if time.Since(lastTick) >= time.Second {
			lastTick = time.Now()
			w.tick()
		}
		if beat := restBeat; working {
			timer.Reset(workBeat)
		} else {
			timer.Reset(beat)
		}
	}
}

// glance lets run take a pulse now, and waits for it unless ctx ends.
func (w *watch) glance(ctx context.Context) {
	seen := make(chan struct{})
	select {
	case w.asked <- seen:
	case <-ctx.Done():
		return
	}
	select {
	case <-seen:
	case <-ctx.Done():
	}
}

// look takes one pulse, and tells whether a job is under way.
func (w *watch) look() (working bool) {
	if w.load == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.job != nil {
			w.job.noted(notice{pace: w.pace.reason()})
		}
		return w.job != nil
	}
	p := w.load.Pulse()
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Nodes == nil { // a loop has not answered: the next pulse has it all
		return w.job != nil
	}
	n := notice{redirects: p.Redirects, errors: p.Errors, longHold: p.LongHold}
	if w.seen {
		n.held = p.HeldTotal - w.before
	}
	w.before, w.seen = p.HeldTotal, true
	w.paceLocked(&p, n.held)
	if w.atRestLocked() {
		if !w.tail {
			w.baseLocked(&p)
		}
		w.fresh, w.tail = false, false
		return w.job != nil
	}
	w.pace.want(w.job.sourcesOf(p.Waiting))
	n.pace = w.pace.reason()
	w.job.noted(n)
	return true
}

// atRestLocked tells that no job has been under way since the last pulse, but for the last moments of one.
func (w *watch) atRestLocked() bool { return w.job == nil || w.fresh }

// paceLocked tells the pacer. At rest it is for the next job, which inherits.
func (w *watch) paceLocked(p *Pulse, held uint64) {
	switch {
	case w.pace == nil:
		return
	case w.atRestLocked() && !w.tail:
		w.pace.recover(p)
	default:
		w.pace.feel(p)
	}
	w.pace.gated(held, p.commands())
}

// baseLocked takes a pulse at rest into the baseline.
func (w *watch) baseLocked(p *Pulse) {
	for addr, n := range p.Nodes {
		if n.Commands >= enough {
			w.restLocked(addr, n.P99)
		}
	}
	if p.commands() >= enough {
		w.restLocked("", p.P99)
	}
	for addr := range w.rest {
		if _, known := p.Nodes[addr]; !known && addr != "" {
			delete(w.rest, addr) // the node is gone
		}
	}
}

func (w *watch) restLocked(addr string, p99 time.Duration) {
	list := append(w.rest[addr], p99)
	if len(list) > restPulses {
		list = list[1:]
	}
	w.rest[addr] = list
}

// begin follows a job. What clients have noticed before is not its doing: a pulse sets it apart. Where a loop is late for that by
// a second and more, the job's first pulse counts as one of before.
func (w *watch) begin(ctx context.Context, j *job, p *pacer) {
	w.follow(j, p)
	w.glance(ctx)
}

func (w *watch) follow(j *job, p *pacer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	base := make(map[string]time.Duration, len(w.rest))
	for addr, list := range w.rest {
		sorted := slices.Sorted(slices.Values(list))
		base[addr] = sorted[len(sorted)/2]
	}
	if w.pace != nil {
		p.inherit(w.pace)
	}
	p.compare(base)
	w.job, w.pace, w.fresh = j, p, true
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job, w.tail = nil, true
}

// tick does what is due about once a second.
func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job != nil {
		w.job.tick()
	}
	if w.load != nil && (w.samples[1].ops == nil || w.now().Sub(w.samples[1].at) >= opsSpan) {
		w.samples[0], w.samples[1] = w.samples[1], opsSample{at: w.now(), ops: w.load.Ops()}
	}
}

// ops are the commands of each slot in the last minute or so; nil when nobody counts them, or not for long enough.
func (w *watch) ops() *[router.Slots]int64 {
	if w.load == nil {
		return nil
	}
	now := w.load.Ops()
	w.mu.Lock()
	old := w.samples[0]
	if old.ops == nil {
		old = w.samples[1]
	}
	w.mu.Unlock()
	if old.ops == nil || w.now().Sub(old.at) < opsLeast {
		return nil
	}
	var out [router.Slots]int64
	for s := range out {
		out[s] = int64(now[s] - old.ops[s])
	}
	return &out
}
