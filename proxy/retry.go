package proxy

import "time"

// Waits between attempts when the cluster says "not now": the first is short, because most such states end within
// milliseconds, the last is long enough that a thousand waiting commands cost little.
const (
	firstRetryWait = int64(time.Millisecond)
	lastRetryWait  = int64(64 * time.Millisecond)
)

// retryWait is the wait before attempt number hops+1.
func retryWait(hops uint8) int64 {
	if hops > 6 {
		return lastRetryWait
	}
	return min(firstRetryWait<<hops, lastRetryWait)
}

// waiter is one entry of a waitList; a request may have an old one in it that wakes it too early.
type waiter struct {
	wake int64 // loop time
	r    *request
}

// waitList holds the requests that go again later, as a binary heap by wake time. Owned by the loop.
type waitList []waiter

func (w *waitList) push(x waiter) {
	*w = append(*w, x)
	h := *w
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].wake <= h[i].wake {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (w *waitList) pop() *request {
	h := *w
	top, last := h[0].r, len(h)-1
	h[0], h[last] = h[last], waiter{}
	h = h[:last]
	*w = h
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].wake < h[least].wake {
				least = child
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// waitUntil wakes r at a time, if it still waits then.
func (l *loop) waitUntil(r *request, wake int64) {
	r.refs++
	l.waiting.push(waiter{wake: wake, r: r})
}

// wait puts r aside for d nanoseconds, or ends it with the error that why gives when its time is up.
func (l *loop) wait(r *request, d int64, why waitCause) {
	if r.root().sess == nil {
		l.abandon(r)
		return
	}
	if r.block != nil && r.parent == nil && r.deadline == r.block.until { // it has lasted as long as the client wants it to wait
		if l.now >= r.deadline {
			l.finish(r, l.nullArray(r))
			return
		}
		d = min(d, r.deadline-l.now)
	}
	if l.now+d > r.deadline {
		l.fail(r, why.giveUp(l, r))
		return
	}
	r.enter(stateWaiting)
	l.waitUntil(r, l.now+d)
}

// wakeDue sends what has waited long enough.
func (l *loop) wakeDue() {
	l.beginQuiet()
	defer l.endQuiet()
	for len(l.waiting) > 0 && l.waiting[0].wake <= l.now {
		r := l.waiting.pop()
		l.goAgain(r)
	}
}

// goAgain ends a wait. The request is the oldest of its slot among those of its client that have not been sent, or the
// order pass holds it.
func (l *loop) goAgain(r *request) {
	if r.state == stateWaiting {
		l.leaveWait(r)
	}
	l.release(r)
}

func (l *loop) leaveWait(r *request) {
	s := r.root().sess
	switch {
	case s == nil:
		l.abandon(r)
	case !r.hasSlot && r.to != nil && l.away(r.to):
		// A part for all primaries whose node has gone: the primaries are others now.
		if !l.respread(r.parent) {
			l.fail(r, causeUnreachable.giveUp(l, r))
		}
	default:
		r.enter(stateHeld)
		s.advance()
	}
}

// wakeWaiting tries everything again at once: a new table may have the answer.
func (l *loop) wakeWaiting() {
	if len(l.waiting) == 0 {
		return
	}
	again := l.waiting
	l.waiting = nil
	l.beginQuiet()
	defer l.endQuiet()
	for _, x := range again {
		l.goAgain(x.r)
	}
}
