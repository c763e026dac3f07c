package proxy

import (
	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// stops are the reasons not to read a client for now. Bits, because several may hold.
type stops uint8

const (
	stopInFlight stops = 1 << iota // too many of its commands have no reply
	stopOutput                     // it does not read its replies
	stopNode                       // a node it writes to has a long queue
	stopBarrier                    // the next command needs the earlier ones to be done
	stopBlocked                    // a command of its own waits in a node
	stopPaused                     // CLIENT PAUSE holds the next command back
)

// stillRead are the reasons that may last: the client is read meanwhile, because only reading tells that it has left.
const stillRead = stopBlocked | stopPaused

// maxUnread is how much of such a client is kept for later.
const maxUnread = 64 << 10

// session is one client. Owned by its loop.
type session struct {
	conn
	id       uint64    // immutable
	addr     string    // immutable; the client's address
	local    string    // immutable; the address it connected to
	listener *listener // immutable
	born     int64     // immutable; loop time
	index    int       // place in loop.sessions

	parser     resp.Parser
	head, tail *request // commands without a delivered reply, oldest first
	queued     int      // their number
	window     int      // the number at which the client is no longer read
	streamed   int      // size of the last reply that was passed on as it came, until the client has read it
	unsent     int      // of these and their parts, the ones held or waiting
	held       int      // bytes of replies that wait for their turn
	stops      stops
	advancing  bool // an order pass is under way
	postponed  bool // an order pass is owed
	parked     bool // a gate holds back one of its commands; an order pass follows when it opens
	again      bool // an order pass was wanted while one was under way
	ghost      bool // not a client: it waits for the rest of what a client has begun, see carryOn
	ending     bool // answer what is in the queue, then close; no more input

	profile   *profile
	authed    bool
	failures  int            // AUTH failures
	name      string         // CLIENT SETNAME
	libName   string         // CLIENT SETINFO
	libVer    string         //
	capa      string         // CLIENT CAPA
	noEvict   bool           // CLIENT NO-EVICT
	noTouch   bool           // CLIENT NO-TOUCH
	hearing   hearing        // CLIENT REPLY
	batched   bool           // a command of the bytes at hand is in the queue already
	wrong     bool           // the command at hand was answered with an error of the proxy's own
	asked     bool           // the command at hand is answered, and counted, later
	rule      *router.Rule   // of its last command, for CLIENT LIST
	login     *login         // an AUTH, HELLO or SELECT that a node has to confirm
	tx        *transaction   // between MULTI and EXEC
	spare     *transaction   // for the next one
	watch     *watch         // between WATCH and EXEC
	tracking  *tracking      // CLIENT TRACKING is on
	caching   string         // CLIENT CACHING to go before the next command
	blocked   *request       // waits in a node
	subs      *subscriptions // nil without any
	published *node          // that its last PUBLISH went to
	wrote     []*node        // got a write of this client since its last WAIT
	monitors  bool           // MONITOR
	watched   bool           // the command at hand has to be shown to those with MONITOR
	pushes    []byte         // messages that came in the middle of a reply
	whispered bool           // replies are in the output that a flush may wait for, see whisper
	captured  []byte         // what a command of a transaction answers, see capture
	capturing bool
	reason    metrics.DisconnectReason
	commands  uint64 // complete commands ever received
}

// consume takes whole commands from the front of data.
func (s *session) consume(data []byte) (used, need int) {
	s.batched = false
	used, need = s.parse(data)
	if s.whispered {
		s.speakUp()
	}
	return used, need
}

// parse parses and routes the commands.
func (s *session) parse(data []byte) (used, need int) {
	if s.ending {
		return len(data), 0
	}
	for s.stops == 0 {
		// Also with nothing left, so that the parser lets go of the last command's arguments.
		n, err := s.parser.Next(data[used:], s.requestLimits())
		if err != nil {
			s.protocolError(err)
			return len(data), 0
		}
		if n == 0 {
			return used, s.parser.Need()
		}
		if len(s.parser.Args) > 0 && !s.command(data[used:used+n]) {
			s.parser.Reset() // it will be offered again when the earlier commands are done
			return used, 0
		}
		if s.watched {
			s.watched = false
			s.show(s.rule) // behind its reply, if that is known
		}
		if s.hearing.skip || s.hearing.next {
			s.hearing.step()
		}
		used += n
		if s.closed || s.ending {
			return len(data), 0
		}
	}
	if s.stops&stillRead != 0 && len(data)-used > maxUnread {
		s.conn.pause(true)
	}
	return used, 0
}

func (s *session) requestLimits() *resp.Limits {
	if s.authed {
		return &s.l.limits.AfterAuth
	}
	return &s.l.limits.BeforeAuth
}

// protocolError answers as the server does, behind the replies that are still due, and ends the session.
func (s *session) protocolError(err error) {
	s.reason = metrics.DisconnectProtocol
	if pe, ok := err.(*resp.ProtocolError); ok && pe.Silent {
		s.conn.close(errProtocol) // somebody talks HTTP to us, say: the server is silent, too
		return
	}
	s.ownError("ERR " + err.Error())
	s.end()
}

// end stops reading and closes once the last reply is out.
func (s *session) end() {
	if s.closed {
		return
	}
	s.ending = true
	if s.head == nil {
		s.conn.closeWhenWritten()
	}
}

// enqueue puts r at the end of the client's queue.
func (s *session) enqueue(r *request) {
	r.sess = s
	r.muted = s.hearing.deaf()
	r.joined, s.batched = s.batched, true
	r.refs++
	if s.tail == nil {
		s.head = r
	} else {
		s.tail.next = r
	}
	s.tail = r
	s.weigh(1)
}

// weigh adds n commands or parts to what the client has under way.
func (s *session) weigh(n int) {
	s.queued += n
	if s.queued >= s.window {
		s.stop(stopInFlight)
	}
}

// finish gives r its whole reply. reply may be r's own kept bytes.
func (l *loop) finish(r *request, reply []byte) {
	if r.parent != nil {
		l.finishPart(r, reply)
		return
	}
	if r.then != nil {
		l.tell(r, reply)
		return
	}
	if r.wide {
		l.uncount(r)
	}
	s := r.sess
	if s == nil {
		r.enter(stateDone)
		return
	}
	l.observe(r, reply)
	s.adapt(len(reply))
	r.enter(stateDone)
	if s.head == r && !s.advancing {
		s.reply(reply)
		s.deliver()
	} else {
		if r.reply == nil {
			l.keepReply(r, reply)
		}
		if !s.advancing {
			s.checkOutput() // may end the session, which a walk over its queue could not bear
		}
	}
	if s.unsent > 0 {
		s.advance()
	}
}

// reply puts bytes into the output, which is at the first request of the queue, and takes that request out.
func (s *session) reply(b []byte) {
	if len(b) == 0 { // our own mistake; what follows would be taken for the reply to this
		s.conn.close(errReplyCut)
		return
	}
	s.emit(b)
	s.shift()
	s.checkOutput()
}

// shift removes the first request of the queue.
func (s *session) shift() {
	r := s.head
	s.head = r.next
	if s.head == nil {
		s.tail = nil
	}
	r.next = nil
	s.queued -= max(1, r.weight)
	if r.unnoted {
		s.forget() // behind its reply, which the client may just have put into its cache
	}
	s.l.dropReply(r)
	if r.behind != nil {
		s.write(r.behind)
		s.l.dropBehind(r)
	}
	r.sess = nil
	s.l.release(r)
}

// deliver writes the replies whose turn has come.
func (s *session) deliver() {
	if s.advancing || s.closed && !s.ghost {
		return
	}
	for s.head != nil && s.head.state == stateDone {
		s.reply(s.head.reply)
		if s.closed {
			return
		}
	}
	if s.stops&stopInFlight != 0 && s.queued <= s.window/2 {
		s.resume(stopInFlight)
	}
	if s.head == nil {
		s.blocked = nil
		s.resume(stopBarrier | stopBlocked)
		if s.ending {
			s.conn.closeWhenWritten()
		}
	}
}

// beginStream turns from collecting a reply to passing it on as it comes: it is the client's turn, and it is large.
func (s *session) beginStream(r *request) {
	if s.out.size+s.held-len(r.reply) > s.l.limits.OutHard {
		s.cutOff()
		return
	}
	r.streaming = true
	s.streamed = len(r.reply)
	s.emit(r.reply)
	s.l.dropReply(r)
	s.checkOutput()
}

func (s *session) stream(r *request, piece []byte) {
	if r.state == stateDone {
		return
	}
	// Nothing queued: spare the copy and hand the bytes to the socket at once.
	s.streamed += len(piece)
	s.emitThrough(piece)
	s.checkOutput()
}

func (s *session) endStream(r *request, piece []byte) {
	s.emit(piece)
	s.l.observe(r, okHead)
	s.adapt(s.streamed + len(piece))
	if !s.aboveMark {
		s.streamed = 0
	}
	r.enter(stateDone)
	if s.pushes != nil {
		s.write(s.pushes)
		s.held -= len(s.pushes)
		s.pushes = nil
	}
	s.shift()
	s.checkOutput()
	s.deliver()
	if s.unsent > 0 {
		s.advance()
	}
}

var okHead = []byte("+")

// push hands the client a message that answers no command. It goes between two replies, never into one.
func (s *session) push(message []byte) {
	if s.closed {
		return
	}
	if s.head != nil && s.head.streaming {
		s.pushes = append(s.pushes, message...)
		s.held += len(message)
	} else {
		s.write(message)
	}
	s.checkOutput()
}

// observe counts an answered command.
func (l *loop) observe(r *request, reply []byte) {
	if r.rule == nil {
		return
	}
	n := &l.stats.Commands[r.rule.ID]
	switch {
	case r.ownError:
		n.ProxyError++
		if r.fault && reply[0] == '-' { // else it was made good
			l.faults++
		}
	case reply[0] == '-':
		n.ServerError++
	default:
		n.OK++
	}
	took := l.now - r.start
	l.stats.CommandSeconds[r.class].Observe(took)
	if r.class != metrics.ClassBlocking {
		l.took.add(took)
	}
	if took >= slowFrom {
		l.noteSlow(r)
	}
}

// eof answers what the client has sent before it closed its side: `printf ... | nc` is a client too.
func (s *session) eof() {
	if s.head == nil && s.out.empty() || s.blocked != nil {
		s.conn.close(errClosedByPeer)
		return
	}
	s.conn.pause(true)
	s.end()
}

func (s *session) drained() {
	s.streamed = 0
	s.resume(stopOutput)
}

// stallOn stops reading the client until a node's queue is short again.
func (s *session) stallOn(c *nodeConn) {
	if s.stops&stopNode == 0 {
		s.l.stats.ReadsPaused++
		s.stop(stopNode)
	}
	c.stalled = append(c.stalled, s)
}

func (s *session) nodeDrained() { s.resume(stopNode) }

func (s *session) stop(why stops) {
	s.stops |= why
	if why&stillRead == 0 {
		s.conn.pause(true)
	}
}

func (s *session) resume(why stops) {
	if s.stops&why == 0 || s.closed {
		return
	}
	s.stops &^= why
	switch {
	case s.stops&^stillRead != 0 || s.stops != 0 && len(s.in) > maxUnread:
	case s.paused:
		s.conn.pause(false)
	case len(s.in) > 0:
		s.l.again = append(s.l.again, &s.conn)
	}
}

// lost forgets the client. Replies that are still to come are counted and dropped by the node connections.
func (s *session) lost(err error) {
	l := s.l
	for r := s.head; r != nil; {
		next := r.next
		r.next = nil
		l.dropBehind(r)
		l.abandon(r)
		l.release(r)
		r = next
	}
	s.head, s.tail, s.queued, s.unsent = nil, nil, 0, 0
	s.unwatch()
	s.dropTransaction()
	s.endTracking()
	s.endMonitor()
	if s.subs != nil && s.reason == metrics.DisconnectSlowConsumer {
		l.stats.SubscribersCut++
	}
	s.unsubscribeAll()
	l.removeSession(s)
	l.stats.SessionsClosed[s.reason]++
	s.profile.left()
	if s.login != nil {
		s.login.profile.left()
		s.login = nil
	}
	l.log.Debug("session closed", "session", s.id, "cause", s.reason.String(), "err", err)
}

// abandon marks a request that nobody waits for. A write that has been sent takes its course.
func (l *loop) abandon(r *request) {
	if r.block != nil && r.fan == nil && r.state == stateSent && !r.streaming {
		l.forsake(r)
		return
	}
	if r.carriesOn() {
		l.carryOn(r)
		return
	}
	if r.wide {
		l.uncount(r)
	}
	if r.fan != nil {
		for _, p := range r.fan.parts {
			p.parent = nil
			l.abandon(p)
		}
	}
	l.dropReply(r)
	r.enter(stateDone)
	r.sess, r.parent = nil, nil
}
