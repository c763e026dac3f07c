package proxy

import (
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

// A request may be in the list more than once: who stands in line looks from time to time whether that makes sense.
func TestWhoWaitsTwiceIsWokenTwiceInTheOrderOfTime(t *testing.T) {
	var w waitList
	twice, others := &request{}, []*request{{}, {}, {}}
	for _, x := range []waiter{{10, twice}, {20, others[0]}, {15, others[1]}, {40, twice}, {5, others[2]}} {
		w.push(x)
	}
	for i, want := range []*request{others[2], twice, others[1], others[0], twice} {
		if got := w.pop(); got != want {
			t.Fatalf("number %d: got %p, want %p", i, got, want)
		}
	}
	if len(w) != 0 {
		t.Errorf("%d are left", len(w))
	}
}

func TestABlockedClientWhoseTimeEndsBetweenTwoAttemptsIsAnsweredNull(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 50 * time.Millisecond}})
	s.owner.Every("BLPOP ...", testnode.Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"))
	start := time.Now()
	s.send("BLPOP {t}l 0.2")
	s.want("*-1")
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("answered after %v, want not before its timeout of 200 ms", took)
	}
}
