package engine

import (
	"context"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// look tells where the slots stand, as the primaries of both shards say themselves, once nothing of an earlier step can
// change it any more.
func (j *job) look(ctx context.Context) error {
	var err error
	if j.source, err = j.successor(ctx, j.unit.Source, j.unit.Target, j.ownerOf()); err != nil {
		return err
	}
	if j.target, err = j.successor(ctx, j.unit.Target, j.unit.Source, ""); err != nil {
		return err
	}
	if len(j.mem.doubts) > 0 {
		j.stretch()
	}
	if !j.mem.fresh {
		if err := j.settle(ctx); err != nil {
			return err
		}
	}
	streams, err := j.streams(ctx) // before the owners: a stream that ends meanwhile has its end shown by them
	if err != nil {
		return err
	}
	views, err := j.views(ctx, j.source.Addr, j.target.Addr)
	if err != nil {
		return err
	}
	for i, p := range []*peer{j.source, j.target} {
		me := views[i].Node(p.ID)
		if views[i].Myself != p.ID || me == nil || !me.Primary {
			return fail(machine.NodeLost, "%s is no primary", p.Addr)
		}
	}
	a, err := j.counts(ctx, j.source, j.unit.Slots)
	if err != nil {
		return err
	}
	b, err := j.counts(ctx, j.target, j.unit.Slots)
	if err != nil {
		return err
	}
	j.settleDoubts(b)
	j.result.Source, j.result.Target = j.source.ID, j.target.ID
	j.result.SourceEpoch = views[0].Node(j.source.ID).Epoch
	if j.result.SourceRun, err = j.sourceRun(ctx); err != nil {
		return err
	}
	unowned, beside, err := j.elsewhere(ctx, views)
	if err != nil {
		return err
	}
	for i, s := range j.unit.Slots {
		l := machine.SlotLook{Slot: s, SourceOwns: views[0].Owns(s), TargetOwns: views[1].Owns(s),
			Unowned: unowned[s], Beside: beside[s], Migrating: streams, SourceKeys: a[i], TargetKeys: b[i]}
		j.mark(&l, views[0], j.source.ID)
		j.mark(&l, views[1], j.target.ID)
		j.result.Looks = append(j.result.Looks, l)
	}
	return nil
}

// sourceRun names the life of the source's process.
func (j *job) sourceRun(ctx context.Context) (string, error) {
	r, err := j.do(ctx, j.source.Addr, cmd("INFO", "server"))
	if err != nil {
		return "", err
	}
	return ReadInfo(r[0])["run_id"], nil
}

// elsewhere are the slots of the unit that neither end claims in its own view. Those that no working primary claims are unowned:
// what others believe does not count, as the believed owner may be dead, and its successor not know that it had the slot. A
// primary that does not answer may claim it. Of a slot that another primary of the target's shard claims, beside says which.
func (j *job) elsewhere(ctx context.Context, ends []*router.View) (unowned map[uint16]bool, beside map[uint16]string, err error) {
	unowned, beside = map[uint16]bool{}, map[uint16]string{}
	for _, s := range j.unit.Slots {
		if !ends[0].Owns(s) && !ends[1].Owns(s) {
			unowned[s] = true
		}
	}
	if len(unowned) == 0 {
		return unowned, beside, nil
	}
	var addrs []string
	t := j.cfg.Topology()
	for _, i := range t.Primaries() {
		if n := &t.Nodes[i]; n.ID != j.source.ID && n.ID != j.target.ID {
			addrs = append(addrs, n.Addr)
		}
	}
	views, err := j.views(ctx, addrs...)
	if err != nil {
		return nil, nil, err
	}
	for i, v := range views {
		var owned []uint16
		for s := range unowned {
			if v.Owns(s) {
				owned = append(owned, s)
			}
		}
		if len(owned) == 0 {
			continue
		}
		sibling := j.siblings(ctx, v.Myself, addrs[i])
		for _, s := range owned {
			delete(unowned, s)
			if sibling {
				beside[s] = v.Myself
			}
		}
	}
	return unowned, beside, nil
}

// siblings says that another primary is of the target's shard: as this engine remembers, or after a restart, as both nodes say
// (not those of Redis 7.0).
func (j *job) siblings(ctx context.Context, id, addr string) bool {
	if j.sameShard(id, j.target.ID) {
		return true
	}
	asks := []*ask{{addr: j.target.Addr}, {addr: addr}}
	for _, a := range asks {
		a.commands = [][]string{cmd("CLUSTER", "MYSHARDID")}
	}
	if err := j.must(ctx, asks...); err != nil {
		return false
	}
	return text(asks[0].replies[0]) != "" && text(asks[0].replies[0]) == text(asks[1].replies[0])
}

// streams tells whether the source streams the unit's slots to the target: then they are not open as others are, and yet
// on their way.
func (j *job) streams(ctx context.Context) (bool, error) {
	if j.unit.Engine != machine.Atomic || !j.source.atLeast(9, 0) {
		return false, nil
	}
	all, err := j.migrations(ctx, j.source.Addr)
	if err != nil {
		return false, err
	}
	m := j.export(all)
	return m != nil && !m.ended(), nil
}

// mark adds what a node shows of an open slot. Its mark may still name a node that has handed over to its replica since.
func (j *job) mark(l *machine.SlotLook, v *router.View, id string) {
	open, is := v.Open(l.Slot)
	if !is {
		return
	}
	ends := j.sameShard(open.Source, j.source.ID) && j.sameShard(open.Target, j.target.ID)
	switch {
	case !ends:
		l.OtherOpen = true
	case id == j.source.ID:
		l.Migrating = true
	default:
		l.Importing = true
	}
}

// ownerOf is who owns the unit's slots in the table, if one node owns all.
func (j *job) ownerOf() string {
	t := j.cfg.Topology()
	if t == nil {
		return ""
	}
	owner := ""
	for _, s := range j.unit.Slots {
		n := t.Node(s)
		if n == nil || owner != "" && n.ID != owner {
			return ""
		}
		owner = n.ID
	}
	return owner
}

// successor is the primary of the shard that a node was primary of, which is never the other end of the unit: a node that comes
// back to find its last slots moved there follows that one. heir is who owns its slots now, if that is known.
func (j *job) successor(ctx context.Context, id, other, heir string) (*peer, error) {
	t := j.cfg.Topology()
	if t == nil {
		return nil, fail(machine.NodeLost, "no table of the cluster yet")
	}
	at := t.ByID(id)
	if at >= 0 && t.Nodes[at].Primary && !t.Nodes[at].Failed {
		return j.peer(ctx, id)
	}
	for _, i := range t.Primaries() {
		if n := &t.Nodes[i]; n.ID != other && (j.sameShard(n.ID, id) || n.ID == heir) {
			return j.peer(ctx, n.ID)
		}
	}
	if at >= 0 && !t.Nodes[at].Primary && t.Nodes[at].PrimaryID != other {
		return j.peer(ctx, t.Nodes[at].PrimaryID)
	}
	return nil, fail(machine.NodeLost, "node %s has failed, and has no successor yet", id)
}

// sameShard tells whether two nodes belong to one shard: a node that was a primary to the shard that it led last.
func (e *Engine) sameShard(a, b string) bool { return e.root(a) == e.root(b) }

// root is the first primary of a node's shard that this engine has seen.
func (e *Engine) root(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, ok := e.led[id]; ok {
		return p
	}
	if p, ok := e.roots[id]; ok {
		return p
	}
	return id
}
