package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/config"
	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/members"
	"slotproxy/migrate/plan"
	"slotproxy/proxy"
	"slotproxy/router"
)

// coordinator is what moves slots, as the admin port sees it. A nil one is none.
type coordinator struct {
	*migrate.Coordinator
	defaults func() machine.Options // as the settings say now
}

// newCoordinator opens the journal of a proxy. When there is no place for it and nobody has named one, the proxy serves
// without a coordinator, and why says so.
func (s *server) newCoordinator(cfg *config.Config) (c *coordinator, why string, err error) {
	m := &cfg.Migrate
	if m.StateDir == config.NoState {
		if cfg.Origin("state_dir") == "default" {
			return nil, "state_dir is not set, and there is no usual place", nil
		}
		return nil, "state_dir is none", nil
	}
	inner, err := migrate.New(migrate.Config{
		Dir: m.StateDir, Nodes: s.source, Topology: s.keeper.Table, Refresh: s.doubt,
		Gate: s.proxy, HoldMax: cfg.Upstream.RedirectBudget / 2, Load: dataPath{s.proxy}, Latency: latencyLimit(m.LatencyLimit), Log: s.log,
	})
	switch {
	case err == nil:
		return &coordinator{inner, s.moveDefaults}, "", nil
	case cfg.Origin("state_dir") == "default":
		s.log.Warn("no coordinator: slots cannot be moved by this proxy", "err", err)
		return nil, err.Error(), nil
	}
	return nil, "", fail(exitBind, "state_dir: %w", err)
}

// doubt asks the keeper for a newer table.
func (s *server) doubt() { s.keeper.Hint(router.Hint{Cause: router.Moved}) }

// moveDefaults are the options of jobs that name none.
func (s *server) moveDefaults() machine.Options { return moveOptions(&s.cfg.Load().Migrate) }

func moveOptions(m *config.Migrate) machine.Options {
	o := machine.Options{
		HoldBudget: m.HoldBudget, Parallel: m.Parallel, MaxKeysPerSecond: int64(m.MaxKeys), MaxBytesPerSecond: int64(m.MaxBytes),
	}
	switch m.Engine {
	case config.MigrateAtomic:
		o.Engine = machine.Atomic
	case config.MigrateLegacy:
		o.Engine = machine.Legacy
	}
	return o
}

// latencyLimit is nil, the coordinator's own measure, for 0.
func latencyLimit(limit time.Duration) func(time.Duration) time.Duration {
	if limit == 0 {
		return nil
	}
	return func(time.Duration) time.Duration { return limit }
}

// Plan fills what the caller leaves open from the settings, which a reload may have changed, and so does Start.
func (c *coordinator) Plan(ctx context.Context, g migrate.Goal) (*plan.Plan, error) {
	g.Options = withDefaults(g.Options, c.defaults())
	return c.Coordinator.Plan(ctx, g)
}

// Start is as Plan.
func (c *coordinator) Start(ctx context.Context, p *plan.Plan, o machine.Options, by string) (string, error) {
	return c.Coordinator.Start(ctx, p, withDefaults(o, c.defaults()), by)
}

func withDefaults(o, d machine.Options) machine.Options {
	if o.Engine = cmp.Or(o.Engine, d.Engine); o.Engine == admin.EngineAuto {
		o.Engine = machine.Auto
	}
	o.HoldBudget = cmp.Or(o.HoldBudget, d.HoldBudget)
	o.Parallel = cmp.Or(o.Parallel, d.Parallel)
	o.MaxKeysPerSecond = cmp.Or(o.MaxKeysPerSecond, d.MaxKeysPerSecond)
	o.MaxBytesPerSecond = cmp.Or(o.MaxBytesPerSecond, d.MaxBytesPerSecond)
	return o
}

// dataPath tells the coordinator what clients do and notice.
type dataPath struct{ proxy *proxy.Proxy }

func (d dataPath) Ops() *[router.Slots]uint64 { return d.proxy.SlotOps() }

func (d dataPath) Pulse() migrate.Pulse {
	p := d.proxy.Pulse()
	out := migrate.Pulse{
		Span: p.Span, Nodes: make(map[string]migrate.NodePulse, len(p.Nodes)),
		Errors: p.Errors, Redirects: p.Redirects, Waiting: p.Waiting, Held: p.Held, HeldTotal: p.HeldTotal, LongHold: p.LongHold, P99: p.P99,
	}
	for addr, n := range p.Nodes {
		out.Nodes[addr] = migrate.NodePulse(n)
	}
	return out
}

// Create says in valkey-cli's words who sits where, or would.
func (c *coordinator) Create(ctx context.Context, addrs []string, replicas int, dryRun bool, by string) ([]string, error) {
	if dryRun {
		seats, err := members.Layout(addrs, replicas)
		return seatLines(seats), err
	}
	seats, err := c.Coordinator.Create(ctx, addrs, replicas, by)
	if err != nil {
		return nil, err
	}
	return append(seatLines(seats), fmt.Sprintf("[OK] All %d slots covered.", router.Slots)), nil
}

func seatLines(seats []members.Seat) []string {
	list := []string{fmt.Sprintf(">>> Performing hash slots allocation on %d node(s)...", len(seats))}
	primaries := 0
	for _, s := range seats {
		if s.Of != "" {
			list = append(list, "Adding replica "+s.Addr+" to "+s.Of)
			continue
		}
		list = append(list, fmt.Sprintf("Primary[%d] -> Slots %d - %d, %s", primaries, s.First, s.Last, s.Addr))
		primaries++
	}
	return list
}
