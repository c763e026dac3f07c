package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds recursion; real replies nest five deep at most.
const maxDepth = 64

// ErrFraming says that bytes came which are no RESP: the connection is of no further use.
var ErrFraming = errors.New("not RESP")

// Value is one reply. Kind is its type byte; a null of any kind has Null set.
type Value struct {
	Kind  byte
	Text  string  // + - $ = ( , and the digits of :
	Int   int64   // : and # (0 or 1)
	Elems []Value // * ~ > and % (keys and values in turn)
	Null  bool
}

// IsError reports an error reply, simple or bulk.
func (v Value) IsError() bool { return v.Kind == '-' || v.Kind == '!' }

// Strings returns the texts of an aggregate's elements; a null is "(nil)".
func (v Value) Strings() []string {
	out := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		out[i] = e.Text
		if e.Null {
			out[i] = "(nil)"
		}
	}
	return out
}

// String is for failure messages: short, one line, the type visible.
func (v Value) String() string {
	if v.Null {
		return "(nil)"
	}
	switch v.Kind {
	case '*', '~', '>', '%':
		parts := make([]string, 0, len(v.Elems))
		for _, e := range v.Elems {
			parts = append(parts, e.String())
		}
		return string(v.Kind) + "[" + strings.Join(parts, " ") + "]"
	case '$', '=':
		return strconv.Quote(clip(v.Text))
	}
	return string(v.Kind) + clip(v.Text)
}

// Parse reads the one reply in s.
func Parse(s string) (Value, error) { return readValue(bufio.NewReader(strings.NewReader(s)), 0) }

func clip(s string) string {
	const most = 120 // a failure message stays one line on a terminal
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s...(%d bytes)", s[:most], len(s))
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	return line[:len(line)-2], nil
}

func readValue(r *bufio.Reader, depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("%w: nested deeper than %d", ErrFraming, maxDepth)
	}
	line, err := readLine(r)
	if err != nil {
		return Value{}, err
	}
	v := Value{Kind: line[0], Text: line[1:]}
	switch v.Kind {
	case '+', '-', ',', '(':
		return v, nil
	case ':':
		v.Int, err = strconv.ParseInt(v.Text, 10, 64)
		return v, framing(err, line)
	case '#':
		if v.Text == "t" {
			v.Int = 1
		}
		return v, nil
	case '_':
		v.Null = true
		return v, nil
	case '$', '=', '!':
		return readBulk(r, v, line)
	case '*', '~', '>', '%', '|':
		return readAggregate(r, v, line, depth)
	}
	return Value{}, fmt.Errorf("%w: header %q", ErrFraming, clip(line))
}

func readBulk(r *bufio.Reader, v Value, line string) (Value, error) {
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < -1 {
		return Value{}, fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	v.Text = ""
	if n == -1 {
		v.Null = true
		return v, nil
	}
	buf := make([]byte, n+2)
	if _, err := io.ReadFull(r, buf); err != nil {
		return Value{}, err
	}
	if buf[n] != '\r' || buf[n+1] != '\n' {
		return Value{}, fmt.Errorf("%w: bulk of %d bytes ends with %q", ErrFraming, n, buf[n:])
	}
	v.Text = string(buf[:n])
	return v, nil
}

func readAggregate(r *bufio.Reader, v Value, line string, depth int) (Value, error) {
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < -1 {
		return Value{}, fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	v.Text = ""
	if n == -1 {
		v.Null = true
		return v, nil
	}
	if v.Kind == '%' || v.Kind == '|' {
		n *= 2
	}
	v.Elems = make([]Value, 0, min(n, 1024))
	for range n {
		e, err := readValue(r, depth+1)
		if err != nil {
			return Value{}, err
		}
		v.Elems = append(v.Elems, e)
	}
	if v.Kind == '|' { // an attribute is a prefix of the reply that follows it
		return readValue(r, depth)
	}
	return v, nil
}

func readRaw(r *bufio.Reader, dst []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, fmt.Errorf("%w: nested deeper than %d", ErrFraming, maxDepth)
	}
	line, err := readLine(r)
	if err != nil {
		return dst, err
	}
	dst = append(append(dst, line...), '\r', '\n')
	switch line[0] {
	case '+', '-', ':', ',', '(', '#', '_':
		return dst, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < -1 {
		return dst, fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	switch line[0] {
	case '$', '=', '!':
		if n == -1 {
			return dst, nil
		}
		at := len(dst)
		dst = append(dst, make([]byte, n+2)...)
		_, err := io.ReadFull(r, dst[at:])
		return dst, err
	case '%':
		n *= 2
	case '|':
		n = 2*n + 1
	case '*', '~', '>':
	default:
		return dst, fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	for range n {
		if dst, err = readRaw(r, dst, depth+1); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func framing(err error, line string) error {
	if err != nil {
		return fmt.Errorf("%w: header %q", ErrFraming, clip(line))
	}
	return nil
}
