package proxy

import (
	"log/slog"
	"math"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/router"
)

// readSize is the shared read buffer of a loop: as much as a socket usually holds, and small enough for the L2 cache.
const readSize = 64 << 10

// passesPerWrite is how often a loop reads before it writes, while sockets keep becoming ready: the more commands one write to a
// node carries the cheaper they are. eventsPerWrite ends that: with so many sockets ready there is nothing left to win, and who came
// first has waited.
const (
	passesPerWrite = 5
	eventsPerWrite = 128
)

const (
	// How long an idle loop sleeps at most: idle timeouts and slow frames are looked at this often.
	idleSleep = time.Second
	// How long it sleeps while commands are under way: the grain of upstream timeouts.
	busySleep = 50 * time.Millisecond
)

// loop is one event loop: its own clients, its own connections to every node, no locks. One iteration reads all ready
// sockets, parses and routes, then writes once to every socket that has output. Everything here is touched by the
// loop's goroutine alone, but for inbox.
type loop struct {
	p      *Proxy       // immutable
	id     int          // immutable
	log    *slog.Logger // immutable
	limits *Limits      // replaced as a whole by a message
	lanes  int          // immutable
	budget int          // immutable; bytes of buffers this loop may hold
	// How long replies wait for more of their batch, nanoseconds. 0, not at all, where a wait cannot be that short.
	together int64

	inbox inbox
	load  atomic.Int64 // sessions, counted by the acceptors before the loop hears of them
	spare []message
	poll  *poller
	now   int64 // monotonic nanoseconds, taken once after each wait

	fds       []*conn // by descriptor
	connGen   uint32
	lastGen   uint32
	dirty     [metrics.NumSides][]*conn // have output for the end of the iteration
	late      []*conn                   // have output that waits for more, see together.go
	lateUntil int64                     // loop time at which the first of them has waited long enough
	again     []*conn                   // have buffered input to offer again
	sessions  []*session
	nodes     map[string]*node
	homeAddr  *string // the choice of all loops that homeNode was looked up for, nil: look again
	homeNode  *node   // nil when this loop does not know it
	profiles  map[profileKey]*profile
	monitors  []*session        // clients with MONITOR
	trackers  int               // clients with CLIENT TRACKING
	hubs      map[*profile]*hub // of the users whose clients are subscribed
	hubsDue   int64             // loop time at which one of them has something to do, 0: none
	plain     *profile          // no AUTH, database 0, RESP2: what a new client has

	cmds      *commandSet
	bodies    bodies
	handy     handyCodes
	table     *router.Table
	primaries []*node // that have not failed
	// A node that owns slots has failed: what is asked of all primaries must wait for its successor.
	ownerFailed bool
	slots       [router.Slots]slotView
	owners      ownership
	cares       [router.Slots]slotCare
	stirred     slotSet           // those with something in cares
	opsWraps    map[uint16]uint64 // how often a slot's count of commands began anew
	claims      map[uint16]claim  // slots that have just been handed over, see handover.go
	gates       []*gate           // closed ones, see gate.go
	pending     []*hold           // to be closed, oldest first
	opened      []*gate           // opened in this iteration, and to be dealt with
	parked      []*session        // have commands that a gate holds back
	wide        int               // commands on the whole keyspace that are under way, and their parts that are in flight
	longHold    int64             // the longest time that a gate has held a command since the last pulse
	faults      uint64            // errors of the proxy's own that clients got by the cluster's fault
	took        times             // from read to answered, of all but blocking commands
	moves       uint64            // changes of a slot's owner so far
	troubled    []uint16          // slots with trouble, and some that had it
	restless    int64             // loop time until which slots count as moving, see script.go
	waiting     waitList
	quiet       int // order passes are postponed while above 0
	postponed   []*session

	marks  [router.Slots]mark
	places [router.Slots]placed
	pass   uint64 // number of the walk that marks and places were written by

	pool         pool
	freeRequests []*request
	freeFanouts  []*fanout
	rbuf         []byte
	iov          [][]byte
	keys         []int
	scratch      []byte
	errorLine    []byte // the error reply that is being looked at

	pause pause   // CLIENT PAUSE
	slow  slowLog // commands that spent long in this loop; guarded by a mutex of its own

	stats      *metrics.Counters
	lastTick   int64
	lastSlow   int64
	draining   bool // close clients as they become idle
	drainSince int64
	closing    bool // close everything
}

func newLoop(p *Proxy, id int) (*loop, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{
		p: p, id: id, log: p.log, limits: &p.cfg.Limits, lanes: p.cfg.Lanes, poll: poll,
		budget: p.cfg.Limits.BufferBudget / p.cfg.Loops,
		nodes:  map[string]*node{}, opsWraps: map[uint16]uint64{}, profiles: map[profileKey]*profile{}, hubs: map[*profile]*hub{},
		owners: newOwnership(), rbuf: make([]byte, readSize), iov: make([][]byte, 0, maxIovecs),
		cmds: p.commands.Load(), now: monotonic(), lateUntil: math.MaxInt64,
	}
	if poll.fine {
		l.together = togetherFor.Nanoseconds()
	}
	l.stats = metrics.New(len(l.cmds.Rules()))
	l.plain = l.profileFor(profileKey{proto: 2})
	return l, nil
}

var processStart = time.Now()

// monotonic is nanoseconds since the start of the process.
func monotonic() int64 { return int64(time.Since(processStart)) }

// run is the loop's goroutine.
func (l *loop) run() {
	defer l.p.loopsDone.Done()
	// The loop lives in system calls; on a thread of its own it is not moved between them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for !l.closing {
		n := l.poll.wait(l.sleep())
		l.now = monotonic()
		l.poll.dispatch(l, n)
		// A lone client is not made to wait for a second look.
		for pass, all := 1, n; pass < passesPerWrite && n > 1 && all < eventsPerWrite; pass++ {
			n = l.poll.ready()
			l.poll.dispatch(l, n)
			all += n
		}
		l.receive()
		l.wakeDue()
		l.checkPause()
		l.settleHubs()
		l.tick()
		if len(l.gates)+len(l.pending) > 0 {
			l.checkGates()
		}
		l.settleOutput()
		l.stats.Iterations++
		l.stats.LoopBusy += time.Duration(monotonic() - l.now)
		l.p.alive[l.id].Store(l.now)
	}
	l.shut()
}

// sleep is how long the loop may wait for the sockets.
func (l *loop) sleep() time.Duration {
	d := idleSleep
	if len(l.troubled) > 0 || len(l.claims) > 0 || l.stats.InFlight > 0 {
		d = busySleep
	}
	if l.hubsDue > 0 {
		d = min(d, max(time.Duration(l.hubsDue-l.now), 0))
	}
	if len(l.waiting) > 0 {
		d = min(d, max(time.Duration(l.waiting[0].wake-l.now), 0))
	}
	if len(l.late) > 0 {
		d = min(d, max(time.Duration(l.lateUntil-l.now), 0))
	}
	if l.pause.until != 0 {
		d = min(d, max(time.Duration(l.pause.until-l.now), 0))
	}
	if len(l.gates)+len(l.pending) > 0 {
		d = l.untilGate(d)
	}
	return d
}

// settleOutput flushes every dirty connection once, nodes first: they work while clients are answered. A flush that
// ends back-pressure offers buffered input again, which may make others dirty: those are flushed in the same
// iteration, input being finite.
func (l *loop) settleOutput() {
	l.reconsiderLate()
	for len(l.dirty[metrics.SideUpstream])+len(l.dirty[metrics.SideClient])+len(l.again) > 0 {
		l.flushAll(metrics.SideUpstream)
		l.flushAll(metrics.SideClient)
		for i := 0; i < len(l.again); i++ {
			c := l.again[i]
			l.again[i] = nil
			if !c.closed && !c.paused {
				c.offer()
			}
		}
		l.again = l.again[:0]
	}
}

func (l *loop) flushAll(side metrics.Side) {
	for i := 0; i < len(l.dirty[side]); i++ {
		c := l.dirty[side][i]
		l.dirty[side][i] = nil
		if l.waitsForMore(c) {
			continue
		}
		c.dirty, c.lateUntil = false, 0
		c.flush()
	}
	l.dirty[side] = l.dirty[side][:0]
}

// byFd finds the connection of an event, nil when it has been closed meanwhile.
func (l *loop) byFd(fd int, gen uint32) *conn {
	if fd >= len(l.fds) {
		return nil
	}
	if c := l.fds[fd]; c != nil && c.gen == gen {
		return c
	}
	return nil
}

// attach gives c its socket: the descriptor itself where epoll serves plain sockets, else a stream.
func (l *loop) attach(c *conn, nc net.Conn) error {
	c.progress = l.now
	fd, ok := plainFd(nc)
	if !ok {
		c.stream = newStream(nc)
		c.stream.start(c)
		return nil
	}
	l.connGen++
	c.fd, c.gen = fd, l.connGen
	for fd >= len(l.fds) {
		l.fds = append(l.fds, make([]*conn, max(64, len(l.fds)))...)
	}
	if err := l.poll.add(fd, c.gen); err != nil {
		sysClose(fd)
		c.fd = -1
		return err
	}
	l.fds[fd] = c
	return nil
}

func (l *loop) forgetFd(c *conn) {
	l.fds[c.fd] = nil
	sysClose(c.fd) // the kernel takes it out of epoll with the last descriptor
	c.fd = -1
}

// tick looks at what depends on time.
func (l *loop) tick() {
	if l.now-l.lastTick < int64(busySleep) {
		return
	}
	l.lastTick = l.now
	l.checkNodes()
	if len(l.troubled) > 0 {
		l.sweepTrouble()
	}
	if len(l.claims) > 0 {
		l.pressClaims()
	}
	if l.now-l.lastSlow < int64(idleSleep) {
		return
	}
	l.lastSlow = l.now
	l.checkSessions()
	l.checkHubs()
	l.dropIdleProfiles()
	l.reachAll()
	l.dropIdleLeases()
}

// checkNodes answers the commands that a node has kept for too long. The connection lives on: its late replies are
// counted and dropped.
func (l *loop) checkNodes() {
	limit := l.limits.UpstreamTimeout.Nanoseconds()
	l.beginQuiet()
	defer l.endQuiet()
	for _, n := range l.nodes {
		l.checkConns(n.conns, limit)
		l.checkConns(n.leases, limit)
	}
}

// checkConns walks backwards, for a connection that is closed takes itself out of the list.
func (l *loop) checkConns(list []*nodeConn, limit int64) {
	for i := len(list) - 1; i >= 0; i-- {
		c := list[i]
		l.checkQueue(c, limit)
		if !c.closed && c.hung(limit) {
			c.close(errStalled)
		}
	}
}

func (l *loop) checkQueue(c *nodeConn, limit int64) {
	for i := range c.queue.n {
		r := c.queue.at(i)
		if l.now-r.sentAt < limit || r.block != nil && !r.block.overdue(l.now, limit) {
			return
		}
		if r.state != stateSent || r.streaming {
			continue
		}
		l.stats.Timeouts++
		r.fault = true
		l.hint(router.Hint{Cause: router.Lost, Slot: r.slot, HasSlot: r.hasSlot, Addr: c.node.addr})
		l.fail(r, errTextTimeout)
		if c.closed {
			return
		}
	}
}

// hung says that the node says nothing on this connection: in the handshake, or long after it should have answered.
// Whoever waited for it has had an answer; a new connection may do better, and clients that were stopped because of
// its queue go on.
func (c *nodeConn) hung(limit int64) bool {
	silent := c.l.now - max(c.heard, c.born)
	if !c.ready {
		return silent > 2*limit
	}
	first := c.queue.first()
	if first != nil && first.block != nil && !first.block.overdue(c.l.now, 2*limit) {
		return false // it waits for another client, as it should
	}
	return first != nil && silent > limit && c.l.now-first.sentAt > 2*limit
}

// dropIdleProfiles closes node connections of users, databases and protocols that no client has any more.
func (l *loop) dropIdleProfiles() {
	for _, p := range l.profiles {
		if p.sessions == 0 && p != l.plain {
			l.dropProfile(p)
		}
	}
}

// shut ends every connection and refuses what comes later.
func (l *loop) shut() {
	l.shutInbox()
	for len(l.sessions) > 0 {
		s := l.sessions[len(l.sessions)-1]
		s.reason = metrics.DisconnectDrain
		s.conn.close(errDrained)
	}
	for _, n := range l.nodes {
		n.closeAll(errUpstreamOff)
	}
	l.poll.close()
}
