//go:build linux

package main

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// load is one closed-loop load: every connection sends a batch, waits for its replies, sends the next. One goroutine on raw epoll,
// because the goroutines of fifty connections would cost more processor time than the proxies.
type load struct {
	addr     string
	command  string // of kinds
	clients  int
	pipeline int
	value    int
	keys     int

	epoll   int
	conns   []*loadConn
	byFd    map[int32]*loadConn
	rnd     *rand.Rand
	payload []byte
	in      []byte
	replies int // bytes of the reply to one command

	done    int             // commands answered
	latency []time.Duration // of each batch; kept only for one client
}

type loadConn struct {
	fd   int
	out  []byte
	due  int // reply bytes still to come
	sent time.Time
}

func newLoad(addr, command string, clients, pipeline int, s settings) *load {
	l := &load{
		addr: addr, command: command, clients: clients, pipeline: pipeline, value: s.value, keys: s.keys,
		byFd: map[int32]*loadConn{}, rnd: rand.New(rand.NewPCG(1, 2)), in: make([]byte, 256<<10),
	}
	for range s.value {
		l.payload = append(l.payload, 'x')
	}
	l.replies = kinds[command].reply(l)
	return l
}

// script is what EVALSHA runs: one command on one key.
const script = "return redis.call('GET',KEYS[1])"

// kinds are the commands that a load may consist of. reply is the number of bytes that a server answers.
var kinds = map[string]struct {
	append func(l *load, dst, key []byte) []byte
	reply  func(l *load) int
}{
	"GET": {
		func(_ *load, dst, key []byte) []byte { return appendCommand(dst, []byte("GET"), key) },
		func(l *load) int { return l.bulk() },
	},
	"SET": {
		func(l *load, dst, key []byte) []byte { return appendCommand(dst, []byte("SET"), key, l.payload) },
		func(*load) int { return len("+OK\r\n") },
	},
	"MULTI": { // a block of four commands counts as one
		func(l *load, dst, key []byte) []byte {
			dst = appendCommand(dst, []byte("MULTI"))
			dst = appendCommand(dst, []byte("SET"), key, l.payload)
			dst = appendCommand(dst, []byte("GET"), key)
			return appendCommand(dst, []byte("EXEC"))
		},
		func(l *load) int { return len("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n") + l.bulk() },
	},
	"PUBLISH": {
		func(l *load, dst, key []byte) []byte { return appendCommand(dst, []byte("PUBLISH"), key, l.payload) },
		func(*load) int { return len(":0\r\n") },
	},
	"EVALSHA": {
		func(_ *load, dst, key []byte) []byte {
			return appendCommand(dst, []byte("EVALSHA"), scriptName, []byte("1"), key)
		},
		func(l *load) int { return l.bulk() },
	},
}

var scriptName = func() []byte {
	sum := sha1.Sum([]byte(script)) // the servers' name for it
	return hex.AppendEncode(nil, sum[:])
}()

// bulk is the length of a value as a reply.
func (l *load) bulk() int { return len(strconv.Itoa(l.value)) + len("$\r\n\r\n") + l.value }

// run loads for a while and returns the number of commands answered in it.
func (l *load) run(ctx context.Context, d time.Duration) (int, error) {
	if err := l.open(); err != nil {
		l.close()
		return 0, err
	}
	defer l.close()
	for _, c := range l.conns {
		if err := l.send(c); err != nil {
			return 0, err
		}
	}
	events := make([]unix.EpollEvent, 128)
	for until := time.Now().Add(d); ; {
		n, err := unix.EpollWait(l.epoll, events, 2000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("epoll: %w", err)
		}
		if n == 0 {
			return 0, errors.New("no reply for two seconds")
		}
		for i := range events[:n] {
			if err := l.receive(l.byFd[events[i].Fd]); err != nil {
				return 0, err
			}
		}
		if time.Now().After(until) || ctx.Err() != nil {
			return l.done, ctx.Err()
		}
	}
}

func (l *load) open() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	addr, err := net.ResolveTCPAddr("tcp4", l.addr)
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	for range l.clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		c := &loadConn{fd: fd}
		l.conns = append(l.conns, c)
		l.byFd[int32(fd)] = c
		if err := unix.Connect(fd, to); err != nil {
			return fmt.Errorf("connect %s: %w", l.addr, err)
		}
		if err := errors.Join(unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) close() {
	for _, c := range l.conns {
		_ = unix.Close(c.fd)
	}
	_ = unix.Close(l.epoll)
}

// send writes one batch. It always fits the socket buffer: the batch before it has been answered.
func (l *load) send(c *loadConn) error {
	c.out = c.out[:0]
	for range l.pipeline {
		key := appendKey(nil, l.rnd.IntN(l.keys))
		c.out = kinds[l.command].append(l, c.out, key)
	}
	c.due = l.replies * l.pipeline
	c.sent = time.Now()
	n, err := syscall.Write(c.fd, c.out)
	if err != nil || n != len(c.out) {
		return fmt.Errorf("write %d of %d bytes: %w", n, len(c.out), err)
	}
	return nil
}

func (l *load) receive(c *loadConn) error {
	n, err := syscall.Read(c.fd, l.in)
	if errors.Is(err, syscall.EAGAIN) {
		return nil
	}
	if err != nil || n == 0 {
		return fmt.Errorf("connection lost: %w", err)
	}
	if l.in[0] == '-' && c.due == l.replies*l.pipeline {
		return fmt.Errorf("reply %q", l.in[:min(n, 100)])
	}
	if c.due -= n; c.due < 0 {
		return fmt.Errorf("%d bytes too much: %q", -c.due, l.in[:min(n, 100)])
	}
	if c.due > 0 {
		return nil
	}
	l.done += l.pipeline
	if l.clients == 1 {
		l.latency = append(l.latency, time.Since(c.sent))
	}
	return l.send(c)
}

// p50 is the median latency of the last run with one client.
func (l *load) p50() time.Duration {
	if len(l.latency) == 0 {
		return 0
	}
	slices.Sort(l.latency)
	return l.latency[len(l.latency)/2]
}

// fill writes every key once.
func fill(addr string, s settings) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	payload := newLoad(addr, "SET", 1, 1, s).payload
	const batch = 1000
	for first := 0; first < s.keys; first += batch {
		var out []byte
		n := min(batch, s.keys-first)
		for i := range n {
			out = appendCommand(out, []byte("SET"), appendKey(nil, first+i), payload)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
		in := make([]byte, n*len("+OK\r\n"))
		for got := 0; got < len(in); {
			k, err := conn.Read(in[got:])
			if err != nil {
				return fmt.Errorf("after %q: %w", in[:min(got, 100)], err)
			}
			got += k
		}
		if in[0] != '+' {
			return fmt.Errorf("SET: %q", in[:min(len(in), 100)])
		}
	}
	return nil
}

// loadScript makes the script known.
func loadScript(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(appendCommand(nil, []byte("SCRIPT"), []byte("LOAD"), []byte(script))); err != nil {
		return err
	}
	in := make([]byte, 100)
	if n, err := conn.Read(in); err != nil || in[0] != '$' {
		return fmt.Errorf("SCRIPT LOAD: %q %w", in[:n], err)
	}
	return nil
}

func appendKey(dst []byte, n int) []byte { return fmt.Appendf(dst, "key:%012d", n) }

func appendCommand(dst []byte, args ...[]byte) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, '\r', '\n')
	for _, a := range args {
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(a)), 10)
		dst = append(dst, '\r', '\n')
		dst = append(dst, a...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
