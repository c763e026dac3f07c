package wire

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// DefaultTimeout is how long one read or write may take. Above the proxy's redirect budget (5 s), so that a test sees the
// proxy's own error instead of its own impatience.
const DefaultTimeout = 15 * time.Second

// Conn is one client connection. Zero Timeout means no deadline.
type Conn struct {
	net.Conn
	Timeout time.Duration

	r   *bufio.Reader
	out []byte // appended, not yet written
}

// Dial connects over network ("tcp" or "unix").
func Dial(network, addr string) (*Conn, error) {
	nc, err := net.DialTimeout(network, addr, DefaultTimeout)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return New(nc), nil
}

// DialTLS connects over TCP and finishes the TLS handshake.
func DialTLS(addr string, cfg *tls.Config) (*Conn, error) {
	d := &net.Dialer{Timeout: DefaultTimeout}
	nc, err := tls.DialWithDialer(d, "tcp", addr, cfg)
	if err != nil {
		return nil, fmt.Errorf("dial tls %s: %w", addr, err)
	}
	return New(nc), nil
}

// New wraps an open connection.
func New(nc net.Conn) *Conn {
	return &Conn{Conn: nc, Timeout: DefaultTimeout, r: bufio.NewReaderSize(nc, 32<<10)}
}

// Append adds one command to the bytes that the next Flush writes.
func (c *Conn) Append(args ...string) { c.out = AppendCommand(c.out, args...) }

// AppendRaw adds bytes as they are.
func (c *Conn) AppendRaw(b string) { c.out = append(c.out, b...) }

// Flush writes everything appended.
func (c *Conn) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if c.Timeout > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
			return err
		}
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 4<<20 {
		c.out = nil
	}
	return err
}

// Do sends one command and reads one reply.
func (c *Conn) Do(args ...string) (Value, error) {
	c.Append(args...)
	if err := c.Flush(); err != nil {
		return Value{}, err
	}
	return c.Read()
}

// Buffered is the number of reply bytes that can be read without waiting.
func (c *Conn) Buffered() int { return c.r.Buffered() }

// Readable tells whether a reply has begun to arrive, or the connection has ended, waiting that long for it.
func (c *Conn) Readable(wait time.Duration) bool {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return true
	}
	_, err := c.r.Peek(1)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// Read returns the next reply as a tree; an error reply is a Value, not an error.
func (c *Conn) Read() (Value, error) {
	c.deadline()
	return readValue(c.r, 0)
}

// ReadRaw returns the bytes of the next reply exactly as they came.
func (c *Conn) ReadRaw() ([]byte, error) {
	c.deadline()
	return readRaw(c.r, nil, 0)
}

func (c *Conn) deadline() {
	if c.Timeout > 0 && c.r.Buffered() == 0 {
		_ = c.SetReadDeadline(time.Now().Add(c.Timeout)) // a dead socket shows in the read itself
	}
}

// AppendCommand appends a command in canonical form.
func AppendCommand(dst []byte, args ...string) []byte {
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
