package testcluster

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// The kernel sends a child its death signal when the *thread* that started it ends, and Go ends threads as it likes.
// So one goroutine, locked to a thread for the life of the process, starts all servers.
var starter = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go serveStarts(requests)
	return requests
})

// startRequest goes from StartProcess to serveStarts; the answer comes back through done.
type startRequest struct {
	cmd  *exec.Cmd
	done chan<- error
}

// serveStarts never returns: the servers of this process would die with its thread.
func serveStarts(requests <-chan startRequest) {
	runtime.LockOSThread()
	for r := range requests {
		r.done <- r.cmd.Start()
	}
}

// StartProcess starts a server that dies with this process, even by SIGKILL, and that Ctrl-C in the terminal does
// not reach before its owner stops it: it has a process group of its own.
func StartProcess(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan error)
	starter() <- startRequest{cmd: cmd, done: done}
	return <-done
}
