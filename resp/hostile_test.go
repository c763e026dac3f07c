package resp

import (
	"bytes"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/hostile.txt")

// Verdicts used more than once.
const (
	badCount = "!Protocol error: invalid multibulk length"
	badBulk  = "!Protocol error: invalid bulk length"
	badCRLF  = "!Protocol error: invalid CRLF in request"
	badQuote = "!Protocol error: unbalanced quotes in request"
	attack   = "!!Protocol error: POST or Host: as a command, possible cross protocol scripting"
)

// hostile is what broken and ill-meaning clients send, with the verdict on it (see
// trace). Inputs are short; testdata/hostile.txt has them for the black-box tests.
var hostile = []struct{ in, want string }{
	// counts
	{"*\r\n", badCount}, {"*x\r\n", badCount}, {"* 1\r\n", badCount}, {"*1 \r\n", badCount},
	{"*+1\r\n", badCount}, {"*-0\r\n", badCount}, {"*-\r\n", badCount}, {"*--1\r\n", badCount},
	{"*01\r\n", badCount}, {"*-01\r\n", badCount}, {"*00\r\n", badCount}, {"*0x1\r\n", badCount},
	{"*1.0\r\n", badCount}, {"*1e1\r\n", badCount}, {"*?\r\n", badCount}, {"*\x00\r\n", badCount},
	{"*1\x00\r\n", badCount}, {"*\xff\r\n", badCount}, {"*\n\r\n", badCount}, {"**1\r\n", badCount},
	{"*$1\r\n", badCount}, {"*\u0661\r\n", badCount}, {"*1,1\r\n", badCount}, {"*1_0\r\n", badCount},
	{"*1048577\r\n", badCount}, {"*20000000\r\n", badCount}, {"*2147483647\r\n", badCount}, {"*2147483648\r\n", badCount},
	{"*4294967296\r\n", badCount}, {"*4294967297\r\n$4\r\nPING\r\n", badCount}, {"*9223372036854775807\r\n", badCount},
	{"*9223372036854775808\r\n", badCount}, {"*-9223372036854775809\r\n", badCount}, {"*18446744073709551617\r\n$1\r\nA\r\n", badCount},
	{"*18446744073709551616\r\n", badCount}, {"*0000001\r\n$4\r\nPING\r\n", badCount},
	{"*99999999999999999999999999999999999999999999\r\n", badCount},
	{"*-9223372036854775808\r\nPING\r\n", `~ ~["PING"]`}, {"*-2147483649\r\nPING\r\n", `~ ~["PING"]`},
	{"*1048576\r\n", "..."}, {"*999999\r\n$4\r\nPING\r\n", "..."},
	// lengths
	{"*1\r\n$\r\n\r\n", badBulk}, {"*1\r\n$x\r\n", badBulk}, {"*1\r\n$-1\r\n", badBulk}, {"*1\r\n$-0\r\n\r\n", badBulk},
	{"*1\r\n$+4\r\nPING\r\n", badBulk}, {"*1\r\n$ 4\r\nPING\r\n", badBulk}, {"*1\r\n$4 \r\nPING\r\n", badBulk},
	{"*1\r\n$04\r\nPING\r\n", badBulk}, {"*1\r\n$00001\r\nA\r\n", badBulk}, {"*1\r\n$00\r\n\r\n", badBulk}, {"*1\r\n$0x4\r\nPING\r\n", badBulk},
	{"*1\r\n$4.0\r\nPING\r\n", badBulk}, {"*1\r\n$?\r\n;4\r\nPING\r\n;0\r\n", badBulk}, {"*1\r\n$\x00\r\n", badBulk},
	{"*1\r\n$4\x00\r\nPING\r\n", badBulk}, {"*1\r\n$\xff\r\n", badBulk}, {"*1\r\n$536870913\r\n", badBulk},
	{"*1\r\n$999999999\r\n", badBulk}, {"*1\r\n$1000000000\r\n", badBulk}, {"*1\r\n$2147483648\r\n", badBulk}, {"*1\r\n$4294967300\r\nPING\r\n", badBulk},
	{"*1\r\n$9223372036854775800\r\n", badBulk}, {"*1\r\n$9223372036854775807\r\n", badBulk}, {"*1\r\n$9223372036854775808\r\n", badBulk},
	{"*1\r\n$-9223372036854775808\r\n", badBulk}, {"*1\r\n$18446744073709551617\r\nA\r\n", badBulk},
	{"*1\r\n$18446744073709551620\r\nPING\r\n", badBulk}, {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n", badBulk},
	{"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n", badBulk}, {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$blabla\r\n", badBulk},
	{"*2\r\n$3\r\nGET\r\n$-1\r\n*1\r\n$4\r\nPING\r\n", badBulk},
	{"*1\r\n$536870912\r\n", "..."}, {"*1\r\n$4\r\nPIN", "..."}, {"*1\r\n$99999\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "..."},
	// something else where a length should be
	{"*1\r\nfoo\r\n", "!Protocol error: expected '$', got 'f'"}, {"*1\r\n\r\n", "!Protocol error: expected '$', got ' '"},
	{"*1\r\n\n\r\n", "!Protocol error: expected '$', got ' '"}, {"*1\r\n\x00\r\n", "!Protocol error: expected '$', got '\x00'"},
	{"*1\r\n\xff\r\n", "!Protocol error: expected '$', got '\xff'"}, {"*1\r\n*1\r\n$4\r\nPING\r\n", "!Protocol error: expected '$', got '*'"},
	{"*1\r\n:1\r\n", "!Protocol error: expected '$', got ':'"}, {"*1\r\n+PING\r\n", "!Protocol error: expected '$', got '+'"},
	{"*1\r\n-ERR\r\n", "!Protocol error: expected '$', got '-'"}, {"*1\r\n=8\r\ntxt:PING\r\n", "!Protocol error: expected '$', got '='"},
	{"*1\r\n%1\r\n", "!Protocol error: expected '$', got '%'"}, {"*1\r\n_\r\n", "!Protocol error: expected '$', got '_'"},
	{"*2\r\n$4\r\nPING\r\n*1\r\n", "!Protocol error: expected '$', got '*'"}, {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "!Protocol error: expected '$', got 'f'"},
	{"*1\r\nfo\rX", "!Protocol error: expected '$', got 'f'"}, {"*1\r\n $4\r\nPING\r\n", "!Protocol error: expected '$', got ' '"},
	{"*1\r\nx", "..."}, {"*1\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", "..."},
	// line ends
	{"*1\r\n$4\r\nPINGXY", badCRLF}, {"*1\r\n$4\r\nPING\r\r", badCRLF}, {"*1\r\n$4\r\nPING\n\n", badCRLF}, {"*1\r\n$4\r\nPING\n\r", badCRLF},
	{"*1\r\n$3\r\nPING\r\n", badCRLF}, {"*1\r\n$5\r\nPING\r\n*1\r\n", badCRLF}, {"*1\r\n$0\r\nPING\r\n", badCRLF},
	{"*1\rX$4\r\nPING\r\n", badCRLF}, {"*1\r\r$4\r\nPING\r\n", badCRLF}, {"*x\rX", badCRLF}, {"*0\rXPING\r\n", badCRLF}, {"*-1\r*", badCRLF},
	{"*2147483648\rX", badCRLF}, {"*1\r\n$4\rXPING\r\n", badCRLF}, {"*1\r\n$x\rX", badCRLF}, {"*1\r\n$536870913\rX", badCRLF},
	{"*2\r\n$3\r\nGET\r\n$1\r\nkXY*1\r\n$4\r\nPING\r\n", badCRLF}, {"*2\r\n$3\r\nGETXX$1\r\nk\r\n", badCRLF},
	{"*1\n$4\nPING\n", "..."}, {"*1\n$4\r\nPING\r\n", badCount}, {"*1\r\n$4\nPING\r\n", badBulk}, {"*1\r", "..."},
	// HTTP
	{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", attack}, {"post\r\n", attack}, {"pOsT\n", attack}, {"Host: localhost:6379\r\n", attack},
	{"HOST:\n", attack}, {"*1\r\n$4\r\nPOST\r\n", attack}, {"*2\r\n$5\r\nHost:\r\n$1\r\na\r\n", attack}, {"*1\r\n$5\r\nPOST\x00\r\n", attack},
	{"*1\r\n$8\r\nhost:\x00xy\r\n", attack}, {`"POST" /` + "\n", attack}, {`P"\x4fST"` + "\n", attack},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", `~["GET" "/" "HTTP/1.1"] ` + attack},
	{"*1\r\n$4\r\nPING\r\nPOST /\r\n*1\r\n$4\r\nPING\r\n", `["PING"] ` + attack},
	// lines
	{"ECHO \"a\n", badQuote}, {"ECHO 'a\n", badQuote}, {"ECHO \"a\\\n", badQuote}, {"ECHO \"a\\\"\n", badQuote}, {"\"\n", badQuote}, {"'\r\n", badQuote},
	{"PING\nECHO \"\r\nPING\n", `~["PING"] ` + badQuote},
	{"\x00", "..."}, {"\x00\r\nPING\r\n", "..."}, {"P\x00ING\r\nPING\r\n", "..."}, {"PING\r\n\x00\r\n*1\r\n$4\r\nPING\r\n", `~["PING"] ...`},
	{"ECHO \"a\x00b\"\n", "..."}, {"$4\r\nPING\r\n", `~["$4"] ~["PING"]`}, {"+OK\r\n-ERR\r\n:1\r\n", `~["+OK"] ~["-ERR"] ~[":1"]`},
	{"%1\r\n+a\r\n+b\r\n", `~["%1"] ~["+a"] ~["+b"]`}, {"_\r\n#t\r\n", `~["_"] ~["#t"]`}, {"\r", "..."}, {"\r\r\n\n\n", "~ ~ ~"},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", "..."}, // a TLS handshake
	{"\xff\xf4\xff\xfd\x06\r\n", `~["\xff\xf4\xff\xfd\x06"]`},   // ^C in telnet
	{"SSH-2.0-OpenSSH_9.2\r\n", `~["SSH-2.0-OpenSSH_9.2"]`}, {"\v\f\n", "~"}, {"a\x7f\x1b[2J\n", `~["a\x7f\x1b[2J"]`},
}

func TestHostileInputGetsTheServersVerdict(t *testing.T) {
	if len(hostile) < 100 {
		t.Fatalf("only %d inputs", len(hostile))
	}
	for _, tt := range hostile {
		t.Run(strconv.Quote(tt.in), func(t *testing.T) { wantTrace(t, tt.in, tt.want, &AfterAuth) })
	}
}

func TestHostileInputIsJudgedTheSameBehindGoodCommands(t *testing.T) {
	for _, tt := range hostile {
		wantTrace(t, string(benchGet)+tt.in, `["GET" "key:000000000042"] `+tt.want, &AfterAuth)
	}
}

func TestHostileInputIsExported(t *testing.T) {
	const file = "testdata/hostile.txt"
	var b bytes.Buffer
	for _, tt := range hostile {
		b.WriteString(strconv.Quote(tt.in) + "\n")
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not the table's: go test ./resp -run Exported -update", file)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(got), "\n"), "\n") {
		if in, err := strconv.Unquote(line); err != nil || in != hostile[i].in {
			t.Errorf("line %d: got %q, %v, want %q", i+1, in, err, hostile[i].in)
		}
	}
}

// Before login, the verdict on hostile input may be an earlier one, but must not
// depend on how it is cut either.
func TestHostileInputBeforeLoginIsJudgedTheSameHoweverItIsCut(t *testing.T) {
	for _, lim := range []*Limits{&BeforeAuth, {}, {Args: 1, Bulk: 1, Inline: 1, Query: 1}, {Args: 2, Bulk: 4, Inline: 8, Query: 12}} {
		for _, tt := range hostile {
			wantTrace(t, tt.in, parse(t, tt.in, lim, atOnce), lim)
		}
	}
}
