package proxy

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"slotproxy/resp"
)

// audience is what all loops together know of who listens to what. It is shared: loops write it when subscriptions
// change, and read it for the replies to PUBLISH and PUBSUB, which count a proxy's many clients where the nodes see one.
// Its lock is held for moments, and nothing else is locked meanwhile.
type audience struct {
	topics atomic.Int64 // that somebody listens to: none, and nobody needs the lock
	shards atomic.Int64 // of these, the sharded ones
	adrift atomic.Int64 // channels and patterns with clients that no node is subscribed to for now
	since  atomic.Int64 // loop time at which adrift last rose from 0

	mu    sync.Mutex
	of    [numTopicKinds]map[string]*listeners // guarded by mu
	slots map[uint16]*slotAudience             // guarded by mu
}

// listeners are those of one topic.
type listeners struct {
	clients int
	at      map[string]int // node -> connections of this proxy that are subscribed there
}

// slotAudience tells a publisher whether all subscribers of a slot are where he sends to.
type slotAudience struct {
	topics int            // of all hubs, that have clients
	at     map[string]int // node -> how many of these are subscribed there
	poked  int64          // loop time at which the subscribers were last told that somebody waits
}

func (a *audience) get(t *topic) *listeners {
	of := &a.of[t.kind]
	if *of == nil {
		*of = map[string]*listeners{}
	}
	have := (*of)[t.name]
	if have == nil {
		have = &listeners{at: map[string]int{}}
		(*of)[t.name] = have
		a.count(t, 1)
	}
	return have
}

func (a *audience) count(t *topic, n int64) {
	a.topics.Add(n)
	if t.kind == shardTopic {
		a.shards.Add(n)
	}
}

// tidy forgets a topic that nobody listens to.
func (a *audience) tidy(t *topic, have *listeners) {
	if have.clients == 0 && len(have.at) == 0 {
		delete(a.of[t.kind], t.name)
		a.count(t, -1)
	}
}

// joined notes another client of t.
func (a *audience) joined(t *topic) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.get(t).clients++
	a.drift(t)
	if t.kind == shardTopic && t.clients == 1 {
		a.occupy(t, 1)
	}
}

// parted notes that a client of t has left.
func (a *audience) parted(t *topic) {
	a.mu.Lock()
	defer a.mu.Unlock()
	have := a.get(t)
	have.clients--
	a.tidy(t, have)
	a.drift(t)
	if t.kind == shardTopic && t.clients == 0 {
		a.occupy(t, -1)
	}
}

// drift keeps the number of channels that are heard nowhere.
func (a *audience) drift(t *topic) {
	nowhere := t.kind != shardTopic && t.clients > 0 && len(t.at) == 0
	switch {
	case nowhere == t.nowhere:
	case nowhere:
		if a.adrift.Add(1) == 1 {
			a.since.Store(t.h.l.now)
		}
	default:
		a.adrift.Add(-1)
	}
	t.nowhere = nowhere
}

// occupy adds a sharded topic with clients to those of its slot, or takes it out.
func (a *audience) occupy(t *topic, n int) {
	v := a.slots[t.slot]
	if v == nil {
		v = &slotAudience{at: map[string]int{}}
		if a.slots == nil {
			a.slots = map[uint16]*slotAudience{}
		}
		a.slots[t.slot] = v
	}
	v.topics += n
	for _, f := range t.at {
		v.at[f.n.addr] += n
	}
	if v.topics == 0 {
		delete(a.slots, t.slot)
	}
}

// placed notes that a connection to a node is subscribed to t (n 1) or not any more (-1).
func (a *audience) placed(t *topic, addr string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	have := a.get(t)
	if have.at[addr] += n; have.at[addr] == 0 {
		delete(have.at, addr)
	}
	a.tidy(t, have)
	a.drift(t)
	if v := a.slots[t.slot]; v != nil && t.kind == shardTopic && t.clients > 0 {
		v.at[addr] += n
	}
}

// awaited says whether subscribers of a slot are missing at a node, and whether they have to be told.
func (a *audience) awaited(slot uint16, addr string, now int64) (wait, poke bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.slots[slot]
	if v == nil || v.at[addr] >= v.topics {
		return false, false
	}
	if poke = now-v.poked >= pokeEvery; poke {
		v.poked = now
	}
	return true, poke
}

// receivers counts the clients of this proxy that get a message, and the connections of this proxy by which a node gives
// it to them.
func (a *audience) receivers(channel []byte, sharded bool, addr string) (clients, conns int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := plainTopic
	if sharded {
		kind = shardTopic
	}
	if have := a.of[kind][string(channel)]; have != nil {
		clients, conns = have.clients, have.at[addr]
	}
	if sharded {
		return clients, conns
	}
	for pattern, have := range a.of[patternTopic] {
		if channelMatch([]byte(pattern), channel) {
			clients += have.clients
			conns += have.at[addr]
		}
	}
	return clients, conns
}

// mergePublished makes the node's number of receivers that of clients.
func mergePublished(r *request, dst []byte) ([]byte, bool) {
	p := r.fan.parts[0]
	args := r.sess.l.commandOf(p)
	if len(args) < 2 || p.conn == nil {
		return append(dst, p.reply...), true
	}
	return r.sess.l.p.audience.published(dst, p.reply, args[1], p.hasSlot, p.conn.node.addr, p.cursor), true
}

// published appends the number of clients that got a message, given the node's number. leaving is how many connections of
// this proxy the node may have counted although they are gone by now.
func (a *audience) published(dst, reply, channel []byte, sharded bool, addr string, leaving int) []byte {
	n, ok := integer(reply)
	if !ok {
		return append(dst, reply...)
	}
	clients, conns := a.receivers(channel, sharded, addr)
	return resp.AppendInt(dst, int64(clients)+max(0, n-int64(max(conns, leaving))))
}

// mergePubsub joins the replies of all primaries to a PUBSUB command.
func mergePubsub(r *request, dst []byte) ([]byte, bool) {
	a, args := &r.sess.l.p.audience, r.sess.l.commandOf(r)
	switch r.rule.Name {
	case "pubsub|channels":
		return a.channels(r, dst, plainTopic, args[2:])
	case "pubsub|shardchannels":
		return a.channels(r, dst, shardTopic, args[2:])
	case "pubsub|numsub":
		return a.numsub(r, dst, plainTopic, args[2:])
	case "pubsub|shardnumsub":
		return a.numsub(r, dst, shardTopic, args[2:])
	default:
		return a.numpat(r, dst)
	}
}

// channels lists what any client listens to.
func (a *audience) channels(r *request, dst []byte, kind topicKind, pattern [][]byte) ([]byte, bool) {
	all := map[string]bool{}
	for _, p := range r.fan.parts {
		for _, name := range elements(p.reply) {
			all[string(name)] = true
		}
	}
	a.mu.Lock()
	for name, have := range a.of[kind] {
		if have.clients > 0 && (len(pattern) == 0 || channelMatch(pattern[0], []byte(name))) {
			all[name] = true
		}
	}
	a.mu.Unlock()
	dst = resp.AppendArray(dst, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		dst = resp.AppendBulkString(dst, name)
	}
	return dst, true
}

// numsub counts the clients of each channel: those of this proxy, and those of others that the nodes know.
func (a *audience) numsub(r *request, dst []byte, kind topicKind, names [][]byte) ([]byte, bool) {
	replies := make([][][]byte, len(r.fan.parts))
	for i, p := range r.fan.parts {
		replies[i] = elements(p.reply)
		if len(replies[i]) != 2*len(names) {
			return dst, false
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	dst = resp.AppendArray(dst, 2*len(names))
	for i, name := range names {
		have := a.of[kind][string(name)]
		var total int64
		if have != nil {
			total = int64(have.clients)
		}
		for j, p := range r.fan.parts {
			n, ok := resp.ParseInt(replies[j][2*i+1])
			if !ok {
				return dst, false
			}
			if have != nil && p.to != nil {
				n -= int64(have.at[p.to.addr])
			}
			total += max(0, n)
		}
		dst = resp.AppendBulk(dst, name)
		dst = resp.AppendInt(dst, total)
	}
	return dst, true
}

// numpat counts the patterns of this proxy's clients, and those of others that the nodes know.
func (a *audience) numpat(r *request, dst []byte) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	total := int64(0)
	for _, have := range a.of[patternTopic] {
		if have.clients > 0 {
			total++
		}
	}
	for _, p := range r.fan.parts {
		n, ok := integer(p.reply)
		if !ok {
			return dst, false
		}
		// The node may have counted one of ours that it has ended since.
		ours := p.cursor
		if p.to != nil {
			ours = max(ours, a.patternsAtLocked(p.to.addr))
		}
		total += max(0, n-int64(ours))
	}
	return resp.AppendInt(dst, total), true
}

// patternsAt counts the patterns that this proxy has a node listen to.
func (a *audience) patternsAt(addr string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.patternsAtLocked(addr)
}

func (a *audience) patternsAtLocked(addr string) (n int) {
	for _, have := range a.of[patternTopic] {
		if have.at[addr] > 0 {
			n++
		}
	}
	return n
}

// strictLeave says that the servers are of the one version that refuses UNSUBSCRIBE of clients without subscriptions.
func (l *loop) strictLeave() bool {
	face := l.p.cfg.Info()
	return face.Name == "valkey" && len(face.Version) > 4 && face.Version[:4] == "8.0."
}
