package proxy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"slotproxy/router"
)

// A gate keeps the commands of some slots in the proxy while whoever moves them hands them over: nothing of them is in
// flight then, so no node sees a command of a slot that it has half of. The order pass is what holds them back (visit in
// order.go), in the same state in which commands wait for an earlier one. A client's commands for other slots go on.
//
//	Hold    -> every loop: pending --no flush or count of all keys waits--> closed --nothing in flight--> told
//	Release -> every loop: open, at another owner or not; so does the hold's own time limit
//
// A slot's gate hangs on its trouble, so in calm times it costs nothing. Commands on the whole keyspace that would see a
// moving key twice or not at all (wideCommands) wait for all gates, and a gate that comes later waits for them: neither
// side can keep the other out for ever. All loops get holds in the same order, so the two cannot wait for each other
// in a circle.

var (
	errGateTaken    = errors.New("hold slots: another hold has one of them")
	errGateLate     = errors.New("hold slots: the time was up before all that was in flight had been answered")
	errGateReleased = errors.New("hold slots: released by somebody else")
	errGateDraining = errors.New("hold slots: the proxy is draining")
	errGateClosing  = errors.New("hold slots: the proxy is closing")
	errGateSlot     = errors.New("hold slots: no such slot")
)

// errGateLimit is not one of those that another attempt may not meet.
var errGateLimit error = gateLimitError{}

type gateLimitError struct{}

func (gateLimitError) Error() string { return "hold slots: longer than half of redirect_budget" }

func (gateLimitError) Permanent() bool { return true }

// hold is one call of Hold, as all loops see it. Immutable but for until.
type hold struct {
	slots []uint16
	begun int64        // loop time of the call
	until atomic.Int64 // loop time at which it opens by itself; Extend makes it later
	told  chan error   // from each loop, once: nil when nothing is in flight. It has room for all of them
}

// holds are the slots that are held, to refuse a second holder. mu is taken before the inboxes', so that all loops get
// holds and releases in the same order.
type holds struct {
	mu sync.Mutex
	by map[uint16]*hold // guarded by mu
}

// gate is a hold that is closed in one loop. Owned by the loop.
type gate struct {
	*hold
	closed int             // slots that are still behind it
	calm   int             // of its slots, the first ones that have nothing in flight
	told   bool            // the holder has had its answer
	after  []func(l *loop) // to be done when it opens
}

// wideCommands are the commands for all primaries that are wrong when a key goes from one node to another meanwhile: it
// would survive a flush, or be counted twice or not at all.
var wideCommands = map[string]bool{"flushall": true, "flushdb": true, "dbsize": true, "info": true, "randomkey": true}

// Hold stops the loops from sending commands of the slots, and returns when none of them is in flight. With an error
// nothing is held; it never waits longer than ctx. After limit, which begins with the call, the slots open by themselves.
// Commands that wait in a node (BLPOP) are not in flight in this sense: they stay where they are.
func (p *Proxy) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limit > p.cfg.Limits.RedirectBudget/2: // what is held must have time left to go elsewhere
		return errGateLimit
	}
	h := &hold{slots: slices.Clone(slots), begun: monotonic(), told: make(chan error, len(p.loops))}
	h.until.Store(h.begun + int64(limit))
	slices.Sort(h.slots)
	h.slots = slices.Compact(h.slots)
	switch n := len(h.slots); {
	case n == 0:
		return nil
	case h.slots[n-1] >= router.Slots:
		return errGateSlot
	}
	if err := p.beginHold(h); err != nil {
		return err
	}
	err := p.awaitHold(ctx, h)
	if err == nil && monotonic() >= h.until.Load() {
		err = errGateLate
	}
	if err != nil {
		p.endHold(h)
	}
	return err
}

// beginHold tells all loops, unless somebody else holds one of the slots.
func (p *Proxy) beginHold(h *hold) error {
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	now := monotonic()
	for _, slot := range h.slots {
		if other := p.holds.by[slot]; other != nil && now < other.until.Load() {
			return errGateTaken
		}
	}
	if p.holds.by == nil {
		p.holds.by = map[uint16]*hold{}
	}
	for _, slot := range h.slots {
		p.holds.by[slot] = h
	}
	for _, l := range p.loops {
		if !l.post(message{kind: msgCall, call: func(l *loop) { l.addHold(h) }}) {
			h.told <- errGateClosing
		}
	}
	return nil
}

// awaitHold returns when every loop has answered, one has refused, or ctx ends.
func (p *Proxy) awaitHold(ctx context.Context, h *hold) error {
	for range p.loops {
		select {
		case err := <-h.told:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-p.stop:
			return errGateClosing
		}
	}
	return nil
}

// endHold opens what a hold that failed has closed.
func (p *Proxy) endHold(h *hold) {
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	for _, slot := range h.slots {
		if p.holds.by[slot] == h {
			delete(p.holds.by, slot)
		}
	}
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { l.dropHold(h) }})
	}
}

// Extend makes the hold of these slots last for limit from now on, without opening it in between, and returns for how long it
// does: three quarters of redirect_budget after its beginning it opens all the same, so that what it holds has time left to go
// elsewhere. With an error the slots are not held, or not by one hold, and nothing has changed.
func (p *Proxy) Extend(slots []uint16, limit time.Duration) (time.Duration, error) {
	h := p.holds.of(slots)
	if h == nil {
		return 0, errGateReleased
	}
	was, now := h.until.Load(), monotonic()
	if now >= was {
		return 0, errGateLate
	}
	until := max(was, min(now+int64(limit), h.begun+3*int64(p.cfg.Limits.RedirectBudget/4)))
	h.until.Store(until)
	if now = monotonic(); now >= was { // a loop may have opened it before it saw the new end
		p.endHold(h)
		return 0, errGateLate
	}
	return time.Duration(until - now), nil
}

// of is the hold that has all of these slots, nil for none.
func (hs *holds) of(slots []uint16) *hold {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(slots) == 0 {
		return nil
	}
	h := hs.by[slots[0]]
	if slices.ContainsFunc(slots, func(slot uint16) bool { return hs.by[slot] != h }) {
		return nil
	}
	return h
}

// Release lets the commands of the slots go on: at the node with this address, which owns them now, or where they would
// have gone for "". It does not wait for the loops. Slots that are not held change their owner too. Tables that were
// fetched before do not take the slots back.
func (p *Proxy) Release(slots []uint16, owner string) {
	slots = slices.Clone(slots)
	slots = slices.DeleteFunc(slots, func(s uint16) bool { return s >= router.Slots })
	trust := uint64(0)
	if t := p.cfg.Keeper.Table(); t != nil {
		trust = t.Version
	}
	trust += 2 // the next one may be on its way already
	p.holds.mu.Lock()
	for _, slot := range slots {
		delete(p.holds.by, slot)
	}
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) { l.openSlots(slots, owner, trust) }})
	}
	p.holds.mu.Unlock()
	if owner == "" {
		return
	}
	for _, slot := range slots {
		p.cfg.Keeper.Hint(router.Hint{Cause: router.Moved, Slot: slot, HasSlot: true, Addr: owner})
	}
}

// addHold takes a hold. The end of the iteration closes it, if it may be closed at once.
func (l *loop) addHold(h *hold) {
	switch {
	case l.closing:
		h.told <- errGateClosing
	case l.draining:
		h.told <- errGateDraining
	default:
		l.pending = append(l.pending, h)
	}
}

// dropHold forgets a hold, whatever has become of it.
func (l *loop) dropHold(h *hold) {
	l.pending = slices.DeleteFunc(l.pending, func(x *hold) bool { return x == h })
	l.openGates(func(g *gate) bool { return g.hold == h })
}

// gated says that r's slot is behind a gate.
func (l *loop) gated(r *request) bool {
	t := l.cares[r.slot].trouble
	return t != nil && t.gate != nil
}

// park keeps r, which a gate holds back, and remembers its client.
func (l *loop) park(r *request) {
	s := r.root().sess
	if r.gatedAt == 0 {
		r.gatedAt = l.now
		l.stats.GateHeld++
	}
	if r.pinned == nil && r.hasSlot {
		r.to, r.asking = nil, false // where the slot goes is not known yet
	}
	l.parkSession(s)
}

// parkSession makes an order pass of a client follow when a gate opens.
func (l *loop) parkSession(s *session) {
	if s != nil && !s.parked {
		s.parked = true
		l.parked = append(l.parked, s)
	}
}

// letGo notes how long gates have held r, if any has. What it may have to wait for from here on is not the gates'.
func (l *loop) letGo(r *request) {
	if r.gatedAt == 0 {
		return
	}
	took := l.now - r.gatedAt
	r.gatedAt = 0
	l.stats.GateSeconds.Observe(took)
	l.longHold = max(l.longHold, took)
}

// wideWaits says that a command on the whole keyspace waits for the gates.
func (l *loop) wideWaits() bool {
	for _, s := range l.parked {
		if r := s.head; r != nil && r.wide && s.unsent > 0 {
			return true
		}
	}
	return false
}

// checkGates ends an iteration: holds that may be closed are, those whose time is up open, and the holders hear when
// nothing is in flight. It comes when all replies of the iteration have been dealt with, because one of them may have
// made the loop ask the node something further about the slot.
func (l *loop) checkGates() {
	l.openGates(func(g *gate) bool { return l.now >= g.until.Load() })
	l.pending = slices.DeleteFunc(l.pending, func(h *hold) bool {
		late := l.now >= h.until.Load()
		if late {
			h.told <- errGateLate
		}
		return late
	})
	for len(l.pending) > 0 && !l.wideWaits() {
		h := l.pending[0]
		l.pending = slices.Delete(l.pending, 0, 1)
		l.closeGate(h)
	}
	for _, g := range l.gates {
		for g.calm < len(g.slots) && l.slots[g.slots[g.calm]].inFlight == 0 {
			g.calm++ // and so it stays: nothing is sent
		}
		if !g.told && g.calm == len(g.slots) && l.wide == 0 {
			g.told = true
			g.hold.told <- nil
		}
	}
}

// closeGate holds the slots back from now on.
func (l *loop) closeGate(h *hold) {
	g := &gate{hold: h}
	for _, slot := range h.slots {
		l.lift(slot) // a hold whose time was up, which this loop had not yet noticed
	}
	for _, slot := range h.slots {
		l.unsettle(slot).gate = g
		g.closed++
	}
	l.gates = append(l.gates, g)
	l.countGates()
	l.unpark()
	if l.id == 0 { // once, not once for each loop
		l.stats.GateHolds++
	}
}

// afterGate puts off f until the gate of a slot opens.
func (l *loop) afterGate(slot uint16, f func(*loop)) {
	g := l.cares[slot].trouble.gate
	g.after = append(g.after, f)
}

// lift takes a slot out from behind its gate.
func (l *loop) lift(slot uint16) {
	t := l.cares[slot].trouble
	if t == nil || t.gate == nil {
		return
	}
	g := t.gate
	t.gate = nil
	l.settle(slot)
	if g.closed--; g.closed == 0 {
		l.gates = slices.DeleteFunc(l.gates, func(x *gate) bool { return x == g })
		l.opened = append(l.opened, g)
		l.countGates()
	}
}

// countGates keeps the gauge; the first loop speaks for all.
func (l *loop) countGates() {
	if l.id == 0 {
		l.stats.GatesClosed = int64(len(l.gates))
	}
}

// openGates opens those that which picks, and lets go on what they have held.
func (l *loop) openGates(which func(*gate) bool) {
	for i := len(l.gates) - 1; i >= 0; i-- { // one that opens takes itself out of the list
		g := l.gates[i]
		if !which(g) {
			continue
		}
		for _, slot := range g.slots {
			if t := l.cares[slot].trouble; t != nil && t.gate == g {
				l.lift(slot)
			}
		}
	}
	l.unpark()
}

// unpark deals with gates that have opened: their holders hear if they had no answer yet, and the clients they have held
// up go on. One that another gate holds up parks again.
func (l *loop) unpark() {
	if len(l.opened) == 0 {
		return
	}
	opened := l.opened
	l.opened = nil
	for _, g := range opened {
		if !g.told {
			g.told = true
			g.hold.told <- errGateLate
		}
		for _, f := range g.after {
			f(l)
		}
	}
	parked := l.parked
	l.parked = nil
	for _, s := range parked {
		s.parked = false
	}
	l.beginQuiet()
	defer l.endQuiet()
	for _, s := range parked {
		s.advance()
	}
}

// untilGate shortens the sleep of the loop to the next end of a hold.
func (l *loop) untilGate(d time.Duration) time.Duration {
	for _, g := range l.gates {
		d = min(d, max(time.Duration(g.until.Load()-l.now), 0))
	}
	for _, h := range l.pending {
		d = min(d, max(time.Duration(h.until.Load()-l.now), 0))
	}
	return d
}
