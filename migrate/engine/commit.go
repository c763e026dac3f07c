package engine

import (
	"context"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// commit makes the target the owner. It is confirmed by the target's own view, and by its epoch: only the higher one of
// both nodes wins when they tell others different things.
func (j *job) commit(ctx context.Context) error {
	views, err := j.views(ctx, j.source.Addr, j.target.Addr)
	if err != nil {
		return err
	}
	// A source that answers again may have a successor by the next moment, which claims the slots with an epoch that may be above the one
	// that the target is about to give itself; then the target would delete their keys.
	if n := views[1].Node(j.source.ID); n != nil && n.Failed {
		return fail(machine.Again, "the target takes the source for failed")
	}
	// Whoever stood still for long may come to this step when another coordinator has been here, and has gone.
	for _, s := range j.unit.Slots {
		if id := views[0].OwnerID(s); id != "" && id != j.source.ID && id != j.target.ID {
			return fail(machine.Unknown, "slot %d belongs to another node by now", s)
		}
	}
	j.keepPrimary(ctx, views[0])
	v, _, err := j.setAndView(ctx, j.target, nil, "NODE", j.target.ID)
	if err != nil {
		if owns, lost := j.targetOwns(ctx); lost != nil || owns > 0 {
			return fail(machine.Unknown, "some slots have changed hands, and then: %v", err)
		}
		return err
	}
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

// tell makes sure that the other primaries know, and spares them the wait for gossip. The target has told all of them
// when it took the slots, so most know already. Only the source's answer counts.
func (j *job) tell(ctx context.Context) error {
	addrs, others := []string{j.source.Addr}, []*peer{j.source}
	t := j.cfg.Topology()
	for _, at := range t.Primaries() {
		n := &t.Nodes[at]
		if n.ID == j.source.ID || n.ID == j.target.ID {
			continue
		}
		if p, err := j.peer(ctx, n.ID); err == nil {
			addrs, others = append(addrs, n.Addr), append(others, p)
		}
	}
	asks := make([]*ask, len(addrs))
	for i, addr := range addrs {
		asks[i] = &ask{addr: addr, commands: [][]string{cmd("CLUSTER", "NODES")}}
	}
	j.together(ctx, asks...)
	for i, p := range others {
		err := j.correct(ctx, p, asks[i])
		if i == 0 && err != nil && !isReplicaNow(err) {
			return err
		}
	}
	return nil
}

// correct tells a node about the slots that it shows otherwise.
func (j *job) correct(ctx context.Context, p *peer, a *ask) error {
	if a.err != nil {
		return a.err
	}
	v, err := view(a.addr, a.replies[0])
	if err != nil {
		return err
	}
	var wrong []uint16
	for _, s := range j.unit.Slots {
		o := v.Owner(s)
		if _, open := v.Open(s); open || o == nil || o.ID != j.target.ID {
			wrong = append(wrong, s)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return j.setSlots(ctx, p, wrong, "NODE", j.target.ID)
}
