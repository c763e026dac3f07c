package cluster

import (
	"errors"
	"net"
	"sync"

	"slotproxy/resp"
)

var errUnasked = errors.New("the node sent a reply that nobody asked for")

// checked is a connection to a node on which valkey-go sees only whole, well-formed replies, and never more of them
// than it has sent commands: it would panic on either.
type checked struct {
	net.Conn

	mu   sync.Mutex
	owed int // commands written without a reply; guarded by mu

	// Owned by the writing goroutine.
	parser resp.Parser
	unsent []byte // an incomplete command at the end of what was written

	// Owned by the reading goroutine.
	framer resp.Framer
	rest   []byte // an incomplete header at the end of what was read
	begun  bool   // bytes of the current reply have been seen
	good   []byte // checked and not yet handed on
	buf    []byte
}

// controlLimits bound what the control plane itself sends: function libraries are the largest.
var controlLimits = resp.AfterAuth

// Write counts the commands in b and passes it on.
func (c *checked) Write(b []byte) (int, error) {
	c.unsent = append(c.unsent, b...)
	for len(c.unsent) > 0 {
		n, err := c.parser.Next(c.unsent, &controlLimits)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		c.unsent = c.unsent[n:]
		c.mu.Lock()
		c.owed++
		c.mu.Unlock()
	}
	if len(c.unsent) == 0 {
		c.unsent = nil
	}
	return c.Conn.Write(b)
}

// Read hands on bytes of replies that are due and well-formed; anything else ends the connection.
func (c *checked) Read(p []byte) (int, error) {
	for len(c.good) == 0 {
		if err := c.fill(); err != nil {
			_ = c.Conn.Close()
			return 0, err
		}
	}
	n := copy(p, c.good)
	c.good = c.good[n:]
	return n, nil
}

func (c *checked) fill() error {
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	k := copy(c.buf, c.rest)
	if k == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...) // a long header line; the framer bounds it
	}
	n, err := c.Conn.Read(c.buf[k:])
	if n == 0 {
		return err
	}
	data := c.buf[:k+n]
	used := 0
	for used < len(data) {
		if !c.begun {
			if err := c.begin(data[used]); err != nil {
				return err
			}
		}
		m, done, err := c.framer.Feed(data[used:])
		if err != nil {
			return err
		}
		used += m
		if !done {
			break
		}
		c.begun = false
	}
	c.good = append(c.good[:0], data[:used]...)
	c.rest = append(c.rest[:0], data[used:]...)
	return nil
}

// begin accounts for a reply whose first byte is b.
func (c *checked) begin(b byte) error {
	c.begun = true
	if b == '>' {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owed == 0 {
		return errUnasked
	}
	c.owed--
	return nil
}
