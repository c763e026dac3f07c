package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/members"
	"slotproxy/migrate/plan"
	"slotproxy/migrate/repair"
	"slotproxy/router"
)

// What concerns the whole cluster and is no job: check, fix, and who belongs to it. But for Check each of these keeps jobs from
// starting while it is at work, and is refused while one runs.

// careJob names the side file of repairs; jobs count from 1.
const careJob = "0"

// Check says what is wrong with the cluster. It changes nothing, and may run beside a job, whose slots it shows as open.
func (c *Coordinator) Check(ctx context.Context) (*Report, error) {
	e := c.careEngine(c.cfg.Nodes)
	defer e.Close()
	return c.doctor(c.cfg.Nodes, e.Run).Check(ctx)
}

// Fix puts right what Check finds, as far as it can be put right without asking; o.DryRun only says how.
func (c *Coordinator) Fix(ctx context.Context, o FixOptions, by string) (*Report, error) {
	if o.DryRun {
		e := c.careEngine(c.cfg.Nodes)
		defer e.Close()
		return c.doctor(c.cfg.Nodes, e.Run).Fix(ctx, o)
	}
	var r *Report
	err := c.alone(ctx, chore{"fix", "orphans " + cmp.Or(o.Orphans, "keep"), by}, func(ctx context.Context, here *presence) (err error) {
		nodes := guard{c.cfg.Nodes, here}
		e := c.careEngine(nodes)
		defer e.Close()
		r, err = c.doctor(nodes, looking{e, here}.Run).Fix(ctx, o)
		return err
	})
	return r, err
}

// looking does steps as a job does them: on a fresh look at the two nodes.
type looking struct {
	runner
	presence *presence
}

func (l looking) Run(ctx context.Context, u machine.Unit, s machine.Step) machine.Result {
	if changes(s) {
		if err := l.presence.fresh(ctx, u.Source, u.Target); err != nil {
			return machine.Result{Unit: u.ID, Step: s, Outcome: outcomeOf(err), Reason: err.Error()}
		}
	}
	return l.runner.Run(ctx, u, s)
}

// Create makes one cluster of new nodes, with so many replicas for each primary. It returns who sits where.
func (c *Coordinator) Create(ctx context.Context, addrs []string, replicas int, by string) ([]members.Seat, error) {
	seats, err := members.Layout(addrs, replicas)
	if err != nil {
		return nil, err
	}
	// New nodes have no part in the cluster that presences are for, and Create refuses nodes that have joined one.
	if _, err := c.reserve("create is at work"); err != nil {
		return nil, err
	}
	defer c.free()
	todo := chore{"create", strings.Join(addrs, " "), by}
	c.log.Info("chore begun", todo.attrs()...)
	err = c.registrar(c.cfg.Nodes).Create(ctx, seats)
	c.over(todo, err)
	return seats, err
}

// AddNode takes a new node into the cluster, as a primary without slots or as a replica of another node.
func (c *Coordinator) AddNode(ctx context.Context, addr, replicaOf, by string) error {
	return c.alone(ctx, chore{"add node", addr, by}, func(ctx context.Context, here *presence) error {
		t, of, err := c.named(ctx, replicaOf)
		if err != nil {
			return err
		}
		defer c.cfg.Refresh()
		return c.registrar(guard{c.cfg.Nodes, here}).Add(ctx, t, addr, of)
	})
}

// DelNode takes a node without slots out of the cluster. Nodes that could not be told are in the error's text.
func (c *Coordinator) DelNode(ctx context.Context, node, by string) error {
	return c.alone(ctx, chore{"delete node", node, by}, func(ctx context.Context, here *presence) error {
		t, id, err := c.named(ctx, node)
		if err != nil {
			return err
		}
		if id == "" {
			return errors.New("ERR Unknown node")
		}
		defer c.cfg.Refresh()
		skipped, err := c.registrar(guard{c.cfg.Nodes, here}).Remove(ctx, t, id)
		if err == nil && len(skipped) > 0 {
			err = fmt.Errorf("ERR The node is removed, but these nodes could not be told: %s", strings.Join(skipped, "; "))
		}
		return err
	})
}

// chore is work on the cluster that is no job: what, and with which node or how, and who wants it.
type chore struct{ what, on, by string }

func (t chore) attrs() []any { return []any{"command", t.what + " " + t.on, "by", t.by} }

// over logs how a chore has ended.
func (c *Coordinator) over(t chore, err error) {
	if err != nil {
		c.log.Warn("chore failed", append(t.attrs(), "err", err)...)
		return
	}
	c.log.Info("chore done", t.attrs()...)
}

// alone does something while no job runs here and no other coordinator is at work. Others are looked for all the time; when
// one goes before us, the context that do gets ends.
func (c *Coordinator) alone(ctx context.Context, todo chore, do func(ctx context.Context, here *presence) error) error {
	if _, err := c.reserve(todo.what + " is at work"); err != nil {
		return err
	}
	defer c.free()
	here := newPresence(c)
	if err := here.enter(ctx); err != nil {
		return err
	}
	defer here.leave()
	ctx, stop := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	defer func() { <-watched }()
	defer stop(nil)
	go here.run(ctx, func(reason string) { stop(foreignError(reason)) }, watched)
	c.log.Info("chore begun", todo.attrs()...)
	err := do(ctx, here)
	var foreign foreignError
	if err != nil && errors.As(context.Cause(ctx), &foreign) {
		err = fmt.Errorf("%w: %s was stopped", foreign, todo.what)
	}
	c.over(todo, err)
	return err
}

// foreignError says who else was seen at work.
type foreignError string

func (e foreignError) Error() string        { return string(e) }
func (e foreignError) Is(target error) bool { return target == errForeign }

// named finds the id of a node that a person names; "" stays "".
func (c *Coordinator) named(ctx context.Context, name string) (*router.Table, string, error) {
	t := c.cfg.Topology()
	if t == nil {
		return nil, "", errNoTable
	}
	if name == "" {
		return t, "", nil
	}
	s, err := c.survey(ctx, withoutCounts)
	if err != nil {
		return nil, "", err
	}
	id, err := plan.Resolve(s.snap, name)
	return t, id, err
}

func (c *Coordinator) registrar(nodes engine.Nodes) *members.Registrar {
	return &members.Registrar{Nodes: nodes, Say: func(format string, args ...any) {
		c.log.Info("members", "cause", fmt.Sprintf(format, args...))
	}}
}

// careEngine finishes what others have begun: every open slot is its own.
func (c *Coordinator) careEngine(nodes engine.Nodes) *engine.Engine {
	return engine.New(engine.Config{
		Nodes: nodes, Topology: c.cfg.Topology, Gate: c.cfg.Gate,
		Limits: engine.Limits{Gate: c.cfg.HoldMax},
		Ours:   func(uint16) bool { return true },
		Side:   func(p engine.Pair) error { return c.keep(careJob, p) },
	})
}

func (c *Coordinator) doctor(nodes engine.Nodes, run func(context.Context, machine.Unit, machine.Step) machine.Result) *repair.Doctor {
	meant := c.meant()
	return &repair.Doctor{
		Nodes: nodes, Topology: c.cfg.Topology, Run: run, Log: c.log,
		Meant: func(slot uint16) string {
			if r := meant[slot]; r != nil {
				return r.Unit.Target
			}
			return ""
		},
		Failover: func(u journal.Unit) bool { return failedOver(meant[u.Slots[0]], u) },
		Keep: func(node string, db int, key, payload string) error {
			return c.store.Side(careJob, struct {
				Node    string `json:"node"`
				DB      int    `json:"db"`
				Key     []byte `json:"key"`
				Payload []byte `json:"payload"` // as DUMP gives it
			}{node, db, []byte(key), []byte(payload)})
		},
	}
}

// meantJobs is how many of the newest jobs a repair asks: what older ones wanted has been overtaken.
const meantJobs = 3

// meant is what the newest jobs wanted for each slot: the last record of a unit with it.
func (c *Coordinator) meant() map[uint16]*journal.Record {
	m := map[uint16]*journal.Record{}
	ids, err := c.store.List()
	if err != nil {
		return m
	}
	for i := len(ids) - 1; i >= max(0, len(ids)-meantJobs); i-- {
		records, _ := c.store.Read(ids[i]) // what cannot be read says nothing
		for k := len(records) - 1; k >= 0; k-- {
			r := &records[k]
			if r.Unit == nil || r.Kind == journal.UnitBlocked {
				continue
			}
			for _, slot := range r.Unit.Slots {
				if m[slot] == nil {
					m[slot] = r
				}
			}
		}
	}
	return m
}

// failedOver tells of a unit that somebody else goes on with whether its source has changed since the journal's was opened.
func failedOver(was *journal.Record, now journal.Unit) bool {
	if was == nil || was.Kind == journal.UnitDone || was.Unit.Target != now.Target {
		return false
	}
	u := was.Unit
	return u.Failover || u.Source != now.Source || u.SourceEpoch != 0 && now.SourceEpoch != 0 && u.SourceEpoch != now.SourceEpoch ||
		u.SourceRun != "" && now.SourceRun != "" && u.SourceRun != now.SourceRun
}
