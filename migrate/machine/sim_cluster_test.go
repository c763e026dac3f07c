package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A model of a cluster: what the machine's rules must survive, and no more. Each shard is a primary and a replica that lags.
const (
	simSlots   = 12
	simKeys    = 3 // keys of a slot
	absent     = 0 // value of a key that does not exist
	nobody     = -1
	closedSlot = -1
)

// world is the cluster, the proxy's gate and table, and what its clients were told.
type world struct {
	rng    *rand.Rand
	old    bool // 7.0: open slots are not replicated
	nodes  []*simNode
	shards []*simShard
	epoch  int
	jobs   []*stream
	late   []lateOp // commands that a node may still execute

	gate  [simSlots]bool
	table [simSlots]int

	acked     [simSlots][simKeys]int
	tainted   [simSlots][simKeys]bool // the cluster itself may have lost it: nothing is known of its value
	stolen    [simSlots]bool          // its shard's successor did not know that it has or has not got it
	meddled   [simSlots]bool          // opened by somebody else
	value     int
	outsiders bool // clients that do not come through the proxy
	failovers int
	wrong     string
	log       []string
	loud      bool
}

type simNode struct {
	id                   string
	idx, shard           int
	alive                bool
	epoch                int
	view                 [simSlots]claim
	keys                 [simSlots][simKeys]int
	migrating, importing [simSlots]int // shard, or closedSlot
	full                 bool          // no memory
	disk                 [simSlots][simKeys]int
	life                 int // how often it has been started
}

type claim struct{ owner, epoch int }

type simShard struct {
	primary, replica *simNode
	lag              []write // not at the replica yet
}

type write struct {
	slot, key, val int
	moved          bool // it is at another node: not lost with this one
}

// stream is CLUSTER MIGRATESLOTS: it goes on by itself.
type stream struct {
	slots    []uint16
	src, dst *simNode
	state    int
}

const (
	streaming = iota
	handover
	arrived
	cleaning
	gone
)

type lateOp struct {
	slots []uint16
	op    func()
}

func newWorld(rng *rand.Rand) *world {
	w := &world{rng: rng, old: rng.IntN(2) == 0, outsiders: rng.IntN(4) == 0, epoch: 10}
	for s := range 3 + rng.IntN(3) {
		sh := &simShard{}
		for i := range 2 {
			n := &simNode{id: fmt.Sprintf("%c%d", 'a'+s, i), idx: len(w.nodes), shard: s, alive: true}
			for k := range simSlots {
				n.migrating[k], n.importing[k] = closedSlot, closedSlot
			}
			w.nodes = append(w.nodes, n)
			if i == 0 {
				sh.primary = n
			} else {
				sh.replica = n
			}
		}
		w.epoch++
		sh.primary.epoch = w.epoch
		w.shards = append(w.shards, sh)
	}
	for s := range simSlots { // the last shard is empty
		p := w.shards[s%(len(w.shards)-1)].primary
		for _, n := range w.nodes {
			n.view[s] = claim{p.idx, p.epoch}
		}
		w.table[s] = p.idx
		for k := range simKeys {
			if rng.IntN(3) > 0 {
				w.value++
				w.acked[s][k] = w.value
				p.keys[s][k], w.shards[p.shard].replica.keys[s][k] = w.value, w.value
			}
		}
	}
	for _, n := range w.nodes {
		n.disk = n.keys
	}
	return w
}

func (w *world) tell(format string, args ...any) {
	if w.loud {
		w.log = append(w.log, fmt.Sprintf(format, args...))
	}
}

func (w *world) violated(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
		w.tell("WRONG %s", w.wrong)
	}
}

func (w *world) node(id string) *simNode {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (w *world) primary(n *simNode) bool { return w.shards[n.shard].primary == n }

// serves: a node that can be reached and is a primary.
func (w *world) serves(n *simNode) bool { return n.alive && w.primary(n) }

func (n *simNode) owns(s int) bool { return n.view[s].owner == n.idx }

func (n *simNode) count(s int) int {
	c := 0
	for _, v := range n.keys[s] {
		if v != absent {
			c++
		}
	}
	return c
}

// put writes a key on a primary; its replica gets it later.
func (w *world) put(n *simNode, s, k, v int) { w.apply(n, write{slot: s, key: k, val: v}) }

// part deletes what has moved.
func (w *world) part(n *simNode, s, k int) { w.apply(n, write{slot: s, key: k, moved: true}) }

func (w *world) apply(n *simNode, o write) {
	n.keys[o.slot][o.key] = o.val
	sh := w.shards[n.shard]
	if sh.replica.alive {
		sh.lag = append(sh.lag, o)
	}
}

func (w *world) replicate(sh *simShard, n int) {
	n = min(n, len(sh.lag))
	for _, o := range sh.lag[:n] {
		sh.replica.keys[o.slot][o.key] = o.val
	}
	sh.lag = sh.lag[n:]
}

// setslot changes what a primary thinks of a slot. Since 8.0 its replica knows before the reply, and all earlier writes too.
func (w *world) setslot(n *simNode, change func(n *simNode)) {
	if !w.serves(n) {
		return
	}
	change(n)
	sh := w.shards[n.shard]
	if !w.old && sh.replica.alive {
		w.replicate(sh, len(sh.lag))
		change(sh.replica)
	}
}

func (w *world) claimSlot(n *simNode, s int) {
	w.epoch++
	n.epoch = w.epoch
	for i := range simSlots {
		if n.owns(i) {
			n.view[i].epoch = n.epoch
		}
	}
	w.setslot(n, func(x *simNode) {
		x.view[s] = claim{n.idx, n.epoch}
		x.importing[s], x.migrating[s] = closedSlot, closedSlot
	})
}

// gossip lets one node hear what another one claims.
func (w *world) gossip(from, to *simNode) {
	if !w.serves(from) || !to.alive || from == to {
		return
	}
	for s := range simSlots {
		if from.owns(s) && from.epoch > to.view[s].epoch {
			w.hear(from, to, s)
		}
	}
}

func (w *world) hear(from, to *simNode, s int) {
	same := to.view[s].owner != nobody && w.nodes[to.view[s].owner].shard == from.shard
	if w.old && to.importing[s] != closedSlot && !same && w.primary(to) {
		return // 7.0: an importing node believes nobody about its slot
	}
	if to.owns(s) && to.count(s) > 0 && w.primary(to) { // what is left of a slot that was lost is deleted
		for k := range simKeys {
			if to.keys[s][k] != absent {
				if from.keys[s][k] == absent {
					if w.failovers == 0 {
						w.violated("slot %d key %d is only at %s, which loses the slot to %s", s, k, to.id, from.id)
					}
					w.tainted[s][k] = true
				}
				w.put(to, s, k, absent)
			}
		}
	}
	to.view[s] = claim{from.idx, from.epoch}
	if w.primary(to) && to != from && !same {
		to.migrating[s], to.importing[s] = closedSlot, closedSlot
	}
}

func (w *world) taintSlot(s int) {
	for k := range simKeys {
		w.tainted[s][k] = true
	}
}

// failover makes the replica of a shard its primary. What it does not know is lost.
func (w *world) failover(i int) {
	sh := w.shards[i]
	was, now := sh.primary, sh.replica
	if !now.alive {
		return
	}
	w.failovers++
	w.tell("failover of %s to %s, %d writes behind", was.id, now.id, len(sh.lag))
	for _, o := range sh.lag {
		if !o.moved || w.acked[o.slot][o.key] == absent { // what was deleted where it had moved to comes back with the old copy
			w.tainted[o.slot][o.key] = true
		}
	}
	sh.lag = nil
	sh.primary, sh.replica = now, was
	was.alive = false
	w.epoch++
	now.epoch = w.epoch
	for s := range simSlots {
		if w.old && (was.migrating[s] != closedSlot || was.importing[s] != closedSlot) {
			w.taintSlot(s) // moved keys look lost, and are written a second time
		}
		knows := now.view[s].owner == was.idx
		if was.owns(s) != knows || knows && w.ownedBeside(s, was) {
			w.taintSlot(s) // a slot without an owner, or one that is claimed again without its keys; real voters know of most of these
			w.stolen[s] = true
		}
		if knows {
			now.view[s] = claim{now.idx, now.epoch}
		}
	}
	for _, j := range w.jobs {
		if j.state < arrived && (j.src == was || j.dst == was) {
			j.state = cleaning
		}
	}
}

// ownedBeside tells whether another shard's primary owns a slot too, which n has not heard of.
func (w *world) ownedBeside(s int, n *simNode) bool {
	return slices.ContainsFunc(w.shards, func(sh *simShard) bool { return sh.primary.shard != n.shard && sh.primary.owns(s) })
}

// restart starts a primary again, before anybody takes it for failed, with the keys that its disk has. Those of slots that
// are not its own are dropped, as 8.0 and later do.
func (w *world) restart(n *simNode) {
	if !w.serves(n) {
		return
	}
	n.life++
	w.failovers++
	w.tell("%s is started again", n.id)
	for s := range simSlots {
		for k, v := range n.disk[s] {
			if !n.owns(s) && n.importing[s] == closedSlot {
				v = absent
			}
			if was := n.keys[s][k]; was != v && (was != absent || w.acked[s][k] == absent) {
				w.tainted[s][k] = true
			}
			n.keys[s][k] = v
		}
	}
	sh := w.shards[n.shard]
	sh.replica.keys, sh.lag = n.keys, nil
	for _, j := range w.jobs {
		if j.state < arrived && (j.src == n || j.dst == n) {
			j.state = cleaning
		}
	}
}

// rejoin brings a lost node back as the replica that it is now.
func (w *world) rejoin(n *simNode) {
	if n.alive {
		return
	}
	n.alive = true
	if w.primary(n) { // it was only frozen
		return
	}
	p := w.shards[n.shard].primary
	n.keys, n.view = p.keys, p.view
	n.migrating, n.importing = p.migrating, p.importing
	if w.old {
		for s := range simSlots {
			n.migrating[s], n.importing[s] = closedSlot, closedSlot
		}
	}
	w.shards[n.shard].lag = nil
}

// meddle is what another tool does: it opens a slot to some other shard.
func (w *world) meddle() {
	x, to := w.rng.IntN(simSlots), w.rng.IntN(len(w.shards))
	for i, sh := range w.shards {
		if sh.primary.owns(x) && i != to {
			w.tell("somebody opens slot %d from %s", x, sh.primary.id)
			w.meddled[x] = true
			w.setslot(sh.primary, func(n *simNode) { n.migrating[x] = to })
		}
	}
}

// stir lets a stream go on a little.
func (w *world) stir(j *stream) {
	switch {
	case j.state < arrived && (!w.serves(j.src) || !w.serves(j.dst)):
		if !w.primary(j.src) || !w.primary(j.dst) {
			j.state = cleaning
		}
	case j.state == streaming, j.state == cleaning:
		j.state++
	case j.state == handover:
		j.state = arrived
		for _, slot := range j.slots {
			s := int(slot)
			for k, v := range j.src.keys[s] {
				w.put(j.dst, s, k, v)
				w.part(j.src, s, k)
			}
			w.claimSlot(j.dst, s)
			j.src.view[s] = claim{j.dst.idx, j.dst.epoch}
		}
	}
}

func (w *world) staged(dst *simNode, s int) bool {
	for _, j := range w.jobs {
		if j.dst.shard != dst.shard || j.state == arrived || j.state == gone {
			continue
		}
		for _, x := range j.slots {
			if int(x) == s {
				return true
			}
		}
	}
	return false
}

// client does one command of one client, as far as the cluster and the gate let it.
func (w *world) client() {
	s, k := w.rng.IntN(simSlots), w.rng.IntN(simKeys)
	outsider := w.outsiders && w.rng.IntN(3) == 0
	if w.gate[s] && !outsider {
		return
	}
	at, asking := w.nodes[w.table[s]], false
	for range 6 {
		if !w.serves(at) { // the table is looked up again
			at = w.shards[at.shard].primary
			if !at.alive {
				return
			}
		}
		switch {
		case at.owns(s) && at.migrating[s] != closedSlot && at.keys[s][k] == absent:
			at, asking = w.shards[at.migrating[s]].primary, true
		case at.owns(s), asking && at.importing[s] != closedSlot:
			w.execute(at, s, k)
			return
		default:
			if at.view[s].owner == at.idx || at.view[s].owner == nobody {
				return
			}
			at, asking = w.nodes[at.view[s].owner], false
			if !outsider {
				w.table[s] = at.idx
			}
		}
	}
}

func (w *world) execute(n *simNode, s, k int) {
	copies := 0
	for _, sh := range w.shards {
		if sh.primary.keys[s][k] != absent {
			copies++
		}
	}
	switch w.rng.IntN(4) {
	case 0, 1:
		if got := n.keys[s][k]; got != w.acked[s][k] && !w.tainted[s][k] && copies < 2 {
			w.violated("slot %d key %d: %s has %d, but a client was told %d", s, k, n.id, got, w.acked[s][k])
		}
		return
	case 2:
		w.value++
		w.acked[s][k] = w.value
	case 3:
		w.acked[s][k] = absent
	}
	if copies > 1 {
		// An unresolved MIGRATE. Its coordinator is lost, or a node; whose copy is newer is known to nobody then.
		w.tainted[s][k] = true
	}
	w.put(n, s, k, w.acked[s][k])
}
