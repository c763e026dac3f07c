package migrate

import (
	"time"

	"slotproxy/migrate/machine"
)

// A stream of slots goes at the pace of its nodes, and nobody can slow it down. While it lasts it takes the processor that both have
// for their clients; at its end the source stops its writers, hands the slots over and deletes its copies. What can be done for clients
// is to let time pass before the next one, in which commands are quick, until the slow ones are few enough of all for their p99.

const (
	// slowShare of the commands may be slow for the sake of streams. Half of heldShare, since for each one that a node answers late
	// there is another that is redirected, or waits at its client behind it.
	slowShare = heldShare / 2
	// longestRest is the longest wait for that. A stream of a single key stops its source's writers for 20 ms and more, which is
	// slowShare of 5 s: where that is not enough, streams of fewer keys are all that is left to try.
	longestRest = 5 * time.Second
	// mostStreamed is where the bound of a stream for its clients' sake ends: by default none has more keys anyway.
	mostStreamed = 100_000
	// toldFor is how long after a stream the pulses of its nodes tell of it.
	toldFor = workBeat
	// paysFor is how long after a stream the commands of its nodes pay for it.
	paysFor = 2 * longestRest
)

// stream is what is known of the streams of a node.
type stream struct {
	running int       // now; in a job of several sources a target may have some
	ended   time.Time // the last one
	keys    int64     // of the last one that had some, at its source
	most    int64     // that the next one may have, at its source; 0: no bound
	fresh   bool      // most does not take that one into account yet
}

// within tells whether a stream is under way, or was so a short while ago.
func (s *stream) within(span time.Duration, now time.Time) bool {
	return s.running > 0 || now.Sub(s.ended) < span
}

// streaming is called when a stream begins.
func (p *pacer) streaming(u *machine.Unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, node := range []string{u.Source, u.Target} {
		s := p.streams[node]
		s.running++
		p.streams[node] = s
	}
}

// streamed is called when it has ended, and tells how many keys the next one of the source may have, 0 for no bound.
func (p *pacer) streamed(u *machine.Unit, keys, bytes int64) (most int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.earnLocked()
	p.keyDebt += float64(keys)
	p.byteDebt += float64(bytes)
	for _, node := range []string{u.Source, u.Target} {
		s := p.streams[node]
		s.running--
		s.ended = time.Now()
		if node == u.Source {
			if most = s.most; keys > 0 { // one that has failed, or had none, does not tell how many are too many
				s.keys, s.fresh = keys, true
			}
		}
		p.streams[node] = s
	}
	return most
}

// chargeLocked counts the slow commands of streams in a pulse. All commands of their nodes pay for them together: those of the slots go
// from one node to the other.
func (p *pacer) chargeLocked(pulse *Pulse, now time.Time) {
	var commands uint64
	for node, s := range p.streams {
		addr := p.addr(node)
		n := pulse.Nodes[addr]
		if limit := p.limitLocked(addr); n.P99 > limit && n.Over != nil && s.within(toldFor, now) {
			p.slowDebt += float64(n.Over(limit))
			p.slowWhy = tooSlow(addr, n.P99, limit)
		}
		if s.within(paysFor, now) {
			commands += n.Commands
		}
	}
	p.slowDebt -= slowShare * float64(commands)
	if commands < enough { // when the crowd has gone there is nobody to pay
		p.slowDebt /= 2
	}
	if p.slowDebt < 1 {
		p.slowDebt = 0
	}
}

// owingLocked is how long to wait for clients before a stream, after which it is asked again; began is when the wait did.
func (p *pacer) owingLocked(began time.Time) time.Duration {
	if p.slowDebt == 0 || time.Since(began) >= longestRest {
		return 0
	}
	p.why = p.slowWhy
	return waitPiece
}

func (p *pacer) owes() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slowDebt > 0
}

// fit makes streams smaller when the longest rest was not enough for their clients, and larger when none was needed: once after each,
// however often the next one is tried. What is owed then is let go: it cannot be paid.
func (p *pacer) fit(source string, rested bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurried {
		return
	}
	owed := p.slowDebt > 0
	p.slowDebt = 0
	s := p.streams[source]
	switch {
	case !s.fresh:
		return
	case owed:
		if s.most == 0 || s.keys < s.most {
			s.most = s.keys
		}
		s.most = max(s.most/2, 1)
	case !rested:
		if s.most *= 2; s.most >= mostStreamed {
			s.most = 0
		}
	}
	s.fresh = false
	p.streams[source] = s
}
