package main

import (
	"runtime"
	"runtime/debug"
)

// tuneRuntime fits Go's scheduler and collector to event loops.
//
// A loop sleeps in epoll_wait and keeps its scheduler slot while others are free. With no more slots than loops the
// runtime takes it away at every sleep and the loop has to win it back: that cost two loops on two cores a fifth of
// their processor time. So there are two slots more than loops: for the control plane and for the collector.
//
// What lives on the heap is small and lasts; what dies are large buffers. Collecting at half the usual growth bounds
// them and costs nothing while no buffers die.
func tuneRuntime(loops int) {
	if want := loops + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	debug.SetGCPercent(50)
}
