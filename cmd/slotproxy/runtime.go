package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// tuneRuntime fits Go's scheduler and collector to event loops.
//
// A loop sleeps in epoll_wait and keeps its scheduler slot while others are free. With no more slots than loops the
// runtime takes it away at every sleep and the loop has to win it back: that cost two loops on two cores a fifth of
// their processor time. So there are two slots more than loops: for the control plane and for the collector.
//
// Whoever has set GOGC has decided for the collector.
func tuneRuntime(loops int) {
	if want := loops + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(leastGrowth)
	paceCollector(leastGrowth)
}

const (
	// leastGrowth and mostGrowth are how far the heap grows between two collections, in percent of what is alive.
	//
	// What lives on the heap lasts and what dies are large buffers: collecting at half the usual growth bounds them, and costs nothing
	// while none die. But commands leave nothing behind, so that what is alive may be just 4 MiB; half of that is what a refresh of the
	// topology and a scrape leave in five seconds, and each collection stops the loops for a moment.
	leastGrowth, mostGrowth = 50, 800
	// room is garbage, in bytes, that is not worth a collection; between it and half of it is what a small heap grows by.
	room = 16 << 20
)

// paceCollector looks after each collection how far the heap may grow until the next one.
func paceCollector(percent int) {
	// Whatever has a pointer is alone in its memory, so that nothing else keeps it alive.
	runtime.AddCleanup(&struct{ _ *int }{}, func(percent int) {
		if now := growth(alive()); now != percent { // setting it stops the loops, too
			percent = now
			debug.SetGCPercent(percent)
		}
		paceCollector(percent)
	}, percent)
}

// growth is for how much garbage, in percent of what is alive, a collection is worth its while. It comes in steps, so that it seldom changes.
func growth(alive uint64) int {
	percent := leastGrowth
	for percent < mostGrowth && alive*uint64(2*percent)/100 <= room {
		percent *= 2
	}
	return percent
}

// alive is what the last collection found in use, in bytes.
func alive() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 { // a runtime that does not tell
		return room
	}
	return live[0].Value.Uint64()
}
