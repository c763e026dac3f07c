package admin

import (
	"context"
	"encoding/json"
	"errors"

	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

func reshard(ctx context.Context, c *call, r *reply) {
	q := &request{goal: migrate.Goal{Kind: migrate.Reshard}}
	pursue(ctx, c, q, parse(q, c.args, reshardClauses), r)
}

func move(ctx context.Context, c *call, r *reply) {
	q := &request{goal: migrate.Goal{Kind: migrate.MoveSlots}}
	pursue(ctx, c, q, parse(q, c.args, moveClauses), r)
}

func rebalance(ctx context.Context, c *call, r *reply) {
	q := &request{goal: migrate.Goal{Kind: migrate.Rebalance}}
	pursue(ctx, c, q, parse(q, c.args, rebalanceClauses), r)
}

func evacuate(ctx context.Context, c *call, r *reply) {
	q := &request{goal: migrate.Goal{Kind: migrate.Evacuate, Node: c.args[0]}}
	pursue(ctx, c, q, parse(q, c.args[1:], goalClauses), r)
}

// pursue makes a plan for what was asked, and carries it out unless it is only to be seen.
func pursue(ctx context.Context, c *call, q *request, wrong string, r *reply) {
	if wrong != "" {
		r.fail(wrong)
		return
	}
	q.goal.Options = q.options
	p, err := c.cluster.Plan(ctx, q.goal)
	if err != nil {
		r.fail(textOf(err))
		return
	}
	answer(ctx, c, p, q, r)
}

// answer carries out a plan, or shows it when it is only to be seen.
func answer(ctx context.Context, c *call, p *plan.Plan, q *request, r *reply) {
	switch {
	case q.json:
		text, err := json.Marshal(p)
		if err != nil {
			r.fail(textOf(err))
			return
		}
		r.text(string(text))
	case q.dryRun:
		showPlan(p, r)
	default:
		begin(ctx, c, p, q.options, r)
	}
}

// execute carries out a saved plan. Whether the cluster is still as it was then, the coordinator knows.
func execute(ctx context.Context, c *call, r *reply) {
	q := &request{}
	if wrong := parse(q, c.args[1:], planClauses); wrong != "" {
		r.fail(wrong)
		return
	}
	p, err := ReadPlan(c.args[0])
	if err == nil && q.dryRun {
		err = c.cluster.Fits(ctx, p)
	}
	if err != nil {
		r.fail(textOf(err))
		return
	}
	answer(ctx, c, p, q, r)
}

func begin(ctx context.Context, c *call, p *plan.Plan, options machine.Options, r *reply) {
	id, err := c.cluster.Start(ctx, p, options, c.by)
	if err != nil {
		r.fail(textOf(err))
		return
	}
	r.text(id)
}

// ReadPlan refuses what no planner can have made. The coordinator relies on it.
func ReadPlan(text string) (p *plan.Plan, err error) {
	if err := json.Unmarshal([]byte(text), &p); err != nil || p == nil {
		return nil, errors.New("ERR the plan cannot be read: not JSON of a plan")
	}
	if p.Fingerprint == "" {
		return nil, errors.New("ERR the plan has no fingerprint")
	}
	seen, slots := make([]bool, router.Slots), 0
	for i := range p.Moves {
		m := &p.Moves[i]
		if m.Source == "" || m.Target == "" || m.Source == m.Target {
			return nil, errors.New("ERR a move of the plan needs two nodes")
		}
		for j, s := range m.Slots {
			if s >= router.Slots || seen[s] || j > 0 && s < m.Slots[j-1] {
				return nil, errors.New("ERR the slots of the plan are out of range, out of order or there twice")
			}
			seen[s] = true
		}
		slots += len(m.Slots)
	}
	if slots != p.Slots {
		return nil, errors.New("ERR the plan does not have as many slots as it says")
	}
	return p, nil
}

func showPlan(p *plan.Plan, r *reply) {
	r.dict(11)
	r.pair("goal", p.Goal)
	r.count("slots", p.Slots)
	r.long("keys", p.Keys)
	r.long("bytes", p.Bytes)
	r.long("estimate-ms", p.Estimate.Milliseconds())
	r.pair("estimate-by", p.EstimateBy)
	r.text("moves")
	r.array(len(p.Moves))
	for i := range p.Moves {
		m := &p.Moves[i]
		r.dict(4)
		r.pair("source", m.Source)
		r.pair("target", m.Target)
		r.count("count", len(m.Slots))
		r.pair("slots", slotText(m.Slots))
	}
	showShares("before", p.Before, r)
	showShares("after", p.After, r)
	r.list("warnings", p.Warnings)
	r.pair("capped", p.Capped)
}

func showShares(key string, shares []plan.Share, r *reply) {
	r.text(key)
	r.array(len(shares))
	for i := range shares {
		s := &shares[i]
		r.dict(6)
		r.pair("node", s.Node)
		r.pair("addr", s.Addr)
		r.count("slots", s.Slots)
		r.long("keys", s.Keys)
		r.long("bytes", s.Bytes)
		r.long("ops", s.Ops)
	}
}
