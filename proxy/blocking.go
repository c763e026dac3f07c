package proxy

import (
	"bytes"
	"strconv"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// Commands that wait in the node until another client does something. Each has a lease, and stands alone among its
// client's commands: a server does not look at the next one before it is answered. When the slot leaves the node, the
// command goes to the new one with the time that is left. When the client leaves, the node is told.

// blocking is what is known of a command that waits. It is never in the counts of its slot: it may wait for ever, and
// alone as it is it cannot be overtaken.
type blocking struct {
	until int64         // loop time at which the client wants an answer; forever: at none
	at    int           // which argument is the timeout
	unit  time.Duration // of that argument
	ended []byte        // the error with which a node ended the wait
	woken bool          // the proxy has ended the wait, because the slot has gone elsewhere
	tails *tails        // of XREAD with $, while it asks where the streams end; see tails.go
}

// timeouts says where commands have their timeout: at > 0 from the front, < 0 from the back.
var timeouts = map[string]blocking{
	"blpop": {at: -1, unit: time.Second}, "brpop": {at: -1, unit: time.Second},
	"blmove": {at: -1, unit: time.Second}, "brpoplpush": {at: -1, unit: time.Second},
	"bzpopmin": {at: -1, unit: time.Second}, "bzpopmax": {at: -1, unit: time.Second},
	"blmpop": {at: 1, unit: time.Second}, "bzmpop": {at: 1, unit: time.Second},
	"wait": {at: 2, unit: time.Millisecond}, "waitaof": {at: 3, unit: time.Millisecond},
}

// overdue says that the node should have answered by itself, limit ago.
func (b *blocking) overdue(now, limit int64) bool {
	return b.asking() || b.until < forever && now > b.until+limit
}

// blockingOf reads the timeout of a command; nil when it is not valid, and the node will say so at once.
func (s *session) blockingOf(rule *router.Rule, args [][]byte) *blocking {
	b, known := timeouts[rule.Name]
	switch {
	case rule.BlockOption:
		b = blocking{at: 1 + blockOption(args[1:]), unit: time.Millisecond}
	case !known:
		return &blocking{until: forever} // of a module: nobody knows its timeout
	case b.at < 0:
		b.at += len(args)
	}
	if b.at <= 0 || b.at >= len(args) {
		return nil
	}
	n, err := strconv.ParseFloat(string(args[b.at]), 64)
	if err != nil || !(n >= 0) {
		return nil
	}
	b.until = forever
	if d := n * float64(b.unit); n > 0 && d < float64(forever/2) {
		b.until = s.l.now + int64(d)
	}
	return &b
}

// blockOption finds the argument behind BLOCK.
func blockOption(args [][]byte) int {
	for i, a := range args {
		if bytes.EqualFold(a, []byte("block")) {
			return i + 1
		}
	}
	return -1
}

// shorten takes the time that r has waited already out of its command, before it goes to another node.
func (l *loop) shorten(r *request) {
	b := r.block
	var p resp.Parser
	if b.asking() {
		return // that is not the command yet
	}
	if n, err := p.Next(r.buf, &l.limits.AfterAuth); err != nil || n < len(r.buf) || b.at <= 0 || b.until >= forever {
		return
	}
	left := time.Duration(max(b.until-l.now, int64(time.Millisecond)))
	p.Args[b.at] = strconv.AppendFloat(nil, float64(left.Round(time.Millisecond))/float64(b.unit), 'f', -1, 64)
	l.rewrite(r, p.Args...)
}

// blockOn takes a command that waits in its node. It reports false when it has to be offered again.
func (s *session) blockOn(rule *router.Rule, raw []byte) bool {
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	b := s.blockingOf(rule, s.parser.Args)
	if d.Cross {
		s.refuse(rule, errTextCrossSlot)
		return true
	}
	if !d.HasSlot {
		s.shard(rule, raw) // the server has the right words for it
		return true
	}
	if b == nil { // it may have words for the timeout, or take it where we cannot read it: then it must not hold up others
		b = &blocking{until: forever}
	}
	r := s.request(rule, raw)
	r.class = metrics.ClassBlocking
	r.slot, r.hasSlot, r.multi = d.Slot, true, d.Multi
	r.own, r.block = true, b
	s.l.findTails(r, s.parser.Args)
	r.deadline = max(r.deadline, b.until)
	s.block(r)
	s.sendInOrder(r)
	return true
}

// block keeps the client from going on, but not from leaving: it is still read, and a little is kept.
func (s *session) block(r *request) {
	s.blocked = r
	s.stop(stopBlocked)
}

// forsake lets a node know that nobody waits any more for r, which may be waiting there. If it has popped something
// already, that is put back.
func (l *loop) forsake(r *request) {
	r.sess = nil
	p := r.conn.profile
	p.sessions++ // or its connections would be dropped with what they have to say
	r.raw = true
	l.p.unfinished.Add(1)
	r.then = func(l *loop, r *request, reply []byte) {
		l.unwanted(r, reply)
		p.left()
		l.p.unfinished.Add(-1)
	}
	l.cancel(r, endByTime, 0)
}

// unblock ends the wait of a client as CLIENT UNBLOCK does: as if its time were up, or with an error. It reports whether
// the client waited.
func (s *session) unblock(withError bool) bool {
	r := s.blocked
	if r == nil || r.state == stateDone {
		return false
	}
	if r.fan == nil {
		s.l.endWait(r, withError)
		return true
	}
	r.refs++ // its parts must not go with the last of them that is ended here
	for _, p := range r.fan.parts {
		if p.state != stateDone {
			s.l.endWait(p, withError)
		}
	}
	s.l.release(r)
	return true
}

// endWait ends the wait of a command, or of its part for one node: in the node if it has come there, else here.
func (l *loop) endWait(r *request, withError bool) {
	c := r.conn
	r.block.woken = false                     // what follows is the client's own end
	early := r.state == stateSent && !c.ready // it has not come to its node, and must not any more
	how := endByTime
	if withError {
		how = endByError
	}
	if r.state == stateSent && !early {
		l.cancel(r, how, 0)
		return
	}
	l.ended(r, how)
	if early {
		c.close(nil)
	}
}

// How CLIENT UNBLOCK ends a wait.
const (
	endByTime  = "TIMEOUT"
	endByError = "ERROR"
)

// ended answers a command whose wait has been ended here.
func (l *loop) ended(r *request, how string) {
	if how == endByError {
		l.fail(r, errTextUnblocked)
		return
	}
	l.finish(r, l.inVain(r))
}

// inVain is the reply to a command that has waited until its time was up.
func (l *loop) inVain(r *request) []byte {
	if r.parent != nil { // WAIT and WAITAOF are the ones that have parts
		return nobodyHasIt(r.rule)
	}
	return l.nullArray(r)
}

// maxCancels is how often a node is asked to end a wait that it has not seen begin yet.
const maxCancels = 100

// cancel ends the wait of r in its node: with CLIENT UNBLOCK, since closing the connection could lose an element that
// the node has just sent.
func (l *loop) cancel(r *request, how string, tries int) {
	c := r.conn
	var to *nodeConn
	if c.ready && c.clientID != 0 && tries < maxCancels {
		to = c.node.conn(c.profile, 0)
	}
	if to == nil {
		l.breakOff(r, how)
		return
	}
	r.refs++
	command := resp.AppendCommandStrings(nil, "CLIENT", "UNBLOCK", decimal(c.clientID), how)
	c.cancels++
	l.ask(to, command, func(l *loop, _ *request, reply []byte) {
		c.cancels--
		waits := r.state == stateSent && r.conn == c && !c.closed
		switch n, ok := integer(reply); {
		case !waits || ok && n == 1:
		case ok: // the command has not come to the node before this one
			l.cancel(r, how, tries+1)
		default:
			l.breakOff(r, how)
		}
		if c.leased && c.queue.n == 0 && !c.kept {
			c.node.returned(c)
		}
		l.release(r)
	})
}

// breakOff ends the wait of r with its connection, because the node cannot be asked to. A part of WAIT or WAITAOF is answered before:
// it would go again.
func (l *loop) breakOff(r *request, how string) {
	c := r.conn
	if r.parent != nil {
		l.ended(r, how)
	}
	c.close(nil)
}

// unwanted takes the reply to a blocking command whose client has left.
func (l *loop) unwanted(r *request, reply []byte) {
	command := giveBack(r.rule.Name, r.buf, reply)
	if command == nil {
		return
	}
	p, slot := r.conn.profile, r.slot
	if l.gated(r) {
		p.sessions++ // or it could be gone by then
		l.p.unfinished.Add(1)
		l.afterGate(slot, func(l *loop) { l.putBack(p, slot, command); p.left(); l.p.unfinished.Add(-1) })
		return
	}
	l.putBack(p, slot, command)
}

// putBack puts an element back where its key is now.
func (l *loop) putBack(p *profile, slot uint16, command []byte) {
	owner := l.owners.of(slot)
	var c *nodeConn
	if owner != nil {
		c = owner.conn(p, slot)
	}
	if c == nil {
		l.log.Warn("an element was popped for a client that has left", "slot", slot)
		return
	}
	l.p.unfinished.Add(1)
	l.askAbout(c, slot, 0, command, func(l *loop, _ *request, reply []byte) {
		l.p.unfinished.Add(-1)
		if len(reply) == 0 || reply[0] == '-' {
			l.log.Warn("an element was popped for a client that has left", "slot", slot, "node", owner.addr)
		}
	})
}
