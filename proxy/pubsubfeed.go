package proxy

import (
	"errors"

	"slotproxy/resp"
)

// feed is one node connection that subscriptions of a hub come on. It speaks RESP3, where messages are told from replies
// by their first byte. Behind each command goes a HELLO, which every user may say: its reply ends the command whatever
// confirmations and unasked "sunsubscribe" messages came before.
type feed struct {
	h       *hub
	n       *node
	c       *nodeConn
	primary bool // its node is one: keyspace events of a replica would be those of its primary once more
	sent    []*entry
	half    []byte // the beginning of a message that is still coming
	idle    int64  // loop time since when nobody has wanted it
}

// entry is one command on a feed that has not been answered.
type entry struct {
	ch    *change // the client's; nil: the hub's own
	kind  topicKind
	leave bool
	// The topics have no clients, and their hub has forgotten them: the last place where they are known is here.
	unwanted bool
	extra    bool // the change does not need it: keyspace events of one node among several
	topics   []*topic
	got      int    // confirmations
	err      []byte // with which the node refused it
	at       int64  // loop time of sending
}

var (
	fenceCommand = []byte("*1\r\n$5\r\nHELLO\r\n")
	errBadPush   = errors.New("a message that cannot be read")
)

// send puts a command on the wire: for the topics, or, without any, only to hear when all that was published so far has
// come.
func (f *feed) send(e *entry) {
	l := f.h.l
	e.at = l.now
	if len(e.topics) > 0 {
		word := subscribeWord[e.kind]
		if e.leave {
			word = leaveWord[e.kind]
		}
		b := resp.AppendArray(l.scratch[:0], 1+len(e.topics))
		b = resp.AppendBulkString(b, word)
		for _, t := range e.topics {
			b = resp.AppendBulkString(b, t.name)
			if e.leave {
				t.parting++
			} else if e.ch == nil {
				t.asked++
			}
		}
		l.scratch = b
		if len(b) >= bigPayload { // a large one is queued by reference
			l.scratch = nil
		}
		f.c.put(b)
	}
	f.c.put(fenceCommand)
	f.sent = append(f.sent, e)
}

func (f *feed) opened(*nodeConn) { f.h.fails = 0 }

// fed takes what the node sends.
func (f *feed) fed(_ *nodeConn, piece []byte, done bool) error {
	if !done || f.half != nil {
		if len(f.half)+len(piece) > maxPush {
			return errBadPush
		}
		f.half = append(f.half, piece...)
		piece = f.half
	}
	if !done || len(piece) == 0 {
		return nil
	}
	f.half = nil
	if piece[0] != '>' {
		return f.answered(piece)
	}
	return f.pushed(piece)
}

// answered takes a reply: the error with which a command was refused, or the one to the HELLO behind it.
func (f *feed) answered(reply []byte) error {
	if len(f.sent) == 0 {
		return errUnasked
	}
	e := f.sent[0]
	if e.got < len(e.topics) && e.err == nil {
		if reply[0] != '-' {
			return errUnasked
		}
		e.err = append(e.err, reply...)
		return nil
	}
	if reply[0] != '%' {
		return errUnasked
	}
	f.sent = f.sent[:copy(f.sent, f.sent[1:])]
	f.h.fails = 0
	f.settled(e)
	f.h.through(f, e)
	return nil
}

// settled takes a command out of the counts of its topics.
func (f *feed) settled(e *entry) {
	for _, t := range e.topics {
		if e.leave {
			t.parting--
			if e.unwanted {
				f.h.l.p.audience.placed(t, f.n.addr, -1)
			}
		} else if e.ch == nil {
			t.asked--
		}
	}
}

// pushed takes a message.
func (f *feed) pushed(message []byte) error {
	h := f.h
	_, count, n, ok := resp.AggHeader(message)
	word, rest, good := bulk(message[n:])
	name, rest, named := bulk(rest)
	if !ok || !good || count < 2 {
		return nil // of a kind that nobody asked for
	}
	if !named {
		return errBadPush
	}
	switch string(word) {
	case "message":
		f.deliver(h.topics[plainTopic][string(name)], name, message)
	case "smessage":
		f.deliver(h.topics[shardTopic][string(name)], name, message)
	case "pmessage":
		channel, _, ok := bulk(rest)
		if !ok {
			return errBadPush
		}
		f.deliver(h.topics[patternTopic][string(name)], channel, message)
	default:
		f.confirmed(string(word), name)
	}
	return nil
}

// confirmed notes that a topic is subscribed at this node, or not any more.
func (f *feed) confirmed(word string, name []byte) {
	for kind := range numTopicKinds {
		leave := word == leaveWord[kind]
		if !leave && word != subscribeWord[kind] {
			continue
		}
		if len(f.sent) > 0 && f.sent[0].kind == kind && f.sent[0].leave == leave {
			f.sent[0].got++
		}
		t := f.h.topics[kind][string(name)]
		switch {
		case t == nil && leave:
		case t == nil: // everybody has left since it was asked for
			f.send(&entry{kind: kind, leave: true, topics: []*topic{{h: f.h, kind: kind, name: string(name)}}})
		case !leave:
			t.place(f)
			t.leaveOthers(f)
		case t.unplace(f) && t.parting == 0:
			f.h.strand(t) // the slot has left the node
		}
	}
}

// leaveOthers ends a sharded channel at the nodes that had its slot before.
func (t *topic) leaveOthers(f *feed) {
	if t.kind != shardTopic || t.parting > 0 {
		return
	}
	for _, o := range t.at {
		if o != f {
			o.send(&entry{kind: t.kind, leave: true, topics: []*topic{t}})
		}
	}
}

// deliver hands a message to everybody who listens to t. What was published reaches every node, so plain channels are
// heard at one; keyspace events are told by the node of the key only.
func (f *feed) deliver(t *topic, channel, message []byte) {
	l := f.h.l
	l.stats.MessagesIn++
	if t == nil {
		return
	}
	if t.kind != shardTopic {
		if isEvent(channel) {
			if !f.primary {
				return
			}
		} else if f != f.h.home {
			return
		}
	}
	t.delivering = true
	for i := 0; i < len(t.subs); i++ {
		sub := t.subs[i]
		if sub == nil {
			continue
		}
		message[0] = '*'
		if sub.s.profile.key.proto == 3 {
			message[0] = '>'
		}
		l.stats.MessagesOut++
		sub.s.push(message)
	}
	t.delivering = false
	t.compact()
}

// cut tells that the connection is gone: everything has to be subscribed again, somewhere.
func (f *feed) cut(c *nodeConn, _ error) {
	h := f.h
	delete(h.feeds, f.n)
	if h.home == f {
		h.home = nil
	}
	if h.l.closing {
		return
	}
	h.backOff()
	sent := f.sent
	f.sent, f.half = nil, nil
	for _, of := range h.topics {
		for _, t := range of {
			if t.unplace(f) {
				h.strand(t)
			}
		}
	}
	for _, e := range sent {
		f.settled(e)
		if c.refusal != nil {
			e.err = c.refusal
		}
		h.interrupted(e)
	}
	if c.refusal != nil {
		h.cutClients() // their login is not valid any more; a server says so by closing the connection
	}
}

// check closes a feed that nobody needs or that is dead, and asks a quiet one whether it lives.
func (f *feed) check() {
	l := f.h.l
	limit := l.limits.UpstreamTimeout.Nanoseconds()
	switch {
	case len(f.sent) > 0 && l.now-f.sent[0].at > limit && l.now-max(f.c.heard, f.c.born) > limit:
		f.n.backOff() // for a moment another one is the better home
		f.c.close(errStalled)
	case len(f.sent) > 0:
	case f.needed():
		f.idle = 0
		f.send(&entry{})
	case f.idle == 0:
		f.idle = l.now
	case l.now-f.idle > leaseIdle:
		f.c.close(nil)
	}
}

// needed says that somebody listens to what comes here.
func (f *feed) needed() bool {
	for _, of := range f.h.topics {
		for _, t := range of {
			for _, at := range t.at {
				if at == f {
					return true
				}
			}
		}
	}
	return false
}

// bulk takes a bulk string from the front of b.
func bulk(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '$' {
		return nil, b, false
	}
	n, err := resp.Skip(b)
	if err != nil || n == 0 {
		return nil, b, false
	}
	head := 1
	for b[head] != '\n' {
		head++
	}
	if head+1 > n-2 {
		return nil, b, false // $-1
	}
	return b[head+1 : n-2], b[n:], true
}
