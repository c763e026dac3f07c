package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

var legacy = []machine.Step{machine.Prepare, machine.Hold, machine.Open, machine.Move, machine.Commit, machine.Release,
	machine.Tell, machine.Verify}

var atomic = []machine.Step{machine.Prepare, machine.Start, machine.Watch, machine.Release, machine.Verify}

// engine drives the engine as plainly as can be: one unit after the other for each source.
func (w *world) engine(way string) error {
	e := engine.New(engine.Config{Nodes: w.src, Topology: func() *router.Table { return w.table }})
	defer e.Close()
	steps := legacy
	if way == "atomic" {
		steps = atomic
	}
	var spent [3][machine.Look + 1]time.Duration
	err := w.each(func(at int) error {
		id := at
		for slots := range slices.Chunk(w.move[at], w.unit) {
			id += 3
			u := machine.Unit{ID: id, Source: w.cl.Nodes[at].ID, Target: w.cl.Nodes[3].ID, Slots: slots, Engine: machine.Legacy}
			if way == "atomic" {
				u.Engine = machine.Atomic
			}
			for _, s := range steps {
				u.Committed = u.Committed || s == machine.Release
				if err := again(e, u, s, &spent[at]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for at := range spent {
		fmt.Printf("  source %d:", at)
		for s, d := range spent[at] {
			if d > 0 {
				fmt.Printf(" step %d %v", s, d.Round(time.Millisecond))
			}
		}
		fmt.Println()
	}
	return err
}

// again runs a step until it is done.
func again(e *engine.Engine, u machine.Unit, s machine.Step, spent *[machine.Look + 1]time.Duration) error {
	for {
		r := e.Run(context.Background(), u, s)
		spent[s] += r.Took
		switch r.Outcome {
		case machine.Done:
			return nil
		case machine.Again:
			time.Sleep(5 * time.Millisecond)
		default:
			return fmt.Errorf("step %d of unit %d: outcome %d: %s", s, u.ID, r.Outcome, r.Reason)
		}
	}
}

// bareAtomic asks for all slots of a source at once, and waits.
func (w *world) bareAtomic(at int) error {
	from, to := w.cl.Nodes[at], w.cl.Nodes[3]
	for slots := range slices.Chunk(w.move[at], w.unit) {
		c := []string{"CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", fmt.Sprint(slots[0]), fmt.Sprint(slots[len(slots)-1]), "NODE", to.ID}
		if err := do(from, c...); err != nil {
			return err
		}
		for {
			r, err := from.Do("CLUSTER", "GETSLOTMIGRATIONS")
			if err != nil {
				return err
			}
			newest := r.([]any)[0].([]any)
			state := ""
			for i := 0; i+1 < len(newest); i += 2 {
				if newest[i] == "state" {
					state = newest[i+1].(string)
				}
			}
			if state == "success" {
				break
			}
			if state == "failed" || state == "cancelled" {
				return fmt.Errorf("%v", newest)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}
