package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
)

// rounds bounds how often Fix looks again: closing one thing may bring another to light, as a slot with several targets.
const rounds = 4

// Fix puts right what can be put right without asking, looks again, and reports what is left. Nothing else may move slots
// meanwhile. With DryRun it is Check, orphans included.
func (d *Doctor) Fix(ctx context.Context, o Options) (*Report, error) {
	switch o.Orphans {
	case "", "keep", "merge", "delete":
	default:
		return nil, fmt.Errorf("ERR ORPHANS must be KEEP, MERGE or DELETE")
	}
	var done []string
	for range rounds {
		now, list, err := d.twice(ctx)
		if err != nil {
			return nil, err
		}
		cures := slices.Concat(slotCures(list, o), nodeCures(now))
		if o.DryRun || len(cures) == 0 {
			r := d.report(now, list, o)
			r.Done = done
			return r, nil
		}
		for _, c := range cures {
			done = append(done, d.treat(ctx, c.actions)...)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
	}
	r, err := d.Check(ctx)
	if r != nil {
		r.Done = done
	}
	return r, err
}

// treat carries out the actions for one problem, and says how each went. What comes after one that has failed would build on
// it, so it is left to the next look.
func (d *Doctor) treat(ctx context.Context, cure []action) (done []string) {
	failed := false
	for _, a := range cure {
		outcome := "not done, as the one before it was not"
		if !failed {
			outcome, failed = d.attempt(ctx, a)
		}
		done = append(done, a.String()+": "+outcome)
		d.Log.Info("repair", "node", a.at.addr, "cause", a.String(), "code", outcome)
	}
	return done
}

// attempt carries one action out and tells how it went. Nodes take all slots of a command or none, and one may have come to them
// since the look: what is refused for all is asked for one by one, and has failed when it is refused for each.
func (d *Doctor) attempt(ctx context.Context, a action) (outcome string, failed bool) {
	err := d.perform(ctx, a)
	if err == nil {
		return "OK", false
	}
	var refused engine.ServerError
	if len(a.command) == 0 || len(a.slots) < 2 || !errors.As(err, &refused) {
		return err.Error(), true
	}
	var not []uint16
	for _, slot := range a.slots {
		one := action{at: a.at, command: a.command, slots: []uint16{slot}}
		switch fault := d.perform(ctx, one); {
		case fault == nil:
		case !errors.As(fault, &refused): // the node does not answer any more
			return fault.Error(), true
		default:
			err, not = fault, append(not, slot)
		}
	}
	switch len(not) {
	case 0:
		return "OK", false
	case len(a.slots):
		return err.Error(), true
	}
	return fmt.Sprintf("OK, but for %s: %s", plan.Ranges(not), err), false
}

// perform carries one action out.
func (d *Doctor) perform(ctx context.Context, a action) error {
	switch {
	case a.move != nil:
		return d.move(ctx, *a.move)
	case a.shut != nil:
		return d.shut(ctx, *a.shut)
	case a.alone != nil:
		return d.shutAlone(ctx, a)
	case a.counted:
		return d.closeEmpty(ctx, a)
	case a.yield != nil:
		return d.yieldAll(ctx, a)
	case a.merge != nil, a.drop:
		return d.clear(ctx, a)
	}
	return d.send(ctx, a.at.addr, a.words()...)
}

func (d *Doctor) send(ctx context.Context, addr string, command ...string) error {
	replies, err := d.Nodes.Do(ctx, addr, command)
	if err != nil {
		return err
	}
	if failed, ok := replies[0].(engine.ServerError); ok {
		return failed
	}
	return nil
}

// move lets the engine finish what somebody else has begun. Every step may be repeated.
func (d *Doctor) move(ctx context.Context, u machine.Unit) error {
	for _, step := range []machine.Step{machine.Open, machine.Move, machine.Commit, machine.Release, machine.Tell, machine.Verify} {
		if err := d.step(ctx, u, step); err != nil {
			return err
		}
	}
	return nil
}

func (d *Doctor) step(ctx context.Context, u machine.Unit, step machine.Step) error {
	var last machine.Result
	for try := range tries {
		last = d.Run(ctx, u, step)
		switch last.Outcome {
		case machine.Done:
			return nil
		case machine.Fatal, machine.Foreign:
			return fmt.Errorf("%s", last.Reason)
		}
		if err := pause(ctx, backoff<<min(try, 5)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s", last.Reason)
}

const (
	// tries of a step, with pauses from backoff to 32 times that: about ten seconds in all, as gossip and NOREPLICAS need.
	tries   = 12
	backoff = 50 * time.Millisecond
)
