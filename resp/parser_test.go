package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestParserFindsCommands(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing is in an empty input", "", ""},
		{"a command of one word", "*1\r\n$4\r\nPING\r\n", `["PING"]`},
		{"a command of two", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", `["GET" "k"]`},
		{"an empty argument", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", `["ECHO" ""]`},
		{"an empty name is the server's affair", "*1\r\n$0\r\n\r\n", `[""]`},
		{"line ends inside an argument", "*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", `["ECHO" "\r\n\r\n"]`},
		{"bytes of any value", "*2\r\n$4\r\nECHO\r\n$3\r\n\x00\xff*\r\n", `["ECHO" "\x00\xff*"]`},
		{"a length of two digits", "*2\r\n$4\r\nECHO\r\n$10\r\n0123456789\r\n", `["ECHO" "0123456789"]`},
		{"ten arguments", "*10\r\n" + strings.Repeat("$1\r\na\r\n", 10), "[" + strings.Repeat(`"a" `, 9) + `"a"]`},
		{"a pipeline", "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", `["PING"] ["GET" "k"] ~["PING"] ["QUIT"]`},
		{"no arguments", "*0\r\n*-1\r\n*-10\r\n*1\r\n$4\r\nPING\r\n", `~ ~ ~ ["PING"]`},
		{"empty lines", "\r\n\n  \t\r\n*1\r\n$4\r\nPING\r\n", `~ ~ ~ ["PING"]`},
		{"a command that is not all there", "*2\r\n$3\r\nGET\r\n$1\r\nk\r", "..."},
		{"a whole one and a part", "*1\r\n$4\r\nPING\r\n*", `["PING"] ...`},
		{"names that begin like forbidden ones", "*1\r\n$5\r\nPOSTS\r\n*1\r\n$4\r\nHOST\r\n*1\r\n$3\r\nPOP\r\nhoster: x\n", `["POSTS"] ["HOST"] ["POP"] ~["hoster:" "x"]`},
		{"forbidden names as arguments", "*2\r\n$3\r\nGET\r\n$4\r\nPOST\r\nGET Host:\n", `["GET" "POST"] ~["GET" "Host:"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantTrace(t, tt.in, tt.want, &AfterAuth) })
	}
}

func TestParserKeepsLimits(t *testing.T) {
	before := BeforeAuth
	small := Limits{Args: 3, Bulk: 8, Inline: 20, Query: 40}
	tests := []struct {
		name     string
		lim      *Limits
		in, want string
	}{
		{"ten arguments before login", &before, "*10\r\n", "..."},
		{"eleven arguments before login", &before, "*11\r\n", "!Protocol error: unauthenticated multibulk length"},
		{"more arguments than anybody may have, before login", &before, "*2147483648\r\n", "!Protocol error: invalid multibulk length"},
		{"16 KiB before login", &before, "*1\r\n$16384\r\n", "..."},
		{"more than 16 KiB before login", &before, "*1\r\n$16385\r\n", "!Protocol error: unauthenticated bulk length"},
		{"more than anybody may send, before login", &before, "*1\r\n$536870913\r\n", "!Protocol error: invalid bulk length"},
		{"five arguments at their limit before login", &before, "*5\r\n" + strings.Repeat("$16384\r\n"+strings.Repeat("x", 16384)+"\r\n", 5), "!!Protocol error: request over the query limit"},
		{"a short line before login", &before, strings.Repeat("a", 1024) + "\n", `~["` + strings.Repeat("a", 1024) + `"]`},
		{"a long line before login", &before, strings.Repeat("a", 1025) + "\n", "!Protocol error: too big inline request"},
		{"a long header before login", &before, "*" + strings.Repeat("1", 1024), "!Protocol error: too big mbulk count string"},
		{"three arguments of three", &small, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", `["a" "b" "c"]`},
		{"four arguments of three", &small, "*4\r\n", "!Protocol error: invalid multibulk length"},
		{"eight bytes of eight", &small, "*1\r\n$8\r\n12345678\r\n", `["12345678"]`},
		{"nine bytes of eight", &small, "*1\r\n$9\r\n", "!Protocol error: invalid bulk length"},
		{"a request as long as allowed", &small, "*3\r\n$8\r\n12345678\r\n$6\r\n123456\r\n$1\r\n1\r\n$", `["12345678" "123456" "1"] ...`},
		{"a request over the limit", &small, "*3\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n$3\r\n", "!!Protocol error: request over the query limit"},
		{"a line of twenty", &small, strings.Repeat("a", 20) + "\n", `~["` + strings.Repeat("a", 20) + `"]`},
		{"a line of twenty and CRLF", &small, strings.Repeat("a", 20) + "\r\n", "!Protocol error: too big inline request"},
		{"the zero limits", &Limits{}, "*1\r\n$1\r\na\r\n", "!Protocol error: invalid multibulk length"},
		{"the zero limits and a line", &Limits{}, "a", "!Protocol error: too big inline request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantTrace(t, tt.in, tt.want, tt.lim) })
	}
}

func TestParserKeepsLimitsForLongLines(t *testing.T) {
	const most = 64 << 10
	digits := strings.Repeat("1", most+1)
	letters := strings.Repeat("a", most+1)
	tests := []struct{ name, in, want string }{
		{"the longest line", letters[:most] + "\n", `~["` + letters[:most] + `"]`},
		{"a line too long", letters, "!Protocol error: too big inline request"},
		{"the longest count", "*" + digits[:most-1], "..."},
		{"a count too long", "*" + digits[:most], "!Protocol error: too big mbulk count string"},
		{"the longest length", "*1\r\n$" + digits[:most-1], "..."},
		{"a length too long", "*1\r\n$" + digits[:most], "!Protocol error: too big bulk count string"},
		{"a line too long in place of a length", "*1\r\n" + letters, "!Protocol error: too big bulk count string"},
		{"a long line in place of a length", "*1\r\n" + letters[:most] + "\r\n", "!Protocol error: expected '$', got 'a'"},
		{"a NUL in a line waits for the limit", "\x00" + letters[:most-1] + "\n", "!Protocol error: too big inline request"},
		{"a NUL in a line below the limit", "\x00" + letters[:most-1], "..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantTrace(t, tt.in, tt.want, &AfterAuth) })
	}
}

func TestParserTellsWhatItNeeds(t *testing.T) {
	tests := []struct {
		in   string
		want int
	}{
		{"", 0}, {"*1\r\n", 0}, {"*1\r\n$5\r", 0}, {"PING", 0},
		{"*1\r\n$5\r\n", 15}, {"*1\r\n$5\r\nabc", 15}, {"*1\r\n$5\r\nabcde\r", 15},
		{"*2\r\n$5\r\nabcde\r\n", 0},
		{"*2\r\n$5\r\nabcde\r\n$536870912\r\n", 15 + 12 + 536870912 + 2},
	}
	for _, tt := range tests {
		var p Parser
		if n, err := p.Next([]byte(tt.in), &AfterAuth); n != 0 || err != nil {
			t.Errorf("Next(%q) = %d, %v, want 0, nil", tt.in, n, err)
		}
		if got := p.Need(); got != tt.want {
			t.Errorf("Need after %q: got %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestParserLooksAtNoByteTwice(t *testing.T) {
	// A byte it has seen may change without an effect: payloads and lines are not
	// read again when the rest arrives.
	wire := AppendCommandStrings(nil, "SET", "key", strings.Repeat("v", 100))
	for cut := 1; cut < len(wire); cut++ {
		var p Parser
		buf := bytes.Clone(wire)
		if n, err := p.Next(buf[:cut], &AfterAuth); n != 0 || err != nil {
			t.Fatalf("Next with %d bytes = %d, %v", cut, n, err)
		}
		for i := range p.pos {
			buf[i] = '?'
		}
		n, err := p.Next(buf, &AfterAuth)
		if n != len(wire) || err != nil || len(p.Args) != 3 {
			t.Fatalf("cut at %d: got %d, %v, %q", cut, n, err, p.Args)
		}
	}
}

func TestParserLetsGoOfLongRequests(t *testing.T) {
	many := make([]string, 5000)
	tests := []struct {
		name string
		in   []byte
	}{
		{"of many arguments", AppendCommandStrings(nil, many...)},
		{"of a long quoted line", []byte(`"` + strings.Repeat("a", 5000) + "\"\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Parser
			for _, part := range [][]byte{tt.in[:len(tt.in)/2], tt.in} {
				if _, err := p.Next(part, &AfterAuth); err != nil {
					t.Fatal(err)
				}
			}
			if len(p.Args) == 0 {
				t.Fatal("no command found")
			}
			if _, err := p.Next(nil, &AfterAuth); err != nil {
				t.Fatal(err)
			}
			if cap(p.Args) > keepArgs || cap(p.text) > keepText || cap(p.sizes) > keepArgs {
				t.Errorf("keeps room for %d arguments, %d sizes and %d bytes", cap(p.Args), cap(p.sizes), cap(p.text))
			}
		})
	}
}

func TestParserKeepsNoViewsBetweenRequests(t *testing.T) {
	var p Parser
	wire := AppendCommandStrings(nil, "MSET", "a", "1", "b", "2")
	if n, err := p.Next(wire, &AfterAuth); n != len(wire) || err != nil {
		t.Fatal(n, err)
	}
	args := p.Args
	for _, in := range []string{"", "*2\r\n$3\r\nGET\r\n$"} {
		if _, err := p.Next([]byte(in), &AfterAuth); err != nil {
			t.Fatal(err)
		}
		for i, a := range args {
			if a != nil {
				t.Errorf("after %q argument %d is still %q", in, i, a)
			}
		}
	}
}

func TestParserResetForgetsAHalfRequest(t *testing.T) {
	for _, half := range []string{"*3\r\n$3\r\nSE", "*2", "PIN", "\x00", "*1\r\n$4\r\nPING\r"} {
		var p Parser
		if n, err := p.Next([]byte(half), &AfterAuth); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		p.Reset()
		n, err := p.Next(benchGet, &AfterAuth)
		if n != len(benchGet) || err != nil || fmt.Sprintf("%s", p.Args) != "[GET key:000000000042]" {
			t.Errorf("after %q and Reset: %d, %v, %q", half, n, err, p.Args)
		}
	}
}
