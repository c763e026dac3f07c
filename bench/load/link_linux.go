package load

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"slotproxy/resp"
)

// link is a connection of one client to one node. It is opened when it is first needed, and again after it was lost.
type link struct {
	thread     *thread
	client     *client
	number     int // in thread.links
	addr       string
	generation uint32 // of its sockets

	state   linkState
	fd      int
	tls     *tls.Conn // nil for none
	plain   []byte    // with TLS: what goes into it
	out     []byte    // what goes over the wire, from outAt
	outAt   int
	dirty   bool // in thread.dirty
	waiting bool // for room to write

	in      []byte // the beginning of a line whose end is still to come
	framer  resp.Framer
	first   byte   // type of the reply under way
	due     []part // commands whose replies are to come, from dueAt
	dueAt   int
	retryAt int64 // when it may be opened again
}

type linkState uint8

const (
	linkClosed linkState = iota
	linkConnecting
	linkOpen
)

// part is the share of one node of an operation.
type part struct {
	op       *operation // nil for a greeting or ASKING
	from, to int32      // of the keys of op
	replies  int32      // still to come
	hops     int32      // redirects followed
	turn     turn       // what a redirect said
	to2      int32      // the node that it named
	greeting bool
}

// turn is what happens to a part that was answered with a redirect.
type turn uint8

const (
	turnNone turn = iota
	turnMoved
	turnAsk
)

var (
	errClosed  = errors.New("connection closed by the other side")
	errStrange = errors.New("an answer that nobody asked for")
)

// retryPause is how long a lost link is left alone, so that a load on a dead server is not a storm.
const retryPause = 100e6 // ns

// keepBuffer is the capacity that an idle link keeps: 8000 clients that have once sent a megabyte each would fill the memory.
const keepBuffer = 16 << 10

// open begins to connect. Commands may be queued at once.
func (l *link) open() error {
	l.generation++
	l.in, l.first, l.waiting = nil, 0, true
	l.framer.Reset()
	fd, sa, err := l.thread.run.socket(l.addr)
	if err != nil {
		return err
	}
	l.fd = fd
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	if err := l.thread.poll.set(l, unix.EPOLL_CTL_ADD, true); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("epoll: %w", err)
	}
	l.state = linkConnecting
	hello := l.thread.run.hello
	*l.queue() = append(*l.queue(), hello...)
	l.due = append(l.due, part{replies: 1, greeting: true})
	return nil
}

// queue is where commands are written.
func (l *link) queue() *[]byte {
	if l.thread.run.cfg.Target.TLS != nil {
		return &l.plain
	}
	return &l.out
}

// touch has the link flushed at the end of the iteration.
func (l *link) touch() {
	if !l.dirty {
		l.dirty = true
		l.thread.dirty = append(l.thread.dirty, l)
	}
}

// connected is called when the socket can be written for the first time.
func (l *link) connected() error {
	code, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if c := l.thread.run.cfg.Target.TLS; c != nil {
		if err := l.secure(c); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
	}
	l.state = linkOpen
	return nil
}

// flush writes what there is.
func (l *link) flush() {
	l.dirty = false
	if l.state != linkOpen {
		return // its time comes when it is connected; what was queued on a lost one is gone
	}
	if l.tls != nil && len(l.plain) > 0 {
		if _, err := l.tls.Write(l.plain); err != nil {
			l.lost(err)
			return
		}
		l.plain = emptied(l.plain)
	}
	for l.outAt < len(l.out) {
		n, e := sysWrite(l.fd, l.out[l.outAt:])
		if e != 0 && !again(e) {
			l.lost(e)
			return
		}
		if e != 0 {
			break
		}
		l.outAt += n
	}
	full := l.outAt < len(l.out)
	switch {
	case !full:
		l.out, l.outAt = emptied(l.out), 0
	case 2*l.outAt >= len(l.out):
		l.out, l.outAt = l.out[:copy(l.out, l.out[l.outAt:])], 0
	}
	if full != l.waiting {
		l.waiting = full
		if err := l.thread.poll.set(l, unix.EPOLL_CTL_MOD, full); err != nil {
			l.lost(err)
		}
	}
}

func emptied(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// ready is an event of the socket.
func (l *link) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 || l.state == linkConnecting {
		if l.state == linkConnecting {
			if err := l.connected(); err != nil {
				l.lost(err)
				return
			}
		}
		l.touch()
	}
	if events&^unix.EPOLLOUT != 0 {
		l.receive()
	}
}

// receive reads until there is nothing more, or the thread's buffer was not filled.
func (l *link) receive() {
	generation := l.generation
	for l.state == linkOpen && l.generation == generation {
		buf := l.thread.buf
		n, err := l.read(buf)
		if errors.Is(err, errLater) {
			return
		}
		if err != nil {
			l.lost(err)
			return
		}
		l.consume(buf[:n])
		if l.tls == nil && n < len(buf) {
			return
		}
	}
}

func (l *link) read(buf []byte) (int, error) {
	if l.tls != nil {
		return l.tls.Read(buf)
	}
	n, e := sysRead(l.fd, buf)
	switch {
	case e == 0 && n > 0:
		return n, nil
	case e == 0:
		return 0, errClosed
	case again(e):
		return 0, errLater
	}
	return 0, e
}

// consume finds the replies.
func (l *link) consume(buf []byte) {
	if len(l.in) > 0 {
		l.in = append(l.in, buf...)
		buf = l.in
	}
	now := l.thread.run.now()
	generation := l.generation
	for len(buf) > 0 {
		if l.framer.Between() {
			l.first = buf[0]
		}
		n, done, err := l.framer.Feed(buf)
		if err != nil {
			l.lost(err)
			return
		}
		if done {
			l.reply(buf[:n], now)
			if l.state != linkOpen || l.generation != generation {
				return
			}
		}
		buf = buf[n:]
		if !done && n == 0 {
			break
		}
	}
	l.in = append(l.in[:0], buf...)
	if len(buf) == 0 {
		l.in = emptied(l.in)
	}
}

// reply is the last piece of a reply; of an error, and of a null, all of it.
func (l *link) reply(piece []byte, now int64) {
	if l.first == '>' {
		return // a push
	}
	if l.dueAt == len(l.due) {
		l.lost(errStrange)
		return
	}
	p := &l.due[l.dueAt]
	if p.greeting {
		l.greeted(piece)
		return
	}
	if p.op != nil {
		l.judge(p, piece)
	}
	if p.replies--; p.replies > 0 {
		return
	}
	done := *p
	l.pop()
	if done.op != nil {
		l.thread.answered(&done, now)
	}
}

func (l *link) pop() {
	l.due[l.dueAt] = part{}
	l.dueAt++
	if l.dueAt == len(l.due) || l.dueAt >= shiftAt && 2*l.dueAt >= len(l.due) { // of an open load it is never empty
		n := copy(l.due, l.due[l.dueAt:])
		clear(l.due[n:])
		l.due, l.dueAt = l.due[:n], 0
	}
}

// shiftAt is when what is done is cut off: seldom enough that moving the rest costs nothing.
const shiftAt = 1024

func (l *link) greeted(piece []byte) {
	if l.first == '-' {
		l.lost(errors.New(string(bytes.TrimSpace(piece[1:]))))
		return
	}
	l.pop()
	if l.thread.opening > 0 {
		l.thread.opening--
	}
}

var nullBulk = []byte("$-1\r\n")

// judge looks at the reply to one command of an operation.
func (l *link) judge(p *part, piece []byte) {
	switch l.first {
	case '-':
		if r, ok := resp.ParseRedirect(piece); ok && p.turn == turnNone && l.thread.run.cfg.Target.cluster() {
			l.redirected(p, piece, r)
		} else if p.turn == turnNone { // what follows an error in a block is EXECABORT
			l.thread.failed(p.op, string(bytes.TrimSpace(piece[1:])))
			l.thread.wonder(resp.Classify(piece))
		}
	case '$':
		p.op.missing = p.op.missing || bytes.Equal(piece, nullBulk)
	case '_':
		p.op.missing = true
	}
}

// maxHops is what client libraries follow.
const maxHops = 16

func (l *link) redirected(p *part, piece []byte, r resp.Redirect) {
	t := l.thread
	block := p.replies > 1
	ask := resp.Classify(piece) == resp.Ask
	if p.hops >= maxHops || ask && block {
		t.failed(p.op, string(bytes.TrimSpace(piece[1:])))
		return
	}
	if r.Host == "" {
		r.Host, _, _ = net.SplitHostPort(l.addr)
	}
	p.to2 = int32(t.node(r.Addr()))
	p.turn = turnAsk
	if !ask {
		p.turn = turnMoved
		t.owner[r.Slot] = int16(p.to2)
		t.run.ask()
	}
}

// lost closes the link. What was to be answered is an error.
func (l *link) lost(err error) {
	if l.state != linkClosed {
		_ = unix.Close(l.fd)
	}
	l.state, l.tls, l.in = linkClosed, nil, nil
	l.out, l.outAt, l.plain = emptied(l.out), 0, emptied(l.plain)
	l.retryAt = l.thread.run.now() + retryPause
	due := slices.Clone(l.due[l.dueAt:])
	l.due, l.dueAt = l.due[:0], 0
	text := l.addr + ": " + err.Error()
	l.thread.run.troubled(text)
	for i := range due {
		if p := &due[i]; p.op != nil {
			l.thread.failed(p.op, text)
			l.thread.finished(p.op, l.thread.run.now())
		} else if p.greeting && l.thread.opening > 0 {
			l.thread.broken = errors.New(text)
		}
	}
	l.thread.run.ask()
}

// socket makes a non-blocking socket for an address.
func (r *Run) socket(addr string) (int, unix.Sockaddr, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return 0, nil, err
	}
	ip, err := r.resolve(host)
	if err != nil {
		return 0, nil, err
	}
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip.To16())}
	if four := ip.To4(); four != nil {
		family = unix.AF_INET
		sa = &unix.SockaddrInet4{Port: port, Addr: [4]byte(four)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		_ = unix.Close(fd)
		return 0, nil, os.NewSyscallError("setsockopt", err)
	}
	return fd, sa, nil
}
