package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestASmallHeapGrowsByMoreThanItsHalf(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		alive uint64
		want  int
	}{
		{0, 800}, {2 * mib, 800}, {2*mib + 100, 400}, {4 * mib, 400}, {5 * mib, 200}, {10 * mib, 100}, {17 * mib, 50}, {1 << 40, 50},
	} {
		if got := growth(c.alive); got != c.want {
			t.Errorf("with %d bytes alive: %d %%, want %d %%", c.alive, got, c.want)
		}
		if garbage := c.alive * uint64(growth(c.alive)) / 100; growth(c.alive) > leastGrowth && garbage > room {
			t.Errorf("with %d bytes alive %d are garbage before a collection", c.alive, garbage)
		}
	}
}

// gogc is the percentage that the collector goes by, after a collection.
func gogc() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestTheCollectorFollowsWhatIsAlive(t *testing.T) {
	old := debug.SetGCPercent(leastGrowth)
	t.Cleanup(func() { debug.SetGCPercent(old) })
	becomes := func(what string, right func(uint64) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !right(gogc()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: grows by %d %%, with %d bytes alive", what, gogc(), alive())
			}
			runtime.GC()
		}
	}
	paceCollector(leastGrowth)
	becomes("a small heap", func(percent uint64) bool { return percent > leastGrowth })
	large := make([]byte, 2*room)
	becomes("a large heap", func(percent uint64) bool { return percent == leastGrowth })
	runtime.KeepAlive(large)
	becomes("a small heap again", func(percent uint64) bool { return percent > leastGrowth })
}
