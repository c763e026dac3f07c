package resp

import "bytes"

const (
	// maxDepth bounds nested arrays. Real replies have up to 5 levels, Lua and
	// modules can make more.
	maxDepth = 64

	// maxLine bounds a header line. Error texts are the longest; scripts write them.
	maxLine = 64 << 10

	// maxElements and maxPayload: no server can hold more. They keep what is added
	// to them far from overflow (a map has two elements an entry).
	maxElements = 1<<31 - 1
	maxPayload  = 1 << 40
)

// Framer finds where a reply ends, without decoding or holding it. It reads RESP2
// and RESP3, but not streamed strings and aggregates, which no server sends. The
// zero value is ready. It belongs to one connection.
type Framer struct {
	skip  int64 // payload bytes still to come, the final CRLF included
	seen  int   // bytes of the incomplete line which have been searched for its end
	depth int   // open aggregates; 0 with open false: between two replies
	open  bool  // inside a reply
	left  [maxDepth + 1]uint32
	// left[d] is the number of elements still to come in the aggregate at depth d;
	// left[0] stands for the reply itself.
}

// Reset forgets a reply of which a part is still to come.
func (f *Framer) Reset() {
	f.skip, f.seen, f.depth, f.open = 0, 0, 0, false
}

// Between tells that no part of a reply has been seen yet.
func (f *Framer) Between() bool { return !f.open }

// Feed takes bytes that follow those consumed by the call before. The first n of
// them belong to the current reply and are consumed. done: the reply ends there.
// If it is not done and n < len(buf), the rest is the start of a header line: give
// it again with more behind it. So the line of an error or status comes in one
// piece. An error means that the node cannot be understood any more.
//
// An attribute ('|') is taken as a part of the reply that follows it.
func (f *Framer) Feed(buf []byte) (n int, done bool, err error) {
	if !f.open {
		if n = simple(buf); n > 0 {
			return n, true, nil
		}
		if len(buf) == 0 {
			return 0, false, nil
		}
		f.open, f.depth, f.left[0] = true, 0, 1
	}
	for n < len(buf) {
		used, err := f.step(buf[n:])
		n += used
		if err != nil || used == 0 {
			return n, false, err
		}
		if f.skip == 0 && f.close() {
			f.open = false
			return n, true, nil
		}
	}
	return n, false, nil
}

// step consumes one header line, one plain value or what there is of a payload.
func (f *Framer) step(b []byte) (n int, err error) {
	if f.skip > 0 {
		return f.payload(b)
	}
	if f.seen == 0 {
		if n = simple(b); n > 0 {
			f.left[f.depth]--
			return n, nil
		}
	}
	return f.header(b)
}

// close leaves the aggregates that are complete and tells whether the reply is.
func (f *Framer) close() bool {
	for f.left[f.depth] == 0 {
		if f.depth == 0 {
			return true
		}
		f.depth--
	}
	return false
}

// payload passes over the rest of a payload and its CRLF.
func (f *Framer) payload(b []byte) (n int, err error) {
	if int64(len(b)) < f.skip-2 {
		f.skip -= int64(len(b))
		return len(b), nil
	}
	if f.skip > 2 {
		n = int(f.skip - 2)
		f.skip = 2
	}
	if f.skip == 2 && n < len(b) {
		if b[n] != '\r' {
			return n, errReplyEnd
		}
		n++
		f.skip = 1
	}
	if f.skip == 1 && n < len(b) {
		if b[n] != '\n' {
			return n, errReplyEnd
		}
		n++
		f.skip = 0
	}
	return n, nil
}

// header takes a header line and notes what has to follow it. It consumes nothing
// if a part of the line is missing.
func (f *Framer) header(b []byte) (n int, err error) {
	kind := b[0]
	if kinds[kind] == kindNone {
		return 0, errReplyType
	}
	n, err = f.line(b)
	if n == 0 || err != nil {
		return 0, err
	}
	if kinds[kind] == kindLine {
		f.left[f.depth]--
		return n, nil
	}
	count, ok := ParseInt(b[1 : n-2])
	if !ok || count < -1 || (count == -1 && kind != '$' && kind != '*') {
		return 0, errReplySize
	}
	if kinds[kind] == kindPayload {
		if count > maxPayload {
			return 0, errReplySize
		}
		f.left[f.depth]--
		if count >= 0 {
			f.skip = count + 2
		}
		return n, nil
	}
	if count > maxElements {
		return 0, errReplySize
	}
	return n, f.enter(kind, count)
}

// enter opens an aggregate.
func (f *Framer) enter(kind byte, count int64) error {
	if kind != '|' { // an attribute does not count, what follows it does
		f.left[f.depth]--
	}
	if count <= 0 {
		return nil
	}
	if f.depth == maxDepth {
		return errReplyDepth
	}
	if kind == '%' || kind == '|' {
		count *= 2
	}
	f.depth++
	f.left[f.depth] = uint32(count)
	return nil
}

// line is the length of the line at the start of b, its CRLF included, or 0 if a
// part of it is missing. It looks at no byte twice.
func (f *Framer) line(b []byte) (int, error) {
	stop := min(len(b), maxLine+2)
	i := bytes.IndexByte(b[min(f.seen, stop):stop], '\n')
	if i < 0 {
		if stop == maxLine+2 {
			return 0, errReplyLong
		}
		f.seen = stop
		return 0, nil
	}
	i += f.seen
	f.seen = 0
	// A lone CR or LF is not the server's: some clients take it as the line's end.
	if bytes.IndexByte(b[:i], '\r') != i-1 {
		return 0, errReplyLine
	}
	return i + 1, nil
}

// simple is the fast path: the length of the reply at the start of b if it is a
// whole string, null, integer or short status; 0 if it is anything else.
func simple(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	switch b[0] {
	case '$':
		size, head := bulkHeader(b)
		if head == 0 {
			return null(b)
		}
		end := head + size + 2
		if len(b) < end || b[end-2] != '\r' || b[end-1] != '\n' {
			return 0
		}
		return end
	case '+', ':':
		for i := 1; i < len(b)-1 && i < 24; i++ { // longer ones are better searched
			if b[i] > '\r' {
				continue
			}
			if b[i] == '\r' && b[i+1] == '\n' {
				return i + 2
			}
			if b[i] == '\r' || b[i] == '\n' {
				return 0
			}
		}
	}
	return 0
}

// null is the length of RESP2's null string, or 0.
func null(b []byte) int {
	const text = "$-1\r\n"
	if len(b) < len(text) || string(b[:len(text)]) != text {
		return 0
	}
	return len(text)
}

type kind uint8

const (
	kindNone      kind = iota
	kindLine           // all of it is in its line
	kindPayload        // a length, then so many bytes and CRLF
	kindAggregate      // a count, then so many values
)

var kinds = [256]kind{
	'+': kindLine, '-': kindLine, ':': kindLine, '_': kindLine, ',': kindLine, '#': kindLine, '(': kindLine,
	'$': kindPayload, '!': kindPayload, '=': kindPayload,
	'*': kindAggregate, '~': kindAggregate, '>': kindAggregate, '%': kindAggregate, '|': kindAggregate,
}

// Skip is the length of the value at the start of buf, with all that is nested in
// it and the attributes before it; 0 if a part of it is missing.
func Skip(buf []byte) (n int, err error) {
	if n = simple(buf); n > 0 {
		return n, nil
	}
	var f Framer
	n, done, err := f.Feed(buf)
	if err != nil || !done {
		return 0, err
	}
	return n, nil
}

// AggHeader reads the header line of an aggregate at the start of buf: its type
// byte, its count (entries for a map; -1 for the null array) and the line's length.
// It is not ok if the line is incomplete, invalid or no aggregate's.
func AggHeader(buf []byte) (kind byte, count int, n int, ok bool) {
	if len(buf) == 0 || kinds[buf[0]] != kindAggregate {
		return 0, 0, 0, false
	}
	kind = buf[0]
	end := bytes.IndexByte(buf[:min(len(buf), 16)], '\r') // no count has more digits
	if end < 0 || end+1 == len(buf) || buf[end+1] != '\n' {
		return 0, 0, 0, false
	}
	c, ok := ParseInt(buf[1:end])
	if !ok || c > maxElements || c < -1 || (c == -1 && kind != '*') {
		return 0, 0, 0, false
	}
	return kind, int(c), end + 2, true
}
