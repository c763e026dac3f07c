package resp

import (
	"bytes"
	"testing"
)

type allocTest struct {
	name string
	run  func()
	want float64
}

func checkAllocs(t *testing.T, tests []allocTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.run() // the first one may
			if n := testing.AllocsPerRun(100, tt.run); n != tt.want {
				t.Errorf("allocates %v times, want %v", n, tt.want)
			}
		})
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	var p Parser
	parse := func(in []byte) {
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
	inline := []byte("SET key \"a \\x41 value\"\r\n")
	mset := AppendCommandStrings(nil, append([]string{"MSET"}, make([]string, 200)...)...)
	pipeline := bytes.Repeat(benchSet, 16)
	checkAllocs(t, []allocTest{
		{"GET", func() { parse(benchGet) }, 0},
		{"a pipeline", func() { parse(pipeline) }, 0},
		{"an inline request with quotes", func() { parse(inline) }, 0},
		{"a long MSET", func() { parse(mset) }, 0},
		{"SET in two pieces", func() {
			if n, err := p.Next(benchSet[:40], &AfterAuth); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			parse(benchSet)
		}, 0},
	})
}

func TestFramingAllocatesNothing(t *testing.T) {
	var f Framer
	frame := func(in []byte) {
		for len(in) > 0 {
			n, _, err := f.Feed(in)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			in = in[n:]
		}
	}
	array := []byte("*2\r\n$5\r\nhello\r\n%1\r\n+a\r\n*2\r\n:1\r\n_\r\n")
	checkAllocs(t, []allocTest{
		{"a string", func() { frame([]byte("$5\r\nhello\r\n")) }, 0},
		{"an array", func() { frame(array) }, 0},
		{"a payload in pieces", func() {
			frame([]byte("*2\r\n$10\r\nhel"))
			frame([]byte("lo12345\r\n:1\r\n"))
		}, 0},
		{"skipping a value", func() {
			if n, err := Skip(array); n != len(array) || err != nil {
				t.Fatal(n, err)
			}
		}, 0},
	})
}

func TestWritingAllocatesNothing(t *testing.T) {
	out := make([]byte, 0, 4096)
	args := [][]byte{[]byte("GET"), []byte("key:000000000042")}
	checkAllocs(t, []allocTest{
		{"a command", func() { out = AppendCommand(out[:0], args...) }, 0},
		{"replies", func() {
			out = AppendArray(out[:0], 3)
			out = AppendBulk(out, args[0])
			out = AppendBulkString(out, "hello")
			out = AppendInt(out, 1234567890123)
			out = AppendSimple(out, "OK")
			out = AppendError(out, "ERR no")
			out = AppendDouble(out, 1.5, 2)
			out = AppendDouble(out, 1.5, 3)
			out = AppendMap(out, 100, 3)
			out = AppendNull(out, 3)
		}, 0},
	})
}

func TestRedirectsAllocateTheirHostOnly(t *testing.T) {
	moved := []byte("-MOVED 7 10.0.0.1:6379\r\n")
	checkAllocs(t, []allocTest{
		{"classifying", func() {
			if Classify(moved) != Moved {
				t.Fatal("not moved")
			}
		}, 0},
		{"reading", func() {
			if _, ok := ParseRedirect(moved); !ok {
				t.Fatal("refused")
			}
		}, 1},
	})
}
