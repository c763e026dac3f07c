package engine

import (
	"context"
	"errors"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// verify makes sure that all primaries and the replicas of both shards agree that the target owns the slots, that nothing
// is open, and that no key stayed behind. Gossip takes a moment, so a node that does not know yet is no failure; one that
// does not answer is waited for until the cluster takes it for failed.
func (j *job) verify(ctx context.Context) error {
	var asks []*ask
	var nodes []*router.Node
	t := j.cfg.Topology()
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if !n.Failed && (n.Primary || n.PrimaryID == j.source.ID || n.PrimaryID == j.target.ID) {
			asks, nodes = append(asks, &ask{addr: n.Addr, commands: [][]string{cmd("CLUSTER", "NODES")}}), append(nodes, n)
		}
	}
	j.together(ctx, asks...)
	if err := j.stillOwns(nodes, asks); err != nil {
		return err
	}
	for i, a := range asks {
		if err := j.settled(a); err != nil {
			j.closeReplica(ctx, nodes[i], a)
			return err
		}
	}
	j.letGo(ctx) // all have seen the slots go, whatever else there is
	err := j.nothingLeft(ctx)
	var f *failure
	if err == nil || errors.As(err, &f) && f.outcome == machine.Blocked { // both are the end of the unit
		j.forget(j.unit)
	}
	return err
}

// stillOwns is Unknown when the target itself says that it has lost slots: gossip will not give them back, so waiting is in vain.
func (j *job) stillOwns(nodes []*router.Node, asks []*ask) error {
	for i, n := range nodes {
		if n.ID != j.target.ID || asks[i].err != nil {
			continue
		}
		v, err := view(n.Addr, asks[i].replies[0])
		if err != nil {
			return nil // settled says so
		}
		for _, s := range j.unit.Slots {
			if o := v.Owner(s); o != nil && o.ID != n.ID {
				return fail(machine.Unknown, "%s has lost slot %d to %s", n.Addr, s, o.Addr)
			}
		}
	}
	return nil
}

// closeReplica closes slots that only a replica still shows as open: it was away when its primary was told, and has them in its
// file. Only its primary can be asked, and passes it on. Whether it helped is seen by the next Verify.
func (j *job) closeReplica(ctx context.Context, n *router.Node, a *ask) {
	p := j.source
	if n.PrimaryID == j.target.ID {
		p = j.target
	}
	if n.Primary || n.PrimaryID != p.ID || a.err != nil {
		return
	}
	v, err := view(a.addr, a.replies[0])
	if err != nil {
		return
	}
	var open []uint16
	for _, s := range j.unit.Slots {
		if _, is := v.Open(s); is {
			open = append(open, s)
		}
	}
	if len(open) > 0 {
		_ = j.setSlots(ctx, p, open, "STABLE")
	}
}

// nothingLeft looks for keys on the source and on its replicas: one that is promoted would keep them. A replica must have
// what the source has sent before it was counted.
func (j *job) nothingLeft(ctx context.Context) error {
	if j.source.ID == j.target.ID {
		return nil // an emptied source follows the target now
	}
	counts, err := j.counts(ctx, j.source, j.unit.Slots)
	if err != nil {
		return err
	}
	if n := total(counts); n > 0 && j.unit.Failover {
		return fail(machine.Blocked, "after its failover the source has %d keys of slots %s, which it does not own: see PROXY CHECK", n, named(j.unit.Slots))
	} else if n > 0 {
		return fail(machine.Again, "the source still has %d keys of slots %s", n, named(j.unit.Slots))
	}
	sent, err := j.offset(ctx, j.source.Addr, "master_repl_offset")
	if err != nil {
		return err
	}
	for _, addr := range j.shard(j.source.ID) {
		if addr == j.source.Addr {
			continue
		}
		has, err := j.offset(ctx, addr, "slave_repl_offset")
		if err != nil {
			return err
		}
		if has < sent {
			return fail(machine.Again, "replica %s is %d bytes behind", addr, sent-has)
		}
		p := &peer{router.Node{Addr: addr}, j.source.facts}
		if counts, err = j.counts(ctx, p, j.unit.Slots); err != nil {
			return fail(machine.Again, "%v", err)
		}
		if n := total(counts); n > 0 {
			return fail(machine.Again, "replica %s still has %d keys of slots %s", addr, n, named(j.unit.Slots))
		}
	}
	return nil
}

// offset is how far a node is in the stream of its shard.
func (j *job) offset(ctx context.Context, addr, field string) (int64, error) {
	r, err := j.do(ctx, addr, cmd("INFO", "replication"))
	if err != nil {
		return 0, fail(machine.Again, "%v", err)
	}
	return ReadInfo(r[0]).Number(field), nil
}

// settled tells whether a node's picture is as it should be in the end.
func (j *job) settled(a *ask) error {
	if a.err != nil {
		return fail(machine.Again, "%v", a.err)
	}
	v, err := view(a.addr, a.replies[0])
	if err != nil {
		return fail(machine.Again, "%v", err)
	}
	for _, s := range j.unit.Slots {
		if o := v.Owner(s); o == nil || o.ID != j.target.ID {
			return fail(machine.Again, "%s does not know yet who owns slot %d", a.addr, s)
		}
		if _, open := v.Open(s); open {
			return fail(machine.Again, "slot %d is still open on %s", s, a.addr)
		}
	}
	return nil
}
