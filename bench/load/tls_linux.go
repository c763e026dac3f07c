package load

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handshakeTime bounds a TLS handshake, during which its thread does nothing else.
const handshakeTime = 5 * time.Second

// pipe lets crypto/tls work on a socket that never blocks: what it writes is queued, and a read that finds nothing is an error after
// which it can be asked again, as crypto/tls promises for temporary errors. Only during the handshake it waits.
type pipe struct {
	fd    int
	queue *[]byte   // of the link: what goes over the wire
	until time.Time // of the handshake; zero afterwards
}

// errLater is a read that finds nothing.
var errLater net.Error = later{}

type later struct{}

func (later) Error() string   { return "nothing to read yet" }
func (later) Timeout() bool   { return true }
func (later) Temporary() bool { return true }

func (p *pipe) Read(b []byte) (int, error) {
	for {
		n, e := sysRead(p.fd, b)
		switch {
		case e == 0 && n > 0:
			return n, nil
		case e == 0:
			return 0, errClosed
		case !again(e):
			return 0, e
		case p.until.IsZero():
			return 0, errLater
		}
		if err := p.await(unix.POLLIN); err != nil {
			return 0, err
		}
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.until.IsZero() {
		*p.queue = append(*p.queue, b...)
		return len(b), nil
	}
	for at := 0; at < len(b); {
		n, e := sysWrite(p.fd, b[at:])
		switch {
		case e == 0:
			at += n
		case !again(e):
			return at, e
		default:
			if err := p.await(unix.POLLOUT); err != nil {
				return at, err
			}
		}
	}
	return len(b), nil
}

// await is for the handshake.
func (p *pipe) await(events int16) error {
	left := time.Until(p.until)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: events}}, int(left.Milliseconds())+1)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// The rest is there for crypto/tls, which needs it not.

func (p *pipe) Close() error                     { return nil }
func (p *pipe) LocalAddr() net.Addr              { return nil }
func (p *pipe) RemoteAddr() net.Addr             { return nil }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// secure does the handshake of a link that is connected.
func (l *link) secure(c *tls.Config) error {
	p := &pipe{fd: l.fd, queue: &l.out, until: time.Now().Add(handshakeTime)}
	conn := tls.Client(p, tlsFor(c, l.addr))
	if err := conn.Handshake(); err != nil {
		return err
	}
	p.until = time.Time{}
	l.tls = conn
	return nil
}
