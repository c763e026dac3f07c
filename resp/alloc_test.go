package resp

import (
	"bytes"
	"testing"
)

func TestNothingIsAllocatedForEachCommand(t *testing.T) {
	var (
		p        Parser
		split    Parser
		f        Framer
		out      = make([]byte, 0, 4096)
		keys     = [][]byte{[]byte("GET"), []byte("key:000000000042")}
		inline   = []byte("SET key \"a \\x41 value\"\r\n")
		mset     = AppendCommandStrings(nil, append([]string{"MSET"}, make([]string, 200)...)...)
		pipeline = bytes.Repeat(benchSet, 16)
		moved    = []byte("-MOVED 7 10.0.0.1:6379\r\n")
		array    = []byte("*2\r\n$5\r\nhello\r\n%1\r\n+a\r\n*2\r\n:1\r\n_\r\n")
	)
	parse := func(p *Parser, in []byte) {
		for len(in) > 0 {
			n, err := p.Next(in, &AfterAuth)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			in = in[n:]
		}
		if n, err := p.Next(nil, &AfterAuth); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	frame := func(in []byte) {
		for len(in) > 0 {
			n, _, err := f.Feed(in)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			in = in[n:]
		}
	}
	tests := []struct {
		name string
		run  func()
		want float64
	}{
		{"parsing GET", func() { parse(&p, benchGet) }, 0},
		{"parsing a pipeline", func() { parse(&p, pipeline) }, 0},
		{"parsing an inline request with quotes", func() { parse(&p, inline) }, 0},
		{"parsing a long MSET", func() { parse(&p, mset) }, 0},
		{"parsing SET in two pieces", func() {
			if n, err := split.Next(benchSet[:40], &AfterAuth); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			parse(&split, benchSet)
		}, 0},
		{"framing a string", func() { frame([]byte("$5\r\nhello\r\n")) }, 0},
		{"framing an array", func() { frame(array) }, 0},
		{"framing a payload in pieces", func() {
			frame([]byte("*2\r\n$10\r\nhel"))
			frame([]byte("lo12345\r\n:1\r\n"))
		}, 0},
		{"skipping", func() {
			if n, err := Skip(array); n != len(array) || err != nil {
				t.Fatal(n, err)
			}
		}, 0},
		{"writing a command", func() { out = AppendCommand(out[:0], keys...) }, 0},
		{"writing replies", func() {
			out = AppendArray(out[:0], 3)
			out = AppendBulk(out, keys[0])
			out = AppendBulkString(out, "hello")
			out = AppendInt(out, 1234567890123)
			out = AppendSimple(out, "OK")
			out = AppendError(out, "ERR no")
			out = AppendDouble(out, 1.5, 2)
			out = AppendDouble(out, 1.5, 3)
			out = AppendMap(out, 100, 3)
			out = AppendNull(out, 3)
		}, 0},
		{"classifying an error", func() {
			if Classify(moved) != Moved {
				t.Fatal("not moved")
			}
		}, 0},
		{"reading a redirect: its host only", func() {
			if _, ok := ParseRedirect(moved); !ok {
				t.Fatal("refused")
			}
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.run() // the first one may
			if n := testing.AllocsPerRun(100, tt.run); n != tt.want {
				t.Errorf("allocates %v times, want %v", n, tt.want)
			}
		})
	}
}
