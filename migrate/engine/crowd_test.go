package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// crowd is a gate at which commands wait for half moved slots, once some of their keys have moved.
type crowd struct {
	stopGate
	here    atomic.Bool
	largest atomic.Int64 // keys of one MIGRATE
}

func (g *crowd) Waiting([]uint16) bool { return g.here.Load() }

// tight is a pacer that lets nothing go of its own accord, but for a first batch.
type tight struct{ batches atomic.Int64 }

func (p *tight) Batch() (int, int64) { return 64, 1 << 20 }

func (p *tight) Wait(ctx context.Context, _, _ string, _ int, _ int64, waited func() bool) error {
	if p.batches.Add(1) == 1 {
		return nil
	}
	for waited == nil || !waited() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (p *tight) Hold(context.Context, func() bool) {}

func (p *tight) Moved(string, string, int, int64, time.Duration) {}

func TestKeysThatCommandsWaitForGoWithoutPausesAndInLargeBatches(t *testing.T) {
	g, p := &crowd{}, &tight{}
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	nodes := tap{r.src, func(_ string, commands [][]string, _ []any) {
		for _, c := range commands {
			if i := slices.Index(c, "KEYS"); c[0] == "MIGRATE" && i >= 0 {
				g.here.Store(true)
				g.largest.Store(max(g.largest.Load(), int64(len(c)-i-1)))
			}
		}
	}}
	r.e = r.engine(func(c *engine.Config) { c.Gate, c.Pacer, c.Nodes = g, p, nodes })
	n := r.fillFast(r.cl.Nodes[0], []uint16{5}, 3000)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := r.e.Run(ctx, u, machine.Move); got.Outcome != machine.Done || int(got.Keys) != n {
		t.Fatalf("outcome %d %s, %d of %d keys", got.Outcome, got.Reason, got.Keys, n)
	}
	if got := g.largest.Load(); got < 256 {
		t.Errorf("the largest batch has %d keys, want hundreds while commands wait", got)
	}
}

// slowGate is one at which it takes until all keys have moved before all that is in flight is answered.
type slowGate struct {
	stopGate
	moved atomic.Bool
}

func (g *slowGate) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	for !g.moved.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return g.stopGate.Hold(ctx, slots, limit)
}

func TestKeysMoveOnWhileTheGateIsBeingClosed(t *testing.T) {
	g := &slowGate{}
	var n int64
	var moved atomic.Int64
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, func(c *engine.Config) {
		c.Gate, c.Limits = g, engine.Limits{Drain: time.Minute}
		c.Progress = func(_ int, keys, _ int64) { g.moved.Store(moved.Add(keys) == n) }
	})
	n = int64(r.fillFast(r.cl.Nodes[0], []uint16{5}, 3000))
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := r.e.Run(ctx, u, machine.Move); got.Outcome != machine.Done || got.Keys != n {
		t.Fatalf("outcome %d %s, %d of %d keys", got.Outcome, got.Reason, got.Keys, n)
	}
	r.runAll(u, online[3:])
}

// busyGate is one that is never closed in time.
type busyGate struct {
	stopGate
	given []time.Duration
}

func (g *busyGate) Hold(ctx context.Context, _ []uint16, _ time.Duration) error {
	end, _ := ctx.Deadline()
	g.given = append(g.given, time.Until(end).Round(50*time.Millisecond))
	return errors.New("not drained")
}

func TestAGateThatWasNotClosedInTimeHasMoreOfItTheNextTime(t *testing.T) {
	g := &busyGate{}
	e := engine.New(engine.Config{Gate: g, Topology: func() *router.Table { return nil }})
	defer e.Close()
	for range 5 {
		if got := e.Run(t.Context(), machine.Unit{ID: 1, Slots: []uint16{5}}, machine.Hold); got.Outcome != machine.Again {
			t.Fatalf("outcome %d %s, want again", got.Outcome, got.Reason)
		}
	}
	if !slices.IsSorted(g.given) || g.given[4] <= g.given[0] || g.given[4] > 500*time.Millisecond {
		t.Errorf("the attempts had %v, want more each time, and at most half a second", g.given)
	}
}

// guests is a pacer in whose second wait commands begin to wait for the slots, and go again.
type guests struct {
	g       *crowd
	batches atomic.Int64
	came    atomic.Bool
	left    atomic.Bool
}

func (p *guests) Batch() (int, int64) { return 64, 1 << 20 }

func (p *guests) Wait(ctx context.Context, _, _ string, _ int, _ int64, waited func() bool) error {
	if p.batches.Add(1) != 2 {
		return nil
	}
	p.g.here.Store(true)
	p.came.Store(waited())
	p.g.here.Store(false)
	for waited() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.left.Store(true)
	return nil
}

func (p *guests) Hold(context.Context, func() bool) {}

func (p *guests) Moved(string, string, int, int64, time.Duration) {}

func TestKeysArePacedAgainWhenTheCommandsThatWaitedHaveGone(t *testing.T) {
	g := &crowd{}
	p := &guests{g: g}
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	r.e = r.engine(func(c *engine.Config) { c.Gate, c.Pacer = g, p })
	r.fillFast(r.cl.Nodes[0], []uint16{5}, 20000)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := r.e.Run(ctx, u, machine.Move); got.Outcome != machine.Done {
		t.Fatalf("outcome %d %s", got.Outcome, got.Reason)
	}
	if !p.came.Load() || !p.left.Load() {
		t.Errorf("the pacer heard that commands wait: %v, and that they do no more: %v", p.came.Load(), p.left.Load())
	}
}

func TestASlotThatAnotherHasMovedOnMeanwhileIsNotCommitted(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	third := r.cl.Nodes[2]
	for _, n := range []*testcluster.Node{third, r.cl.Nodes[0]} {
		r.do(n, "CLUSTER", "SETSLOT", "5", "NODE", third.ID)
	}
	if got := r.e.Run(t.Context(), u, machine.Commit); got.Outcome != machine.Unknown {
		t.Errorf("outcome %d %s, want a look", got.Outcome, got.Reason)
	}
}

// courteous is a pacer that counts how often it is asked whether a gate may be closed.
type courteous struct {
	guests
	g     *stopGate
	asked atomic.Int64
	first atomic.Bool // before any gate was closed
}

func (p *courteous) Hold(context.Context, func() bool) {
	if p.asked.Add(1) == 1 {
		p.first.Store(p.g.holds.Load() == 0)
	}
}

func TestAnOnlineUnitAsksOnceWhetherClientsMayBeHeld(t *testing.T) {
	g := &stopGate{}
	p := &courteous{g: g}
	p.batches.Store(10) // no guests come
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, func(c *engine.Config) { c.Gate, c.Pacer = g, p })
	r.fillFast(r.cl.Nodes[0], []uint16{5}, 3000)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online)
	if p.asked.Load() != 1 || !p.first.Load() || g.holds.Load() == 0 {
		t.Errorf("asked %d times, before the gate was closed: %v, which was %d times; want once before", p.asked.Load(), p.first.Load(), g.holds.Load())
	}
}
