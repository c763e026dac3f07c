package migrate

import (
	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

// newCore makes what decides: on a fresh job, or on one that goes on after its records.
func newCore(spec machine.Spec, records []journal.Record) core {
	if records == nil {
		return machine.New(spec)
	}
	return machine.Restore(spec, records)
}

// newEngine makes what does the steps of a job.
func (c *Coordinator) newEngine(d *drive) runner {
	return engine.New(engine.Config{
		Nodes: guard{c.cfg.Nodes, d.presence}, Topology: c.cfg.Topology, Gate: d.gate, Pacer: d.pace,
		Limits: engine.Limits{HoldBudget: d.options.HoldBudget, Gate: c.cfg.HoldMax},
		Ours:   d.job.ours, Side: d.keep, Progress: d.progressed, AllowBlocking: d.options.AllowBlocking,
	})
}

// pair is a key that differs on its two nodes, as the side file has it. Keys and values are bytes, so JSON has them in
// base64.
type pair struct {
	Unit   int    `json:"unit"`
	DB     int    `json:"db"`
	Slot   uint16 `json:"slot"`
	Key    []byte `json:"key"`
	Source []byte `json:"source"` // as DUMP gives it
	Target []byte `json:"target"`
	Kept   string `json:"kept"` // "source" or "target"
}

// keep makes both values of a key durable before one is dropped.
func (d *drive) keep(p engine.Pair) error { return d.c.keep(d.job.id, p) }

func (c *Coordinator) keep(job string, p engine.Pair) error {
	c.log.Warn("a key differs on its two nodes, both values are in the side file", "job", job, "slot", p.Slot)
	return c.store.Side(job, pair{
		Unit: p.Unit, DB: p.DB, Slot: p.Slot, Key: []byte(p.Key), Source: []byte(p.Source), Target: []byte(p.Target), Kept: p.Kept,
	})
}

// progressed counts keys as they move.
func (d *drive) progressed(unit int, keys, bytes int64) {
	d.job.progressed(unit, keys, bytes)
	d.c.count.progressed(keys, bytes)
}
