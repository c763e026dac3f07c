package migrate

import (
	"fmt"
	"maps"
	"time"
)

const (
	// leastShare of its time is what a source gives to a move however slow its clients are: a move that stands still holds
	// its slots open for ever. Even with a fifth of it the slowest of a hundred commands would be one that met a batch.
	leastShare = 0.1
	// slowPulses in a row slow a move down: a single one may be a node that forks, or a machine that stutters.
	slowPulses = 2
	// calmFor without a change raises the share again by calmGain.
	calmFor  = time.Second
	calmGain = 1.5
	// unknownLimit is for a node whose clients were never seen before the job.
	unknownLimit = 10 * time.Millisecond
)

// compare sets what clients had before the job.
func (p *pacer) compare(base map[string]time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base = base
}

// inherit takes over what an earlier job has learned of its nodes, and owes to clients.
func (p *pacer) inherit(old *pacer) {
	old.mu.Lock()
	defer old.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, l := range old.lanesLocked() {
		if p.addr(id) != "" { // else the node is gone
			p.past[id] = &lane{share: l.share, slow: l.slow, changed: l.changed, keyRate: l.keyRate, byteRate: l.byteRate, free: l.free}
		}
	}
	for id, s := range old.streams {
		// Whatever has become of those that nobody saw end.
		s.running = 0
		if s.most > 0 || s.within(paysFor, time.Now()) { // else it tells nothing any more
			p.streams[id] = s
		}
	}
	p.heldDebt, p.slowDebt, p.slowWhy = old.heldDebt, old.slowDebt, old.slowWhy
}

// feel compares a pulse with how it was before the job: slower than the limit twice in a row halves a source's share, calm
// raises it.
func (p *pacer) feel(pulse *Pulse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for addr, n := range pulse.Nodes {
		if n.Commands < enough/4 { // pulses of a job are four times as short
			continue
		}
		limit := p.limitLocked(addr)
		if n.P99 <= limit {
			p.above[addr] = 0
			continue
		}
		if p.above[addr]++; p.above[addr] >= slowPulses {
			p.slowLocked(addr, tooSlow(addr, n.P99, limit), now)
		}
	}
	p.chargeLocked(pulse, now)
	p.calmLocked(now)
}

// recover is feel while no job runs: what is slow then is the clients' own work.
func (p *pacer) recover(pulse *Pulse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.chargeLocked(pulse, now)
	p.calmLocked(now)
}

func (p *pacer) calmLocked(now time.Time) {
	for _, l := range p.lanesLocked() {
		if l.share < 1 && now.Sub(l.changed) >= calmFor {
			l.share, l.changed = min(1, l.share*calmGain), now
			if l.share == 1 {
				l.slow = ""
			}
		}
	}
}

// lanesLocked are the sources of this job and of earlier ones.
func (p *pacer) lanesLocked() map[string]*lane {
	all := maps.Clone(p.past)
	maps.Copy(all, p.nodes)
	return all
}

func tooSlow(addr string, p99, limit time.Duration) string {
	return fmt.Sprintf("p99 of %s is %s, above %s", addr, round(p99), round(limit))
}

func (p *pacer) limitLocked(addr string) time.Duration {
	base, known := p.base[addr]
	if !known {
		base, known = p.base[""]
	}
	if !known {
		return unknownLimit
	}
	return p.latency(base)
}

// slowLocked halves the share of a slow source. A slow target slows all sources: which of them it is is not known.
func (p *pacer) slowLocked(addr, why string, now time.Time) {
	var those []*lane
	for id, l := range p.nodes {
		if p.addr(id) == addr {
			those = []*lane{l}
			break
		}
		those = append(those, l)
	}
	for _, l := range those {
		if now.Sub(l.changed) >= workBeat || l.share == 1 { // once a pulse
			l.share, l.slow, l.changed = max(l.share/2, leastShare), why, now
		}
	}
}
