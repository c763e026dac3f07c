package resp

import (
	"bytes"
)

// Parser finds the requests in what a client sends. The zero value is ready. It
// belongs to one connection.
type Parser struct {
	// Args are the arguments of the command found last: views that are valid until
	// the next call of Next, with no room behind them (an append copies).
	Args [][]byte

	// Canonical tells that the request is byte for byte what AppendCommand gives
	// for Args, so that it may be forwarded as it came.
	Canonical bool

	// Where the parser is inside a request of which a part is still to come.
	// Offsets, because the caller's buffer may move.
	pos    int      // start of the header line, inline request or payload to be read next
	seen   int      // the end of that line is not before this offset; 0 only between requests
	left   int      // arguments still to come, the current one included; 0 before the count is known
	size   int      // payload length of the current argument, if inBulk
	inBulk bool     // the header of the current argument has been read
	lost   bool     // an inline request with a NUL byte: to the server it never ends
	sizes  []uint32 // payload lengths of the arguments that are complete

	text []byte // unquoted inline arguments
}

// Reset forgets a request of which a part is still to come, and all memory.
func (p *Parser) Reset() { *p = Parser{} }

// Need is the number of bytes which the current, incomplete request has at least,
// as far as its headers tell: 0 if they tell nothing yet. It is what a client
// claims: take memory as bytes arrive.
func (p *Parser) Need() int {
	if !p.inBulk {
		return 0
	}
	return p.pos + p.size + 2
}

// Next looks for a request at the start of buf. It returns its length, or 0 when
// a part of it is missing: call it again with the same bytes and more behind them
// (they may have been moved). Errors are *ProtocolError; after one, the connection
// has to be closed. A request without arguments (an empty line, "*0") has a length
// and no Args: servers ignore it.
//
// Call it until it returns 0, also when buf is empty then: an idle parser lets go
// of the arguments and of what a long request has cost.
func (p *Parser) Next(buf []byte, lim *Limits) (n int, err error) {
	if p.seen == 0 {
		p.begin()
		if len(buf) == 0 {
			return 0, nil
		}
	}
	if p.left == 0 {
		if buf[0] != '*' {
			return p.inline(buf, lim)
		}
		if n, err = p.count(buf, lim); n > 0 || p.left == 0 {
			return n, err
		}
		n = p.whole(buf, lim)
	}
	if n == 0 {
		if n, err = p.bulks(buf, lim); n == 0 {
			return 0, err
		}
	}
	p.end()
	if forbidden(p.Args[0]) {
		return 0, errSecurity
	}
	p.Canonical = true
	return n, nil
}

// begin prepares for a new request.
func (p *Parser) begin() {
	p.Canonical = false
	clear(p.Args) // they may keep a large buffer alive
	p.Args = p.Args[:0]
	if cap(p.Args) > keepArgs {
		p.Args = nil
	}
	if cap(p.text) > keepText {
		p.text = nil
	}
}

// end is the state between two requests.
func (p *Parser) end() {
	p.pos, p.seen, p.left, p.inBulk = 0, 0, 0, false
	if p.sizes == nil {
		return
	}
	p.sizes = p.sizes[:0]
	if cap(p.sizes) > keepArgs {
		p.sizes = nil
	}
}

// count reads the header line of an array request. It sets left, or returns the
// length of a request without arguments, or an error, or finds the line incomplete
// (left stays 0).
func (p *Parser) count(buf []byte, lim *Limits) (n int, err error) {
	// "*3\r\n": nearly all commands have fewer than ten arguments.
	if len(buf) >= 4 && buf[2] == '\r' && buf[3] == '\n' {
		if c := int(buf[1]) - '0'; c > 0 && c <= 9 && c <= lim.Args {
			p.pos, p.seen, p.left = 4, 4, c
			return 0, nil
		}
	}
	end, err := p.line(buf, lim.Inline, errBigCount)
	if end < 0 || err != nil {
		return 0, err
	}
	if buf[end+1] != '\n' {
		return 0, errCRLF
	}
	c, ok := ParseInt(buf[1:end])
	switch {
	case !ok || c > maxCount:
		return 0, errCount
	case c > int64(lim.Args) && lim.Unauthenticated:
		return 0, errUnauthCount
	case c > int64(lim.Args):
		return 0, errCount
	case c <= 0:
		p.end()
		p.Canonical = c == 0
		return end + 2, nil
	}
	p.pos, p.seen, p.left = end+2, end+2, int(c)
	return 0, nil
}

// whole is the fast path: it takes all arguments that are in buf from p.pos on,
// as long as there is nothing unusual about them. It returns the length of the
// request if that was all of it, or else 0 and leaves the rest to bulks.
func (p *Parser) whole(buf []byte, lim *Limits) int {
	if len(buf) > lim.Query {
		return 0 // bulks tells whether this request is over the limit
	}
	args, pos, left := p.Args, p.pos, p.left
	for ; left > 0; left-- {
		b := buf[pos:]
		size, head := bulkHeader(b)
		if head == 0 || size > lim.Bulk {
			break
		}
		b = b[head:]
		if len(b) < size+2 || b[size] != '\r' || b[size+1] != '\n' {
			break
		}
		args = append(args, b[:size:size])
		pos += head + size + 2
	}
	p.Args = args
	if left == 0 {
		return pos
	}
	for _, a := range args {
		p.sizes = append(p.sizes, uint32(len(a)))
	}
	clear(args) // do not keep the caller's buffer alive
	p.Args = args[:0]
	p.pos, p.seen, p.left = pos, pos, left
	return 0
}

// bulkHeader reads "$<size>\r\n" at the start of b. head is the header's length,
// or 0 if it is not all there, or not plain enough for the fast path.
func bulkHeader(b []byte) (size, head int) {
	if len(b) < 4 || b[0] != '$' {
		return 0, 0
	}
	size = int(b[1]) - '0'
	if uint(size) > 9 {
		return 0, 0
	}
	if b[2] == '\r' {
		if b[3] != '\n' {
			return 0, 0
		}
		return size, 4
	}
	if size == 0 {
		return 0, 0
	}
	// At most 9 digits: they fit in any int.
	for i := 2; i < len(b)-1 && i < 11; i++ {
		d := uint(b[i]) - '0'
		if d <= 9 {
			size = size*10 + int(d)
			continue
		}
		if b[i] == '\r' && b[i+1] == '\n' {
			return size, i + 2
		}
		break
	}
	return 0, 0
}

// bulks reads the arguments from p.pos on, keeps its place when bytes are missing
// and gives the verdict on whatever is unusual. It returns the length of the
// request when it is complete.
func (p *Parser) bulks(buf []byte, lim *Limits) (n int, err error) {
	for p.left > 0 {
		if !p.inBulk {
			if err := p.header(buf, lim); err != nil || !p.inBulk {
				return 0, err
			}
		}
		end := p.pos + p.size
		if len(buf) < end+2 {
			return 0, nil
		}
		if buf[end] != '\r' || buf[end+1] != '\n' {
			return 0, errCRLF
		}
		p.sizes = append(p.sizes, uint32(p.size))
		p.pos, p.seen, p.inBulk = end+2, end+2, false
		p.left--
	}
	p.views(buf)
	return p.pos, nil
}

// header reads the header line of an argument. It sets inBulk unless a part of the
// line is missing.
func (p *Parser) header(buf []byte, lim *Limits) error {
	end, err := p.line(buf, lim.Inline, errBigBulkCount)
	if end < 0 || err != nil {
		return err
	}
	if buf[p.pos] != '$' {
		return errExpectedBulk(buf[p.pos])
	}
	if buf[end+1] != '\n' {
		return errCRLF
	}
	size, ok := ParseInt(buf[p.pos+1 : end])
	switch {
	case !ok || size < 0 || size > maxSize:
		return errBulk
	case size > int64(lim.Bulk) && size <= maxBulk && lim.Unauthenticated:
		return errUnauthBulk
	case size > int64(lim.Bulk):
		return errBulk
	case int64(end)+2+size+2 > int64(lim.Query):
		return errQuery
	}
	p.pos, p.seen, p.size, p.inBulk = end+2, end+2, int(size), true
	return nil
}

// maxSize keeps sizes within sizes' elements whatever the limits say.
const maxSize = 1<<31 - 1

// minLine keeps the fast paths, which do not look at the limit for lines, within it.
const minLine = 16

// line looks for the '\r' which ends the header line at p.pos and for the byte
// behind it. It returns the place of the '\r', or -1 if a part is missing. Bytes
// before p.seen are not looked at again.
func (p *Parser) line(buf []byte, limit int, tooLong *ProtocolError) (int, error) {
	last := p.pos + max(limit, minLine) // the last place where the line may end
	stop := min(len(buf), last+1)
	if p.seen < stop {
		if i := bytes.IndexByte(buf[p.seen:stop], '\r'); i >= 0 {
			p.seen += i
			if p.seen+1 < len(buf) {
				return p.seen, nil
			}
			p.seen = max(p.seen, 1)
			return -1, nil
		}
		p.seen = stop
	}
	if len(buf) > last {
		return -1, tooLong
	}
	return -1, nil
}

// views makes Args from sizes: the request is canonical, so they tell where each
// argument is.
func (p *Parser) views(buf []byte) {
	args := p.Args[:0]
	pos := 1 + digits(len(p.sizes)) + 2
	for _, s := range p.sizes {
		size := int(s)
		pos += 1 + digits(size) + 2
		args = append(args, buf[pos:pos+size:pos+size])
		pos += size + 2
	}
	p.Args = args
}

// forbidden tells whether a command's name is one with which servers cut the
// connection: a browser can be made to send an HTTP request to us. The servers
// compare C strings, so what follows a NUL byte does not count. A request like
// this must never reach a node: it would cut a connection that others share.
func forbidden(name []byte) bool {
	if len(name) < 4 || name[1]|0x20 != 'o' {
		return false
	}
	switch name[0] | 0x20 {
	case 'p':
		return cStringIs(name, "post")
	case 'h':
		return cStringIs(name, "host:")
	}
	return false
}

func cStringIs(b []byte, lower string) bool {
	if len(b) < len(lower) || (len(b) > len(lower) && b[len(lower)] != 0) {
		return false
	}
	for i := range len(lower) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
