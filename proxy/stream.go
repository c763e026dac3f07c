package proxy

import (
	"crypto/tls"
	"net"
	"time"
)

// stream is the second transport: a net.Conn with a reader and a writer goroutine that hand bytes to the loop through
// its inbox. It serves TLS on both sides, and every connection on systems without epoll. The loop side behaves as with
// a descriptor, so neither sessions nor node connections know which transport they have.
type stream struct {
	nc net.Conn // safe for one reader and one writer

	// loop -> writer: the next batch; at most one is under way.
	batch chan [][]byte
	// loop -> reader: the chunk that was handed over is consumed, read on.
	credit chan struct{}
	done   chan struct{} // closed by the loop when the connection ends

	// Owned by the loop.
	busy    bool // the writer has a batch
	writing outq // the batch, kept so that its memory returns to the pool afterwards
	owed    bool // the reader waits for a credit that is kept back while the connection is paused
	paused  bool
}

// tlsHandshakeTimeout bounds a handshake: a peer that says nothing holds a goroutine and a descriptor.
const tlsHandshakeTimeout = 5 * time.Second

func newStream(nc net.Conn) *stream {
	return &stream{nc: nc, batch: make(chan [][]byte, 1), credit: make(chan struct{}, 1), done: make(chan struct{})}
}

// start runs the two goroutines; the proxy's wait group counts them.
func (s *stream) start(c *conn) {
	c.l.p.streams.Add(2)
	go s.readLoop(c)
	go s.writeLoop(c)
}

func (s *stream) readLoop(c *conn) {
	defer c.l.p.streams.Done()
	if t, ok := s.nc.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
		_ = t.SetDeadline(time.Now().Add(tlsHandshakeTimeout))
		if err := t.Handshake(); err != nil {
			c.l.post(message{kind: msgLost, c: c, err: err})
			return
		}
		_ = t.SetDeadline(time.Time{})
	}
	buf := make([]byte, 4<<10)
	for {
		n, err := s.nc.Read(buf)
		if n > 0 {
			c.l.post(message{kind: msgRead, c: c, data: buf[:n]})
			select {
			case <-s.credit:
			case <-s.done:
				return
			}
			if n == len(buf) && n < 64<<10 {
				buf = make([]byte, 4*n) // a busy connection earns a bigger buffer
			}
		}
		if err != nil {
			c.l.post(message{kind: msgLost, c: c, err: err})
			return
		}
	}
}

func (s *stream) writeLoop(c *conn) {
	defer c.l.p.streams.Done()
	for {
		select {
		case pieces := <-s.batch:
			if err := s.writeAll(pieces); err != nil {
				c.l.post(message{kind: msgLost, c: c, err: err})
				return
			}
			c.l.post(message{kind: msgWrote, c: c})
		case <-s.done:
			return
		}
	}
}

func (s *stream) writeAll(pieces [][]byte) error {
	for _, b := range pieces {
		if _, err := s.nc.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// flush hands everything that is queued to the writer, unless it is still busy with the last batch.
func (s *stream) flush(c *conn) {
	if s.busy {
		return
	}
	s.busy = true
	s.writing, c.out = c.out, s.writing
	c.outSince = c.l.now
	// From here on the bytes may be on the wire, which is what a retry has to know.
	c.sent += uint64(s.writing.size)
	c.l.stats.BytesOut[c.side] += uint64(s.writing.size)
	pieces := make([][]byte, 0, len(s.writing.segs)+1)
	for _, seg := range s.writing.segs {
		pieces = append(pieces, seg.b)
	}
	if len(s.writing.tail) > 0 {
		pieces = append(pieces, s.writing.tail)
	}
	s.batch <- pieces // room for one, and the writer was idle
}

// wrote is the loop's answer to the writer having finished its batch.
func (s *stream) wrote(c *conn) {
	if c.closed {
		return
	}
	s.busy = false
	s.writing.reset(&c.l.pool)
	c.outSince = 0
	c.progress = c.l.now
	c.checkMark()
	if !c.out.empty() || c.lastWords {
		c.touch()
	}
}

// read is the loop's side of a chunk from the reader.
func (s *stream) read(c *conn, data []byte) {
	if len(c.in) > 0 {
		if need := len(c.in) + len(data); need > cap(c.in) {
			c.in = c.l.pool.grow(c.in, max(need, min(2*len(c.in), max(c.need, need))))
		}
		c.in = append(c.in, data...)
		if c.l.pool.used > c.l.budget {
			if c.l.shedLargest(); c.closed {
				return
			}
		}
		c.arrived(nil, len(data))
	} else {
		c.arrived(data, len(data))
	}
	if c.closed {
		return
	}
	s.owed = true
	if !s.paused {
		s.pay()
	}
}

func (s *stream) pay() {
	if s.owed {
		s.owed = false
		s.credit <- struct{}{} // room for one, and the reader waits for just this one
	}
}

func (s *stream) pause(stop bool) {
	s.paused = stop
	if !stop {
		s.pay()
	}
}

// close lets both goroutines end. The batch under way is left to the collector: the writer may still hold it.
func (s *stream) close(p *pool) {
	for _, seg := range s.writing.segs {
		if seg.pooled {
			p.forget(seg.b)
		}
	}
	p.forget(s.writing.tail)
	s.writing = outq{}
	close(s.done)
	_ = s.nc.Close()
}
