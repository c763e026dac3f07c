//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// greeting is what the load generator begins with, the only thing that is ever looked at.
var greeting = []byte("*1\r\n$4\r\nPING\r\n")

// readSize is that of the proxy's loops.
const readSize = 64 << 10

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	forward := flag.String("forward", "", "server to copy bytes to; none: answer at once")
	request := flag.Int("request", 0, "bytes of one request")
	value := flag.Int("value", 0, "bytes of the string that is the reply to a request; 0: +OK")
	awake := flag.Bool("awake", false, "serve nothing, but keep the processors from sleeping, with loops of the lowest priority")
	flag.Parse()
	if *awake {
		keepAwake()
	}
	if *forward == "" && (*request < 1 || *value < 0) {
		fmt.Fprintln(os.Stderr, "floor: give -forward, or -request and -value")
		os.Exit(2)
	}
	l := &loop{request: *request, answer: []byte("+OK\r\n"), in: make([]byte, readSize)}
	if *value > 0 {
		l.answer = fmt.Appendf(nil, "$%d\r\n%s\r\n", *value, bytes.Repeat([]byte("x"), *value))
	}
	if err := l.open(*listen, *forward); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	if err := l.run(); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// loop serves every connection on one thread.
type loop struct {
	epoll    int
	listener int
	to       *unix.SockaddrInet4 // nil: answer at once
	request  int                 // bytes
	answer   []byte              // to one request
	in       []byte
	conns    []*conn // by descriptor
	dirty    []*conn
}

// conn is one socket. What is read goes to its other: itself, or the socket at the other end of the copy.
type conn struct {
	fd    int
	other *conn
	spoke bool   // something was read
	rest  int    // bytes of a request that has begun
	out   []byte // to be written at the end of the round
}

func (l *loop) open(listen, forward string) (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if forward != "" {
		if l.to, err = sockaddr(forward); err != nil {
			return err
		}
	}
	at, err := sockaddr(listen)
	if err != nil {
		return err
	}
	if l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	return errors.Join(unix.SetsockoptInt(l.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(l.listener, at), unix.Listen(l.listener, 4096), l.watch(l.listener))
}

func sockaddr(addr string) (*unix.SockaddrInet4, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, nil
}

func (l *loop) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (l *loop) run() error {
	events := make([]unix.EpollEvent, 512)
	for {
		// Once without the scheduler's bookkeeping, as the proxy does: under load there is always work.
		n, _, _ := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		ready := int(n)
		if ready <= 0 {
			var err error
			if ready, err = unix.EpollWait(l.epoll, events, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		for i := range max(ready, 0) {
			if fd := int(events[i].Fd); fd == l.listener {
				l.accept()
			} else if c := l.conns[fd]; c != nil {
				l.read(c)
			}
		}
		for _, c := range l.dirty {
			l.write(c)
		}
		l.dirty = l.dirty[:0]
	}
}

func (l *loop) accept() {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		c := l.add(fd)
		c.other = c
		if l.to == nil {
			continue
		}
		up, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil || unix.Connect(up, l.to) != nil || unix.SetNonblock(up, true) != nil {
			fmt.Fprintln(os.Stderr, "floor: cannot connect to the server")
			os.Exit(1)
		}
		c.other = l.add(up)
		c.other.other = c
	}
}

func (l *loop) add(fd int) *conn {
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	c := &conn{fd: fd}
	l.conns[fd] = c
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // dearer without, not wrong
	_ = l.watch(fd)                                                   // a socket that is not watched is silent, and the load says so
	return c
}

func (l *loop) read(c *conn) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&l.in[0])), readSize)
	if e == unix.EAGAIN || e == unix.EINTR {
		return
	}
	if e != 0 || n == 0 {
		l.drop(c)
		return
	}
	to := c.other
	if len(to.out) == 0 {
		l.dirty = append(l.dirty, to)
	}
	if l.to != nil {
		to.out = append(to.out, l.in[:n]...)
		return
	}
	if !c.spoke {
		c.spoke = true
		if bytes.Equal(l.in[:n], greeting) {
			to.out = append(to.out, "+PONG\r\n"...)
			return
		}
	}
	c.rest += int(n)
	for ; c.rest >= l.request; c.rest -= l.request {
		to.out = append(to.out, l.answer...)
	}
}

func (l *loop) drop(c *conn) {
	for _, d := range []*conn{c, c.other} {
		if l.conns[d.fd] == d {
			l.conns[d.fd] = nil
			_ = unix.Close(d.fd)
		}
		d.out = nil
	}
}

// write blocks when the other side does not read: the loads of this suite always do.
func (l *loop) write(c *conn) {
	for sent := 0; sent < len(c.out); {
		n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[sent])), uintptr(len(c.out)-sent))
		if e == unix.EAGAIN || e == unix.EINTR {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, -1)
			continue
		}
		if e != 0 {
			break // its read tells
		}
		sent += int(n)
	}
	c.out = c.out[:0]
}
