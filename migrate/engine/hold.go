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

func (j *job) closeGate(ctx context.Context) error {
	return j.closeGateFor(ctx, j.cfg.Limits.Gate)
}

func (j *job) closeGateFor(ctx context.Context, limit time.Duration) error {
	began := time.Now()
	if j.cfg.Gate != nil {
		if !j.mem.heldAt.IsZero() { // a step that is repeated, or a gate that may have opened by itself
			j.cfg.Gate.Release(j.unit.Slots, "")
			j.mem.heldAt, j.mem.heldUntil = time.Time{}, time.Time{}
		}
		ctx, cancel := context.WithTimeout(ctx, j.cfg.Limits.Drain)
		defer cancel()
		err := j.cfg.Gate.Hold(ctx, j.unit.Slots, limit)
		var p permanent
		switch {
		case errors.As(err, &p) && p.Permanent():
			return fail(machine.Fatal, "slots cannot be held for %v: %v", limit, err)
		case err != nil:
			return err
		}
	}
	j.mem.heldAt, j.mem.heldUntil = time.Now(), began.Add(limit)
	return nil
}

// permanent is an error of a Gate that would be the same each time. A job that went on without gates because of it would
// go on without what they are for.
type permanent interface{ Permanent() bool }

func neverHolds(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.outcome == machine.Fatal
}

// held tells whether the gate is closed.
func (j *job) held() bool { return j.heldFor() > 0 }

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

func (j *job) release(context.Context) error {
	owner := ""
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
