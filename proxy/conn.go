package proxy

import (
	"errors"
	"io"
	"syscall"

	"slotproxy/internal/metrics"
)

// owner is what a connection belongs to: a client session or a node connection. All calls come from the loop.
type owner interface {
	// consume takes bytes from the front of data, which is valid only during the call, and returns how many; what is
	// left is offered again with more behind it. need is the total length that would bring progress, 0 if unknown.
	consume(data []byte) (used, need int)
	// eof tells that the peer sends no more; it may still read.
	eof()
	// drained tells that the output has fallen below the low mark after having been above.
	drained()
	// lost tells that the connection is gone; err is nil only when we closed it ourselves.
	lost(err error)
}

var (
	errClosedByPeer = io.EOF
	errStalled      = errors.New("no progress")
)

// conn is one socket of a loop, whichever transport carries it. It is embedded by session and nodeConn.
type conn struct {
	l     *loop
	owner owner

	fd     int     // epoll transport; -1 otherwise
	gen    uint32  // generation of fd
	stream *stream // second transport; nil otherwise

	in   []byte // bytes received and not consumed, from the pool; nil in most moments
	need int    // bytes that in must reach before consume can go on, 0 unknown
	out  outq

	sent      uint64 // bytes ever written
	received  uint64 // bytes ever read
	progress  int64  // loop time of the last byte in either direction
	outSince  int64  // loop time since when output has been stuck, 0 when it is not
	lateUntil int64  // loop time until which output waits for more, 0 when it does not, see together.go
	dirty     bool   // in the loop's list of connections to flush
	wantWrite bool   // waiting for the socket to take more
	paused    bool   // not reading
	aboveMark bool   // output went above the low mark; drained is owed
	lastWords bool   // close once everything is written
	side      metrics.Side
	closed    bool
}

// readable reads once: what is left keeps the descriptor ready, and the other connections get their turn.
func (c *conn) readable(hangup bool) {
	if c.paused && !hangup {
		return
	}
	if c.paused {
		c.close(errClosedByPeer)
		return
	}
	buf := c.l.rbuf
	if len(c.in) > 0 {
		if c.room(); c.closed {
			return
		}
		buf = c.in[len(c.in):cap(c.in)]
	}
	n, e := sysRead(c.fd, buf)
	c.l.stats.Reads[c.side]++
	if e != 0 {
		if !again(e) {
			c.close(e)
		}
		return
	}
	if n == 0 {
		c.owner.eof()
		return
	}
	if len(c.in) > 0 {
		c.in = c.in[:len(c.in)+n]
		c.arrived(nil, n)
		return
	}
	c.arrived(buf[:n], n)
}

// arrived offers n new bytes to the owner: fresh ones, or, when fresh is nil, the ones at the end of in.
func (c *conn) arrived(fresh []byte, n int) {
	c.l.stats.BytesIn[c.side] += uint64(n)
	c.received += uint64(n)
	c.progress = c.l.now
	if fresh == nil {
		if len(c.in) >= c.need {
			c.offer()
		}
		return
	}
	used, need := c.owner.consume(fresh)
	if c.closed || used == len(fresh) {
		return
	}
	c.need = need
	rest := fresh[used:]
	c.in = append(c.l.pool.get(len(rest)), rest...)
}

// offer lets the owner consume what is buffered.
func (c *conn) offer() {
	if len(c.in) == 0 {
		return
	}
	in := c.in
	used, need := c.owner.consume(in)
	if c.closed {
		return
	}
	c.need = need
	if c.in == nil {
		return // the owner took the buffer itself
	}
	if used == len(in) {
		c.l.pool.put(in)
		c.in, c.need = nil, 0
		return
	}
	if used > 0 {
		c.in = in[:copy(in, in[used:])]
	}
}

// room makes space for the next read: a little more than a header when nothing is known, else towards the known
// length in steps of four, so that a client pays in bytes for the memory it makes us hold.
func (c *conn) room() {
	have := len(c.in)
	if cap(c.in)-have >= 512 && cap(c.in) >= c.need {
		return
	}
	want := max(2*have, 4096)
	if c.need > have {
		want = min(max(4*have, readSize), c.need)
	}
	if want > cap(c.in) {
		c.in = c.l.pool.grow(c.in, want)
	} else if cap(c.in) == have {
		c.in = c.l.pool.grow(c.in, 2*have)
	}
	if c.l.pool.used > c.l.budget {
		c.l.shedLargest()
	}
}

// write queues a copy of b and marks the connection for the flush at the end of the iteration.
func (c *conn) write(b []byte) {
	if c.closed {
		return
	}
	c.out.write(&c.l.pool, b)
	c.touch()
}

func (c *conn) touch() {
	if !c.dirty {
		c.dirty = true
		c.l.dirty[c.side] = append(c.l.dirty[c.side], c)
	}
}

// flush writes what it can. The loop calls it once an iteration for every dirty connection.
func (c *conn) flush() {
	if c.closed || c.wantWrite {
		return
	}
	if c.out.empty() {
		c.farewell()
		return
	}
	if c.stream != nil {
		c.stream.flush(c)
		return
	}
	if c.fd < 0 {
		return // still dialing
	}
	for !c.out.empty() {
		n, e := c.writeSome()
		c.l.stats.Writes[c.side]++
		if e != 0 {
			if again(e) {
				c.blockWrite(true)
			} else {
				c.close(e)
			}
			return
		}
		c.progress = c.l.now
		c.sent += uint64(n)
		c.l.stats.BytesOut[c.side] += uint64(n)
		c.out.wrote(&c.l.pool, n)
	}
	c.blockWrite(false)
	c.farewell()
}

// writeThrough writes b at once when nothing is queued before it and the socket takes it; what is left is queued.
func (c *conn) writeThrough(b []byte) {
	if c.closed {
		return
	}
	if c.out.empty() && c.stream == nil && !c.wantWrite {
		n, e := sysWrite(c.fd, b)
		c.l.stats.Writes[c.side]++
		if e != 0 && !again(e) {
			c.close(e)
			return
		}
		if e == 0 {
			c.sent += uint64(n)
			c.l.stats.BytesOut[c.side] += uint64(n)
			c.progress = c.l.now
			b = b[n:]
		}
	}
	if len(b) > 0 {
		c.write(b)
	}
}

// closeWhenWritten closes the connection after what is queued.
func (c *conn) closeWhenWritten() {
	c.lastWords = true
	c.touch()
}

func (c *conn) farewell() {
	if c.lastWords && c.out.empty() && (c.stream == nil || !c.stream.busy) {
		c.close(nil)
	}
}

func (c *conn) writeSome() (int, syscall.Errno) {
	if len(c.out.segs) == 0 {
		return sysWrite(c.fd, c.out.tail[c.out.off:])
	}
	c.l.iov = c.out.pieces(c.l.iov[:0])
	return sysWritev(c.fd, c.l.iov)
}

// blockWrite notes whether the socket is full and tells the owner when a backlog is gone.
func (c *conn) blockWrite(blocked bool) {
	if blocked != c.wantWrite {
		c.wantWrite = blocked
		c.outSince = 0
		if blocked {
			c.outSince = c.l.now
		}
		c.l.poll.change(c.fd, c.gen, !c.paused, blocked)
	}
	c.checkMark()
}

func (c *conn) checkMark() {
	if c.aboveMark && c.out.size <= c.l.limits.OutLow/2 {
		c.aboveMark = false
		c.owner.drained()
	}
}

// writable goes on with a write that had been blocked.
func (c *conn) writable() {
	if c.closed || !c.wantWrite {
		return
	}
	before := c.sent
	c.wantWrite = false
	c.flush()
	if c.closed {
		return
	}
	if c.out.empty() {
		c.l.poll.change(c.fd, c.gen, !c.paused, false)
		c.outSince = 0
	} else if c.sent > before {
		c.outSince = c.l.now
	}
	c.checkMark()
}

// pause stops or resumes reading. What is already buffered is offered again by resume's caller through the loop.
func (c *conn) pause(stop bool) {
	if c.closed || c.paused == stop {
		return
	}
	c.paused = stop
	if c.stream != nil {
		c.stream.pause(stop)
	} else if c.fd >= 0 {
		c.l.poll.change(c.fd, c.gen, !stop, c.wantWrite)
	}
	if !stop && len(c.in) > 0 {
		c.l.again = append(c.l.again, c)
	}
}

// close ends the connection at once; what is queued is dropped. The owner hears of it exactly once.
func (c *conn) close(err error) {
	if c.closed {
		return
	}
	c.closed = true
	if c.stream != nil {
		c.stream.close(&c.l.pool)
	} else if c.fd >= 0 {
		c.l.forgetFd(c)
	}
	c.out.reset(&c.l.pool)
	if c.in != nil {
		c.l.pool.put(c.in)
		c.in = nil
	}
	c.owner.lost(err)
}
