package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// trace is what a parser makes of an input, as one line: each command as its
// quoted arguments (a '~' before them if it has to be re-encoded, a lone '~' if it
// has none), then '!' and the error's text ('!!' if the client must not be told),
// or '...' if a part of a request is missing.
type trace struct {
	text  strings.Builder
	input int // bytes that belong to complete requests
}

func (tr *trace) add(text string) {
	if tr.text.Len() > 0 {
		tr.text.WriteByte(' ')
	}
	tr.text.WriteString(text)
}

// client plays the caller of a parser: it holds the bytes of the current request
// and those behind it, in a new buffer whenever bytes arrive.
type client struct {
	t     testing.TB
	p     Parser
	lim   *Limits
	buf   []byte
	trace trace
	dead  bool
}

// receive hands over one chunk.
func (c *client) receive(chunk []byte) {
	old := c.buf
	c.buf = append(append(make([]byte, 0, len(old)+len(chunk)), old...), chunk...)
	for i := range old {
		old[i] = 0xaa // nobody may still look at it
	}
	for !c.dead && c.next() {
	}
}

func (c *client) next() bool {
	before := bytes.Clone(c.buf)
	n, err := c.p.Next(c.buf, c.lim)
	if !bytes.Equal(before, c.buf) {
		c.t.Fatalf("the parser changed its input %q to %q", before, c.buf)
	}
	if err != nil {
		var broken *ProtocolError
		if !errors.As(err, &broken) || n != 0 {
			c.t.Fatalf("got n %d and error %T, want 0 and a *ProtocolError (input %q)", n, err, before)
		}
		mark := "!"
		if broken.Silent {
			mark = "!!"
		}
		c.trace.add(mark + broken.Text)
		c.dead = true
		return false
	}
	if n == 0 {
		if need := c.p.Need(); need != 0 && need <= len(c.buf) {
			c.t.Fatalf("needs %d bytes and has %d (input %q)", need, len(c.buf), before)
		}
		return false
	}
	c.command(c.buf[:n])
	c.trace.input += n
	c.buf = c.buf[n:]
	return true
}

// command checks what must hold for every command found.
func (c *client) command(wire []byte) {
	again := AppendCommand(nil, c.p.Args...)
	if c.p.Canonical != bytes.Equal(again, wire) && len(c.p.Args) > 0 {
		c.t.Fatalf("canonical is %v for %q, which re-encodes to %q", c.p.Canonical, wire, again)
	}
	if len(wire) > c.lim.Query && len(c.p.Args) > 0 {
		c.t.Fatalf("a request of %d bytes passed the limit %d", len(wire), c.lim.Query)
	}
	words := make([]string, len(c.p.Args))
	for i, a := range c.p.Args {
		words[i] = fmt.Sprintf("%q", a)
		if cap(a) != len(a) {
			c.t.Fatalf("argument %q has %d bytes of room behind it", a, cap(a)-len(a))
		}
		if wire[0] == '*' && len(a) > c.lim.Bulk {
			c.t.Fatalf("an argument of %d bytes passed the limit %d", len(a), c.lim.Bulk)
		}
	}
	if wire[0] == '*' && len(words) > c.lim.Args {
		c.t.Fatalf("%d arguments passed the limit %d", len(words), c.lim.Args)
	}
	text := "[" + strings.Join(words, " ") + "]"
	switch {
	case len(words) == 0:
		text = "~"
	case !c.p.Canonical:
		text = "~" + text
	}
	c.trace.add(text)
}

// parse is the trace of an input that arrives in the chunks which cut gives: cut is
// called with the bytes that are left and returns the size of the next chunk.
func parse(t testing.TB, in string, lim *Limits, cut func(left int) int) string {
	c := client{t: t, lim: lim}
	for rest := []byte(in); len(rest) > 0 && !c.dead; {
		n := cut(len(rest))
		c.receive(rest[:n])
		rest = rest[n:]
	}
	if !c.dead && len(c.buf) > 0 {
		c.trace.add("...")
	}
	return c.trace.text.String()
}

// Ways to cut an input.
func atOnce(left int) int     { return left }
func byteByByte(left int) int { return 1 }

func splitAt(at int) func(int) int {
	first := true
	return func(left int) int {
		if !first || at == 0 {
			return left
		}
		first = false
		return at
	}
}

func randomly(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(left int) int {
		if r.IntN(4) == 0 {
			return 1 + r.IntN(left)
		}
		return 1 + r.IntN(min(left, 8))
	}
}

// wantTrace checks the verdict on an input, however it is cut.
func wantTrace(t *testing.T, in, want string, lim *Limits) {
	t.Helper()
	if got := parse(t, in, lim, atOnce); got != want {
		t.Fatalf("got  %s\nwant %s\ninput %.200q", got, want, in)
	}
	if len(in) > 4<<10 {
		wantCut(t, in, want, lim, splitAt(len(in)-1), "before its last byte")
		wantCut(t, in, want, lim, func(left int) int { return min(left, 1000) }, "each 1000 bytes")
		return
	}
	wantCut(t, in, want, lim, byteByByte, "after each byte")
	for at := 1; at < len(in); at++ {
		wantCut(t, in, want, lim, splitAt(at), fmt.Sprintf("at %d", at))
	}
	for seed := range uint64(20) {
		wantCut(t, in, want, lim, randomly(seed), fmt.Sprintf("randomly, seed %d", seed))
	}
}

func wantCut(t *testing.T, in, want string, lim *Limits, cut func(int) int, how string) {
	t.Helper()
	if got := parse(t, in, lim, cut); got != want {
		t.Fatalf("cut %s:\ngot  %s\nwant %s\ninput %.200q", how, got, want, in)
	}
}
