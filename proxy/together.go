package proxy

import (
	"math"
	"time"

	"slotproxy/internal/metrics"
)

// Replies to commands that came together go together. A client that sends sixteen commands in one piece has its answers from
// several nodes, one a little later than the other, and goes on when it has them all: a write for each node's share costs it and us
// a system call each, which is most of what its commands cost. So the first share waits for the others, for a moment. Who sends his
// commands one by one has sent them apart, and each reply goes at once.

// togetherFor is how long replies wait for more of their batch. Nodes answer within some ten microseconds of each other, and under
// load within a few hundred. Where the batch has been under way for longer than that, they wait for as long again: a node that
// works off the batches of many clients is behind another one by a part of that time. So behind a slow node the others' replies
// come at most twice as late, and never later by more than togetherAtMost: what takes longer than that is no matter of load.
const (
	togetherFor    = 200 * time.Microsecond
	togetherAtMost = 5 * time.Millisecond
)

// waitsForMore says that the output of c is not to be written yet, and keeps c for later.
func (l *loop) waitsForMore(c *conn) bool {
	s, client := c.owner.(*session)
	if !client || !s.midBatch() || l.closing || l.together == 0 {
		return false
	}
	if c.lateUntil == 0 {
		c.lateUntil = l.now + max(l.together, min(l.now-s.head.sentAt, togetherAtMost.Nanoseconds()))
	}
	if l.now >= c.lateUntil {
		return false
	}
	l.late, l.lateUntil = append(l.late, c), min(l.lateUntil, c.lateUntil)
	return true
}

// midBatch says that the next reply is under way, and is to a command that came together with the one before it.
func (s *session) midBatch() bool {
	r := s.head
	return r != nil && r.joined && r.state == stateSent && r.block == nil && !r.streaming && s.out.size < bigPayload && !s.closed
}

// reconsiderLate puts the output that waits for more among what is to be written: more may have come, or waiting is over.
func (l *loop) reconsiderLate() {
	if len(l.late) == 0 {
		return
	}
	dirty := &l.dirty[metrics.SideClient]
	rest := *dirty
	*dirty = append(l.late, rest...)
	clear(rest)
	l.late, l.lateUntil = rest[:0], math.MaxInt64
}
