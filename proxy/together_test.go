package proxy

import (
	"math"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// batchRig is a proxy before two nodes, each with a key; what the second one is asked for waits until answer.
type batchRig struct {
	p             *Proxy
	first, second *testnode.Node
	c             *client
	slow          chan struct{}
}

// newBatchRig lets replies wait for more of their batch for as long as is given.
func newBatchRig(t *testing.T, together time.Duration) *batchRig {
	set := testnode.NewSet(t, 2)
	p, addr := serve(t, Config{Loops: 1}, set.Addrs()...)
	first, second := set.Owner(int(router.Slot([]byte("a")))), set.Owner(int(router.Slot([]byte("b"))))
	if first == second {
		t.Fatal("a and b are at the same node")
	}
	r := &batchRig{p: p, first: first, second: second, c: connect(t, addr), slow: make(chan struct{})}
	first.Every("GET a", testnode.Bulk("1"))
	second.On("GET b", testnode.Bulk("0"))
	r.c.send("GET a", "GET b") // opens the connections
	r.c.want("$1\r\n1", "$1\r\n0")
	second.Every("GET b", testnode.Until(r.slow), testnode.Bulk("2"))
	p.ask(time.Second, func(l *loop) { l.together = together.Nanoseconds() })
	return r
}

func (r *batchRig) answer() { close(r.slow) }

func TestRepliesToABatchGoTogether(t *testing.T) {
	for _, tc := range []struct {
		name     string
		together time.Duration
		writes   uint64
	}{{"a moment", time.Minute, 1}, {"no time", 0, 2}} {
		t.Run(tc.name, func(t *testing.T) {
			r := newBatchRig(t, tc.together)
			before := clientWrites(r.p)
			r.c.send("GET a", "GET b")
			r.second.Wait(t, "GET b", 2)
			r.replied(t)
			r.answer()
			r.c.want("$1\r\n1", "$1\r\n2")
			if n := clientWrites(r.p) - before; n != tc.writes {
				t.Errorf("%d writes, want %d", n, tc.writes)
			}
		})
	}
}

// replied returns when the first node's reply is in the client's output, or out.
func (r *batchRig) replied(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		there := false
		r.p.ask(time.Second, func(l *loop) { there = l.stats.InFlight == 1 })
		if there {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the first node's reply does not come")
		}
	}
}

func TestAReplyDoesNotWaitLongForTheRestOfItsBatch(t *testing.T) {
	r := newBatchRig(t, time.Hour)
	r.c.send("GET a", "GET b")
	r.second.Wait(t, "GET b", 2)
	r.replied(t)
	r.p.ask(time.Second, func(l *loop) {
		l.lateUntil = l.now + togetherFor.Nanoseconds()
		for _, c := range l.late {
			c.lateUntil = l.lateUntil
		}
		if d := l.sleep(); len(l.late) != 1 || d > togetherFor {
			t.Errorf("%d clients wait, the loop sleeps for %s", len(l.late), d)
		}
	})
	r.c.want("$1\r\n1")
	r.answer()
	r.c.want("$1\r\n2")
}

func TestAReplyWaitsForAsLongAgainAsItsBatchHasTaken(t *testing.T) {
	for _, tc := range []struct{ under, waits time.Duration }{
		{0, togetherFor},
		{togetherFor / 2, togetherFor},
		{time.Millisecond, time.Millisecond},
		{togetherAtMost, togetherAtMost},
		{time.Second, togetherAtMost},
	} {
		l := &loop{now: time.Hour.Nanoseconds(), together: togetherFor.Nanoseconds(), lateUntil: math.MaxInt64}
		s := &session{head: &request{joined: true, state: stateSent, sentAt: (time.Hour - tc.under).Nanoseconds()}}
		s.conn.owner = s
		began := l.now
		if !l.waitsForMore(&s.conn) {
			t.Fatalf("%s under way: the reply does not wait", tc.under)
		}
		if d := time.Duration(l.lateUntil - began); d != tc.waits {
			t.Errorf("%s under way: the reply waits for %s, want %s", tc.under, d, tc.waits)
		}
		l.now += tc.waits.Nanoseconds() - 1
		if !l.waitsForMore(&s.conn) {
			t.Errorf("%s under way: the reply goes before its time", tc.under)
		}
		if l.now++; l.waitsForMore(&s.conn) {
			t.Errorf("%s under way: the reply still waits after %s", tc.under, tc.waits)
		}
	}
}

func TestAReplyThatHasWaitedIsSentThoughNothingElseHappens(t *testing.T) {
	r := newBatchRig(t, togetherFor)
	r.c.send("GET a", "GET b")
	r.c.want("$1\r\n1")
	r.answer()
	r.c.want("$1\r\n2")
}

// A library that many callers share one connection of is not to give one of them its reply when another's comes.
func TestAReplyDoesNotWaitForACommandThatCameLater(t *testing.T) {
	r := newBatchRig(t, time.Hour)
	turn := make(chan struct{})
	r.first.Every("GET c{a}", testnode.Until(turn), testnode.Bulk("3"))
	r.c.send("GET c{a}")
	r.first.Wait(t, "GET c{a}", 1)
	r.c.send("GET b")
	r.second.Wait(t, "GET b", 2)
	close(turn)
	r.c.want("$1\r\n3")
	r.answer()
	r.c.want("$1\r\n2")
}

func TestAProxyThatStopsSendsTheRepliesThatItHas(t *testing.T) {
	r := newBatchRig(t, time.Hour)
	r.c.send("GET a", "GET b")
	r.second.Wait(t, "GET b", 2)
	r.replied(t)
	r.p.loops[0].post(message{kind: msgCall, call: func(l *loop) { l.closing = true }})
	r.c.want("$1\r\n1")
	r.answer()
}
