package engine

import (
	"context"
	"time"

	"slotproxy/migrate/machine"
)

// gateLimit is when a gate opens by itself. Ten times what is planned for, but no less than 250 ms: a machine that stutters
// must not turn each move into one with redirects.
func (l *Limits) gateLimit() time.Duration { return max(10*l.HoldBudget, 250*time.Millisecond) }

// hold closes the gate of the unit's slots.
func (j *job) hold(ctx context.Context) error {
	if err := j.closeGate(ctx); err != nil {
		return fail(machine.Again, "hold slots %s: %v", named(j.unit.Slots), err)
	}
	return nil
}

func (j *job) closeGate(ctx context.Context) error {
	return j.closeGateFor(ctx, j.cfg.Limits.gateLimit())
}

func (j *job) closeGateFor(ctx context.Context, limit time.Duration) error {
	if j.cfg.Gate != nil {
		if !j.mem.heldAt.IsZero() { // a step that is repeated, or a gate that may have opened by itself
			j.cfg.Gate.Release(j.unit.Slots, "")
			j.mem.heldAt = time.Time{}
		}
		ctx, cancel := context.WithTimeout(ctx, j.cfg.Limits.Drain)
		defer cancel()
		if err := j.cfg.Gate.Hold(ctx, j.unit.Slots, limit); err != nil {
			return err
		}
	}
	j.mem.heldAt = time.Now()
	return nil
}

// held tells whether the gate is closed as far as this engine knows: it may have opened by itself.
func (j *job) held() bool {
	return !j.mem.heldAt.IsZero() && time.Since(j.mem.heldAt) < j.cfg.Limits.gateLimit()
}

// openGate lets the data path go on.
func (j *job) openGate(owner string) {
	j.mem.heldAt = time.Time{}
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
