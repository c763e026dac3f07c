package proxy

import (
	"bytes"

	"slotproxy/internal/metrics"
	"slotproxy/router"
)

// state is where a request stands. Only request.to changes it.
type state uint8

const (
	stateNew     state = iota // parsed, not yet routed
	stateHeld                 // may not go before an earlier request of its client
	stateSent                 // in the FIFO of a node connection, written or about to be
	stateWaiting              // the cluster could not serve it now; goes again at wake
	stateDone                 // reply is complete, or nobody waits for it any more
)

// request is one command on its way, or one part of a command that was split. It belongs to its loop, is used again
// after its last reference is gone, and is referred to by at most: its client's queue (or its parent), one node
// connection's FIFO, and the list of waiting requests.
type request struct {
	sess   *session // whom the reply is for; nil when that client is gone
	parent *request // the command that this is a part of
	fan    *fanout  // the parts of this command
	rule   *router.Rule

	buf    []byte // the command as it goes on the wire; ours until the last reference is gone
	reply  []byte // reply bytes that had to be kept, from the pool
	behind []byte // replies of the proxy's own that its client gets behind this one, from the pool
	weight int    // of a command with parts: their number, for the client's window
	args   int    // number of arguments, for the error texts of part commands

	// A request of the proxy's own has no client: then is told the reply, nil when the connection was lost. See ask.go.
	then    func(l *loop, r *request, reply []byte)
	caching string       // CLIENT CACHING to go before it, empty for none
	early   []byte       // the first error among the replies that come before the one that counts
	block   *blocking    // of a command that may wait in its node, see blocking.go
	tx      *transaction // of an EXEC, the transaction that it carries out, see multi.go
	uses    []*code      // scripts that the node must have before it, see scripts.go
	walk    *walk        // of SCAN and KEYS, see scan.go
	moves   uint64       // of FLUSHALL and FLUSHDB: loop.moves when it began

	inLine *node     // waits there for a lease
	grant  *nodeConn // a lease that has been put aside for it
	pinned *nodeConn // the only connection that it may go on, which its client holds: where keys are watched
	next   *request  // behind this one in the client's queue
	conn   *nodeConn // where it is in flight
	to     *node     // the node that it must go to, not its slot's: the target of an ASK, a part for one node

	end      uint64 // position behind its last byte in the output of conn; before, the size that its buffer needs
	cursor   int    // place in reply up to which a merge has taken it
	start    int64  // loop time at which the client's command was complete
	sentAt   int64  // loop time of the last sending
	deadline int64  // loop time at which waiting ends
	gatedAt  int64  // loop time since when a gate holds it back, 0: none does

	gen       uint32 // generation of the slot's trouble when it was sent, see slots.go
	pre       uint32 // replies to its own bytes that come before the one that counts: +OK of MULTI, +QUEUED
	earlyAt   int32  // to which of its own bytes early is the reply, from 0; below 0: to what was sent before them
	lead      uint32 // all replies before the one that counts in this sending: pre, and the +OK of ASKING
	refs      uint8  // queue or parent, FIFO, waiting list, line for a lease
	redirects uint16 // MOVED and ASK followed
	hops      uint8  // attempts that were redirected or refused
	part      uint32 // index among its parent's parts

	slot      uint16
	hasSlot   bool
	state     state
	write     bool  // may change data
	once      bool  // must not be sent again when its outcome is unknown
	multi     bool  // two or more keys in one slot: TRYAGAIN is possible
	asking    bool  // to be sent behind ASKING
	streaming bool  // part of its reply is already in its client's output
	counted   tally // in the numbers of what is in flight
	pooled    bool  // buf is from the pool
	joined    bool  // came together with the command before it, see together.go
	muted     bool  // its client does not want the reply, see quiet.go
	ownError  bool  // its reply is an error of the proxy, not of a node
	fault     bool  // it, or a part of it, failed by the cluster's fault, not by its client's
	watched   bool  // an EXEC behind WATCH: null when the watched keys have gone elsewhere
	sticky    bool  // leaves something behind on its connection, which is closed unless the client keeps it
	own       bool  // needs a node connection of its client's own, see lease.go
	raw       bool  // whoever made it wants every reply as it is: nothing is followed or tried again, see fan.go
	script    bool  // may make the node answer too often or too seldom, see suspect.go
	publish   bool  // a message for subscribers
	reloaded  bool  // its script was missing once
	wrapped   bool  // sent as a transaction of its own, see script.go
	wide      bool  // for all primaries, and wrong while keys go from one to another, see gate.go; its parts are not
	unnoted   bool  // what it read is not watched by the node, though its client may believe that, see tracking.go
	nonce     bool  // asks whether the replies still fit, see suspect.go

	class metrics.Class
}

// enter moves r to state s and keeps its client's count of requests that have not been sent.
func (r *request) enter(s state) {
	if c := r.root().sess; c != nil {
		c.unsent += unsentIn(s) - unsentIn(r.state)
	}
	r.state = s
}

func unsentIn(s state) int {
	if s == stateHeld || s == stateWaiting {
		return 1
	}
	return 0
}

// root is the command that the client sent.
func (r *request) root() *request {
	if r.parent != nil {
		return r.parent
	}
	return r
}

// passes says that the reply of r goes to the client as it comes: nobody has to see all of it first.
func (r *request) passes() bool {
	return r.parent == nil && r.fan == nil && r.then == nil && !r.wrapped && !r.block.asking() && (r.tx == nil || len(r.tx.own) == 0)
}

// isBlock says that r begins with MULTI.
func (r *request) isBlock() bool { return r.pre > 0 && bytes.HasPrefix(r.buf, multiCommand) }

// loose says that MULTI was refused, so that the node runs the commands behind it one by one.
func (r *request) loose() bool { return r.early != nil && r.earlyAt == 0 && r.isBlock() }

// discarded says that a command behind MULTI was refused, so that the node runs none of them.
func (r *request) discarded() bool { return r.early != nil && r.earlyAt > 0 && r.isBlock() }

// everywhere says that r is a command for every primary that has not been spread over them, or a walk between two steps.
func (r *request) everywhere() bool {
	return r.fan == nil && r.parent == nil && (r.rule.Policy == router.AllPrimaries || r.walk != nil)
}

// maxIdleRequests bounds the free list: 64 clients with 64 pipelined commands each.
const maxIdleRequests = 4096

// keepBuf is how large a buffer an unused request may keep. Most commands fit, and 4096 of them stay below 2 MiB.
const keepBuf = 512

func (l *loop) newRequest() *request {
	n := len(l.freeRequests)
	if n == 0 {
		return &request{}
	}
	r := l.freeRequests[n-1]
	l.freeRequests = l.freeRequests[:n-1]
	return r
}

// release drops one reference and puts r aside for use again when it was the last.
func (l *loop) release(r *request) {
	r.refs--
	if r.refs > 0 {
		return
	}
	if r.fan != nil {
		l.freeFanout(r.fan)
	}
	if r.walk != nil {
		l.dropWalk(r)
	}
	if r.tx != nil {
		l.blank(r.tx)
	}
	l.dropReply(r)
	l.dropBehind(r)
	if r.grant != nil {
		r.grant.node.returned(r.grant)
	}
	if r.pinned != nil && r.watched {
		l.endWatch(r.pinned)
	}
	buf := r.buf
	if r.pooled {
		l.pool.put(buf)
	}
	if r.pooled || cap(buf) > keepBuf {
		buf = nil
	}
	*r = request{buf: buf[:0]}
	if len(l.freeRequests) < maxIdleRequests {
		l.freeRequests = append(l.freeRequests, r)
	}
}

// setBuf stores a copy of the command's bytes.
func (l *loop) setBuf(r *request, b []byte) {
	l.roomFor(r, len(b))
	r.buf = append(r.buf, b...)
}

// roomFor gives r an empty buffer for n bytes. It is called once in the life of a request.
func (l *loop) roomFor(r *request, n int) {
	switch {
	case n <= cap(r.buf):
		r.buf = r.buf[:0]
	case n <= keepBuf:
		r.buf = make([]byte, 0, keepBuf)
	default:
		r.buf, r.pooled = l.pool.get(n), true
	}
}

// take makes a buffer that is counted by the pool r's own.
func (r *request) take(b []byte) { r.buf, r.pooled = b, true }

// keepReply appends b to the reply bytes that r holds.
func (l *loop) keepReply(r *request, b []byte) {
	if r.reply == nil {
		r.reply = l.pool.get(len(b))
	} else if n := len(r.reply) + len(b); n > cap(r.reply) {
		r.reply = l.pool.grow(r.reply, max(n, 2*len(r.reply)))
	}
	r.reply = append(r.reply, b...)
	if s := r.root().sess; s != nil {
		s.held += len(b)
	}
}

func (l *loop) dropReply(r *request) {
	if r.reply == nil {
		return
	}
	if s := r.root().sess; s != nil {
		s.held -= len(r.reply)
	}
	l.pool.put(r.reply)
	r.reply = nil
}

// keepBehind lets b follow the reply to r. Commands that the proxy answers itself need no request of their own.
func (l *loop) keepBehind(r *request, b []byte) {
	if r.behind == nil {
		r.behind = l.pool.get(len(b))
	} else if n := len(r.behind) + len(b); n > cap(r.behind) {
		r.behind = l.pool.grow(r.behind, max(n, 2*len(r.behind)))
	}
	r.behind = append(r.behind, b...)
	r.sess.held += len(b)
}

func (l *loop) dropBehind(r *request) {
	if r.behind == nil {
		return
	}
	if s := r.sess; s != nil {
		s.held -= len(r.behind)
	}
	l.pool.put(r.behind)
	r.behind = nil
}

// extend appends b to the command of r, which is not sent yet.
func (l *loop) extend(r *request, b []byte) {
	n := len(r.buf) + len(b)
	switch {
	case n <= cap(r.buf):
	case r.pooled:
		r.buf = l.pool.grow(r.buf, max(n, 2*len(r.buf)))
	default:
		r.buf, r.pooled = append(l.pool.get(max(n, 2*len(r.buf))), r.buf...), true
	}
	r.buf = append(r.buf, b...)
}

// fanout is the state of a command that has parts: one for each slot, or one for each node.
type fanout struct {
	parts []*request
	left  int     // parts without a reply
	merge mergeFn // makes one reply of all
	// stage, if not nil, is called when all parts are answered. It reports true when it has added further parts, which
	// have to be answered first.
	stage func(l *loop, r *request) bool
	raw   bool  // the merge looks at errors itself
	looks uint8 // of RANDOMKEY: rounds that gave nothing but keys that are not there
	// emulation, if not nil, is a command that is carried out in steps, see emulate.go.
	emulation *emulation
	order     []partRef
}

// partRef says where the value for one key of the client's command is: which part, and which place in it.
type partRef struct{ part, index uint32 }

func (l *loop) newFanout() *fanout {
	n := len(l.freeFanouts)
	if n == 0 {
		return &fanout{}
	}
	f := l.freeFanouts[n-1]
	l.freeFanouts = l.freeFanouts[:n-1]
	return f
}

// freeFanout drops the parts and keeps the slices for the next command, within reason.
func (l *loop) freeFanout(f *fanout) {
	for i, p := range f.parts {
		p.parent = nil // it may still be in a FIFO, and its parent is about to become another command
		l.release(p)
		f.parts[i] = nil
	}
	if cap(f.order) > 1024 || len(l.freeFanouts) >= 256 {
		return
	}
	*f = fanout{parts: f.parts[:0], order: f.order[:0]}
	l.freeFanouts = append(l.freeFanouts, f)
}
