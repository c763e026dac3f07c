//go:build !linux

package proxy

import (
	"syscall"
	"time"
)

// haveEpoll is false: every connection uses the stream transport, and a loop only waits for its inbox.
const haveEpoll = false

type poller struct {
	ring chan struct{}
	fine bool // never: see poller_linux.go
}

func newPoller() (*poller, error) { return &poller{ring: make(chan struct{}, 1)}, nil }

func (p *poller) close() {}

func (p *poller) wake() {
	select {
	case p.ring <- struct{}{}:
	default: // a wake-up is already on its way
	}
}

func (p *poller) wait(d time.Duration) int {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.ring:
	case <-t.C:
	}
	return 0
}

func (p *poller) ready() int                       { return 0 }
func (p *poller) dispatch(*loop, int)              {}
func (p *poller) add(int, uint32) error            { return syscall.ENOSYS }
func (p *poller) change(int, uint32, bool, bool)   {}
func sysRead(int, []byte) (int, syscall.Errno)     { return 0, syscall.ENOSYS }
func sysWrite(int, []byte) (int, syscall.Errno)    { return 0, syscall.ENOSYS }
func sysWritev(int, [][]byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func sysClose(int)                                 {}
func again(e syscall.Errno) bool                   { return e == syscall.EAGAIN }
