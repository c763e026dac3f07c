package engine

import (
	"context"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// commit makes the target the owner. It is confirmed by the target's own view, and by its epoch: only the higher one of
// both nodes wins when they tell others different things.
func (j *job) commit(ctx context.Context) error {
	if err := j.keepPrimary(ctx); err != nil {
		return err
	}
	if err := j.set(ctx, j.target, "NODE", j.target.ID); err != nil {
		return err
	}
	views, err := j.views(ctx, j.target.Addr)
	if err != nil {
		return err
	}
	v := views[0]
	for _, s := range j.unit.Slots {
		if !v.Owns(s) {
			return fail(machine.Unknown, "the target does not own slot %d right after SETSLOT", s)
		}
	}
	if !highest(v, j.source.ID, j.target.ID) {
		if _, err := j.do(ctx, j.target.Addr, cmd("CLUSTER", "BUMPEPOCH")); err != nil {
			return err
		}
		if views, err = j.views(ctx, j.target.Addr); err != nil {
			return err
		}
		if !highest(views[0], j.source.ID, j.target.ID) {
			return fail(machine.Again, "the target's epoch is not above the source's")
		}
	}
	j.mem.committed = true
	return nil
}

// highest tells whether the target's epoch is above the source's in a view.
func highest(v *router.View, source, target string) bool {
	s, t := v.Node(source), v.Node(target)
	return t != nil && (s == nil || t.Epoch > s.Epoch)
}

// tell spares the other nodes the wait for gossip. Only the source's answer counts.
func (j *job) tell(ctx context.Context) error {
	err := j.set(ctx, j.source, "NODE", j.target.ID)
	if err != nil && !isReplicaNow(err) {
		return err
	}
	t := j.cfg.Topology()
	var asks []*ask
	for _, at := range t.Primaries() {
		n := &t.Nodes[at]
		if n.ID == j.source.ID || n.ID == j.target.ID {
			continue
		}
		p, err := j.peer(ctx, n.ID)
		if err != nil {
			continue
		}
		asks = append(asks, &ask{addr: n.Addr, commands: setslot(p, j.unit.Slots, "NODE", j.target.ID)})
	}
	j.together(ctx, asks...)
	return nil
}
