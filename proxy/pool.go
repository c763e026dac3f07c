package proxy

import "math/bits"

// Buffers come in powers of two between these sizes; larger ones are made for the occasion and left to the collector.
const (
	minBufferBits = 9  // 512 B: one small command or reply with room to pipeline
	maxBufferBits = 16 // 64 KiB: one read of a loop
	// Free bytes kept per size. 50 busy clients need 50 small buffers; a burst beyond is given back to the collector.
	keepPerClass = 1 << 20
)

// pool keeps the free buffers of one loop, so that an idle connection holds none. It is owned by the loop.
type pool struct {
	free [maxBufferBits - minBufferBits + 1][][]byte
	used int // bytes of buffers that are out, including the large ones
}

func class(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// get returns an empty buffer with room for at least n bytes.
func (p *pool) get(n int) []byte {
	c := class(n)
	if c >= len(p.free) {
		p.used += n
		return make([]byte, 0, n)
	}
	p.used += 1 << (c + minBufferBits)
	if l := len(p.free[c]); l > 0 {
		b := p.free[c][l-1]
		p.free[c][l-1] = nil
		p.free[c] = p.free[c][:l-1]
		return b
	}
	return make([]byte, 0, 1<<(c+minBufferBits))
}

// put takes back a buffer that get returned and that nobody refers to any more.
func (p *pool) put(b []byte) {
	n := cap(b)
	p.used -= n
	c := class(n)
	if c >= len(p.free) || n != 1<<(c+minBufferBits) || len(p.free[c])<<(c+minBufferBits) >= keepPerClass {
		return
	}
	p.free[c] = append(p.free[c], b[:0])
}

// forget stops counting a buffer whose memory has moved to another owner.
func (p *pool) forget(b []byte) { p.used -= cap(b) }

// grow returns b's bytes in a buffer with room for at least n, and takes b back.
func (p *pool) grow(b []byte, n int) []byte {
	if n <= cap(b) {
		return b
	}
	if n < 2*cap(b) && cap(b) < 1<<maxBufferBits {
		n = 2 * cap(b)
	}
	bigger := append(p.get(n), b...)
	p.put(b)
	return bigger
}
