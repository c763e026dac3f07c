package load

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// pace says when which client of a thread sends.
//
//	closed:  a client whose operations have all been answered sends the next Pipeline of them
//	open:    operation n is due at origin + n*interval, whatever came of the others; it is the next client's turn
type pace struct {
	done bool // nothing more is to be sent
	left int  // operations to send; -1 for no end

	// Of a closed load.
	ready   []*client // to send at once
	before  []*client // room for the next ready
	resting []*client // what they need was lost; in the order in which they go on, but for some milliseconds

	// Of an open load.
	open     bool
	origin   int64
	interval float64 // ns
	next     int64   // operation, of this thread
	group    int64   // operations that are due together
	most     int     // under way at once
	turn     int     // client
}

// idleWait is how long a thread waits for nothing: how soon it hears of Stop.
const idleWait = 5 * time.Millisecond

// sendAtOnce bounds what is sent before replies are looked at.
const sendAtOnce = 512

// begin is called when all clients are connected.
func (p *pace) begin(t *thread) {
	c := &t.run.cfg
	p.left = -1
	if c.Count > 0 {
		p.left = share(c.Count, t.number, c.Threads)
	}
	if c.Rate == 0 {
		p.ready = append(p.ready, t.clients...)
		return
	}
	p.open = true
	p.group = int64(c.Pipeline)
	p.interval = 1e9 * float64(c.Threads) / c.Rate
	// The threads take turns, so that together they are even.
	p.origin = t.run.origin + int64(1e9/c.Rate*float64(t.number)*float64(p.group))
	p.most = max(share(c.Backlog, t.number, c.Threads), 1)
}

// share is a thread's of n.
func share(n, number, threads int) int {
	s := n / threads
	if number < n%threads {
		s++
	}
	return s
}

// send sends what is due and returns how long there is nothing to send.
func (p *pace) send(t *thread) time.Duration {
	if p.open {
		return p.sendDue(t)
	}
	stop := t.run.stopAt.Load()
	now := t.run.now()
	if stop != 0 && now >= stop || p.left == 0 {
		p.done = true
		return idleWait
	}
	p.wake(now)
	list := p.ready
	p.ready = p.before[:0] // who is idle again at once has his turn after the others
	for _, c := range list {
		switch {
		case p.left == 0:
		case now < c.rest:
			p.resting = append(p.resting, c)
		default:
			p.batch(t, c)
			t.flush()
		}
	}
	p.before = list
	if len(p.ready) > 0 {
		return 0
	}
	return idleWait
}

// wake has those go on whose rest is over.
func (p *pace) wake(now int64) {
	for len(p.resting) > 0 && now >= p.resting[0].rest {
		p.ready = append(p.ready, p.resting[0])
		p.resting = p.resting[1:]
	}
}

func (p *pace) batch(t *thread, c *client) {
	now := t.run.now()
	c.open++ // so that it is not idle before all have been sent
	for i := 0; i < t.run.cfg.Pipeline && p.left != 0; i++ {
		t.begin(c, now)
		if p.left > 0 {
			p.left--
		}
	}
	if c.open--; c.open == 0 {
		p.idle(c)
	}
}

// idle is told when a client has nothing under way.
func (p *pace) idle(c *client) {
	if !p.open {
		p.ready = append(p.ready, c)
	}
}

// due is when an operation is to be sent.
func (p *pace) due(n int64) int64 { return p.origin + int64(float64(n-n%p.group)*p.interval) }

func (p *pace) sendDue(t *thread) time.Duration {
	stop := t.run.stopAt.Load()
	if stop == 0 {
		stop = math.MaxInt64
	}
	for range sendAtOnce {
		now, due := t.run.now(), p.due(p.next)
		switch {
		case due >= stop || p.left == 0:
			p.done = true
			return idleWait
		case due > now:
			return min(time.Duration(due-now), idleWait)
		case t.outstanding >= p.most:
			return idleWait
		}
		c := t.clients[p.turn]
		if (p.next+1)%p.group == 0 {
			p.turn = (p.turn + 1) % len(t.clients)
		}
		p.next++
		if p.left > 0 {
			p.left--
		}
		_ = t.recorder(t.run.phaseAt(due)).lag.RecordValue(clamp(now - due)) // clamped, so it fits
		t.begin(c, due)
		if p.next%p.group == 0 {
			t.flush()
		}
	}
	return 0
}

// unsent counts what was due and could not be sent before the load was given up.
func (p *pace) unsent(t *thread, now int64) {
	stop := t.run.stopAt.Load()
	if !p.open || p.done || stop == 0 {
		return
	}
	for ; p.left != 0 && p.due(p.next) < min(stop, now); p.next++ {
		due := p.due(p.next)
		r := t.recorder(t.run.phaseAt(due))
		r.unsent++
		r.fail(fmt.Sprintf("not sent: %d operations were waiting for answers", p.most))
		_ = r.lag.RecordValue(clamp(now - due))
		o := &r.ops[0]
		o.Failed++
		_ = o.Latency.RecordValue(clamp(now - due))
		if p.left > 0 {
			p.left--
		}
	}
}

func closeSocket(fd int) { _ = unix.Close(fd) }
