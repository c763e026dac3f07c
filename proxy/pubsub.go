package proxy

import (
	"slotproxy/resp"
	"slotproxy/router"
)

// Subscriptions as their clients see them. All clients of a loop and user share the node connections that messages come
// on: pubsubhub.go keeps them subscribed, pubsubfeed.go is one of them, pubsubcount.go adds up the listeners of all loops.
//
// A client's (P|S)SUBSCRIBE goes to the node as it is, also where the channel is subscribed already: the node judges
// whether this user may, and what was published before is out before the client begins to listen. UNSUBSCRIBE waits for
// the node in the same way, so that what was published before comes before its confirmation.

// topicKind is what a client can subscribe to.
type topicKind uint8

const (
	plainTopic   topicKind = iota // a channel
	patternTopic                  // all channels whose names match
	shardTopic                    // a channel of the node that owns its slot
	numTopicKinds
)

// subscribeWord and leaveWord name the commands, and the messages that confirm them.
var (
	subscribeWord = [numTopicKinds]string{"subscribe", "psubscribe", "ssubscribe"}
	leaveWord     = [numTopicKinds]string{"unsubscribe", "punsubscribe", "sunsubscribe"}
)

const (
	// maxSubscriptions bounds what one client listens to: a few hundred bytes each, and more than a gateway that has a
	// channel for each of its users needs.
	maxSubscriptions = 1 << 17
	// maxSubscribedBytes bounds the names of these, which may be long.
	maxSubscribedBytes = 64 << 20
)

// subscription is one client's to one topic.
type subscription struct {
	s  *session
	t  *topic
	at int // its place in t.subs
}

// subscriptions are what a client is subscribed to, by name. A client without any has none of it.
type subscriptions struct {
	of    [numTopicKinds]map[string]*subscription
	bytes int // of the names
}

// subscriptions counts what the client is subscribed to, for CLIENT LIST.
func (s *session) subscriptions() (channels, patterns, shards int) {
	if s.subs == nil {
		return 0, 0, 0
	}
	of := &s.subs.of
	return len(of[plainTopic]), len(of[patternTopic]), len(of[shardTopic])
}

// subscribed is the number that the confirmation of a command of this kind carries.
func (s *session) subscribed(kind topicKind) int {
	channels, patterns, shards := s.subscriptions()
	if kind == shardTopic {
		return shards
	}
	return channels + patterns
}

// listening says that a RESP2 client is subscribed: its replies could be taken for messages, so few commands may come.
func (s *session) listening() bool { return s.subs != nil && s.profile.key.proto == 2 }

// whileListening are the commands that a RESP2 client may send while it is subscribed.
var whileListening = setOf("subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe",
	"ping", "quit", "reset")

// subscribe takes the commands of the subscribe family. It reports false when the command has to be offered again.
func (s *session) subscribe(rule *router.Rule) bool {
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	for kind := range numTopicKinds {
		switch rule.Name {
		case subscribeWord[kind]:
			s.join(rule, kind)
			return true
		case leaveWord[kind]:
			s.leave(rule, kind)
			return true
		}
	}
	return s.refuse(rule, unsupported(rule))
}

// join starts a (P|S)SUBSCRIBE.
func (s *session) join(rule *router.Rule, kind topicKind) {
	names := s.parser.Args[1:]
	channels, patterns, shards := s.subscriptions()
	bytes := 0
	for _, name := range names {
		bytes += len(name)
	}
	if s.subs != nil {
		bytes += s.subs.bytes
	}
	if channels+patterns+shards+len(names) > maxSubscriptions || bytes > maxSubscribedBytes {
		s.refuse(rule, errTextManyChannels)
		return
	}
	h := s.l.hubFor(s.profile.key)
	ch := h.newChange(s.pubsubRequest(rule), kind)
	for _, name := range names {
		t := h.topic(kind, name)
		t.wanted++
		ch.topics = append(ch.topics, t)
	}
	h.start(ch)
}

// leave starts a (P|S)UNSUBSCRIBE; without names it is for all of the kind.
func (s *session) leave(rule *router.Rule, kind topicKind) {
	if s.subs == nil && s.l.strictLeave() {
		s.refuse(rule, notSubscribed(rule))
		return
	}
	var names []string
	for _, name := range s.parser.Args[1:] {
		names = append(names, string(name))
	}
	if len(names) == 0 && s.subs != nil {
		for name := range s.subs.of[kind] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		s.answered(rule, confirm(nil, leaveWord[kind], nil, s.subscribed(kind), s.profile.key.proto))
		return
	}
	r := s.pubsubRequest(rule)
	ch := s.l.hubFor(s.profile.key).newChange(r, kind)
	ch.leave, ch.names = true, names
	ch.h.start(ch)
}

// leaveNext ends the subscriptions of the next kind that a client has any of, on the way to its RESET; it reports false when
// there are none left.
func (s *session) leaveNext(r *request) bool {
	for kind := range numTopicKinds {
		if s.subs == nil || len(s.subs.of[kind]) == 0 {
			continue
		}
		ch := s.l.hubFor(s.profile.key).newChange(r, kind)
		ch.leave, ch.reset = true, true
		for name := range s.subs.of[kind] {
			ch.names = append(ch.names, name)
		}
		r.refs++
		ch.h.start(ch)
		return true
	}
	return false
}

// pubsubRequest makes the request for a command that stands alone and is answered by its hub.
func (s *session) pubsubRequest(rule *router.Rule) *request {
	r := s.request(rule, nil)
	r.refs++ // the hub's
	r.enter(stateSent)
	s.stop(stopBarrier)
	return r
}

// confirm appends the confirmation for one name, nil for none.
func confirm(dst []byte, word string, name []byte, count, proto int) []byte {
	dst = resp.AppendPush(dst, 3, proto)
	dst = resp.AppendBulkString(dst, word)
	if name == nil {
		dst = resp.AppendNull(dst, proto)
	} else {
		dst = resp.AppendBulk(dst, name)
	}
	return resp.AppendInt(dst, int64(count))
}

// joined subscribes the client to what the nodes have agreed to, and confirms it.
func (s *session) joined(ch *change) []byte {
	var reply []byte
	for _, t := range ch.topics {
		s.add(t)
		reply = confirm(reply, subscribeWord[t.kind], []byte(t.name), s.subscribed(t.kind), s.profile.key.proto)
	}
	return reply
}

// left ends subscriptions, and confirms it.
func (s *session) left(ch *change) []byte {
	var reply []byte
	for _, name := range ch.names {
		if s.subs != nil {
			if sub := s.subs.of[ch.kind][name]; sub != nil {
				s.drop(sub)
			}
		}
		reply = confirm(reply, leaveWord[ch.kind], []byte(name), s.subscribed(ch.kind), s.profile.key.proto)
	}
	return reply
}

// add subscribes the client to t, unless it is under another user already.
func (s *session) add(t *topic) {
	if s.subs == nil {
		s.subs = &subscriptions{}
		s.l.stats.Subscribers++
	}
	of := &s.subs.of[t.kind]
	if *of == nil {
		*of = map[string]*subscription{}
	}
	if (*of)[t.name] != nil {
		return
	}
	sub := &subscription{s: s, t: t}
	(*of)[t.name] = sub
	s.subs.bytes += len(t.name)
	s.l.stats.Subscriptions++
	t.join(sub)
}

// drop ends a subscription.
func (s *session) drop(sub *subscription) {
	t := sub.t
	delete(s.subs.of[t.kind], t.name)
	s.subs.bytes -= len(t.name)
	s.l.stats.Subscriptions--
	if channels, patterns, shards := s.subscriptions(); channels+patterns+shards == 0 {
		s.subs = nil
		s.l.stats.Subscribers--
	}
	t.part(sub)
}

// unsubscribeAll ends all subscriptions: the client has gone or wants to begin anew.
func (s *session) unsubscribeAll() {
	for kind := range numTopicKinds {
		if s.subs == nil {
			return
		}
		for _, sub := range s.subs.of[kind] {
			s.drop(sub)
			if s.subs == nil {
				return
			}
		}
	}
}

// publish takes PUBLISH and SPUBLISH. A client's messages go to one node, the one that this proxy's subscribers hear, and
// none of them overtakes another: it reports false when the command has to be offered again.
func (s *session) publish(rule *router.Rule, raw []byte) bool {
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	if home := s.l.home(); !d.HasSlot && s.published != home {
		if s.head != nil {
			s.stop(stopBarrier)
			return false
		}
		s.published = home
	}
	if !d.HasSlot && s.unsent > 0 {
		s.stop(stopBarrier)
		return false
	}
	if s.l.p.audience.topics.Load() == 0 {
		r := s.request(rule, raw)
		r.slot, r.hasSlot, r.publish = d.Slot, d.HasSlot, true
		s.sendInOrder(r)
		return true
	}
	r := s.request(rule, nil)
	r.fan = s.l.newFanout()
	r.fan.merge = mergePublished
	p := s.l.newPart(r)
	p.slot, p.hasSlot, p.publish = d.Slot, d.HasSlot, true
	if len(s.parser.Args) > 1 {
		// Until the reply comes, a connection may have left that the node still counted.
		if n := s.publisherNode(p); n != nil {
			_, p.cursor = s.l.p.audience.receivers(s.parser.Args[1], p.hasSlot, n.addr)
		}
	}
	if s.parser.Canonical {
		s.l.setBuf(p, raw)
	} else {
		s.l.scratch = resp.AppendCommand(s.l.scratch[:0], s.parser.Args...)
		s.l.setBuf(p, s.l.scratch)
	}
	s.goParts(r)
	return true
}

// publisherNode is where p will go, as far as is known now.
func (s *session) publisherNode(p *request) *node {
	if p.hasSlot {
		return s.l.owners.of(p.slot)
	}
	return s.published
}

// home is the node that subscriptions to channels and patterns are at, and that PUBLISH goes to: the same for all loops,
// so that messages keep the order in which they were published. It stays while it can be reached, also as a replica:
// those who listen there would miss something if they left.
func (l *loop) home() *node {
	for range 3 { // another loop may choose at the same moment
		addr := l.p.home.Load()
		if addr != nil {
			if addr != l.homeAddr { // strings are compared once a choice, not once a message
				l.homeAddr, l.homeNode = addr, l.nodes[*addr]
			}
			if n := l.homeNode; n != nil && l.reachable(n) {
				return n
			}
		}
		n := l.firstReachable()
		if n == nil {
			return nil
		}
		if l.p.home.CompareAndSwap(addr, &n.addr) {
			return n
		}
	}
	return l.firstReachable()
}

func (l *loop) firstReachable() *node {
	for _, n := range l.primaries {
		if l.reachable(n) {
			return n
		}
	}
	return nil
}

func (l *loop) reachable(n *node) bool { return l.now >= n.retryAt && !n.info.Failed }

func (l *loop) isPrimary(n *node) bool {
	for _, p := range l.primaries {
		if p == n {
			return true
		}
	}
	return false
}
