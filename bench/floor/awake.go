//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// keepAwake runs a loop for each processor, which the system runs only when nothing else wants to, until the process is ended.
func keepAwake() {
	n := runtime.NumCPU()
	runtime.GOMAXPROCS(n + 1)
	for range n - 1 {
		go burn()
	}
	burn()
}

func burn() {
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", os.NewSyscallError("sched_setattr", err))
		os.Exit(1) // at a usual priority it would be the measurement
	}
	//lint:ignore SA5002 to use the processor is the purpose
	for {
	}
}
