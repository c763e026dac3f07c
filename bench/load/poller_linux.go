package load

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsPerWait bounds what is read before the next operations are sent.
const eventsPerWait = 256

// poller waits for the sockets of one thread.
type poller struct {
	epfd   int
	coarse bool // the kernel, below 5.11, knows milliseconds only
	events [eventsPerWait]unix.EpollEvent
}

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &poller{epfd: epfd}, nil
}

func (p *poller) close() { _ = unix.Close(p.epfd) }

// wait returns how many events there are, after at most d. It looks once without telling the scheduler, as under load there are some.
func (p *poller) wait(d time.Duration) int {
	n, _, _ := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])), eventsPerWait, 0, 0, 0)
	if int(n) > 0 {
		return int(n)
	}
	if d <= 0 {
		return 0
	}
	if !p.coarse {
		ts := unix.NsecToTimespec(d.Nanoseconds())
		n, _, e := syscall.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])), eventsPerWait,
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		if e == 0 {
			return int(n)
		}
		p.coarse = e == unix.ENOSYS
		return 0
	}
	m, err := unix.EpollWait(p.epfd, p.events[:], int((d+time.Millisecond-1)/time.Millisecond))
	if err != nil {
		return 0
	}
	return m
}

// set registers a link, or changes what it waits for. The generation tells an event of a socket from one of its predecessor.
func (p *poller) set(l *link, op int, write bool) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(l.number), Pad: int32(l.generation)}
	if write {
		ev.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(p.epfd, op, l.fd, &ev)
}

// sysRead and sysWrite act on non-blocking sockets, so the scheduler need not know.
func sysRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func sysWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func again(e syscall.Errno) bool { return e == unix.EAGAIN || e == unix.EINTR }

// punctual has the kernel wake this thread when it asked for, and returns what makes it ordinary again. Otherwise the kernel may be late by 50
// microseconds, to wake several threads at once, and an open load would measure that.
func punctual() (ordinary func()) {
	setSlack(1)                   // ns: the least
	return func() { setSlack(0) } // of the process
}

// setSlack leaves the thread as it was where the kernel does not allow it: the lag of the load tells then.
func setSlack(ns uintptr) { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, ns, 0, 0, 0) }
