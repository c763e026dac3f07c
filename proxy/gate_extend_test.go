package proxy

import (
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

func TestAHoldThatIsExtendedDoesNotOpenInBetween(t *testing.T) {
	s := script(t, Config{Loops: 2, Limits: patient})
	s.owner.Every("GET {t}a", testnode.Bulk("x"))
	const limit = 500 * time.Millisecond
	began := monotonic()
	if err := outcome(t, begin(t.Context(), s.proxy, limit, tSlot)); err != nil {
		t.Fatal(err)
	}
	if more, err := s.proxy.Extend([]uint16{tSlot}, holdFor); err != nil || more > holdFor || more < holdFor/2 {
		t.Fatalf("extended for %v, %v; want about %v", more, err, holdFor)
	}
	s.send("GET {t}a")
	held(t, s.proxy, 1)
	until(t, func() bool { return monotonic() > began+2*int64(limit) })
	if got := arrivals(s.owner, "GET"); got != "" || s.proxy.Pulse().Held != 1 {
		t.Fatalf("the node saw %q after the first limit, want the command held", got)
	}
	if _, err := s.proxy.Extend([]uint16{tSlot}, time.Millisecond); err != nil {
		t.Errorf("an extension for a shorter time: %v", err)
	}
	s.proxy.Release([]uint16{tSlot}, "")
	s.want("$1")
}

func TestAHoldIsNotExtendedForEverNorWhenItIsOpen(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 8 * time.Second}})
	if _, err := s.proxy.Extend([]uint16{tSlot}, time.Second); err == nil {
		t.Error("a slot that is not held is extended")
	}
	if err := outcome(t, begin(t.Context(), s.proxy, 4*time.Second, tSlot)); err != nil {
		t.Fatal(err)
	}
	if more, err := s.proxy.Extend([]uint16{tSlot}, time.Hour); err != nil || more > 6*time.Second {
		t.Errorf("extended for %v, %v; want three quarters of redirect_budget at most", more, err)
	}
	if _, err := s.proxy.Extend([]uint16{tSlot, tSlot + 1}, time.Second); err == nil {
		t.Error("a slot that is not held is extended beside another")
	}
	s.proxy.Release([]uint16{tSlot}, "")
	if _, err := s.proxy.Extend([]uint16{tSlot}, time.Second); err == nil {
		t.Error("a slot that was released is extended")
	}
	if err := outcome(t, begin(t.Context(), s.proxy, 200*time.Millisecond, tSlot)); err != nil {
		t.Fatal(err)
	}
	s.until("the hold has ended by itself", func(l *loop) bool { return len(l.gates) == 0 })
	if _, err := s.proxy.Extend([]uint16{tSlot}, time.Second); err == nil {
		t.Error("a hold whose time was up is extended")
	}
}
