package proxy

import (
	"math/bits"
	"slices"
	"sync"
	"time"

	"slotproxy/router"
)

// What whoever moves slots wants to know of the clients' work: which slots they use, and how nodes and clients feel while
// a move goes on. The loops count in plain fields; a question through the inbox adds them up.

// Pulse is a short while of the data path.
type Pulse struct {
	Span      time.Duration
	Nodes     map[string]NodePulse // by address
	Errors    uint64               // commands that clients got an error of the proxy's own for by the cluster's fault
	Redirects uint64               // answers of nodes about the cluster
	Waiting   []uint16             // slots with a command that no node would serve yet, sorted: while one moves, one with several keys
	Held      int64                // commands held by gates right now
	HeldTotal uint64               // commands that gates have held since the start
	LongHold  time.Duration        // longest time that a gate has held a command that it has let go since the last call
	P99       time.Duration        // of all commands but those that wait for other clients, from read to answered
}

// NodePulse is a short while of one node, as the data path sees it.
type NodePulse struct {
	Commands uint64
	P50, P99 time.Duration // from written to answered
	// Over counts the commands that took longer than a limit; more than one in a hundred if P99 is above it.
	Over func(limit time.Duration) uint64
}

// times counts durations in buckets, four for each power of two: a quantile is off by less than a quarter.
type times [160]uint64 // the last one begins at a quarter of an hour

// add counts a duration in nanoseconds.
func (t *times) add(ns int64) {
	if ns < 4 {
		t[max(ns, 0)]++
		return
	}
	power := bits.Len64(uint64(ns)) - 1
	t[min(4*(power-1)+int(ns>>(power-2))&3, len(t)-1)]++
}

// since takes what older has off t. A counter that has begun anew is taken as it is.
func (t *times) since(older *times) (more times) {
	for i, n := range t {
		if more[i] = n; n >= older[i] {
			more[i] -= older[i]
		}
	}
	return more
}

func (t *times) plus(o *times) {
	for i, n := range o {
		t[i] += n
	}
}

func (t *times) count() (n uint64) {
	for _, b := range t {
		n += b
	}
	return n
}

// quantile is the upper end of the bucket that holds quantile q (0..1), 0 without durations.
func (t *times) quantile(q float64) time.Duration {
	n := t.count()
	rank, seen := uint64(q*float64(n)), uint64(0)
	for i, b := range t {
		if seen += b; seen > rank {
			return bucketEnd(i)
		}
	}
	return 0
}

// over counts the durations of the buckets that end above a limit, as quantile takes them.
func (t *times) over(limit time.Duration) (n uint64) {
	for i, b := range t {
		if bucketEnd(i) > limit {
			n += b
		}
	}
	return n
}

func bucketEnd(i int) time.Duration {
	if i < 4 {
		return time.Duration(i)
	}
	return time.Duration(i&3+5) << (i/4 - 1)
}

// sample is what the loops have counted since the start; longHold since the last one.
type sample struct {
	at                time.Time
	nodes             map[string]*times
	all               times
	errors, redirects uint64
	held              int64
	heldTotal         uint64
	longHold          int64
	waiting           []uint16 // perhaps several times
}

// pulses remembers where the last call of Pulse left off.
type pulses struct {
	mu   sync.Mutex
	last sample // guarded by mu
	hold int64  // guarded by mu: the longest hold since the last call that all loops have answered
}

// askTime is how long the loops may take to tell what they have counted. A loop that is stuck for longer has other
// troubles.
const askTime = time.Second

// Pulse is what happened since the last call, or since the start. When a loop does not answer it is empty, and the next one
// has it all.
func (p *Proxy) Pulse() Pulse {
	p.pulses.mu.Lock()
	defer p.pulses.mu.Unlock()
	now, whole := p.sample()
	p.pulses.hold = max(p.pulses.hold, now.longHold)
	last := &p.pulses.last
	if last.at.IsZero() {
		last.at = p.started
	}
	if !whole {
		return Pulse{Span: now.at.Sub(last.at)}
	}
	slices.Sort(now.waiting)
	all := now.all.since(&last.all)
	out := Pulse{
		Span: now.at.Sub(last.at), Nodes: make(map[string]NodePulse, len(now.nodes)),
		Errors: now.errors - last.errors, Redirects: now.redirects - last.redirects, Waiting: slices.Compact(now.waiting),
		Held: now.held, HeldTotal: now.heldTotal, LongHold: time.Duration(p.pulses.hold), P99: all.quantile(0.99),
	}
	var none times
	for addr, t := range now.nodes {
		before := last.nodes[addr]
		if before == nil {
			before = &none
		}
		d := t.since(before)
		out.Nodes[addr] = NodePulse{Commands: d.count(), P50: d.quantile(0.5), P99: d.quantile(0.99), Over: d.over}
	}
	p.pulses.last, p.pulses.hold = now, 0
	return out
}

// sample adds up what the loops have counted. whole says that all have answered.
func (p *Proxy) sample() (sum sample, whole bool) {
	var mu sync.Mutex
	late := false
	sum = sample{at: time.Now(), nodes: map[string]*times{}}
	whole = p.ask(askTime, func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		if !late { // else the caller has the sum
			l.addSample(&sum)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	late = true
	return sum, whole
}

func (l *loop) addSample(sum *sample) {
	for addr, n := range l.nodes {
		t := sum.nodes[addr]
		if t == nil {
			t = &times{}
			sum.nodes[addr] = t
		}
		t.plus(&n.took)
	}
	sum.all.plus(&l.took)
	sum.errors += l.faults
	for _, w := range l.waiting {
		if r := w.r; r.state == stateWaiting && r.hasSlot && r.root().sess != nil {
			sum.waiting = append(sum.waiting, r.slot)
		}
	}
	for _, n := range l.stats.Redirects {
		sum.redirects += n
	}
	for _, s := range l.parked {
		sum.held += s.gatedNow()
	}
	sum.heldTotal += l.stats.GateHeld
	sum.longHold, l.longHold = max(sum.longHold, l.longHold), 0
}

// refusedFor is how long a command counts as waiting for a half moved slot after a node has refused it: it goes again before
// that, with some time for a busy loop.
const refusedFor = 4 * lastRetryWait

// Waiting tells whether a command waits for one of the slots because no node has all of its keys, or had to a moment ago. It
// does not wait for the loops, so that whoever moves the slots may ask between two batches.
func (p *Proxy) Waiting(slots []uint16) bool {
	since := monotonic() - refusedFor
	return slices.ContainsFunc(slots, func(slot uint16) bool {
		at := p.refused[slot%router.Slots].Load()
		return at != 0 && at > since
	})
}

// gatedNow counts the client's commands that a gate holds back.
func (s *session) gatedNow() (n int64) {
	for r := s.head; r != nil; r = r.next {
		if r.state == stateHeld && r.gatedAt != 0 {
			n++
		}
		if r.fan == nil {
			continue
		}
		for _, p := range r.fan.parts {
			if p.state == stateHeld && p.gatedAt != 0 {
				n++
			}
		}
	}
	return n
}

// SlotOps are the commands that have been sent for each slot since the start; they only grow. Commands that wait for other
// clients are not among them.
func (p *Proxy) SlotOps() *[router.Slots]uint64 {
	var mu sync.Mutex
	sum, late := new([router.Slots]uint64), false
	p.ask(askTime, func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		for slot := range l.slots {
			if !late {
				sum[slot] += l.sent(uint16(slot))
			}
		}
	})
	mu.Lock()
	defer mu.Unlock()
	late = true
	return sum
}
