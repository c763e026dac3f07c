package admin

import (
	"context"

	"slotproxy/migrate"
)

func check(ctx context.Context, c *call, r *reply) {
	report, err := c.cluster.Check(ctx)
	showReport(report, err, r)
}

func fix(ctx context.Context, c *call, r *reply) {
	q := &request{}
	if wrong := parse(q, c.args, fixClauses); wrong != "" {
		r.fail(wrong)
		return
	}
	report, err := c.cluster.Fix(ctx, q.fix, c.by)
	showReport(report, err, r)
}

func showReport(report *migrate.Report, err error, r *reply) {
	if err != nil {
		r.fail(textOf(err))
		return
	}
	r.dict(6)
	r.truth("ok", report.OK)
	r.count("covered", report.Covered)
	r.truth("agree", report.Agree)
	r.text("findings")
	r.array(len(report.Findings))
	for i := range report.Findings {
		f := &report.Findings[i]
		r.dict(6)
		r.pair("severity", f.Severity)
		r.pair("kind", f.Kind)
		r.pair("slots", slotText(f.Slots))
		r.pair("node", f.Node)
		r.pair("text", f.Text)
		r.list("repair", f.Repair)
	}
	showShares("shares", report.Shares, r)
	r.list("done", report.Done)
}

func addNode(ctx context.Context, c *call, r *reply) {
	q := &request{}
	if wrong := parse(q, c.args[1:], addNodeClauses); wrong != "" {
		r.fail(wrong)
		return
	}
	settle(c.cluster.AddNode(ctx, c.args[0], q.replicaOf, c.by), r)
}

func delNode(ctx context.Context, c *call, r *reply) {
	settle(c.cluster.DelNode(ctx, c.args[0], c.by), r)
}

func create(ctx context.Context, c *call, r *reply) {
	nodes := 0
	for nodes < len(c.args) && indexClause(createClauses, c.args[nodes]) < 0 {
		nodes++
	}
	q := &request{}
	wrong := parse(q, c.args[nodes:], createClauses)
	if nodes == 0 {
		wrong = errTextSyntax
	}
	if wrong != "" {
		r.fail(wrong)
		return
	}
	lines, err := c.cluster.Create(ctx, c.args[:nodes], q.replicas, q.dryRun, c.by)
	if err != nil {
		r.fail(textOf(err))
		return
	}
	r.array(len(lines))
	for _, line := range lines {
		r.text(line)
	}
}
