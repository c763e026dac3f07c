package repair

import (
	"context"
	"fmt"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

// shutTries is how often a target may refuse to be closed before the move goes on: an error of the connection is not a key.
const shutTries = 3

// shut closes an open slot of which the last look found no key on the target. Clients go on writing after a look, so the
// engine counts again, with the data path held; a slot with keys on the target is moved there instead.
func (d *Doctor) shut(ctx context.Context, u journal.Unit) error {
	closed, err := d.tryShut(ctx, u)
	if err != nil || closed {
		return err
	}
	return d.move(ctx, u)
}

func (d *Doctor) tryShut(ctx context.Context, u journal.Unit) (closed bool, err error) {
	defer d.Run(context.WithoutCancel(ctx), u, machine.Release)
	if err := d.step(ctx, u, machine.Hold); err != nil {
		return false, err
	}
	var last machine.Result
	for try, refused := 0, 0; try < tries && refused < shutTries; try++ {
		switch last = d.Run(ctx, u, machine.Close); last.Outcome {
		case machine.Done:
			return true, nil
		case machine.Fatal, machine.Foreign:
			return false, fmt.Errorf("%s", last.Reason)
		case machine.Unknown:
			refused++
		}
		if err := pause(ctx, backoff<<min(try, 5)); err != nil {
			return false, err
		}
	}
	if last.Outcome != machine.Unknown {
		return false, fmt.Errorf("%s", last.Reason)
	}
	return false, nil
}

// shutAlone closes a slot at its owner, whose target is gone, unless a successor of the target has keys of it by now.
func (d *Doctor) shutAlone(ctx context.Context, a action) error {
	u := *a.alone
	to, err := d.tryShutAlone(ctx, a, u)
	if err != nil || to == "" {
		return err
	}
	u.Target = to
	u.Failover = d.failover(u)
	return d.move(ctx, u)
}

func (d *Doctor) tryShutAlone(ctx context.Context, a action, u journal.Unit) (to string, err error) {
	defer d.Run(context.WithoutCancel(ctx), u, machine.Release)
	if err := d.step(ctx, u, machine.Hold); err != nil {
		return "", err
	}
	if to, err = d.holder(ctx, a.slot); err != nil || to != "" {
		return to, err
	}
	if err := d.send(ctx, a.at.addr, "CLUSTER", "SETSLOT", number(a.slot), "STABLE"); err != nil {
		return "", err
	}
	return d.holder(ctx, a.slot)
}

// holder looks who has keys of a slot without owning it, "" for nobody.
func (d *Doctor) holder(ctx context.Context, slot uint16) (string, error) {
	now, err := d.look(ctx)
	if err != nil {
		return "", err
	}
	switch s := d.state(now, slot); len(s.holders) {
	case 0:
		return "", nil
	case 1:
		return s.holders[0].id, nil
	default:
		return "", fmt.Errorf("ERR %d nodes have keys of slot %d by now", len(s.holders), slot)
	}
}

// closeEmpty closes a slot on one node that must not have keys of it. The last look may be old, so they are counted again while
// the data path is held: before, and after, when nobody can be sent there any more.
func (d *Doctor) closeEmpty(ctx context.Context, a action) error {
	u := journal.Unit{ID: int(a.slot), Source: a.at.id, Slots: []uint16{a.slot}, Engine: "legacy"}
	defer d.Run(context.WithoutCancel(ctx), u, machine.Release)
	if err := d.step(ctx, u, machine.Hold); err != nil {
		return err
	}
	if err := d.empty(ctx, a); err != nil {
		return err
	}
	if err := d.send(ctx, a.at.addr, "CLUSTER", "SETSLOT", number(a.slot), "STABLE"); err != nil {
		return err
	}
	err := d.empty(ctx, a)
	if err == nil || a.peer == "" {
		return err
	}
	if undo := d.send(ctx, a.at.addr, "CLUSTER", "SETSLOT", number(a.slot), "IMPORTING", a.peer); undo != nil {
		return fmt.Errorf("%w; it is closed nevertheless: %w", err, undo)
	}
	return err
}

// empty is an error when a node has keys of a slot, or cannot be asked.
func (d *Doctor) empty(ctx context.Context, a action) error {
	n, err := d.keysNow(ctx, a.at.addr, a.slot)
	if err == nil && n > 0 {
		return fmt.Errorf("ERR %s has %d keys of slot %d by now", a.at.addr, n, a.slot)
	}
	return err
}

// yieldTries is how often a node may get keys between the last one that was brought and its giving up: from clients that do not
// come through this proxy.
const yieldTries = 3

// yieldAll makes a node give up its claims to all slots that it can. An error keeps the other one's new epoch back: who hears of it
// loses the slots that are left, and deletes their keys.
func (d *Doctor) yieldAll(ctx context.Context, a action) (err error) {
	for _, slot := range a.slots {
		one := a
		one.slot = slot
		if fault := d.yield(ctx, one); fault != nil {
			err = fmt.Errorf("slot %d: %w", slot, fault)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// yield brings what a node has of a slot to another one that owns it too, and makes it give up its claim; a node refuses that
// while it has keys. Its keys may have come since the last look.
func (d *Doctor) yield(ctx context.Context, a action) error {
	u := journal.Unit{ID: int(a.slot), Source: a.at.id, Slots: []uint16{a.slot}, Engine: "legacy"}
	defer d.Run(context.WithoutCancel(ctx), u, machine.Release)
	var err error
	for range yieldTries {
		if err := d.step(ctx, u, machine.Hold); err != nil {
			return err
		}
		if err := d.clear(ctx, action{at: a.at, slot: a.slot, merge: a.yield}); err != nil {
			return err
		}
		if err = d.send(ctx, a.at.addr, "CLUSTER", "SETSLOT", number(a.slot), "NODE", a.yield.id); err == nil {
			return nil
		}
	}
	return err
}
