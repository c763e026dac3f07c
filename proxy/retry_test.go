package proxy

import "testing"

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
