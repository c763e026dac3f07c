package resp

import (
	"errors"
	"net"
	"slices"
	"time"
)

const (
	// guardRead is how much a Guard reads at once: an admin command has some
	// hundred bytes.
	guardRead = 4 << 10

	// guardBatch ends a batch of commands handed on, so that a pipeline is not
	// turned into one huge buffer.
	guardBatch = 16 << 10

	// guardKeep bounds what is kept between two commands.
	guardKeep = 64 << 10

	// guardGoodbye bounds the wait for a client that does not even read the error
	// for which it is cut.
	guardGoodbye = time.Second
)

// guard is a net.Conn for a server that must not see what clients really send
// (redcon panics and spins on some of it): Read returns whole, checked commands
// only, in canonical form. Empty requests are left out. A protocol error is
// answered after the commands before it, in Valkey's words, and Read returns it as
// *ProtocolError; the server closes the connection then. All else is the wrapped
// connection's. Read belongs to one goroutine.
type guard struct {
	net.Conn
	lim    *Limits
	parser Parser
	in     []byte // read and not yet parsed; a request of which a part is missing is at its start
	out    []byte // commands in canonical form
	sent   int    // bytes of out which were returned
	err    error  // what ended the input; returned when out is empty
	told   bool   // the client has been told
}

// NewGuard wraps a connection. nil limits are Admin. Deadlines are the caller's.
func NewGuard(c net.Conn, lim *Limits) net.Conn {
	if lim == nil {
		lim = &Admin
	}
	return &guard{Conn: c, lim: lim}
}

// Read returns bytes of checked commands.
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for g.sent == len(g.out) {
		if g.err != nil {
			return 0, g.end()
		}
		g.refill()
	}
	n := copy(p, g.out[g.sent:])
	g.sent += n
	return n, nil
}

// refill replaces out by the next commands and reads when there are none.
func (g *guard) refill() {
	g.out, g.sent = g.out[:0], 0
	if cap(g.out) > guardKeep {
		g.out = nil
	}
	g.parse()
	if len(g.out) > 0 || g.err != nil {
		return
	}
	if len(g.in) == 0 && cap(g.in) > guardKeep {
		g.in = nil
	}
	g.in = slices.Grow(g.in, guardRead)
	n, err := g.Conn.Read(g.in[len(g.in) : len(g.in)+guardRead])
	g.in = g.in[:len(g.in)+n]
	g.parse() // what came with an error still counts
	if g.err == nil {
		g.err = err
	}
}

// parse moves commands from in to out.
func (g *guard) parse() {
	start := 0
	for g.err == nil && len(g.out) < guardBatch {
		n, err := g.parser.Next(g.in[start:], g.lim)
		if err != nil {
			g.err = err
			break
		}
		if n == 0 {
			break
		}
		if len(g.parser.Args) > 0 {
			g.out = AppendCommand(g.out, g.parser.Args...)
		}
		start += n
	}
	if start > 0 { // a command that comes byte by byte must not be moved each time
		g.in = g.in[:copy(g.in, g.in[start:])]
	}
}

// end returns the error that ended the input, after the client was told if it broke
// the protocol. A deadline that passed does not end the input.
func (g *guard) end() error {
	err := g.err
	var broken *ProtocolError
	if errors.As(err, &broken) && !broken.Silent && !g.told {
		g.told = true
		// The connection is closed next: a failure here changes nothing.
		_ = g.SetWriteDeadline(time.Now().Add(guardGoodbye))
		_, _ = g.Write(AppendError(nil, "ERR "+broken.Text))
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		g.err = nil
	}
	return err
}
