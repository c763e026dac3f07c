package proxy

import "slotproxy/internal/metrics"

// How much a client may have under way, and how much it may leave unread.

// checkOutput applies the limits on what a client leaves unread.
func (s *session) checkOutput() {
	n := s.out.size + s.held
	if n <= s.l.limits.OutLow || s.closed {
		return
	}
	if !s.aboveMark {
		s.aboveMark = true
		s.l.stats.ReadsPaused++
		s.stop(stopOutput)
	}
	// One reply may be of any size; the ones behind it may not pile up.
	if n-s.streamed > s.l.limits.OutHard {
		s.cutOff()
		return
	}
	if s.l.pool.used > s.l.budget {
		s.l.shedLargest()
	}
}

func (s *session) cutOff() {
	s.reason = metrics.DisconnectSlowConsumer
	s.conn.close(errSlowConsumer)
}

// firstWindow is how many commands a new client may have under way: before the first reply nobody knows how large they
// are, and 64 replies of 1 MiB are what a client may leave unread.
const firstWindow = 64

// adapt fits the number of commands a client may have under way to the size of its replies: what it asks for should
// find room in what it may leave unread.
func (s *session) adapt(n int) {
	if n >= bigPayload {
		s.window = max(4, min(s.window, s.l.limits.OutHard/2/n))
	} else if s.window < s.l.limits.InFlight {
		s.window++
	}
}
