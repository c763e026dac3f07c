package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// fuzzInput bounds inputs: cut after each byte, they cost the square of their length.
const fuzzInput = 2 << 10

func FuzzParser(f *testing.F) {
	for i, tt := range hostile {
		f.Add([]byte(tt.in), uint64(i), uint8(i))
	}
	f.Add(benchSet, uint64(1), uint8(0))
	f.Add(benchPipe, uint64(2), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, which uint8) {
		if len(in) > fuzzInput {
			return
		}
		limits := []*Limits{&AfterAuth, &BeforeAuth, &Admin, {Args: 3, Bulk: 9, Inline: 12, Query: 30}}
		lim := limits[int(which)%len(limits)]
		want := parse(t, string(in), lim, atOnce)
		if got := parse(t, string(in), lim, randomly(seed)); got != want {
			t.Fatalf("cut randomly:\ngot  %s\nwant %s", got, want)
		}
		if got := parse(t, string(in), lim, byteByByte); got != want {
			t.Fatalf("byte by byte:\ngot  %s\nwant %s", got, want)
		}
		again(t, in, lim)
	})
}

// again checks that each command found in in, written again, is the same command.
func again(t *testing.T, in []byte, lim *Limits) {
	var p, q Parser
	for {
		n, err := p.Next(in, lim)
		if n == 0 || err != nil {
			return
		}
		in = in[n:]
		if len(p.Args) == 0 {
			continue
		}
		wire := AppendCommand(nil, p.Args...)
		if n, err := q.Next(wire, &AfterAuth); n != len(wire) || err != nil || !q.Canonical {
			t.Fatalf("%q written again: %d, %v, canonical %v", p.Args, n, err, q.Canonical)
		}
		if got, want := fmt.Sprintf("%q", q.Args), fmt.Sprintf("%q", p.Args); got != want {
			t.Fatalf("written again: got %s, want %s", got, want)
		}
	}
}

func FuzzFramer(f *testing.F) {
	for i, in := range []string{
		"+OK\r\n$5\r\nhello\r\n:1\r\n-ERR\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n%1\r\n+c\r\n~1\r\n_\r\n",
		"$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n", "=7\r\ntxt:abc\r\n!5\r\nERR a\r\n(123\r\n,1.5\r\n#t\r\n>1\r\n+x\r\n", "*2147483647\r\n$1099511627776\r\n",
		strings.Repeat("*1\r\n", 64) + ":1\r\n", strings.Repeat("*1\r\n", 65), "$1\r\nab\r\n", "+a\nb\r\n", "$01\r\n", "*?\r\n", "%-1\r\n",
	} {
		f.Add([]byte(in), uint64(i))
	}
	for i, tt := range hostile {
		f.Add([]byte(tt.in), uint64(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		if len(in) > fuzzInput {
			return
		}
		want := reference(in)
		for how, cut := range map[string]func(int) int{"at once": atOnce, "byte by byte": byteByByte, "randomly": randomly(seed)} {
			if got := frames(t, in, cut); got != want {
				t.Fatalf("%s:\ngot  %s\nwant %s\ninput %q", how, got, want, in)
			}
		}
		first, _, _ := strings.Cut(want, " ")
		n, err := Skip(in)
		if got := fmt.Sprint(n); n > 0 && (err != nil || got != first) {
			t.Fatalf("Skip = %d, %v, want %s (input %q)", n, err, first, in)
		}
		if n == 0 && err == nil && first != "" && !strings.HasPrefix(first, "...") {
			t.Fatalf("Skip finds no value, want %s (input %q)", first, in)
		}
		if kind, count, n, ok := AggHeader(in); ok && string(in[:n]) != fmt.Sprintf("%c%d\r\n", kind, count) {
			t.Fatalf("AggHeader = %q, %d, %d (input %q)", kind, count, n, in)
		}
	})
}

// reference is frames as one would write it who need not care for cuts and depth.
func reference(in []byte) string {
	var got []string
	for at := 0; at < len(in); {
		end, err := referenceValue(in, at, 0)
		switch {
		case err != nil:
			return strings.Join(append(got, "!"+err.Error()), " ")
		case end < 0:
			return strings.Join(append(got, fmt.Sprintf("...%d", len(in)-at)), " ")
		}
		got = append(got, fmt.Sprint(end-at))
		at = end
	}
	return strings.Join(got, " ")
}

// referenceValue returns the end of the value at in[at:], or -1 if it is not there.
func referenceValue(in []byte, at, depth int) (end int, err error) {
	if at == len(in) {
		return -1, nil
	}
	kind := in[at]
	if !strings.ContainsRune("+-:_,#($!=*~>%|", rune(kind)) {
		return 0, errReplyType
	}
	line, _, found := bytes.Cut(in[at:], []byte("\n"))
	switch {
	case !found && len(line) >= maxLine+2, found && len(line) > maxLine+1:
		return 0, errReplyLong
	case !found:
		return -1, nil
	case bytes.IndexByte(line, '\r') != len(line)-1:
		return 0, errReplyLine
	}
	text := string(line[1 : len(line)-1])
	at += len(line) + 1
	if strings.ContainsRune("+-:_,#(", rune(kind)) {
		return at, nil
	}
	var size int64
	if _, err := fmt.Sscan(text, &size); err != nil || fmt.Sprint(size) != text || size < -1 {
		return 0, errReplySize
	}
	if size == -1 {
		if kind != '$' && kind != '*' {
			return 0, errReplySize
		}
		return at, nil
	}
	if strings.ContainsRune("$!=", rune(kind)) {
		return referencePayload(in, at, size)
	}
	return referenceElements(in, at, depth, kind, size)
}

func referencePayload(in []byte, at int, size int64) (end int, err error) {
	if size > maxPayload {
		return 0, errReplySize
	}
	if int64(len(in)-at) <= size {
		return -1, nil
	}
	at += int(size)
	if in[at] != '\r' || (at+1 < len(in) && in[at+1] != '\n') {
		return 0, errReplyEnd
	}
	if at+1 == len(in) {
		return -1, nil
	}
	return at + 2, nil
}

func referenceElements(in []byte, at, depth int, kind byte, count int64) (end int, err error) {
	if count > maxElements {
		return 0, errReplySize
	}
	if count > 0 && depth == maxDepth {
		return 0, errReplyDepth
	}
	if kind == '%' || kind == '|' {
		count *= 2
	}
	for range count {
		at, err = referenceValue(in, at, depth+1)
		if err != nil || at < 0 {
			return at, err
		}
	}
	if kind == '|' {
		return referenceValue(in, at, depth)
	}
	return at, nil
}

func FuzzRedirect(f *testing.F) {
	for _, line := range []string{
		"-MOVED 7 10.0.0.1:6379\r\n", "-ASK 16383 [::1]:65535\r\n", "-MOVED 0 :1", "-MOVED 7 ?:7000\r\n", "-MOVED 7 a:65537\r\n",
		"-MOVED 7 ::1:1\r\n", "-CLUSTERDOWN Hash slot not served\r\n", "-MOVED 7 a:1 b\r\n", "-", "",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := ParseRedirect(line)
		if !ok {
			if r != (Redirect{}) {
				t.Fatalf("refused, and yet %+v", r)
			}
			return
		}
		kind := Classify(line)
		if kind != Moved && kind != Ask {
			t.Fatalf("%q is read as a redirect and classified as %d", line, kind)
		}
		if r.Slot >= 16384 || r.Port == 0 || len(r.Host) > 255 || strings.ContainsFunc(r.Host, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%q gives %+v", line, r)
		}
		code, _, _ := strings.Cut(string(line), " ")
		plain := fmt.Sprintf("%s %d %s:%d", code, r.Slot, r.Host, r.Port)
		bracketed := fmt.Sprintf("%s %d [%s]:%d", code, r.Slot, r.Host, r.Port)
		if got := strings.TrimSuffix(string(line), "\r\n"); got != plain && got != bracketed {
			t.Fatalf("%q gives %+v", line, r)
		}
	})
}

func FuzzInline(f *testing.F) {
	for _, line := range []string{
		"PING", "SET k \"a b\\n\\x41\"", "ECHO 'it\\'s'", "a\"b\"'c'd \"\" ''", "\"", "'\\'", "\"\\", " \t\v\f\r a ", "\"\\x4\"", "\xff\x00", "a\\ b",
	} {
		f.Add([]byte(line), uint64(len(line)))
	}
	f.Fuzz(func(t *testing.T, line []byte, seed uint64) {
		if len(line) > fuzzInput || bytes.ContainsAny(line, "\n\x00") || bytes.HasPrefix(line, []byte("*")) {
			return
		}
		want := referenceLine(strings.TrimSuffix(string(line), "\r"))
		in := string(line) + "\n"
		if got := parse(t, in, &AfterAuth, atOnce); got != want {
			t.Fatalf("got  %s\nwant %s\ninput %q", got, want, in)
		}
		if got := parse(t, in, &AfterAuth, randomly(seed)); got != want {
			t.Fatalf("cut randomly: got  %s\nwant %s\ninput %q", got, want, in)
		}
		again(t, []byte(in), &AfterAuth)
	})
}

// referenceLine is the trace of a line, written as a list of rewrites: the longest
// escape first, then single bytes, with the quote that is open.
func referenceLine(line string) string {
	var words []string
	var word []byte
	inWord := false
	quote := ""
	for line != "" {
		c := line[:1]
		var hex byte
		n, err := fmt.Sscanf(line, `\x%02x`, &hex)
		isHex := len(line) >= 4 && n == 1 && err == nil && isHexDigit(line[2]) && isHexDigit(line[3])
		switch {
		case quote == `"` && isHex:
			word = append(word, hex)
			line = line[4:]
			continue
		case quote == `"` && c == `\` && len(line) > 1:
			plain := strings.NewReplacer("n", "\n", "r", "\r", "t", "\t", "b", "\b", "a", "\a").Replace(line[1:2])
			word = append(word, plain...)
			line = line[2:]
			continue
		case quote == "'" && strings.HasPrefix(line, `\'`):
			word = append(word, '\'')
			line = line[2:]
			continue
		case quote != "" && c == quote:
			quote = ""
		case quote != "":
			word = append(word, c...)
		case c == `"` || c == "'":
			quote, inWord = c, true
		case strings.Contains(" \t\r", c) || (!inWord && strings.Contains("\v\f", c)):
			if inWord {
				words, word, inWord = append(words, fmt.Sprintf("%q", word)), nil, false
			}
		default:
			word, inWord = append(word, c...), true
		}
		line = line[1:]
	}
	if quote != "" {
		return "!" + errQuotes.Text
	}
	if inWord {
		words = append(words, fmt.Sprintf("%q", word))
	}
	if len(words) == 0 {
		return "~"
	}
	if name := strings.ToLower(words[0]); name == `"post"` || name == `"host:"` || strings.HasPrefix(name, `"post\x00`) || strings.HasPrefix(name, `"host:\x00`) {
		return "!!" + errSecurity.Text
	}
	return "~[" + strings.Join(words, " ") + "]"
}

func isHexDigit(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }
