package resp

import (
	"math"
	"strings"
	"testing"
)

func TestAppenders(t *testing.T) {
	tests := []struct {
		name      string
		write     func(dst []byte, proto int) []byte
		two, both string // in RESP2, in RESP3
	}{
		{"an array", func(d []byte, p int) []byte { return AppendArray(d, 3) }, "*3\r\n", "*3\r\n"},
		{"a long array", func(d []byte, p int) []byte { return AppendArray(d, 1048576) }, "*1048576\r\n", "*1048576\r\n"},
		{"a map", func(d []byte, p int) []byte { return AppendMap(d, 12, p) }, "*24\r\n", "%12\r\n"},
		{"a set", func(d []byte, p int) []byte { return AppendSet(d, 2, p) }, "*2\r\n", "~2\r\n"},
		{"a push", func(d []byte, p int) []byte { return AppendPush(d, 3, p) }, "*3\r\n", ">3\r\n"},
		{"a string", func(d []byte, p int) []byte { return AppendBulk(d, []byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
		{"no string", func(d []byte, p int) []byte { return AppendBulk(d, nil) }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{"a text", func(d []byte, p int) []byte { return AppendBulkString(d, "0123456789") }, "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"},
		{"a verbatim text", func(d []byte, p int) []byte { return AppendVerbatim(d, "abc", p) }, "$3\r\nabc\r\n", "=7\r\ntxt:abc\r\n"},
		{"a status", func(d []byte, p int) []byte { return AppendSimple(d, "OK") }, "+OK\r\n", "+OK\r\n"},
		{"an error", func(d []byte, p int) []byte { return AppendError(d, "ERR no") }, "-ERR no\r\n", "-ERR no\r\n"},
		{"an error with line ends", func(d []byte, p int) []byte { return AppendError(d, "ERR a\r\n+OK\r\n") }, "-ERR a  +OK  \r\n", "-ERR a  +OK  \r\n"},
		{"an integer", func(d []byte, p int) []byte { return AppendInt(d, 7) }, ":7\r\n", ":7\r\n"},
		{"the smallest integer", func(d []byte, p int) []byte { return AppendInt(d, math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
		{"null", AppendNull, "$-1\r\n", "_\r\n"},
		{"the null array", AppendNullArray, "*-1\r\n", "_\r\n"},
		{"true", func(d []byte, p int) []byte { return AppendBool(d, true, p) }, ":1\r\n", "#t\r\n"},
		{"false", func(d []byte, p int) []byte { return AppendBool(d, false, p) }, ":0\r\n", "#f\r\n"},
		{"a double", func(d []byte, p int) []byte { return AppendDouble(d, 1.5, p) }, "$3\r\n1.5\r\n", ",1.5\r\n"},
		{"a whole double", func(d []byte, p int) []byte { return AppendDouble(d, 1e6, p) }, "$7\r\n1000000\r\n", ",1000000\r\n"},
		{"a tenth", func(d []byte, p int) []byte { return AppendDouble(d, 0.1, p) }, "$3\r\n0.1\r\n", ",0.1\r\n"},
		{"a large double", func(d []byte, p int) []byte { return AppendDouble(d, 1e300, p) }, "$6\r\n1e+300\r\n", ",1e+300\r\n"},
		{"infinity", func(d []byte, p int) []byte { return AppendDouble(d, math.Inf(1), p) }, "$3\r\ninf\r\n", ",inf\r\n"},
		{"minus infinity", func(d []byte, p int) []byte { return AppendDouble(d, math.Inf(-1), p) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"no number", func(d []byte, p int) []byte { return AppendDouble(d, math.NaN(), p) }, "$3\r\nnan\r\n", ",nan\r\n"},
		{"a command", func(d []byte, p int) []byte { return AppendCommand(d, []byte("GET"), []byte("k")) }, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"},
		{"a command of strings", func(d []byte, p int) []byte { return AppendCommandStrings(d, "GET", "") }, "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const before = "before"
			if got := string(tt.write([]byte(before), 2)); got != before+tt.two {
				t.Errorf("RESP2: got %q, want %q", got, before+tt.two)
			}
			if got := string(tt.write(nil, 3)); got != tt.both {
				t.Errorf("RESP3: got %q, want %q", got, tt.both)
			}
		})
	}
}

func TestWhatIsAppendedIsFramed(t *testing.T) {
	for size := range 1200 {
		reply := AppendBulkString(nil, strings.Repeat("x", size))
		if n, err := Skip(reply); n != len(reply) || err != nil {
			t.Fatalf("Skip of a string of %d bytes = %d, %v, want %d", size, n, err, len(reply))
		}
	}
}
