package migrate

import (
	"cmp"
	"context"
	"sync"
	"time"

	"slotproxy/migrate/machine"
)

const (
	// batchTime is how long one MIGRATE should keep its two nodes busy: their clients wait that long. A third of it when they
	// are already slow.
	batchTime   = 3 * time.Millisecond
	carefulTime = time.Millisecond
	// Bounds of a batch. 64 small keys are one or two milliseconds; of fewer most of the time is the way there and back, which
	// would make the next batch still smaller. 512 keys of one command are parsed in well under a millisecond; the bytes bound
	// the buffers of both nodes.
	leastKeys, mostKeys   = 64, 512
	leastBytes, mostBytes = 64 << 10, 4 << 20
	// What a batch is thought to carry before any was measured.
	startKeyRate, startByteRate = 20_000.0, 20e6 // each second
	// strictWait is between two batches while a replica lags or memory is short: slow enough to recover, and the job still comes to its
	// end, or to a slot that does not fit any more.
	strictWait = time.Second
)

// pacer slows a job down for its clients: batches here, gates in settle.go, streams in stream.go, by what feel.go notices. It implements
// engine.Pacer. Safe for concurrent use.
type pacer struct {
	keys, bytes float64                                // each second; 0: no bound; immutable
	latency     func(base time.Duration) time.Duration // immutable
	addr        func(node string) string               // immutable

	mu                sync.Mutex
	base              map[string]time.Duration // guarded by mu: p99 before the job, by address
	nodes             map[string]*lane         // guarded by mu: the sources of the job, by node id
	past              map[string]*lane         // guarded by mu: those of earlier jobs that are no source of this one, so far
	strict            map[string]string        // guarded by mu: nodes that are short of something, and of what
	above             map[string]int           // guarded by mu: slow pulses in a row, by address
	keyDebt, byteDebt float64                  // guarded by mu: what is spent and not yet earned
	earned            time.Time                // guarded by mu
	heldDebt          float64                  // guarded by mu: commands that gates have held, above heldShare
	streams           map[string]stream        // guarded by mu: by node id, source or target
	slowDebt          float64                  // guarded by mu: commands that streams have slowed down, above slowShare
	slowWhy           string                   // guarded by mu: what was slow then
	hurried           bool                     // guarded by mu
	why               string                   // guarded by mu
}

// lane is one source.
type lane struct {
	share    float64 // of its time that may be spent in MIGRATE
	slow     string  // why share is below 1
	changed  time.Time
	keyRate  float64 // of one MIGRATE, each second
	byteRate float64
	free     time.Time // when the next batch may go
	held     time.Time // until then clients wait for its keys behind a gate, unless it is opened before
	// Until then clients wait for its keys otherwise: they need several, and the slot is half moved. since: without a break.
	wanted, since time.Time
}

func newPacer(o machine.Options, latency func(time.Duration) time.Duration, addr func(string) string) *pacer {
	return &pacer{
		keys: float64(o.MaxKeysPerSecond), bytes: float64(o.MaxBytesPerSecond), latency: latency, addr: addr,
		base: map[string]time.Duration{}, nodes: map[string]*lane{}, past: map[string]*lane{}, strict: map[string]string{},
		above: map[string]int{}, earned: time.Now(), streams: map[string]stream{},
	}
}

func (p *pacer) laneLocked(node string) *lane {
	l := p.nodes[node]
	if l == nil {
		l = cmp.Or(p.past[node], &lane{share: 1, keyRate: startKeyRate, byteRate: startByteRate})
		p.nodes[node] = l
		delete(p.past, node)
	}
	return l
}

// Batch is how much one MIGRATE may carry: what the slowest lane does in a few milliseconds, or as much as any may when clients
// have waited for long.
func (p *pacer) Batch() (keys int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keyRate, byteRate, span := startKeyRate, startByteRate, batchTime
	first := true
	for _, l := range p.nodes {
		if first || l.keyRate < keyRate {
			keyRate = l.keyRate
		}
		if first || l.byteRate < byteRate {
			byteRate = l.byteRate
		}
		if l.share < 1 && !l.urgent() {
			span = carefulTime
		}
		first = false
		if l.overdue() {
			return mostKeys, mostBytes
		}
	}
	keys = min(max(int(keyRate*span.Seconds()), leastKeys), mostKeys)
	bytes = min(max(int64(byteRate*span.Seconds()), leastBytes), mostBytes)
	return keys, bytes
}

// Wait returns when a batch may go, or ctx ends. Keys that clients wait for go at once, and are paid for later.
func (p *pacer) Wait(ctx context.Context, source, target string, keys int, bytes int64, waited func() bool) error {
	p.mu.Lock()
	p.earnLocked()
	p.keyDebt += float64(keys)
	p.byteDebt += float64(bytes)
	p.mu.Unlock()
	for scarce := time.Now().Add(strictWait); ; {
		p.mu.Lock()
		p.earnLocked()
		var pause time.Duration
		if l := p.laneLocked(source); !l.urgent() {
			pause = p.pauseLocked(l, scarce, source, target)
		}
		p.mu.Unlock()
		if pause <= 0 || waited != nil && waited() {
			return ctx.Err()
		}
		if err := sleep(ctx, min(pause, waitPiece)); err != nil {
			return err
		}
	}
}

// waitPiece is how long a wait goes on without a look: clients may have come meanwhile that wait for the keys, or the end of
// the job. Clients with commands that need several keys wait for as long as it takes to notice them.
const waitPiece = 20 * time.Millisecond

// urgent says that clients wait for keys of this source.
func (l *lane) urgent() bool {
	now := time.Now()
	return now.Before(l.held) || now.Before(l.wanted)
}

// wantedFor is some pulses: a command that is just being tried again does not count as one that waits.
const wantedFor = 4 * workBeat

// want tells which sources have half moved slots that clients wait for.
func (p *pacer) want(sources map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(wantedFor)
	for id, l := range p.nodes {
		if !sources[id] {
			continue
		}
		if l.wanted.Before(time.Now()) {
			l.since = time.Now()
		}
		l.wanted = until
	}
}

// overdueAfter is a fifth of what a command waits for at most by default. A slot that takes longer than that has many keys, or
// the machines are so busy that each batch costs its way there and back: the fewer the better.
const overdueAfter = time.Second

// overdue says that clients have waited for long.
func (l *lane) overdue() bool {
	now := time.Now()
	return now.Before(l.wanted) && now.Sub(l.since) >= overdueAfter
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// earnLocked pays debts with the time that has passed. Credit is kept for a tenth of a second, so that an idle while does
// not become a burst.
func (p *pacer) earnLocked() {
	now := time.Now()
	span := now.Sub(p.earned).Seconds()
	p.earned = now
	p.keyDebt = max(p.keyDebt-span*p.keys, -p.keys/10)
	p.byteDebt = max(p.byteDebt-span*p.bytes, -p.bytes/10)
	if p.keys == 0 {
		p.keyDebt = 0
	}
	if p.bytes == 0 {
		p.byteDebt = 0
	}
}

// pauseLocked is the longest of all reasons to wait, and notes it. What the nodes are short of counts until scarce: it may last for ever.
func (p *pacer) pauseLocked(l *lane, scarce time.Time, source, target string) time.Duration {
	pause, why, short := time.Until(l.free), l.slow, ""
	longer := func(d time.Duration, reason string) {
		if d > pause {
			pause, why = d, reason
		}
	}
	if p.keys > 0 && p.keyDebt > 0 {
		longer(time.Duration(p.keyDebt/p.keys*float64(time.Second)), "max_keys_per_second")
	}
	if p.bytes > 0 && p.byteDebt > 0 {
		longer(time.Duration(p.byteDebt/p.bytes*float64(time.Second)), "max_bytes_per_second")
	}
	for _, node := range []string{source, target} {
		if reason := p.strict[node]; reason != "" && node != "" {
			short = reason
			longer(time.Until(scarce), reason)
		}
	}
	if p.why = why; pause <= 0 && l.share == 1 {
		p.why = short
	}
	return pause
}

// Moved tells how long a batch took, and gives the source its rest.
func (p *pacer) Moved(source, _ string, keys int, bytes int64, took time.Duration) {
	if took <= 0 || keys <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.laneLocked(source)
	// A quarter for the newest: sizes differ from slot to slot, and the batch should follow within ten of them.
	const newest = 0.25
	l.keyRate += newest * (float64(keys)/took.Seconds() - l.keyRate)
	if bytes > 0 {
		l.byteRate += newest * (float64(bytes)/took.Seconds() - l.byteRate)
	}
	if l.share < 1 {
		rest := time.Duration(float64(took) * (1/l.share - 1))
		if from := time.Now(); l.free.Before(from) {
			l.free = from
		}
		l.free = l.free.Add(min(rest, strictWait))
	}
}

// held tells until when clients wait for keys of a source behind gates; the zero time: they do not, or no longer.
func (p *pacer) held(source string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.laneLocked(source).held = until
}

// hurry ends the waits before holds: the job is to end.
func (p *pacer) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurried = true
}

// short sets what a node is short of; "" when it no longer is.
func (p *pacer) short(node, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why == "" {
		delete(p.strict, node)
		return
	}
	p.strict[node] = why
}

// reason says why the job does not go at full speed; "" when it does.
func (p *pacer) reason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.nodes {
		if l.share < 1 {
			return l.slow
		}
	}
	return p.why
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
