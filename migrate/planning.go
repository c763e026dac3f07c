package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// Plan says what a goal takes, and changes nothing.
func (c *Coordinator) Plan(ctx context.Context, g Goal) (*plan.Plan, error) {
	s, err := c.survey(ctx, withCounts)
	if err == nil && asksOps(&g) {
		s, err = c.weigh(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	o := c.options(g.Options)
	s.snap.Measures = c.measures()
	s.snap.Engine = func(source, target string) string { return cmp.Or(o.Engine, engineOf(s.versions, source, target)) }
	p, err := makePlan(s.snap, g)
	if err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, s.doubts...)
	if least := allowed(p, o); least > p.Estimate {
		p.Estimate, p.EstimateBy = least, "by the most keys and bytes a second"
	}
	return p, nil
}

// allowed is the least time that a plan takes at the rates of the options.
func allowed(p *plan.Plan, o machine.Options) (least time.Duration) {
	for _, r := range [][2]int64{{p.Keys, o.MaxKeysPerSecond}, {p.Bytes, o.MaxBytesPerSecond}} {
		if amount, rate := r[0], r[1]; rate > 0 {
			least = max(least, time.Duration(float64(amount)/float64(rate)*float64(time.Second)))
		}
	}
	return least.Round(time.Millisecond)
}

// makePlan gives a goal to its planner.
func makePlan(s *plan.Snapshot, g Goal) (*plan.Plan, error) {
	names := nodeNames{s: s}
	switch g.Kind {
	case Reshard:
		from := make([]string, len(g.From))
		for i, name := range g.From {
			from[i] = names.id(name)
		}
		to := names.id(g.To)
		if names.err != nil {
			return nil, names.err
		}
		return plan.Reshard(s, from, to, g.Slots, g.Caps)
	case MoveSlots:
		slots, err := slotsIn(g.Ranges)
		to := names.id(g.To)
		if err := errors.Join(err, names.err); err != nil {
			return nil, err
		}
		return plan.Named(s, slots, to, g.Caps)
	case Rebalance:
		weights := make(map[string]float64, len(g.Weights))
		for name, w := range g.Weights {
			weights[names.id(name)] = w
		}
		if names.err != nil {
			return nil, names.err
		}
		return plan.Rebalance(s, plan.Balance{
			By: g.By, Weights: weights, Threshold: g.Threshold, UseEmpty: g.UseEmpty, Caps: g.Caps,
		})
	case Evacuate:
		node := names.id(g.Node)
		if names.err != nil {
			return nil, names.err
		}
		return plan.Evacuate(s, node, g.Caps)
	}
	return nil, fmt.Errorf("ERR Unknown goal %.40q", g.Kind)
}

// nodeNames resolves names and keeps the first error.
type nodeNames struct {
	s   *plan.Snapshot
	err error
}

func (n *nodeNames) id(name string) string {
	id, err := plan.Resolve(n.s, name)
	if n.err == nil {
		n.err = err
	}
	return id
}

func slotsIn(ranges [][2]uint16) ([]uint16, error) {
	var in [router.Slots]bool
	for _, r := range ranges {
		if r[0] > r[1] || r[1] >= router.Slots {
			return nil, fmt.Errorf("ERR Invalid slot range %d-%d", r[0], r[1])
		}
		for s := r[0]; s <= r[1]; s++ {
			in[s] = true
		}
	}
	var slots []uint16
	for s, yes := range in {
		if yes {
			slots = append(slots, uint16(s))
		}
	}
	if len(slots) == 0 {
		return nil, errors.New("ERR No slots are named")
	}
	return slots, nil
}

// measures are what earlier jobs took, the newest first. One that runs has measured something, too.
func (c *Coordinator) measures() (list []plan.Measure) {
	for _, st := range slices.Backward(c.Jobs()) {
		for _, m := range st.Measures {
			m.Job = st.ID
			list = append(list, m)
		}
	}
	return list
}

// gauge measures how long slots take, each source for itself: from when its last slots were done to when these are, since the next
// ones are prepared and the last ones checked meanwhile. Guarded by the job's mu.
type gauge struct {
	keys  []int64              // by slot, as counted at the start; nil: nothing is measured
	since time.Time            // nothing is measured from before
	done  map[string]time.Time // by source: when its last slots were
}

// newGauge measures nothing in jobs whose speed was chosen.
func newGauge(spec *jobSpec) gauge {
	g := gauge{keys: spec.Keys, done: map[string]time.Time{}}
	if spec.Options.MaxKeysPerSecond > 0 || spec.Options.MaxBytesPerSecond > 0 || len(spec.Keys) != router.Slots {
		g.keys = nil
	}
	return g
}

// measure takes the time of slots that have moved just now.
func (j *job) measure(u *journal.Unit, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := &j.gauge
	if g.keys == nil {
		return
	}
	from, keys := g.since, int64(0)
	if last := g.done[u.Source]; last.After(from) {
		from = last
	}
	g.done[u.Source] = now
	for _, slot := range u.Slots {
		keys += g.keys[slot%router.Slots]
	}
	list := &j.status.Measures
	at := slices.IndexFunc(*list, func(m plan.Measure) bool {
		return m.Source == u.Source && m.Target == u.Target && m.Engine == u.Engine
	})
	if at < 0 {
		at = len(*list)
		*list = append(*list, plan.Measure{Source: u.Source, Target: u.Target, Engine: u.Engine})
	}
	(*list)[at].Add(len(u.Slots), keys, now.Sub(from))
}
