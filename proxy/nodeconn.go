package proxy

import (
	"bytes"
	"errors"
	"net"

	"slotproxy/resp"
)

// nodeConn is one shared connection to a node for one profile: bytes out, requests in the FIFO, replies in. Any doubt
// about which reply belongs to which request closes it; it never resynchronises. Owned by its loop.
type nodeConn struct {
	conn
	node    *node
	profile *profile
	lane    uint8

	queue  fifo        // sent and not answered, in the order of the wire
	framer resp.Framer // where the current reply ends

	attached   bool   // the dial succeeded
	served     bool   // at least one command has been answered
	turnedAway bool   // the node closed the door before it read a command
	ready      bool   // the handshake is through
	greeting   uint8  // replies of the handshake that are still to come
	greeted    []byte // bytes of the handshake reply being collected
	refusal    []byte // the error line with which the node refused the handshake
	before     outq   // commands queued until the handshake is through
	skipped    uint32 // replies of the first request that were swallowed
	heard      int64  // loop time of the last bytes from the node
	born       int64  // loop time of the dial
	stalled    []*session
	halfReply  bool   // bytes of the current reply have been consumed
	halfPush   []byte // the beginning of an out-of-band message

	leased     bool                // one client's at a time, see lease.go
	busy       bool                // a lease that somebody has
	cancels    int                 // CLIENT UNBLOCKs for it that are under way: until they are through nobody else may have it
	kept       bool                // a lease that its client holds on to between commands
	clientID   int64               // of a lease: its name on the node, 0 unknown
	idleFrom   int64               // of a lease that nobody has: loop time since when
	loaded     map[uint64]struct{} // scripts that the node has, by their id, see scripts.go
	loadedLast uint64              // of these, the one that was asked for last, 0 none
	nonces     fifo                // of the requests in the queue, the ones that check the replies to scripts, see suspect.go
	aside      []byte              // of a reply in pieces that nobody waits for: the first bytes, to tell it from a nonce's
	suspect    uint64              // session whose script may have upset the count of replies, 0 none, see suspect.go
	feed       feeder              // takes everything that the node sends after the handshake; nil: replies to requests
}

// feeder takes over a node connection that is not one of requests and replies: subscriptions.
type feeder interface {
	opened(c *nodeConn) // the handshake is through
	// fed takes all of one reply or message, or the next piece when done is false or pieces came before. An error closes
	// the connection.
	fed(c *nodeConn, piece []byte, done bool) error
	cut(c *nodeConn, err error) // the connection is gone; err is nil when we closed it ourselves
}

// dialed takes the outcome of a dial.
func (c *nodeConn) dialed(nc net.Conn, err error) {
	if c.closed {
		if nc != nil {
			_ = nc.Close()
		}
		return
	}
	if err == nil {
		err = c.l.attach(&c.conn, nc)
	}
	if err != nil {
		c.l.stats.UpstreamConnectFailures++
		c.close(err)
		return
	}
	c.attached = true
	c.l.stats.UpstreamOpen++
	c.l.stats.UpstreamConnects++
	c.node.fails = 0
	c.greet()
}

// greet sends the handshake of the profile. Commands wait for its end: run under a weaker or stronger identity than
// the client's, they would be wrong.
func (c *nodeConn) greet() {
	var hello []byte
	k := &c.profile.key
	if k.login {
		if k.user == "" {
			hello = resp.AppendCommandStrings(hello, "AUTH", k.password)
		} else {
			hello = resp.AppendCommandStrings(hello, "AUTH", k.user, k.password)
		}
		c.greeting++
	}
	if k.proto == 3 {
		hello = resp.AppendCommandStrings(hello, "HELLO", "3")
		c.greeting++
	}
	if k.db != 0 {
		hello = resp.AppendCommandStrings(hello, "SELECT", itoa(k.db))
		c.greeting++
	}
	if k.tracking != "" {
		tracking, ready := c.withEar(k.tracking)
		if !ready {
			c.greeting = 0
			return // greeted later, or closed as one that says nothing
		}
		hello = append(hello, tracking...)
		c.greeting += uint8(k.trackings)
	}
	if c.leased {
		hello = append(hello, clientIDCommand...)
		c.greeting++
	}
	if c.greeting == 0 {
		c.begin()
		return
	}
	c.write(hello)
}

// begin lets the queued commands go.
func (c *nodeConn) begin() {
	c.ready = true
	// The handshake is answered, so nothing of it is left in the output.
	c.out, c.before = c.before, outq{}
	c.touch()
	if c.feed != nil {
		c.feed.opened(c)
	}
}

// send puts r on the wire behind everything sent before. The caller has checked that r may go.
func (c *nodeConn) send(r *request) {
	if c.suspect != 0 || r.script {
		c.watchScripts(r)
	}
	r.conn = c
	r.lead, r.early = r.pre, nil
	r.sentAt = c.l.now
	if r.asking && !faultNoAsking {
		r.lead++
		c.put(askingCommand)
	}
	switch {
	case r.caching == "":
	case r.asking: // each of the two is forgotten with the next command that is not it: no place is left for CACHING
		r.root().unnoted = true
	default:
		r.lead++
		c.put([]byte(r.caching))
	}
	if r.wrapped {
		r.lead += 2 // +OK and +QUEUED
		c.put(multiCommand)
		c.put(r.buf)
		c.put(execCommand)
	} else {
		c.put(r.buf)
	}
	r.end = c.queued()
	r.refs++
	c.queue.push(r)
	c.l.stats.InFlight++
	c.l.count(r)
	r.enter(stateSent)
	if c.out.size+c.before.size > c.l.limits.NodeQueue {
		c.aboveMark = true
	}
}

var askingCommand = []byte("*1\r\n$6\r\nASKING\r\n")

// queued is the position in the output at which the next byte will be.
func (c *nodeConn) queued() uint64 { return c.sent + uint64(c.out.size) + uint64(c.before.size) }

// put queues b, by reference when it is large: behind the handshake, or until that is through.
func (c *nodeConn) put(b []byte) {
	q := &c.out
	if !c.ready {
		q = &c.before
	}
	if len(b) >= bigPayload {
		q.give(b)
	} else {
		q.write(&c.l.pool, b)
	}
	if c.ready {
		c.touch()
	}
}

// consume takes replies from the front of data.
func (c *nodeConn) consume(data []byte) (used, need int) {
	c.heard = c.l.now
	c.l.beginQuiet() // one order pass a client for all replies of this read
	defer c.l.endQuiet()
	for used < len(data) {
		if used += c.skipQueued(data[used:]); used == len(data) {
			break
		}
		n, done, err := c.framer.Feed(data[used:])
		if err != nil {
			c.l.stats.Desyncs++
			c.close(err)
			return used, 0
		}
		piece := data[used : used+n]
		used += n
		if err := c.take(piece, done); err != nil {
			c.l.stats.Desyncs++
			c.close(err)
			return used, 0
		}
		if c.closed || !done {
			return used, 0
		}
	}
	return used, 0
}

// take handles the bytes of one reply: all of it, or the next piece when done is false or pieces came before.
func (c *nodeConn) take(piece []byte, done bool) error {
	if c.greeting > 0 {
		return c.takeGreeting(piece, done)
	}
	if c.feed != nil {
		return c.feed.fed(c, piece, done)
	}
	r := c.queue.first()
	if r == nil || c.halfPush != nil || !c.halfReply && len(piece) > 0 && piece[0] == '>' {
		return c.takePush(piece, done, r)
	}
	if c.full(piece) {
		return nil
	}
	// A reply before the command is on the wire is not its reply.
	if r.end > c.sent && len(piece) > 0 {
		return errEarlyReply
	}
	if !done {
		c.halfReply = c.halfReply || len(piece) > 0
		c.takePart(r, piece)
		return nil
	}
	c.halfReply = false
	whole := piece
	if c.nonces.n > 0 {
		whole = c.collected(piece)
		if !r.nonce && c.early(r, whole) {
			return errMissing
		}
	}
	if c.skipped < r.lead {
		return c.swallow(r, piece)
	}
	if r.nonce {
		if !r.repeats(whole) {
			return c.strayed(r, whole)
		}
		c.nonces.pop()
	}
	c.served = true
	c.skipped = 0
	c.queue.pop()
	c.l.stats.InFlight--
	if r.block == nil {
		c.node.took.add(c.l.now - r.sentAt)
	}
	c.l.uncount(r)
	c.l.answered(c, r, piece)
	sticky := r.sticky
	c.l.release(r)
	if sticky && !c.kept && !c.closed {
		c.close(nil)
	}
	if c.leased && c.queue.n == 0 && !c.kept {
		c.node.returned(c)
	}
	return nil
}

// takePart keeps or forwards a piece of a reply that goes on.
func (c *nodeConn) takePart(r *request, piece []byte) {
	if r.nonce || r.state == stateDone && c.nonces.n > 0 {
		c.putAside(piece)
		return
	}
	if len(piece) == 0 || r.state == stateDone || c.skipped < r.lead {
		return
	}
	if r.streaming {
		r.sess.stream(r, piece)
		return
	}
	c.l.keepReply(r, piece)
	if c.l.overfull(r, 0) {
		c.l.fail(r, errTextEmulateBytes)
		return
	}
	if s := r.root().sess; s != nil {
		s.checkOutput()
	}
	if r.state == stateDone { // its client has just been cut off
		return
	}
	if len(r.reply) >= streamFrom && r.passes() && r.sess.head == r && r.reply[0] != '-' {
		r.sess.beginStream(r)
	}
}

// streamFrom is the size from which a reply is forwarded as it arrives instead of being collected first.
const streamFrom = 64 << 10

// swallow drops a reply that comes before the one that counts: to ASKING, or to the commands of a transaction while
// they are queued. Of errors the first is kept; it explains what comes later.
func (c *nodeConn) swallow(r *request, piece []byte) error {
	if len(piece) == 0 || piece[0] != '+' && piece[0] != '-' {
		return errUnasked
	}
	if piece[0] == '-' && r.early == nil {
		r.early = append(r.early, piece...)
		r.earlyAt = int32(c.skipped) - int32(r.lead-r.pre)
	}
	c.skipped++
	return nil
}

// skipQueued swallows what a node says while a transaction is queued and nothing is wrong with it.
func (c *nodeConn) skipQueued(data []byte) (n int) {
	r := c.queue.first()
	if r == nil || !c.ready || c.skipped >= r.lead || r.end > c.sent || c.nonces.n > 0 || c.feed != nil || !c.framer.Between() {
		return 0
	}
	for c.skipped < r.lead {
		switch rest := data[n:]; {
		case bytes.HasPrefix(rest, queuedReply):
			n += len(queuedReply)
		case bytes.HasPrefix(rest, okReply):
			n += len(okReply)
		default:
			return n
		}
		c.skipped++
	}
	return n
}

// maxPush bounds an out-of-band message that is being collected: the longest string of a server.
const maxPush = 512 << 20

// takePush takes an out-of-band message: for the client whose connection this is, or for nobody. Any other bytes
// without a request are a node that has lost count, or one that is closing the connection and says why.
func (c *nodeConn) takePush(piece []byte, done bool, r *request) error {
	if c.halfPush == nil && r == nil && len(piece) > 0 && piece[0] != '>' {
		return errUnasked
	}
	if !done || c.halfPush != nil {
		if len(c.halfPush)+len(piece) > maxPush {
			return errors.New("a push message that is too long")
		}
		c.halfPush = append(c.halfPush, piece...)
		piece = c.halfPush
	}
	if !done {
		return nil
	}
	c.halfPush = nil
	if to := c.profile.pushTo; to != nil && len(piece) > 0 {
		to(piece)
	}
	return nil
}

// takeGreeting checks the replies of the handshake.
func (c *nodeConn) takeGreeting(piece []byte, done bool) error {
	c.greeted = append(c.greeted, piece...)
	if !done {
		if len(c.greeted) > streamFrom {
			return errNodeLocked
		}
		return nil
	}
	if c.full(c.greeted) {
		return nil
	}
	if c.leased && c.greeting == 1 {
		c.clientID, _ = integer(c.greeted) // a user who may not ask has none
	} else if c.greeted[0] == '-' {
		c.refusal = c.greeted
		c.close(errNodeLocked)
		return nil
	}
	c.greeted = c.greeted[:0]
	c.greeting--
	if c.greeting == 0 {
		c.greeted = nil
		c.begin()
	}
	return nil
}

// tooManyClients is what a full server says to a new connection before it closes it, without reading anything.
var tooManyClients = []byte("-ERR max number of clients reached")

// full says that the node has closed the door before it read a command. The connection is gone then.
func (c *nodeConn) full(piece []byte) bool {
	if c.served || !bytes.HasPrefix(piece, tooManyClients) {
		return false
	}
	c.turnedAway = true
	c.close(errNodeFull)
	return true
}

func (c *nodeConn) eof() { c.close(errClosedByPeer) }

// drained lets the clients go on that had been stopped because this node's queue was long.
func (c *nodeConn) drained() {
	stalled := c.stalled
	c.stalled = nil
	for _, s := range stalled {
		s.nodeDrained()
	}
}

// lost settles every request in the FIFO, oldest first: what was not written goes again, what was written and only
// reads goes again, and for the rest nobody knows the outcome.
func (c *nodeConn) lost(err error) {
	l := c.l
	if c.leased {
		c.node.removeLease(c)
	} else {
		c.node.remove(c)
	}
	c.before.reset(&l.pool)
	if err != nil && err != errMultiOpen {
		c.profile.forgetPermissions() // a node closes the connections of a user whom it does not know any more
	}
	// A node that cannot be reached, breaks off the handshake or is full is left alone for a moment; one that we leave
	// ourselves, or that refuses a password, is not.
	if err != nil && err != errNodeGone && c.refusal == nil && (!c.ready || c.turnedAway) {
		c.node.backOff()
	}
	if err != nil && !l.closing {
		l.doubt(c.node, err)
	}
	lost := c.queue
	c.queue, c.nonces = fifo{}, fifo{}
	l.stats.InFlight -= int64(lost.n)
	if c.attached {
		l.stats.UpstreamOpen--
	}
	for i := range lost.n {
		l.uncount(lost.at(i))
	}
	// No client goes on before all of its lost requests are settled: one that waits its turn could overtake them.
	l.beginQuiet()
	for i := range lost.n {
		r := lost.at(i)
		if c.refusal != nil {
			l.refused(r, c.refusal)
		} else {
			l.orphaned(r, r.end <= c.sent && !c.turnedAway)
		}
		l.release(r)
	}
	l.endQuiet()
	c.drained()
	if c.leased {
		c.node.serveLine()
	}
	if c.feed != nil {
		c.feed.cut(c, err)
	}
	if c.attached && c.profile.cut != nil {
		c.profile.cut()
	}
}
