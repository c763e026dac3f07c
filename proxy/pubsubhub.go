package proxy

import (
	"bytes"

	"slotproxy/router"
)

// hub subscribes for all clients of one loop and user. What it wants is in its topics; settle compares that with what the
// nodes have confirmed, after a connection was lost, a slot has moved or the primaries are others. Owned by its loop.
type hub struct {
	l       *loop
	profile *profile // of the user, RESP3
	topics  [numTopicKinds]map[string]*topic
	feeds   map[*node]*feed
	home    *feed // the one that plain channels and patterns are heard at; nil: none at the moment

	adrift  []*topic  // not subscribed where they should be
	parting []*topic  // perhaps wanted by nobody any more
	stuck   []*change // of clients, to be tried again
	retryAt int64     // loop time before which nothing is tried again
	fails   uint8     // tries since something worked
	dueAt   int64     // loop time at which settle has work, 0: none
	moveAt  int64     // loop time at which a sharded channel has waited long enough for its old node, 0: none
}

// topic is one thing that clients of a hub listen to.
type topic struct {
	h    *hub
	kind topicKind
	name string
	slot uint16 // of a sharded channel
	wide bool   // keyspace events may be in it: every primary has to be asked

	subs       []*subscription // nil where one left during a delivery
	clients    int             // of these, the ones that are not nil
	wanted     int             // commands under way that subscribe to it
	at         []*feed         // where nodes have confirmed it
	asked      int             // commands of the hub's own under way that subscribe to it
	parting    int             // commands under way that end it
	adrift     bool            // in the list of these
	nowhere    bool            // counts as one that nobody hears, see audience
	delivering bool
	elsewhere  int64 // loop time since when its slot has had another owner, 0: it has not
	// Version of the table when the node that it is at first said, against what we believe, that it owns the slot; 0: it has not.
	kept  uint64
	poked int64 // loop time at which a publisher last said so
}

// change is a (P|S)(UN)SUBSCRIBE of a client on its way.
type change struct {
	h      *hub
	r      *request
	kind   topicKind
	leave  bool
	reset  bool     // leave, for RESET: not confirmed, and the other kinds follow
	topics []*topic // to subscribe to, in the client's order
	names  []string // to leave
	left   int      // commands to nodes without an answer
	again  bool     // one of them was lost, or the node could not serve it now
	err    []byte   // with which a node refused it
}

// hubFor finds or makes the hub of a user.
func (l *loop) hubFor(k profileKey) *hub {
	p := l.profileFor(profileKey{user: k.user, password: k.password, login: k.login, proto: 3})
	if h := l.hubs[p]; h != nil {
		return h
	}
	h := &hub{l: l, profile: p, feeds: map[*node]*feed{}}
	for kind := range h.topics {
		h.topics[kind] = map[string]*topic{}
	}
	p.sessions++
	l.hubs[p] = h
	return h
}

func (h *hub) newChange(r *request, kind topicKind) *change { return &change{h: h, r: r, kind: kind} }

// topic finds or makes a topic. Its caller wants it, or it is forgotten.
func (h *hub) topic(kind topicKind, name []byte) *topic {
	if t := h.topics[kind][string(name)]; t != nil {
		return t
	}
	t := &topic{h: h, kind: kind, name: string(name)}
	switch kind {
	case shardTopic:
		t.slot = router.Slot(name)
	case plainTopic:
		t.wide = isEvent(name)
	case patternTopic:
		t.wide = mayMatch(name, keyspacePrefix) || mayMatch(name, keyeventPrefix)
	}
	h.topics[kind][t.name] = t
	return t
}

var keyspacePrefix, keyeventPrefix = []byte("__keyspace@"), []byte("__keyevent@")

func isEvent(channel []byte) bool {
	return len(channel) > 2 && channel[0] == '_' &&
		(bytes.HasPrefix(channel, keyspacePrefix) || bytes.HasPrefix(channel, keyeventPrefix))
}

// used says that somebody listens or is about to.
func (t *topic) used() bool { return t.clients+t.wanted > 0 }

func (t *topic) join(sub *subscription) {
	sub.at = len(t.subs)
	t.subs = append(t.subs, sub)
	t.clients++
	t.h.l.p.audience.joined(t)
}

// part takes a client out. While a message is handed out the places of the others stay as they are.
func (t *topic) part(sub *subscription) {
	last := len(t.subs) - 1
	if t.delivering {
		t.subs[sub.at] = nil
	} else {
		t.subs[sub.at] = t.subs[last]
		t.subs[sub.at].at = sub.at
		t.subs[last] = nil
		t.subs = t.subs[:last]
	}
	t.clients--
	t.h.l.p.audience.parted(t)
	t.h.unwant(t)
}

// compact closes the gaps that clients have left.
func (t *topic) compact() {
	if len(t.subs) == t.clients {
		return
	}
	keep := t.subs[:0]
	for _, sub := range t.subs {
		if sub != nil {
			sub.at = len(keep)
			keep = append(keep, sub)
		}
	}
	clear(t.subs[len(keep):])
	t.subs = keep
}

// place notes that f's node has confirmed t.
func (t *topic) place(f *feed) {
	if t.isAt(f) {
		return
	}
	t.at = append(t.at, f)
	t.elsewhere, t.kept = 0, 0
	t.h.l.p.audience.placed(t, f.n.addr, 1)
}

// unplace notes that t is not subscribed at f any more; it reports whether it was.
func (t *topic) unplace(f *feed) bool {
	for i, have := range t.at {
		if have == f {
			t.at = append(t.at[:i], t.at[i+1:]...)
			t.h.l.p.audience.placed(t, f.n.addr, -1)
			return true
		}
	}
	return false
}

func (t *topic) isAt(f *feed) bool {
	for _, have := range t.at {
		if have == f {
			return true
		}
	}
	return false
}

// unwant looks soon whether anybody still wants t.
func (h *hub) unwant(t *topic) {
	if !t.used() {
		h.parting = append(h.parting, t)
		h.due(h.l.now)
	}
}

// strand lets settle subscribe to t where it should be.
func (h *hub) strand(t *topic) {
	if !t.adrift && t.used() {
		t.adrift = true
		h.adrift = append(h.adrift, t)
		h.due(max(h.l.now, h.retryAt))
	}
}

// due makes the loop call settle at a time, or before.
func (h *hub) due(at int64) {
	if h.dueAt == 0 || at < h.dueAt {
		h.dueAt = max(at, 1)
	}
	if l := h.l; l.hubsDue == 0 || h.dueAt < l.hubsDue {
		l.hubsDue = h.dueAt
	}
}

// backOff lets the next try be at once, the ones behind it after 10 ms, doubling to a second.
func (h *hub) backOff() {
	h.retryAt = h.l.now
	if h.fails > 0 {
		h.retryAt += min(int64(10e6)<<min(h.fails-1, 7), 1e9)
	}
	if h.fails < 255 {
		h.fails++
	}
}

// settleHubs calls the hubs that have something to do.
func (l *loop) settleHubs() {
	if l.hubsDue == 0 || l.now < l.hubsDue {
		return
	}
	l.hubsDue = 0
	for _, h := range l.hubs {
		if h.dueAt != 0 && h.dueAt <= l.now {
			h.dueAt = 0
			h.settle()
		}
		if h.dueAt != 0 {
			h.due(h.dueAt)
		}
	}
}

// settle subscribes to what is adrift, ends what nobody wants, and tries clients' commands again.
func (h *hub) settle() {
	if h.moveAt != 0 && h.l.now >= h.moveAt {
		h.moveAt = 0
		h.checkShards()
	}
	h.endUnwanted()
	if h.l.now < h.retryAt {
		if len(h.stuck)+len(h.adrift) > 0 {
			h.due(h.retryAt)
		}
		return
	}
	stuck, adrift := h.stuck, h.adrift
	h.stuck, h.adrift = nil, nil
	for _, ch := range stuck {
		h.start(ch)
	}
	g := grouping{}
	for _, t := range adrift {
		t.adrift = false
		if t.used() && t.asked == 0 && !h.aim(&g, t, nil) {
			h.strand(t)
		}
	}
	h.sendGroups(g, nil)
	if len(h.stuck)+len(h.adrift) > 0 {
		h.backOff()
		h.due(h.retryAt)
	}
}

// endUnwanted unsubscribes from topics that have lost their last client.
func (h *hub) endUnwanted() {
	parting := h.parting
	h.parting = nil
	g := grouping{leave: true, unwanted: true}
	for _, t := range parting {
		if t.used() || h.topics[t.kind][t.name] != t {
			continue
		}
		delete(h.topics[t.kind], t.name)
		for _, f := range t.at {
			g.add(f, t) // the node counts it until it confirms, and so do we
		}
		t.at = nil
	}
	h.sendGroups(g, nil)
}

// grouping collects topics that can share a command: at one node, of one kind, and when sharded of one slot.
type grouping struct {
	leave    bool
	unwanted bool
	groups   []*group
}

type group struct {
	f      *feed
	kind   topicKind
	slot   uint16
	topics []*topic
}

// maxGroup bounds the names of one command: a node is not held up by it.
const maxGroup = 1000

func (g *grouping) add(f *feed, t *topic) {
	// The last ones are the likely ones: topics of a kind come together, and slots in any order.
	for i := len(g.groups) - 1; i >= max(0, len(g.groups)-16); i-- {
		if o := g.groups[i]; o.f == f && o.kind == t.kind && o.slot == t.slot && len(o.topics) < maxGroup {
			o.topics = append(o.topics, t)
			return
		}
	}
	g.groups = append(g.groups, &group{f: f, kind: t.kind, slot: t.slot, topics: []*topic{t}})
}

// sendGroups sends one command for each group.
func (h *hub) sendGroups(g grouping, ch *change) {
	for _, o := range g.groups {
		e := &entry{ch: ch, kind: o.kind, leave: g.leave, unwanted: g.unwanted, topics: o.topics}
		e.extra = ch != nil && o.f != h.home && o.kind != shardTopic
		if ch != nil {
			ch.left++
		}
		o.f.send(e)
	}
}

// aim adds t to the groups of the nodes where it should be and is not; for a client's command also where it is, to hear
// whether the client may. It reports false when the node that matters cannot be reached.
func (h *hub) aim(g *grouping, t *topic, ch *change) bool {
	if t.kind == shardTopic {
		return h.aimShard(g, t, ch)
	}
	f := h.homeFeed()
	if f == nil {
		return false
	}
	if ch != nil || !t.isAt(f) {
		g.add(f, t)
	}
	if !t.wide {
		return true
	}
	all := true
	for _, n := range h.l.primaries {
		o := h.feedAt(n)
		if o == nil {
			all = false
		} else if o != f && !t.isAt(o) {
			g.add(o, t)
		}
	}
	if !all && ch != nil {
		h.strand(t)
	}
	return all || ch != nil
}

// aimShard is aim for a sharded channel. One that is still at its old node has to leave that first.
func (h *hub) aimShard(g *grouping, t *topic, ch *change) bool {
	if len(t.at) > 0 {
		if ch != nil {
			g.add(t.at[0], t)
		}
		return true
	}
	f := h.feedAt(h.l.owners.of(t.slot))
	if f == nil {
		h.l.hint(router.Hint{Cause: router.Down, Slot: t.slot, HasSlot: true})
		return false
	}
	g.add(f, t)
	return true
}

// homeFeed is the feed at the home node; nil when no node can be reached.
func (h *hub) homeFeed() *feed {
	if h.home == nil {
		if n := h.l.home(); n != nil {
			h.home = h.feedAt(n)
		}
	}
	return h.home
}

// feedAt finds or makes the feed at a node; nil when it cannot be reached.
func (h *hub) feedAt(n *node) *feed {
	if n == nil {
		return nil
	}
	if f := h.feeds[n]; f != nil {
		return f
	}
	f := &feed{h: h, n: n, primary: h.l.isPrimary(n)}
	if f.c = n.private(h.profile, f); f.c == nil {
		return nil
	}
	h.feeds[n] = f
	return f
}
