package proxy

import (
	"testing"

	"slotproxy/internal/testnode"
)

func TestAHoldIsGrantedAgainAfterAKeyWasLookedForElsewhere(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	for i := range 3 {
		s.set.Node(i).Every("RANDOMKEY", testnode.Raw("$-1\r\n"))
		s.set.Node(i).Every("DBSIZE", number(1000))
	}
	s.next.Every("RANDOMKEY", testnode.Bulk("{t}left")) // which is not its own
	s.owner.Every("TYPE {t}left", testnode.Raw("+string\r\n"))
	s.send("RANDOMKEY")
	s.want("$7\r\n{t}left")
	accounted(t, s.proxy)
	mustHold(t, s.proxy, tSlot)
	s.proxy.Release([]uint16{tSlot}, "")
	mustHold(t, s.proxy, tSlot+1)
}

func TestAHoldWaitsForACommandOnTheWholeKeyspaceThatIsTriedAgain(t *testing.T) {
	const refusals = 9 // about 300 ms of waits
	s := script(t, Config{Loops: 1, Limits: patient})
	for range refusals {
		s.owner.On("DBSIZE", testnode.Error("LOADING x"))
	}
	for i := range 3 {
		s.set.Node(i).Every("DBSIZE", number(1))
	}
	s.send("DBSIZE")
	s.next.Wait(t, "DBSIZE", 1)
	s.owner.Wait(t, "DBSIZE", 2)
	if err := outcome(t, begin(t.Context(), s.proxy, holdFor, tSlot)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.owner.Seen("DBSIZE")); n != refusals+1 {
		t.Errorf("Hold returned after %d of the %d attempts: what is moved from now on is counted wrongly", n, refusals+1)
	}
	s.want(":3")
	s.proxy.Release([]uint16{tSlot}, "")
	accounted(t, s.proxy)
}

func TestALostClientsCommandOnTheWholeKeyspaceIsWaitedForAsLongAsItIsInANode(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	slow := make(chan struct{})
	s.owner.On("FLUSHALL", testnode.Until(slow), testnode.Raw("+OK\r\n"))
	for i := range 3 {
		s.set.Node(i).Every("FLUSHALL", testnode.Raw("+OK\r\n"))
	}
	s.send("FLUSHALL")
	s.owner.Wait(t, "FLUSHALL", 1)
	s.client.leave()
	s.until("the client has gone", func(l *loop) bool { return len(l.sessions) == 0 })
	done := begin(t.Context(), s.proxy, holdFor, tSlot)
	s.until("the gate is closed", func(l *loop) bool { return len(l.gates) == 1 })
	select {
	case err := <-done:
		t.Fatalf("Hold returned %v with a flush in flight", err)
	default:
	}
	close(slow)
	if err := outcome(t, done); err != nil {
		t.Fatal(err)
	}
	accounted(t, s.proxy)
}
