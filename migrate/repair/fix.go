package repair

import (
	"context"
	"fmt"
	"slices"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
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
			err := d.perform(ctx, a)
			outcome, failed = "OK", err != nil
			if failed {
				outcome = err.Error()
			}
		}
		done = append(done, a.String()+": "+outcome)
		d.Log.Info("repair", "node", a.at.addr, "cause", a.String(), "code", outcome)
	}
	return done
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
		return d.yield(ctx, a)
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
