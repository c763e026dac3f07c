package resp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// frames is where a framer finds the ends of the replies in an input that arrives
// cut as cut says: the lengths, then '!' and an error or '...' and the number of
// bytes that belong to no whole reply.
func frames(t testing.TB, in []byte, cut func(left int) int) string {
	var f Framer
	var got []string
	var buf []byte // bytes not consumed
	size, consumed := 0, 0
	for rest := in; len(rest) > 0; {
		n := cut(len(rest))
		buf = append(bytes.Clone(buf), rest[:n]...)
		rest = rest[n:]
		for {
			n, done, err := f.Feed(buf)
			if n < 0 || n > len(buf) || (done && n == 0) {
				t.Fatalf("Feed = %d, %v, %v with %d bytes (input %q)", n, done, err, len(buf), in)
			}
			size, consumed = size+n, consumed+n
			buf = buf[n:]
			if err != nil {
				return strings.Join(append(got, "!"+err.Error()), " ")
			}
			if !done {
				break
			}
			got = append(got, fmt.Sprint(size))
			size = 0
		}
	}
	if size+len(buf) > 0 {
		got = append(got, fmt.Sprintf("...%d", size+len(buf)))
	}
	return strings.Join(got, " ")
}

func wantFrames(t *testing.T, in, want string) {
	t.Helper()
	b := []byte(in)
	if got := frames(t, b, atOnce); got != want {
		t.Fatalf("got %s, want %s, input %.100q", got, want, in)
	}
	if len(b) > 2<<10 {
		for _, size := range []int{700, 4096, len(b) - 1, len(b) - 2} {
			if got := frames(t, b, func(left int) int { return min(left, size) }); got != want {
				t.Fatalf("cut each %d bytes: got %s, want %s, input %.100q", size, got, want, in)
			}
		}
		return
	}
	for at := 1; at < len(b); at++ {
		if got := frames(t, b, splitAt(at)); got != want {
			t.Fatalf("cut at %d: got %s, want %s, input %.100q", at, got, want, in)
		}
	}
	if got := frames(t, b, byteByByte); got != want {
		t.Fatalf("byte by byte: got %s, want %s, input %.100q", got, want, in)
	}
	for seed := range uint64(20) {
		if got := frames(t, b, randomly(seed)); got != want {
			t.Fatalf("seed %d: got %s, want %s, input %.100q", seed, got, want, in)
		}
	}
}

func TestFramerFindsTheEndOfReplies(t *testing.T) {
	deep := strings.Repeat("*1\r\n", 64) + ":1\r\n"
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"a status", "+OK\r\n", "5"},
		{"an empty status", "+\r\n", "3"},
		{"a long status", "+" + strings.Repeat("a", 5000) + "\r\n", "5003"},
		{"an error", "-ERR no\r\n", "9"},
		{"integers", ":1\r\n:-1\r\n:123456789012345678\r\n", "4 5 21"},
		{"a string", "$5\r\nhello\r\n", "11"},
		{"an empty string", "$0\r\n\r\n", "6"},
		{"a string with line ends", "$4\r\n\r\n\r\n\r\n", "10"},
		{"a longer string", "$1000\r\n" + strings.Repeat("a", 1000) + "\r\n", "1009"},
		{"nulls", "$-1\r\n*-1\r\n_\r\n", "5 5 3"},
		{"an array", "*2\r\n$1\r\na\r\n:1\r\n", "15"},
		{"an empty array", "*0\r\n", "4"},
		{"arrays in arrays", "*2\r\n*1\r\n:1\r\n*0\r\n+OK\r\n", "16 5"},
		{"nulls in an array", "*3\r\n$-1\r\n*-1\r\n_\r\n", "17"},
		{"as deep as allowed", deep, fmt.Sprint(len(deep))},
		{"a map", "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "20"},
		{"an empty map", "%0\r\n", "4"},
		{"a set", "~2\r\n+a\r\n+b\r\n", "12"},
		{"a push", ">2\r\n+a\r\n+b\r\n+OK\r\n", "12 5"},
		{"truth, doubles, big numbers", "#t\r\n,1.5\r\n,inf\r\n(12345678901234567890\r\n", "4 6 6 23"},
		{"a verbatim string", "=7\r\ntxt:abc\r\n", "13"},
		{"a long error", "!8\r\nERR a\r\nb\r\n", "14"},
		{"an attribute belongs to what follows", "|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", "16 4"},
		{"an empty attribute too", "|0\r\n:1\r\n", "8"},
		{"attributes of attributes", "|1\r\n|0\r\n+a\r\n+b\r\n|1\r\n+c\r\n+d\r\n$1\r\nx\r\n", "35"},
		{"attributes of elements", "*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", "24"},
		{"a map in an array in a map", "%1\r\n+a\r\n*1\r\n%1\r\n+b\r\n$1\r\nc\r\n:9\r\n", "27 4"},
		{"a pipeline", "+OK\r\n$1\r\na\r\n:1\r\n-ERR\r\n*1\r\n:1\r\n", "5 7 4 6 8"},
		{"a part of a line", "+OK\r", "...4"},
		{"a part of a payload", "$5\r\nhel", "...7"},
		{"a payload without its line end", "$5\r\nhello", "...9"},
		{"a payload without all of its line end", "$5\r\nhello\r", "...10"},
		{"a part of an array", "*2\r\n:1\r\n", "...8"},
		{"an attribute alone", "|1\r\n+a\r\n+b\r\n", "...12"},
		{"a huge array that never comes", "*2147483647\r\n:1\r\n", "...17"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantFrames(t, tt.in, tt.want) })
	}
}

func TestFramerRefusesWhatNoServerSends(t *testing.T) {
	tests := []struct {
		in   string
		want error
	}{
		{"x\r\n", errReplyType}, {"\r\n", errReplyType}, {"\n", errReplyType}, {"\x00", errReplyType}, {"?\r\n", errReplyType},
		{"PING\r\n", errReplyType}, {";4\r\n", errReplyType}, {".\r\n", errReplyType}, {"*1\r\nx", errReplyType}, {"*1\r\n\r\n", errReplyType},
		{"$x\r\n", errReplySize}, {"$\r\n", errReplySize}, {"$-2\r\n", errReplySize}, {"$-0\r\n", errReplySize}, {"$+1\r\n", errReplySize},
		{"$01\r\na\r\n", errReplySize}, {"$00\r\n\r\n", errReplySize}, {"$?\r\n", errReplySize}, {"*?\r\n", errReplySize}, {"$ 1\r\n", errReplySize},
		{"$9223372036854775807\r\n", errReplySize}, {"$9223372036854775808\r\n", errReplySize}, {"$18446744073709551617\r\n", errReplySize},
		{"$1099511627777\r\n", errReplySize}, {"=-1\r\n", errReplySize}, {"!-1\r\n", errReplySize}, {"$-1 \r\n", errReplySize},
		{"*x\r\n", errReplySize}, {"*\r\n", errReplySize}, {"*-2\r\n", errReplySize}, {"*01\r\n", errReplySize}, {"*2147483648\r\n", errReplySize},
		{"*4294967297\r\n", errReplySize}, {"*18446744073709551617\r\n", errReplySize}, {"%-1\r\n", errReplySize}, {"~-1\r\n", errReplySize},
		{">-1\r\n", errReplySize}, {"|-1\r\n", errReplySize}, {"%9223372036854775807\r\n", errReplySize},
		{"+OK\n", errReplyLine}, {"+a\rb\r\n", errReplyLine}, {"+a\nb\r\n", errReplyLine}, {":1\n", errReplyLine}, {"$1\na\r\n", errReplyLine},
		{"+\n", errReplyLine}, {"-ERR a\n\r\n", errReplyLine}, {"+OK\r\r\n", errReplyLine}, {"$-1\n", errReplyLine},
		{"$1\r\nab\r\n", errReplyEnd}, {"$1\r\na\n\r\n", errReplyEnd}, {"$1\r\na\rx", errReplyEnd}, {"$0\r\n+OK\r\n", errReplyEnd},
		{"*2\r\n$1\r\naXX", errReplyEnd}, {"$2\r\na\r\n", errReplyEnd},
		{strings.Repeat("*1\r\n", 65), errReplyDepth}, {strings.Repeat("|1\r\n", 65), errReplyDepth}, {strings.Repeat("*2\r\n:1\r\n", 65), errReplyDepth},
		{"-" + strings.Repeat("a", maxLine+1), errReplyLong}, {"$" + strings.Repeat("1", maxLine+1), errReplyLong},
	}
	for _, tt := range tests {
		wantFrames(t, tt.in, "!"+tt.want.Error())
		wantFrames(t, "+OK\r\n"+tt.in, "5 !"+tt.want.Error())
		if n, err := Skip([]byte(tt.in)); n != 0 || !errors.Is(err, tt.want) {
			t.Errorf("Skip(%.50q) = %d, %v, want 0, %v", tt.in, n, err, tt.want)
		}
	}
}

func TestFramerAcceptsTheLongestLine(t *testing.T) {
	line := "-" + strings.Repeat("a", maxLine-1) + "\r\n"
	wantFrames(t, line+"+OK\r\n", fmt.Sprintf("%d 5", len(line)))
}

func TestFramerKeepsTheLinesOfErrorsInOnePiece(t *testing.T) {
	var f Framer
	line := []byte("-MOVED 7 10.0.0.1:6379\r\n")
	for cut := 1; cut < len(line); cut++ {
		if n, done, err := f.Feed(line[:cut]); n != 0 || done || err != nil {
			t.Fatalf("Feed with %d bytes = %d, %v, %v, want nothing consumed", cut, n, done, err)
		}
	}
	if n, done, err := f.Feed(line); n != len(line) || !done || err != nil {
		t.Fatalf("Feed = %d, %v, %v, want all", n, done, err)
	}
}

func TestFramerResetForgetsAHalfReply(t *testing.T) {
	for _, half := range []string{"$5\r\nhel", "*3\r\n:1\r\n", "+O", "$5\r\nhello\r", "|1\r\n"} {
		var f Framer
		if _, done, err := f.Feed([]byte(half)); done || err != nil {
			t.Fatal(done, err)
		}
		f.Reset()
		if n, done, err := f.Feed([]byte("$1\r\na\r\n")); n != 7 || !done || err != nil {
			t.Errorf("after %q and Reset: %d, %v, %v, want 7, true, nil", half, n, done, err)
		}
	}
}

func TestSkipGivesTheLengthOfAValue(t *testing.T) {
	for _, in := range []string{
		"+OK\r\n", "$1\r\na\r\n", "$-1\r\n", "*2\r\n:1\r\n*1\r\n$3\r\nabc\r\n", "|1\r\n+a\r\n+b\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n", "-ERR\r\n",
	} {
		for cut := range len(in) {
			if n, err := Skip([]byte(in[:cut])); n != 0 || err != nil {
				t.Errorf("Skip(%q) = %d, %v, want 0, nil", in[:cut], n, err)
			}
		}
		if n, err := Skip([]byte(in + "more")); n != len(in) || err != nil {
			t.Errorf("Skip(%q) = %d, %v, want %d, nil", in+"more", n, err, len(in))
		}
	}
}

func TestAggHeader(t *testing.T) {
	tests := []struct {
		in    string
		kind  byte
		count int
		n     int
		ok    bool
	}{
		{"*3\r\n:1\r\n", '*', 3, 4, true}, {"*0\r\n", '*', 0, 4, true}, {"*-1\r\n", '*', -1, 5, true},
		{"%12\r\n", '%', 12, 5, true}, {"~1\r\n", '~', 1, 4, true}, {">2\r\n", '>', 2, 4, true}, {"|1\r\n", '|', 1, 4, true},
		{"*2147483647\r\n", '*', 2147483647, 13, true},
		{in: ""}, {in: "*"}, {in: "*3"}, {in: "*3\r"}, {in: "*3\rX"}, {in: "*x\r\n"}, {in: "*-2\r\n"}, {in: "%-1\r\n"}, {in: "*03\r\n"},
		{in: "*2147483648\r\n"}, {in: "*99999999999999999999\r\n"}, {in: "$3\r\n"}, {in: "+OK\r\n"}, {in: "x"},
	}
	for _, tt := range tests {
		kind, count, n, ok := AggHeader([]byte(tt.in))
		if kind != tt.kind || count != tt.count || n != tt.n || ok != tt.ok {
			t.Errorf("AggHeader(%q) = %q, %d, %d, %v, want %q, %d, %d, %v", tt.in, kind, count, n, ok, tt.kind, tt.count, tt.n, tt.ok)
		}
	}
}
