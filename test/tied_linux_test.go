package test

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// tie starts processes from one thread that lives as long as the test process: the kernel sends the death signal when the thread
// that started a child ends, and Go ends threads as it likes.
var tie = sync.OnceValue(func() chan<- tied {
	c := make(chan tied)
	go serveTied(c)
	return c
})

// tied goes from startTied to serveTied; the answer comes back through done.
type tied struct {
	cmd  *exec.Cmd
	done chan<- error
}

func serveTied(c <-chan tied) {
	runtime.LockOSThread()
	for t := range c {
		t.done <- t.cmd.Start()
	}
}

// startTied starts a process that dies with this one, also when go test kills it for its time-out.
func startTied(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	tie() <- tied{cmd: cmd, done: done}
	return <-done
}
