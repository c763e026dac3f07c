package proxy

// Sizes of the pieces that output is kept in.
const (
	// A tail longer than this is closed and a new one begun, so that a big backlog never copies itself to grow.
	segmentSize = 64 << 10
	// Payloads from here on are queued by reference instead of being copied: below, a copy is cheaper than an iovec.
	bigPayload = 16 << 10
	// Pieces of one writev. IOV_MAX is 1024; 64 pieces already fill a socket buffer.
	maxIovecs = 64
)

// outq is the output of one connection in order: closed segments, then the tail that small writes are appended to.
// It is owned by the connection's loop. The zero value is empty and holds no memory.
type outq struct {
	segs []segment // closed, oldest first
	tail []byte    // from the loop's pool, open for appending
	off  int       // bytes of the oldest piece that are already written
	size int       // bytes not yet written
}

// segment is one closed piece of output.
type segment struct {
	b      []byte
	pooled bool // ours to give back; else a payload that its request still owns
}

func (q *outq) empty() bool { return q.size == 0 }

// write appends a copy of b.
func (q *outq) write(p *pool, b []byte) {
	q.size += len(b)
	if q.tail == nil {
		q.tail = p.get(len(b))
	} else if len(q.tail)+len(b) > segmentSize && len(q.tail) > 0 {
		q.close()
		q.tail = p.get(len(b))
	}
	if n := len(q.tail) + len(b); n > cap(q.tail) {
		q.tail = p.grow(q.tail, n)
	}
	q.tail = append(q.tail, b...)
}

// give queues b itself; nobody may change or reuse it afterwards, and it is not given to the pool from here.
func (q *outq) give(b []byte) {
	q.close()
	q.segs = append(q.segs, segment{b: b})
	q.size += len(b)
}

// close ends the tail: what comes next goes behind it.
func (q *outq) close() {
	if len(q.tail) > 0 {
		q.segs = append(q.segs, segment{b: q.tail, pooled: true})
		q.tail = nil
	}
}

// pieces lists what is to be written next, at most maxIovecs slices.
func (q *outq) pieces(dst [][]byte) [][]byte {
	off := q.off
	for _, s := range q.segs {
		if len(dst) == maxIovecs {
			return dst
		}
		dst = append(dst, s.b[off:])
		off = 0
	}
	if len(q.tail) > off && len(dst) < maxIovecs {
		dst = append(dst, q.tail[off:])
	}
	return dst
}

// wrote removes n written bytes from the front and returns finished memory to the pool.
func (q *outq) wrote(p *pool, n int) {
	q.size -= n
	n += q.off
	done := 0
	for _, s := range q.segs {
		if n < len(s.b) {
			break
		}
		n -= len(s.b)
		if s.pooled {
			p.put(s.b)
		}
		done++
	}
	if done > 0 {
		rest := copy(q.segs, q.segs[done:])
		clear(q.segs[rest:])
		q.segs = q.segs[:rest]
	}
	q.off = n
	if q.size == 0 {
		q.reset(p)
	}
}

// reset drops everything.
func (q *outq) reset(p *pool) {
	for i, s := range q.segs {
		if s.pooled {
			p.put(s.b)
		}
		q.segs[i] = segment{}
	}
	if q.tail != nil {
		p.put(q.tail)
	}
	if cap(q.segs) > maxIovecs {
		q.segs = nil
	}
	q.segs, q.tail, q.off, q.size = q.segs[:0], nil, 0, 0
}
