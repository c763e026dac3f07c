package test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

// The cases lie in testdata/commands, one file a family, to be read like a session at a terminal:
//
//	# a remark
//	[name]                      a case: an empty keyspace and new connections
//	[name] valkey-9.1 RESP2     a case for these versions and this protocol only
//	SET {t}k "a b"              connection a sends and reads the reply; "..." is a Go string
//	b: GET {t}k                 connection b does
//	b> BLPOP {t}l 0             b sends and does not wait
//	b< what                     b reads one more reply or push; the words choose an entry of the normal list
//	b!                          the other side has closed b
//	x = DUMP {t}k               keeps the text of the reply; $x is it in a later line
//	CLIENT KILL ID $b.id        b's client id; $b.addr is its address
//	~ blocked 1                 wait until so many clients are blocked in the nodes
//	~ quiet                     wait until no node saves or rewrites
//	~ busy                      wait until a node is busy with a script
//	~ nodes CONFIG SET a b      said to every node itself, not through the proxy
//	~ refused SHUTDOWN          said to the proxy only, which must refuse it
//	~ close b                   b is closed on this side
//	~ leave b                   b is not asked at the end whether its replies are still in step
type testCase struct {
	name  string   // file/name
	only  []string // versions and protocols
	steps []step
	text  string // all lines, to see which variables are used
}

// step is one line of a case.
type step struct {
	line string // as it stands in the file
	conn string
	kind byte // ':' command, '>' command without waiting, '<' one more reply, '!' closed, '~' directive
	args []string
	keep string // the variable that the reply goes to
}

var (
	headPattern = regexp.MustCompile(`^\[([a-z0-9-]+)\](?: (.+))?$`)
	connPattern = regexp.MustCompile(`^([a-z])([:><!])(?: (.*))?$`)
	keepPattern = regexp.MustCompile(`^([a-z]+) = (.*)$`)
)

const caseFolder = "testdata/commands"

// readCases returns all cases in the order of their files' names.
func readCases(t *testing.T) []*testCase {
	t.Helper()
	files, err := filepath.Glob(caseFolder + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", caseFolder, err)
	}
	var all []*testCase
	seen := map[string]bool{}
	for _, file := range files {
		family := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, c := range parseCases(t, family, string(read(t, file))) {
			if seen[c.name] {
				t.Fatalf("two cases have the name %s", c.name)
			}
			seen[c.name] = true
			all = append(all, c)
		}
	}
	return all
}

func parseCases(t *testing.T, family, text string) []*testCase {
	t.Helper()
	var cases []*testCase
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if m := headPattern.FindStringSubmatch(line); m != nil {
			cases = append(cases, &testCase{name: family + "/" + m[1], only: strings.Fields(m[2])})
			continue
		}
		if len(cases) == 0 {
			t.Fatalf("%s: %q stands before the first case", family, line)
		}
		c := cases[len(cases)-1]
		c.steps = append(c.steps, parseStep(t, line))
		c.text += line + "\n"
	}
	return cases
}

func parseStep(t *testing.T, line string) step {
	t.Helper()
	s := step{line: line, conn: "a", kind: ':'}
	rest := line
	if m := connPattern.FindStringSubmatch(rest); m != nil {
		s.conn, s.kind, rest = m[1], m[2][0], m[3]
	} else if directive, ok := strings.CutPrefix(rest, "~ "); ok {
		s.kind, rest = '~', directive
	} else if m := keepPattern.FindStringSubmatch(rest); m != nil {
		s.keep, rest = m[1], m[2]
	}
	s.args = splitLine(t, rest)
	if len(s.args) == 0 && s.kind != '<' && s.kind != '!' {
		t.Fatalf("%q says nothing", line)
	}
	return s
}

// splitLine splits at spaces outside of quotes.
func splitLine(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	for rest := line; rest != ""; rest = strings.TrimLeft(rest, " ") {
		if rest[0] == '"' {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s, _ := strconv.Unquote(quoted) // QuotedPrefix has checked it
			out, rest = append(out, s), rest[len(quoted):]
			continue
		}
		word, _, _ := strings.Cut(rest, " ")
		out, rest = append(out, word), rest[len(word):]
	}
	return out
}

// fits tells whether the case is one for this version and protocol.
func (c *testCase) fits(v testcluster.Version, protocol string) bool {
	versions, protocols := 0, 0
	for _, word := range c.only {
		if strings.HasPrefix(word, "RESP") {
			protocols++
		} else {
			versions++
		}
	}
	return (versions == 0 || slices.Contains(c.only, string(v))) &&
		(protocols == 0 || slices.Contains(c.only, "RESP"+protocol))
}
