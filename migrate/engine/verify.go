package engine

import (
	"context"

	"slotproxy/migrate/machine"
)

// verify makes sure that all nodes of both shards agree that the target owns the slots, that nothing is open, and that no
// key stayed behind. Gossip takes a moment, so a node that does not know yet is no failure.
func (j *job) verify(ctx context.Context) error {
	addrs := append(j.shard(j.source.ID), j.shard(j.target.ID)...)
	views, err := j.views(ctx, addrs...)
	if err != nil {
		return fail(machine.Again, "%v", err)
	}
	for i, v := range views {
		for _, s := range j.unit.Slots {
			if o := v.Owner(s); o == nil || o.ID != j.target.ID {
				return fail(machine.Again, "%s does not know yet who owns slot %d", addrs[i], s)
			}
			if _, open := v.Open(s); open {
				return fail(machine.Again, "slot %d is still open on %s", s, addrs[i])
			}
		}
	}
	counts, err := j.counts(ctx, j.source, j.unit.Slots)
	if err != nil {
		return err
	}
	if n := total(counts); n > 0 {
		return fail(machine.Again, "the source still has %d keys of slots %s", n, named(j.unit.Slots))
	}
	j.letGo(ctx)
	j.forget(j.unit)
	return nil
}
