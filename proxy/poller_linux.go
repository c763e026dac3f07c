package proxy

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// haveEpoll says that plain sockets are served by the loop itself; see poller_other.go for systems where they are not.
const haveEpoll = true

// eventsPerWait bounds one iteration: 512 sockets read before the first write keeps the added delay below a millisecond.
const eventsPerWait = 512

// poller waits for sockets of one loop. Only wake may be called from elsewhere.
type poller struct {
	epfd   int
	wakefd int
	fine   bool // waits may be shorter than a millisecond: Linux 5.11 and later
	events [eventsPerWait]unix.EpollEvent
}

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epfd)
		return nil, err
	}
	p := &poller{epfd: epfd, wakefd: wakefd}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wakefd)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		p.close()
		return nil, err
	}
	_, e := p.waitFine(0)
	p.fine = e == 0
	return p, nil
}

func (p *poller) close() {
	unix.Close(p.epfd)
	unix.Close(p.wakefd)
}

// wake ends a wait. Safe from any goroutine.
func (p *poller) wake() {
	one := [8]byte{0: 1}
	// The only possible failure is a full counter, and then the loop is about to wake anyway.
	_, _ = unix.Write(p.wakefd, one[:])
}

// wait returns the number of ready events, waiting at most d. It looks once without blocking: under load there is
// always work, and the non-blocking call spares the scheduler's bookkeeping.
func (p *poller) wait(d time.Duration) int {
	if n := p.ready(); n > 0 {
		return n
	}
	if p.fine && d < time.Millisecond {
		n, _ := p.waitFine(d)
		return n
	}
	ms := int((d + time.Millisecond - 1) / time.Millisecond)
	m, err := unix.EpollWait(p.epfd, p.events[:], ms)
	if err != nil {
		return 0
	}
	return m
}

// waitFine waits at most d, to the nanosecond.
func (p *poller) waitFine(d time.Duration) (int, syscall.Errno) {
	ts := unix.NsecToTimespec(int64(d))
	n, _, e := syscall.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])), eventsPerWait,
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	return max(int(n), 0), e
}

// ready returns the number of events that are there already.
func (p *poller) ready() int {
	n, _, _ := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])), eventsPerWait, 0, 0, 0)
	return max(int(n), 0)
}

// dispatch hands every ready event of the last wait to its connection.
func (p *poller) dispatch(l *loop, n int) {
	for i := range p.events[:n] {
		ev := &p.events[i]
		if int(ev.Fd) == p.wakefd {
			var count [8]byte
			_, _ = unix.Read(p.wakefd, count[:])
			continue
		}
		c := l.byFd(int(ev.Fd), uint32(ev.Pad))
		if c == nil {
			continue // closed earlier in this iteration
		}
		if ev.Events&unix.EPOLLOUT != 0 {
			c.writable()
		}
		if ev.Events&^unix.EPOLLOUT != 0 && !c.closed {
			c.readable(ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0)
		}
	}
}

func epollMask(read, write bool) uint32 {
	var m uint32
	if read {
		m |= unix.EPOLLIN
	}
	if write {
		m |= unix.EPOLLOUT
	}
	return m
}

// add, change and remove take the connection's descriptor and generation; the generation tells a late event for a
// closed descriptor from one for its successor.
func (p *poller) add(fd int, gen uint32) error {
	ev := unix.EpollEvent{Events: epollMask(true, false), Fd: int32(fd), Pad: int32(gen)}
	return unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (p *poller) change(fd int, gen uint32, read, write bool) {
	ev := unix.EpollEvent{Events: epollMask(read, write), Fd: int32(fd), Pad: int32(gen)}
	// Fails only for a descriptor that is not registered, which would be our own bug and shows as a stalled socket.
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// sysRead and sysWrite act on non-blocking sockets, so the scheduler need not know: RawSyscall.
func sysRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func sysWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func sysWritev(fd int, bufs [][]byte) (int, syscall.Errno) {
	var iov [maxIovecs]syscall.Iovec
	for i, b := range bufs {
		iov[i].Base = unsafe.SliceData(b)
		iov[i].SetLen(len(b))
	}
	n, _, e := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(bufs)))
	return int(n), e
}

func sysClose(fd int) { _ = unix.Close(fd) }

// again says that a call would have blocked; the poller tells when to try next.
func again(e syscall.Errno) bool { return e == unix.EAGAIN || e == unix.EINTR }
