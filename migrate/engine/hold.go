package engine

import (
	"context"
	"errors"
	"time"

	"slotproxy/migrate/machine"
)

// assistLimit is when a gate that only helps opens by itself. Ten times what is planned for, but no less than 250 ms: a
// machine that stutters must not make each help come to nothing.
func (l *Limits) assistLimit() time.Duration {
	return min(max(10*l.HoldBudget, 250*time.Millisecond), l.Gate)
}

// hold closes the gate of the unit's slots.
func (j *job) hold(ctx context.Context) error {
	err := j.closeGate(ctx)
	switch {
	case neverHolds(err):
		return err
	case err != nil:
		return fail(machine.Again, "hold slots %s: %v", named(j.unit.Slots), err)
	}
	return nil
}

// closing is a gate that is being closed while keys go on moving: what is in flight may take long to be answered on busy
// machines, and a slot that stands still meanwhile is open for longer.
type closing struct {
	j      *job
	cancel context.CancelFunc
	began  time.Time
	done   chan error // from run, once
}

// drain is how long what is in flight may take to be answered. On machines where that is not enough it is not enough the next
// time either, and what was held in vain has waited for nothing.
func (j *job) drain() time.Duration {
	return min(j.cfg.Limits.Drain<<min(j.mem.undrained, mostDoubled), max(j.cfg.Limits.Gate/4, j.cfg.Limits.Drain))
}

// mostDoubled only keeps the shift small: the quarter of a gate's limit is reached before.
const mostDoubled = 5

// beginClosing starts to close the gate. Whoever calls it ends it: by joinGate.
func (j *job) beginClosing(ctx context.Context) *closing {
	ctx, cancel := context.WithTimeout(ctx, j.drain())
	c := &closing{j: j, cancel: cancel, began: time.Now(), done: make(chan error, 1)}
	go c.run(ctx)
	return c
}

func (c *closing) run(ctx context.Context) {
	c.done <- c.j.cfg.Gate.Hold(ctx, c.j.unit.Slots, c.j.cfg.Limits.Gate)
}

// joinGate waits for the gate that is being closed, or with now only looks whether it is. Not drained in time: the keys go on
// as they were.
func (m *mover) joinGate(now bool) error {
	c := m.closing
	if c == nil {
		return nil
	}
	var err error
	if now {
		select {
		case err = <-c.done:
		default:
			return nil
		}
	} else {
		err = <-c.done
	}
	c.cancel()
	m.closing = nil
	if err != nil {
		m.mem.undrained++
		if err = never(err, m.cfg.Limits.Gate); neverHolds(err) {
			return err
		}
		return nil
	}
	m.mem.undrained = 0
	m.mem.heldAt, m.mem.heldUntil = time.Now(), c.began.Add(m.cfg.Limits.Gate)
	return nil
}

// dropGate gives up closing the gate.
func (m *mover) dropGate() {
	if m.closing != nil {
		m.closing.cancel()
		_ = m.joinGate(false)
	}
}

func (j *job) closeGate(ctx context.Context) error {
	return j.closeGateFor(ctx, j.cfg.Limits.Gate)
}

func (j *job) closeGateFor(ctx context.Context, limit time.Duration) error {
	began := time.Now()
	if j.cfg.Gate != nil {
		if len(j.mem.doubts) > 0 && j.stretch() {
			return nil
		}
		if !j.mem.heldAt.IsZero() { // a step that is repeated, or a gate that may have opened by itself
			j.cfg.Gate.Release(j.unit.Slots, "")
			j.mem.heldAt, j.mem.heldUntil = time.Time{}, time.Time{}
		}
		ctx, cancel := context.WithTimeout(ctx, j.drain())
		defer cancel()
		if err := j.cfg.Gate.Hold(ctx, j.unit.Slots, limit); err != nil {
			j.mem.undrained++
			return never(err, limit)
		}
		j.mem.undrained = 0
	}
	j.mem.heldAt, j.mem.heldUntil = time.Now(), began.Add(limit)
	return nil
}

// permanent is an error of a Gate that would be the same each time. A job that went on without gates because of it would
// go on without what they are for.
type permanent interface{ Permanent() bool }

// never makes such an error a failure of the job; others stay as they are.
func never(err error, limit time.Duration) error {
	var p permanent
	if errors.As(err, &p) && p.Permanent() {
		return fail(machine.Fatal, "slots cannot be held for %v: %v", limit, err)
	}
	return err
}

func neverHolds(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.outcome == machine.Fatal
}

// held tells whether the gate is closed.
func (j *job) held() bool { return j.heldFor() > 0 }

// stretch keeps the gate closed for as long as it may be, without opening it, because of keys in doubt. It tells whether the gate
// is closed.
func (j *job) stretch() bool {
	if !j.held() || j.cfg.Gate == nil {
		return j.held()
	}
	now := time.Now()
	if more, err := j.cfg.Gate.Extend(j.unit.Slots, longestDoubt); err == nil {
		j.mem.heldUntil = now.Add(more)
	}
	return j.held()
}

// longestDoubt is more than any gate allows: a target that hangs for longer is failed over, or was only away for its clients.
const longestDoubt = time.Minute

// heldFor is how much longer the gate stays closed at least.
func (j *job) heldFor() time.Duration {
	if j.mem.heldAt.IsZero() {
		return 0
	}
	return time.Until(j.mem.heldUntil)
}

// openGate lets the data path go on.
func (j *job) openGate(owner string) {
	j.mem.heldAt, j.mem.heldUntil = time.Time{}, time.Time{}
	if j.cfg.Gate != nil {
		j.cfg.Gate.Release(j.unit.Slots, owner)
	}
}

// release opens the gate, but not for keys in doubt: then it stays closed for as long as it may, and opens by itself.
func (j *job) release(context.Context) error {
	owner := ""
	if len(j.mem.doubts) > 0 && !j.unit.Committed && !j.mem.committed && j.stretch() {
		return nil
	}
	if j.unit.Committed || j.mem.committed {
		t := j.cfg.Topology()
		if t != nil {
			if at := t.ByID(j.unit.Target); at >= 0 {
				owner = t.Nodes[at].Addr
			}
		}
	}
	j.openGate(owner)
	return nil
}
