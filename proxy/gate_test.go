package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// holdFor is longer than any test holds slots.
const holdFor = 30 * time.Second

// patient makes room for it.
var patient = Limits{RedirectBudget: 2 * holdFor}

var tSlot = router.Slot([]byte("{t}"))

// begin starts a Hold and returns where its outcome comes.
func begin(ctx context.Context, p *Proxy, limit time.Duration, slots ...uint16) <-chan error {
	done := make(chan error, 1)
	go func() { done <- p.Hold(ctx, slots, limit) }()
	return done
}

// outcome waits for the end of a Hold.
func outcome(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("Hold does not return")
		return nil
	}
}

func mustHold(t *testing.T, p *Proxy, slots ...uint16) {
	t.Helper()
	if err := outcome(t, begin(t.Context(), p, holdFor, slots...)); err != nil {
		t.Fatal(err)
	}
}

// held waits until gates hold back at least n commands.
func held(t *testing.T, p *Proxy, n int64) {
	t.Helper()
	until(t, func() bool { return p.Pulse().Held >= n })
}

func TestAHoldKeepsTheOrderOfAPipelineAndLetsOtherSlotsGo(t *testing.T) {
	s := script(t, Config{Loops: 2, Limits: patient})
	for i := range 3 {
		s.set.Node(i).Every("GET ...", testnode.Bulk("x"))
		s.set.Node(i).Every("INCR ...", testnode.Raw(":1\r\n"))
	}
	mustHold(t, s.proxy, tSlot)
	s.send("INCR {t}a", "INCR {u}b", "GET {t}a", "GET {u}b", "PING", "GET {t}b")
	other := s.set.Owner(int(router.Slot([]byte("{u}"))))
	other.Wait(t, "GET {u}b", 1)
	held(t, s.proxy, 3)
	d := connect(t, s.proxy.Addrs()[0].String())
	d.send("GET {u}c", "PING")
	d.want("$1", "+PONG")
	if got := arrivals(s.owner, "INCR", "GET"); strings.Contains(got, "{t}") {
		t.Fatalf("the node saw %q while the slot was held", got)
	}
	s.proxy.Release([]uint16{tSlot}, "")
	s.want(":1", ":1", "$1", "$1", "+PONG", "$1")
	got := strings.Join(strings.FieldsFunc(arrivals(s.owner, "INCR {t}a", "INCR", "GET"), func(r rune) bool { return r == ',' }), "")
	if want := "INCR {t}a GET {t}a GET {t}b"; !strings.Contains(got, "INCR {t}a") || strings.Index(got, "INCR {t}a") > strings.Index(got, "GET {t}a") {
		t.Errorf("the node saw %q, want %q in this order", got, want)
	}
	if p := s.proxy.Pulse(); p.Held != 0 || p.HeldTotal != 3 || p.LongHold <= 0 {
		t.Errorf("held %d, %d in all, for %v; want 0, 3, some time", p.Held, p.HeldTotal, p.LongHold)
	}
}

func TestAHoldWaitsForWhatIsInFlight(t *testing.T) {
	for _, tc := range []struct {
		name, send, reply, want string
	}{
		{"a write", "SET {t}a 1", "+OK\r\n", "+OK"},
		{"a transaction", "MULTI|SET {t}a 1|EXEC", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", "+OK|+QUEUED|*1"},
		{"one part of several", "MSET {t}a 1 {u}b 2", "+OK\r\n", "+OK"},
		{"a flush of everything", "FLUSHALL", "+OK\r\n", "+OK"},
		{"a command that is answered too late", "GET {t}late", "$1\r\nx\r\n", "-PROXYTIMEOUT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			limits := patient
			if strings.Contains(tc.name, "too late") {
				limits.UpstreamTimeout = 100 * time.Millisecond
			}
			s := script(t, Config{Loops: 1, Limits: limits})
			for i := range 3 {
				s.set.Node(i).Every("MSET ...", testnode.Raw("+OK\r\n"))
				s.set.Node(i).Every("FLUSHALL", testnode.Raw("+OK\r\n"))
				s.set.Node(i).Every("MULTI", testnode.Raw("+OK\r\n"))
				s.set.Node(i).Every("EXEC", testnode.Raw("*0\r\n"))
			}
			slow := make(chan struct{})
			lines := strings.Split(tc.send, "|")
			first := strings.Fields(lines[0])[0]
			switch first {
			case "MULTI":
				s.send("MULTI", "EXEC") // the first of a user asks any node
				s.want("+OK", "*0")
				s.owner.On("MULTI", testnode.Until(slow), testnode.Raw(tc.reply))
				s.owner.On("SET ...", testnode.Silence())
				s.owner.On("EXEC", testnode.Silence())
			default:
				s.owner.On(first+" ...", testnode.Until(slow), testnode.Raw(tc.reply))
			}
			s.owner.Forget()
			s.send(lines...)
			s.owner.Wait(t, first+" ...", 1)
			if strings.HasPrefix(tc.want, "-") {
				s.want(tc.want)
			}
			done := begin(t.Context(), s.proxy, holdFor, tSlot)
			s.until("the gate is closed", func(l *loop) bool { return len(l.gates) == 1 })
			select {
			case err := <-done:
				t.Fatalf("Hold returned %v with a command in flight", err)
			default:
			}
			close(slow)
			if err := outcome(t, done); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(tc.want, "-") {
				s.want(strings.Split(tc.want, "|")...)
			}
		})
	}
}

func TestACommandThatIsRedirectedWhileItsSlotIsHeldStaysUntilTheRelease(t *testing.T) {
	for _, tc := range []struct{ name, answer string }{
		{"by MOVED", "MOVED"}, {"by ASK", "ASK"}, {"by TRYAGAIN", "TRYAGAIN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1, Limits: patient})
			slow := make(chan struct{})
			answer := map[string]testnode.Action{
				"MOVED": testnode.Moved(s.slot, s.next.Addr()), "ASK": testnode.Ask(s.slot, s.next.Addr()),
				"TRYAGAIN": testnode.Error("TRYAGAIN Multiple keys request during rehashing of slot"),
			}[tc.answer]
			s.owner.On("INCR {t}a", testnode.Until(slow), answer)
			s.next.Every("INCR {t}a", testnode.Raw(":7\r\n"))
			s.send("INCR {t}a")
			s.owner.Wait(t, "INCR ...", 1)
			done := begin(t.Context(), s.proxy, holdFor, tSlot)
			s.until("the gate is closed", func(l *loop) bool { return len(l.gates) == 1 })
			close(slow)
			if err := outcome(t, done); err != nil {
				t.Fatal(err)
			}
			held(t, s.proxy, 1)
			if got := arrivals(s.next, "INCR", "ASKING"); got != "" {
				t.Fatalf("the other node saw %q while the slot was held", got)
			}
			s.set.Give(s.slot, indexOf(s.set, s.next))
			s.proxy.Release([]uint16{tSlot}, s.next.Addr())
			s.want(":7")
			if got := arrivals(s.next, "INCR", "ASKING"); got != "INCR {t}a" {
				t.Fatalf("the new owner saw %q", got)
			}
		})
	}
}

func TestWhatWaitsForAHalfMovedSlotIsSeenAndIsNotHeld(t *testing.T) {
	s := script(t, Config{Loops: 2, Limits: patient})
	s.owner.Every("RENAME {t}a {t}b", testnode.Error("TRYAGAIN Multiple keys request during rehashing of slot"))
	s.next.Every("RENAME {t}a {t}b", testnode.Raw("+OK\r\n"))
	s.next.Every("GET {t}b", testnode.Bulk("x"))
	mustHold(t, s.proxy, tSlot)
	s.send("RENAME {t}a {t}b", "GET {t}b")
	held(t, s.proxy, 2)
	s.proxy.Release([]uint16{tSlot}, "")
	s.owner.Wait(t, "RENAME {t}a {t}b", 1)
	if took := s.proxy.Pulse().LongHold; took <= 0 {
		t.Errorf("the gate has held them for %v", took)
	}
	s.owner.Wait(t, "RENAME {t}a {t}b", 4)
	var later time.Duration
	until(t, func() bool {
		p := s.proxy.Pulse()
		later = max(later, p.LongHold)
		return slices.Equal(p.Waiting, []uint16{tSlot})
	})
	if !s.proxy.Waiting([]uint16{1, tSlot}) || s.proxy.Waiting([]uint16{1}) {
		t.Error("it cannot be seen at once that a command waits, or for which slot")
	}
	s.set.Give(s.slot, indexOf(s.set, s.next))
	s.proxy.Release([]uint16{tSlot}, s.next.Addr())
	s.want("+OK", "$1")
	if p := s.proxy.Pulse(); max(p.LongHold, later) != 0 || len(p.Waiting) != 0 {
		t.Errorf("held for %v since the gate was open, waiting for slots %v; want neither", max(p.LongHold, later), p.Waiting)
	}
	until(t, func() bool { return !s.proxy.Waiting([]uint16{tSlot}) })
}

func TestAHoldIsRefusedOrEndsAsItShould(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	p := s.proxy
	mustHold(t, p, 1, 2, 2)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name  string
		ctx   context.Context
		slots []uint16
		limit time.Duration
		want  error
	}{
		{"no slots", t.Context(), nil, holdFor, nil},
		{"one that another holds", t.Context(), []uint16{2, 3}, holdFor, errGateTaken},
		{"one that is none", t.Context(), []uint16{router.Slots}, holdFor, errGateSlot},
		{"for longer than a command may wait", t.Context(), []uint16{4}, patient.RedirectBudget, errGateLimit},
		{"for no time at all", t.Context(), []uint16{4}, 0, errGateLate},
		{"with an ended context", ended, []uint16{4}, holdFor, context.Canceled},
		{"what a refused one wanted", t.Context(), []uint16{3, 4}, holdFor, nil},
	} {
		if err := outcome(t, begin(tc.ctx, p, tc.limit, tc.slots...)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
	p.Release([]uint16{1, 2, 3, 4}, "")
	mustHold(t, p, 1, 2, 3, 4)
	s.until("one gate is closed", func(l *loop) bool { return len(l.gates) == 1 && len(l.pending) == 0 })
	p.Release([]uint16{1, 3}, "")
	mustHold(t, p, 1)
	p.Release([]uint16{1, 2, 4}, "")
	s.until("no gate is closed", func(l *loop) bool { return len(l.gates) == 0 && l.cares[2].trouble == nil })
}

func TestAGateThatIsNotDrainedOpensWithTheContextOfItsHolder(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	slow := make(chan struct{})
	s.owner.On("INCR {t}a", testnode.Until(slow), testnode.Raw(":1\r\n"))
	s.owner.Every("GET {u}a", testnode.Bulk("x"))
	s.send("INCR {t}a")
	s.owner.Wait(t, "INCR ...", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := outcome(t, begin(ctx, s.proxy, holdFor, tSlot)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	s.until("the gate is open", func(l *loop) bool { return len(l.gates) == 0 })
	close(slow)
	s.want(":1")
}

func TestAGateOpensByItself(t *testing.T) {
	s := script(t, Config{Loops: 2, Limits: patient})
	s.owner.Every("INCR {t}a", testnode.Raw(":1\r\n"))
	if err := outcome(t, begin(t.Context(), s.proxy, 300*time.Millisecond, tSlot)); err != nil {
		t.Fatal(err)
	}
	s.send("INCR {t}a")
	s.want(":1")
	mustHold(t, s.proxy, tSlot)
}

func TestADrainOpensTheGates(t *testing.T) {
	s := script(t, Config{Loops: 2, Limits: patient})
	s.owner.Every("INCR {t}a", testnode.Raw(":1\r\n"))
	mustHold(t, s.proxy, tSlot)
	s.send("INCR {t}a")
	held(t, s.proxy, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if cut, err := s.proxy.Drain(ctx); cut != 0 || err != nil {
		t.Fatalf("%d clients were cut: %v", cut, err)
	}
	s.want(":1")
	if err := outcome(t, begin(t.Context(), s.proxy, holdFor, 1)); !errors.Is(err, errGateDraining) {
		t.Errorf("a hold of a draining proxy: %v", err)
	}
	s.proxy.Close()
	until(t, func() bool { return errors.Is(outcome(t, begin(t.Context(), s.proxy, holdFor, 1)), errGateClosing) })
}

func TestAClientThatLeavesWhileItIsHeldLeavesNothingBehind(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	s.owner.Every("WATCH ...", testnode.Raw("+OK\r\n"))
	s.owner.Every("UNWATCH", testnode.Raw("+OK\r\n"))
	s.owner.Every("INCR ...", testnode.Raw(":1\r\n"))
	for i := range 3 {
		s.set.Node(i).Every("MULTI", testnode.Raw("+OK\r\n"))
		s.set.Node(i).Every("EXEC", testnode.Raw("*0\r\n"))
	}
	c := connect(t, s.proxy.Addrs()[0].String())
	c.send("WATCH {t}w", "MULTI", "INCR {t}w")
	c.want("+OK", "+OK", "+QUEUED")
	mustHold(t, s.proxy, tSlot)
	c.send("EXEC")
	s.send("INCR {t}a")
	held(t, s.proxy, 2)
	for _, gone := range []*client{c, s.client} {
		_ = gone.Conn.(*net.TCPConn).SetLinger(0) // one that only closes its side gets its replies first
		gone.Close()
	}
	until(t, func() bool { return s.proxy.Snapshot().SessionsOpen == 0 })
	s.proxy.Release([]uint16{tSlot}, "")
	until(t, func() bool { return s.proxy.Snapshot().LeasesBusy == 0 })
	if got := arrivals(s.owner, "INCR", "EXEC"); strings.Contains(got, "INCR") {
		t.Errorf("the node saw %q of clients that had left", got)
	}
	s.until("nothing is parked", func(l *loop) bool { return len(l.parked) == 0 && len(l.gates) == 0 })
}

func TestAFlushAndTheGatesDoNotKeepEachOtherOut(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	slow := make(chan struct{})
	for i := range 3 {
		s.set.Node(i).Every("FLUSHALL", testnode.Raw("+OK\r\n"))
		s.set.Node(i).Every("DBSIZE", testnode.Raw(":1\r\n"))
	}
	s.owner.On("FLUSHALL", testnode.Until(slow), testnode.Raw("+OK\r\n"))
	mustHold(t, s.proxy, 1)
	s.send("FLUSHALL")
	held(t, s.proxy, 1)
	d := connect(t, s.proxy.Addrs()[0].String())
	d.send("DBSIZE")
	held(t, s.proxy, 2)
	second := begin(t.Context(), s.proxy, holdFor, 2)
	s.until("the second hold waits", func(l *loop) bool { return len(l.pending) == 1 && len(l.gates) == 1 })
	s.proxy.Release([]uint16{1}, "")
	s.owner.Wait(t, "FLUSHALL", 1)
	select {
	case err := <-second:
		t.Fatalf("Hold returned %v with a flush in flight", err)
	default:
	}
	close(slow)
	if err := outcome(t, second); err != nil {
		t.Fatal(err)
	}
	s.want("+OK")
	d.want(":3")
}

func TestAnOlderTableDoesNotTakeAHandedOverSlotBack(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	mustHold(t, s.proxy, tSlot)
	s.proxy.ask(time.Second, func(l *loop) {
		old := *l.table
		l.openSlots([]uint16{tSlot}, s.next.Addr(), old.Version+2)
		old.Version++
		l.adoptTable(&old)
		if got := l.owners.of(tSlot).addr; got != s.next.Addr() {
			t.Errorf("with the table that was on its way the owner is %s, want %s", got, s.next.Addr())
		}
		newer := old
		newer.Version++
		l.adoptTable(&newer)
		if got := l.owners.of(tSlot).addr; got != s.owner.Addr() || len(l.claims) != 0 {
			t.Errorf("with a table that counts the owner is %s, want %s", got, s.owner.Addr())
		}
		l.openSlots([]uint16{tSlot}, "127.0.0.1:1", newer.Version+2)
		old = newer
		old.Version++
		l.adoptTable(&old)
		if n := l.owners.of(tSlot); n.addr != "127.0.0.1:1" || l.nodes[n.addr] != n {
			t.Errorf("a node that the table does not know yet: the owner is %s", n.addr)
		}
		last := old
		last.Version++
		l.adoptTable(&last)
		if l.nodes["127.0.0.1:1"] != nil {
			t.Error("a node that is not in the cluster stays")
		}
	})
}

func TestPulsesTellWhatHappenedSinceTheLastOne(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t)})
	p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	c := connect(t, addr)
	before := *p.SlotOps()
	p.Pulse()
	for i := range 50 {
		c.send(fmt.Sprintf("SET {t}%d 1", i), "MGET {t}a {u}b", "FOO")
		c.want("+OK", "*2", "-ERR unknown")
	}
	after := p.SlotOps()
	if n := after[tSlot] - before[tSlot]; n != 100 {
		t.Errorf("%d commands in the slot, want 100", n)
	}
	got := p.Pulse()
	var commands uint64
	for addr, n := range got.Nodes {
		commands += n.Commands
		if n.Commands > 0 && (n.P50 <= 0 || n.P99 < n.P50) {
			t.Errorf("%s: half of the commands within %v, nearly all within %v", addr, n.P50, n.P99)
		}
	}
	if commands < 150 || got.P99 <= 0 || got.Span <= 0 {
		t.Errorf("got %d commands, 99%% within %v, in %v; want 150 and more", commands, got.P99, got.Span)
	}
	if again := p.Pulse(); again.P99 != 0 {
		t.Errorf("a pulse in which nothing happened has %+v", again)
	}
}

func TestTimesAreOffByLessThanAQuarter(t *testing.T) {
	for _, ns := range []int64{-5, 0, 1, 3, 4, 5, 7, 8, 999, 1000, 123_456, 1_000_000, 7_777_777_777, 1 << 62} {
		var d times
		d.add(ns)
		got := int64(d.quantile(0.99))
		if want := max(ns, 0); got < want && ns < 1e12 || got > want+want/4+1 {
			t.Errorf("%d ns count as %d ns", ns, got)
		}
	}
}

func TestMoreThanOneInAHundredTakeLongerThanALimitBelowTheP99(t *testing.T) {
	var d times
	for i := range int64(1000) {
		d.add(i * 10_000)
	}
	for limit := time.Duration(0); limit < 20*time.Millisecond; limit += 100 * time.Microsecond {
		if over := d.over(limit); (over >= 10) != (d.quantile(0.99) > limit) {
			t.Errorf("%d of 1000 take longer than %v, and their p99 is %v", over, limit, d.quantile(0.99))
		}
	}
	if n := d.over(-1); n != 1000 {
		t.Errorf("%d of 1000 take longer than nothing", n)
	}
}

func TestAHoldWhoseTimeIsUpIsToldSoBehindOneThatStillWaits(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	for i := range 3 {
		s.set.Node(i).Every("DBSIZE", number(1))
	}
	mustHold(t, s.proxy, 1)
	s.send("DBSIZE")
	held(t, s.proxy, 1)
	first := begin(t.Context(), s.proxy, holdFor, 2)
	s.until("the first hold waits", func(l *loop) bool { return len(l.pending) == 1 })
	second := begin(t.Context(), s.proxy, 20*time.Millisecond, 3)
	if err := outcome(t, second); !errors.Is(err, errGateLate) {
		t.Errorf("the second hold ended with %v, want that its time was up", err)
	}
	s.proxy.Release([]uint16{1}, "")
	if err := outcome(t, first); err != nil {
		t.Error(err)
	}
	s.want(":3")
}
