package engine

import (
	"context"
	"strconv"
	"sync"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// replicaWait is how long SETSLOT may wait for the replicas of its node, in servers that make them confirm it. Half of
// the shortest sensible Answer; the default of the servers is as long as all of it.
const replicaWait = time.Second

// setslot is CLUSTER SETSLOT for each slot, in the words of the node that gets it.
func setslot(p *peer, slots []uint16, state ...string) [][]string {
	commands := make([][]string, len(slots))
	for i, s := range slots {
		c := append(cmd("CLUSTER", "SETSLOT", number(s)), state...)
		if p.atLeast(8, 0) {
			c = append(c, "TIMEOUT", strconv.FormatInt(replicaWait.Milliseconds(), 10))
		}
		commands[i] = c
	}
	return commands
}

// setLanes is how many connections share the SETSLOTs of a unit on a node that waits for its replicas. Those that arrive
// together wait together; on one connection each would wait for a round trip of its own, while clients are held. More would
// gain little, and a node serves only so many connections.
const setLanes = 16

// set sends CLUSTER SETSLOT for all slots of the unit.
func (j *job) set(ctx context.Context, p *peer, state ...string) error {
	return j.setSlots(ctx, p, j.unit.Slots, state...)
}

// setAndView is set, what the node shows then, and its answers to further questions. All are one way there and back, as clients may be
// held; where setting takes several connections, two.
func (j *job) setAndView(ctx context.Context, p *peer, further [][]string, state ...string) (*router.View, []any, error) {
	commands := append([][]string{cmd("CLUSTER", "NODES")}, further...)
	if j.lanes(p, j.unit.Slots) > 1 {
		if err := j.set(ctx, p, state...); err != nil {
			return nil, nil, err
		}
	} else {
		commands = append(setslot(p, j.unit.Slots, state...), commands...)
	}
	s, err := j.session(ctx, p.Addr)
	if err != nil {
		return nil, nil, err
	}
	defer j.giveBack(p.Addr, s)
	r, err := s.must(ctx, j.cfg.Limits.Answer, commands...)
	if err != nil {
		return nil, nil, err
	}
	r = r[len(commands)-1-len(further):]
	v, err := view(p.Addr, r[0])
	return v, r[1:], err
}

// lanes is how many connections it takes to set slots.
func (e *Engine) lanes(p *peer, slots []uint16) int {
	if p.atLeast(8, 0) && len(e.shard(p.ID)) > 1 {
		return min(setLanes, len(slots))
	}
	return 1
}

func (e *Engine) setSlots(ctx context.Context, p *peer, slots []uint16, state ...string) error {
	n := e.lanes(p, slots)
	lanes := make([]lane, n)
	for i, c := range setslot(p, slots, state...) {
		lanes[i%n].commands = append(lanes[i%n].commands, c)
	}
	var wg sync.WaitGroup
	for i := range lanes {
		lanes[i].ctx, lanes[i].e, lanes[i].p, lanes[i].limit = ctx, e, p, e.cfg.Limits.Answer
		if n > 1 {
			lanes[i].limit += time.Duration(len(lanes[i].commands)) * replicaWait
		}
		if i > 0 {
			wg.Go(lanes[i].run)
		}
	}
	lanes[0].run()
	wg.Wait()
	for i := range lanes {
		if lanes[i].err != nil {
			return lanes[i].err
		}
	}
	return nil
}

// lane is a part of the SETSLOTs for a node.
type lane struct {
	ctx      context.Context
	e        *Engine
	p        *peer
	limit    time.Duration
	commands [][]string
	err      error
}

func (l *lane) run() {
	s, err := l.e.session(l.ctx, l.p.Addr)
	if err != nil {
		l.err = err
		return
	}
	defer l.e.giveBack(l.p.Addr, s)
	_, l.err = s.must(l.ctx, l.limit, l.commands...)
}

// open makes the target importing, then the source migrating: in this order, as the source begins to send clients there.
func (j *job) open(ctx context.Context) error {
	j.note()
	j.mem.listed = nil
	to, _, err := j.setAndView(ctx, j.target, nil, "IMPORTING", j.source.ID)
	if err != nil {
		return err
	}
	var further [][]string
	if j.held() && j.source.databases == 1 && j.mem.fresh && len(j.mem.doubts) == 0 { // else Move asks in good time
		further = j.listing(crowdBatch)
	}
	from, keys, err := j.setAndView(ctx, j.source, further, "MIGRATING", j.target.ID)
	if err != nil {
		return err
	}
	if further != nil {
		j.mem.listed = keys
	}
	views := []*router.View{from, to}
	if !j.agree(views[0], views[1]) {
		if views, err = j.teach(ctx); err != nil {
			return err
		}
	}
	want := router.Open{Source: j.source.ID, Target: j.target.ID}
	for _, s := range j.unit.Slots {
		a, _ := views[0].Open(s)
		b, _ := views[1].Open(s)
		if a != want || b != want {
			return fail(machine.Unknown, "slot %d is not open on both nodes right after SETSLOT", s)
		}
	}
	return nil
}

// agree tells whether the target knows that the slots are the source's, if they are.
func (j *job) agree(source, target *router.View) bool {
	knows := func(s uint16) bool {
		o := target.Owner(s)
		return o != nil && o.ID == j.source.ID
	}
	return j.ownedOf(source.Owns) < len(j.unit.Slots) || j.ownedOf(knows) == len(j.unit.Slots)
}

// teach tells the target whose the slots are. After a failover of the source it may not believe the successor: Redis 7.0
// takes no news about a slot that it is importing, and a cluster in which a slot belongs to a dead node is down.
func (j *job) teach(ctx context.Context) ([]*router.View, error) {
	if err := j.set(ctx, j.target, "NODE", j.source.ID); err != nil {
		return nil, err
	}
	if err := j.set(ctx, j.target, "IMPORTING", j.source.ID); err != nil {
		return nil, err
	}
	return j.views(ctx, j.source.Addr, j.target.Addr)
}

// note remembers which slots this engine opens.
func (j *job) note() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.unit.Slots {
		j.opened[s] = j.unit.ID
	}
}

// ours tells whether an open slot is the coordinator's own.
func (e *Engine) ours(slot uint16) bool {
	e.mu.Lock()
	_, known := e.opened[slot]
	e.mu.Unlock()
	return known || e.cfg.Ours != nil && e.cfg.Ours(slot)
}

// close rolls back. The source first: then nobody is sent to the target any more, and its keys can be counted for good.
func (j *job) close(ctx context.Context) error {
	if err := j.emptyTarget(ctx); err != nil {
		return err
	}
	if err := j.set(ctx, j.source, "STABLE"); err != nil {
		return err
	}
	if err := j.emptyTarget(ctx); err != nil {
		return j.reopen(ctx, err)
	}
	if err := j.set(ctx, j.target, "STABLE"); err != nil {
		return err
	}
	// A client that had been sent there before may have written between the count and this; now nobody can.
	if err := j.emptyTarget(ctx); err != nil {
		return j.reopen(ctx, err)
	}
	j.letGo(ctx)
	j.forget(j.unit)
	return nil
}

// reopen takes back a Close, because of keys that the target has.
func (j *job) reopen(ctx context.Context, cause error) error {
	if err := j.set(ctx, j.target, "IMPORTING", j.source.ID); err != nil {
		return err
	}
	if err := j.set(ctx, j.source, "MIGRATING", j.target.ID); err != nil {
		return err
	}
	return cause
}

func (j *job) emptyTarget(ctx context.Context) error {
	counts, err := j.counts(ctx, j.target, j.unit.Slots)
	if err != nil {
		return err
	}
	if n := total(counts); n > 0 {
		return fail(machine.Unknown, "the target has %d keys of slots %s: they can only go on", n, named(j.unit.Slots))
	}
	return nil
}
