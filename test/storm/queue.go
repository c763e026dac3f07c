package storm

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"slotproxy/test/wire"
)

// belt is a list with a producer at one end and a consumer at the other.
type belt struct {
	mu    sync.Mutex
	state beltState // guarded by mu
	place *place    // for new keys; guarded by mu
}

type beltState struct {
	key    string // of the list; key + ":none" is always empty, key + ":to" is where BLMOVE moves to
	serial int    // of the list: a fault on either side begins a new one
	pushed int64  // acknowledged
	popped int64
	ended  bool // nothing will be pushed any more
}

func newBelt(p *place) *belt { return &belt{place: p, state: beltState{key: p.fresh()}} }

func (b *belt) look() beltState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

func (b *belt) renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = beltState{key: b.place.fresh(), serial: b.state.serial + 1, ended: b.state.ended}
}

// count adds to the list of that serial number; what is in an older one counts no more.
func (b *belt) count(serial int, pushed, popped int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.serial == serial {
		b.state.pushed += pushed
		b.state.popped += popped
	}
}

func (b *belt) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.ended = true
}

// producer pushes numbered items: a few at once, then it lets the consumer wait, sometimes until its command times out.
type producer struct {
	belt  *belt
	place *place
}

func (p *producer) reset() { p.belt.renew() }

// backlog bounds how far the producer is ahead.
const backlog = 500

func (p *producer) turn(ctx context.Context, t *talker) (bool, error) {
	b := p.belt.look()
	if ctx.Err() == nil && b.pushed-b.popped > backlog {
		wait(ctx, time.Millisecond)
		return false, nil
	}
	atEnd := ctx.Err() != nil // the last item wakes a consumer that waits
	var steps []step
	for next := b.pushed + 1; len(steps) < 1+p.place.rnd.IntN(10); {
		args, first := []string{"RPUSH", b.key}, next
		for range 1 + p.place.rnd.IntN(2) {
			args = append(args, item(b.serial, next))
			next++
		}
		steps = append(steps, step{args, func(v wire.Value) string {
			if v.Kind != ':' || v.Int < 0 || v.Int > next-1 { // a server counts before it serves who waits
				return fmt.Sprintf("got %s, want a length up to %d", v, next-1)
			}
			p.belt.count(b.serial, next-first, 0)
			return ""
		}})
	}
	if _, err := t.ask(steps...); err != nil {
		return false, err
	}
	if atEnd {
		p.belt.end()
		return true, nil
	}
	switch n := p.place.rnd.IntN(100); {
	case n == 0:
		wait(ctx, 1500*time.Millisecond)
	case n < 50:
		wait(ctx, time.Duration(p.place.rnd.IntN(20))*time.Millisecond)
	}
	return false, nil
}

func item(serial int, n int64) string { return strconv.Itoa(serial) + ":" + strconv.FormatInt(n, 10) }

// consumer takes the items one by one: none is missing, none comes twice, all come in order.
type consumer struct {
	belt  *belt
	place *place
}

func (c *consumer) reset() { c.belt.renew() }

// patience are the time-outs in use, in seconds.
var patience = []string{"0.02", "0.2", "1", "5"}

func (c *consumer) turn(ctx context.Context, t *talker) (bool, error) {
	b := c.belt.look()
	if b.ended && b.popped == b.pushed {
		return true, nil
	}
	limit := patience[c.place.rnd.IntN(len(patience))]
	if ctx.Err() != nil {
		limit = patience[1] // a list that was begun anew gets no last item
	}
	seconds, _ := strconv.ParseFloat(limit, 64)
	want, came, sent := item(b.serial, b.popped+1), false, time.Now()
	nothing := func(v wire.Value) string {
		switch took := time.Since(sent); {
		case b.pushed > b.popped:
			return fmt.Sprintf("got %s, want %q, which was there before", v, want)
		case took.Seconds() < seconds*0.95: // the server's clock ticks in milliseconds
			return fmt.Sprintf("got %s after %v", v, took)
		}
		return ""
	}
	popping := func(v wire.Value) string {
		if v.Null {
			return nothing(v)
		}
		came = true
		return wantList([]string{b.key, want})(v)
	}
	moving := func(v wire.Value) string {
		if v.Null {
			return nothing(v)
		}
		came = true
		return wantBulk(want)(v)
	}
	s, moved := step{[]string{"BLPOP", b.key + ":none", b.key, limit}, popping}, c.place.rnd.IntN(8) == 0
	if moved {
		s = step{[]string{"BLMOVE", b.key, b.key + ":to", "LEFT", "RIGHT", limit}, moving}
	}
	if _, err := t.ask(s); err != nil || !came {
		return false, err
	}
	if moved {
		if _, err := t.ask(step{[]string{"LPOP", b.key + ":to"}, wantBulk(want)}); err != nil {
			return false, err
		}
	}
	c.belt.count(b.serial, 0, 1)
	return false, nil
}
