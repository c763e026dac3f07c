package engine

import (
	stdcmp "cmp"
	"context"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// prepare looks whether the unit can move. It changes nothing, and finds what would be worse to find later: keys that the
// target has of these slots, somebody else's work, too little memory, keys that would stop both nodes.
func (j *job) prepare(ctx context.Context) error {
	asks := []*ask{
		{addr: j.source.Addr, commands: [][]string{cmd("CLUSTER", "NODES"), cmd("INFO", "memory"), cmd("INFO", "keyspace"), cmd("INFO", "server")}},
		{addr: j.target.Addr, commands: [][]string{cmd("CLUSTER", "NODES"), cmd("INFO", "memory")}},
	}
	if err := j.must(ctx, asks...); err != nil {
		return err
	}
	source, err := view(j.source.Addr, asks[0].replies[0])
	if err != nil {
		return err
	}
	target, err := view(j.target.Addr, asks[1].replies[0])
	if err != nil {
		return err
	}
	if err := j.checkViews(source, target); err != nil {
		return err
	}
	j.result.SourceEpoch = source.Node(j.source.ID).Epoch
	j.result.SourceRun = ReadInfo(asks[0].replies[3])["run_id"]
	counts, err := j.counts(ctx, j.target, j.unit.Slots)
	if err != nil {
		return err
	}
	for i, n := range counts {
		if n > 0 {
			return fail(machine.Blocked, "the target has %d keys of slot %d, which it does not own: see PROXY CHECK", n, j.unit.Slots[i])
		}
	}
	if counts, err = j.counts(ctx, j.source, j.unit.Slots); err != nil {
		return err
	}
	j.mem.fresh = j.mem.fresh || j.unit.SourceEpoch == 0 // it has never been open before
	w := weigh(ReadInfo(asks[0].replies[1]), ReadInfo(asks[0].replies[2]))
	j.mem.weight = w
	if err := j.checkMemory(ReadInfo(asks[1].replies[1]), total(counts)*w.mean); err != nil {
		return err
	}
	if j.unit.Engine == machine.Atomic {
		return nil // its stream stops no node for long, whatever the keys are
	}
	if err := j.findBigKeys(ctx, w, counts); err != nil {
		return err
	}
	j.mem.weighed = true
	if j.cfg.Pacer == nil || j.unit.Online {
		return nil
	}
	// Its share of the rate is waited for before clients are held.
	n := total(counts)
	return j.cfg.Pacer.Wait(ctx, j.source.ID, j.target.ID, int(n), n*w.mean, nil)
}

// checkViews compares what both nodes say of each other and of the slots.
func (j *job) checkViews(source, target *router.View) error {
	for _, c := range []struct {
		v  *router.View
		at *peer
	}{{source, j.source}, {target, j.target}} {
		me := c.v.Node(c.at.ID)
		if c.v.Myself != c.at.ID || me == nil || !me.Primary {
			return fail(machine.NodeLost, "%s is not primary %s any more", c.at.Addr, c.at.ID)
		}
		for s, o := range c.v.OpenSlots() {
			if !j.ours(s) {
				return fail(machine.Foreign, "slot %d is being moved from %.8s to %.8s, and not by this job", s, o.Source, o.Target)
			}
		}
	}
	if n := source.Node(j.target.ID); n == nil || !n.Primary || n.Failed || !n.Linked {
		return fail(machine.Again, "the source has no link to the target")
	}
	if n := target.Node(j.source.ID); n == nil || !n.Primary || n.Failed || !n.Linked {
		return fail(machine.Again, "the target has no link to the source")
	}
	for _, s := range j.unit.Slots {
		if _, open := source.Open(s); open {
			return fail(machine.Unknown, "slot %d is open already", s)
		}
		if source.Owns(s) {
			continue
		}
		if o := source.Owner(s); o != nil && o.ID == j.target.ID {
			return fail(machine.Unknown, "the target has slot %d already", s)
		}
		return fail(machine.Foreign, "slot %d does not belong to the source any more", s)
	}
	if j.source.valkey == j.target.valkey && older(j.target.version, j.source.version) {
		return fail(machine.Blocked, "the target runs %s, and may not read what %s writes", j.target.facts, j.source.facts)
	}
	return nil
}

// older compares releases; the last number does not change what is written.
func older(a, b [3]int) bool {
	return stdcmp.Or(stdcmp.Compare(a[0], b[0]), stdcmp.Compare(a[1], b[1])) < 0
}

// weight is what is known of a node's keys.
type weight struct {
	keys, dataset int64
	mean          int64 // bytes of a key with its value and its place in the tables
}

func weigh(memory, keyspace Info) weight {
	w := weight{dataset: memory.Dataset(), keys: keyspace.Keys()}
	w.mean = w.dataset / max(w.keys, 1)
	return w
}

// weighSource finds out how large keys are, unless Prepare has: batches and their timeouts go by it, also after a restart and
// when somebody else has opened the slots.
func (j *job) weighSource(ctx context.Context) error {
	if j.mem.weight.keys > 0 {
		return nil
	}
	r, err := j.do(ctx, j.source.Addr, cmd("INFO", "memory"), cmd("INFO", "keyspace"))
	if err != nil {
		return err
	}
	j.mem.weight = weigh(ReadInfo(r[0]), ReadInfo(r[1]))
	return nil
}

// checkMemory refuses what would not fit; slots without keys always do. The margin is for what else the target gets meanwhile.
func (j *job) checkMemory(info Info, bytes int64) error {
	used, limit := info.Number("used_memory"), info.Number("maxmemory")
	if limit > 0 && bytes > 0 && used+bytes > limit-limit/50 {
		return fail(machine.Blocked, "the target uses %d of %d bytes of memory, and these slots need about %d", used, limit, bytes)
	}
	return nil
}
