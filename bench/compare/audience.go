//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"slotproxy/bench/load"
	"slotproxy/resp"
)

// channels numbers audiences. Each has a channel of its own, because what was published before may still be on its way between nodes.
var channels atomic.Int64

// audience are subscribers. One goroutine on epoll reads what they hear and forgets it: goroutines for a hundred of them would take the
// processor from what is measured.
type audience struct {
	channel string
	epoll   int
	fds     []int
	message int // bytes
	stop    atomic.Bool
	bytes   atomic.Int64
	lost    atomic.Int32 // connections
	work    sync.WaitGroup
}

// gather subscribes n connections, spread over the addresses.
func gather(addrs []string, n, size int) (*audience, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create", err)
	}
	a := &audience{channel: fmt.Sprintf("compare:%d", channels.Add(1)), epoll: epoll}
	a.message = len("*3\r\n$7\r\nmessage\r\n") + bulkLen(len(a.channel)) + bulkLen(size)
	for i := range n {
		if err := a.join(addrs[i%len(addrs)]); err != nil {
			a.leave()
			return nil, fmt.Errorf("subscriber %d: %w", i+1, err)
		}
	}
	a.work.Add(1)
	go a.listen()
	return a, nil
}

func bulkLen(n int) int { return len("$\r\n\r\n") + len(strconv.Itoa(n)) + n }

// publishTo is what the audience hears.
func (a *audience) publishTo() load.Op {
	return load.Op{Name: "PUBLISH", Weight: 1, Commands: []string{"PUBLISH " + a.channel + " {value}"}, Keys: 1}
}

// join subscribes one.
func (a *audience) join(addr string) error {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	a.fds = append(a.fds, fd)
	limit := unix.NsecToTimeval(startTime.Nanoseconds())
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}))
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, resp.AppendCommandStrings(nil, "SUBSCRIBE", a.channel)); err != nil {
		return err
	}
	want := len("*3\r\n$9\r\nsubscribe\r\n") + bulkLen(len(a.channel)) + len(":1\r\n")
	for in := make([]byte, want); want > 0; {
		n, err := unix.Read(fd, in[:want])
		if err != nil || n == 0 || in[0] == '-' {
			return fmt.Errorf("SUBSCRIBE: %q, %v", in[:max(n, 0)], err)
		}
		want -= n
	}
	return errors.Join(unix.SetNonblock(fd, true), unix.EpollCtl(a.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
}

// listen reads until leave.
func (a *audience) listen() {
	defer a.work.Done()
	events := make([]unix.EpollEvent, 128)
	buf := make([]byte, 256<<10)
	for !a.stop.Load() {
		const look = 20 // ms, how soon it hears of leave
		n, err := unix.EpollWait(a.epoll, events, look)
		if err != nil {
			continue // a signal
		}
		for _, ev := range events[:n] {
			switch n, err := unix.Read(int(ev.Fd), buf); {
			case n > 0:
				a.bytes.Add(int64(n))
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			default:
				a.lost.Add(1)
				_ = unix.EpollCtl(a.epoll, unix.EPOLL_CTL_DEL, int(ev.Fd), nil) // else it is ready for ever
			}
		}
	}
}

// heardTime is how long messages may be under way after the last publisher has its reply.
const heardTime = 10 * time.Second

// heard waits until everybody has heard everything that was published.
func (a *audience) heard(published int64) error {
	want := published * int64(len(a.fds)*a.message)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(heardTime); ; <-tick.C {
		got, lost := a.bytes.Load(), a.lost.Load()
		switch {
		case got == want:
			return nil
		case lost > 0:
			return fmt.Errorf("%d of %d subscribers lost their connection", lost, len(a.fds))
		case got > want || time.Now().After(until):
			return fmt.Errorf("%d of %d messages arrived", got/int64(a.message), want/int64(a.message))
		}
	}
}

func (a *audience) leave() {
	a.stop.Store(true)
	a.work.Wait()
	for _, fd := range a.fds {
		_ = unix.Close(fd)
	}
	_ = unix.Close(a.epoll)
}
