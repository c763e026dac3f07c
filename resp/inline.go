package resp

import "bytes"

// inline reads a request that is a line of words, as people type it into nc.
// The rules are those of the servers' sdssplitargs in Valkey 9: words are divided
// by spaces, quoted and plain parts may stand together in one word, in double
// quotes \n \r \t \b \a \xHH and \ before any other byte are escapes, in single
// quotes only \' is.
//
// Two slips of Valkey 9.1.2 are not repeated: it drops raw bytes 0xff, and takes a
// backslash before the line's last byte, a quote, as plain. Servers before 9.0
// refuse quoted and plain parts in one word.
func (p *Parser) inline(buf []byte, lim *Limits) (n int, err error) {
	nl := p.newline(buf, lim.Inline)
	if nl < 0 {
		if len(buf) > lim.Inline {
			return 0, errBigInline
		}
		return 0, nil
	}
	if nl >= lim.Query {
		return 0, errQuery
	}
	line := buf[:nl]
	if nl > 0 && line[nl-1] == '\r' {
		line = line[:nl-1]
	}
	p.end()
	if !p.split(line) {
		return 0, errQuotes
	}
	if len(p.Args) > 0 && forbidden(p.Args[0]) {
		return 0, errSecurity
	}
	return nl + 1, nil
}

// newline is the place of the line's end, or -1. To the server's search a NUL byte
// ends the buffer: it waits until the limit is reached, and so do we.
func (p *Parser) newline(buf []byte, limit int) int {
	stop := min(len(buf), limit+1)
	if p.lost || p.seen >= stop {
		return -1
	}
	fresh := buf[p.seen:stop]
	nl := bytes.IndexByte(fresh, '\n')
	if nl >= 0 {
		fresh = fresh[:nl]
	}
	if bytes.IndexByte(fresh, 0) >= 0 {
		p.lost = true
		nl = -1
	}
	if nl < 0 {
		p.seen = stop
		return -1
	}
	return p.seen + nl
}

// split makes Args from a line. It reports false for unbalanced quotes.
func (p *Parser) split(line []byte) bool {
	p.text = p.text[:0]
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return true
		}
		start := i
		for i < len(line) && !endsWord(line[i]) && line[i] != '"' && line[i] != '\'' {
			i++
		}
		if i == len(line) || endsWord(line[i]) {
			p.Args = append(p.Args, line[start:i:i])
			continue
		}
		n, ok := p.quoted(line[start:])
		if !ok {
			return false
		}
		i = start + n
	}
}

// quoted appends the word at the start of line, in which there are quotes, to Args
// and returns its length on the wire.
func (p *Parser) quoted(line []byte) (n int, ok bool) {
	if p.text == nil {
		p.text = make([]byte, 0, len(line)) // no unquoted text is longer than the line
	}
	start := len(p.text)
	quote := byte(0) // the open quote
	i := 0
	for i < len(line) {
		c := line[i]
		switch {
		case quote == 0 && endsWord(c):
			p.word(start)
			return i, true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0 && c == '\\':
			var width int
			c, width = unescape(line[i:], quote)
			p.text = append(p.text, c)
			i += width
			continue
		default:
			p.text = append(p.text, c)
		}
		i++
	}
	if quote != 0 {
		return 0, false
	}
	p.word(start)
	return i, true
}

// word appends what was written to text since start to Args.
func (p *Parser) word(start int) {
	end := len(p.text)
	p.Args = append(p.Args, p.text[start:end:end])
}

// unescape reads the backslash at the start of b, between quotes of the given
// kind. It returns the byte meant and how many bytes of b say it.
func unescape(b []byte, quote byte) (c byte, width int) {
	if len(b) < 2 || (quote == '\'' && b[1] != '\'') {
		return b[0], 1
	}
	switch b[1] {
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'b':
		return '\b', 2
	case 'a':
		return '\a', 2
	case 'x':
		if len(b) >= 4 && hexDigit(b[2]) < 16 && hexDigit(b[3]) < 16 {
			return hexDigit(b[2])<<4 | hexDigit(b[3]), 4
		}
	}
	return b[1], 2
}

// hexDigit is the value of a hexadecimal digit, or 255.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}

// isSpace is C's isspace: what may stand between words.
func isSpace(c byte) bool { return c == ' ' || ('\t' <= c && c <= '\r') }

// endsWord: fewer bytes end a word than may stand between two.
func endsWord(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
