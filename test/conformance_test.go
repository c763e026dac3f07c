package test

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// normal makes replies comparable that cannot be equal. A command that is not here must be answered byte for byte as a bare server
// does. The list is reviewed: an entry needs a reason that has nothing to do with a proxy, or one that docs/commands.md names.
var normal = []struct {
	command string // prefix of the line in testdata/conformance.txt
	how     func(string) string
	why     string
}{
	{"CLIENT ID", digits, "an id"},
	{"CLIENT INFO", fieldNames, "values of another connection; each version adds fields, which clients find by name"},
	{"HELLO", hello, "the connection's id, and the modules: 9.1 lists its Lua engine there"},
	{"TIME", digits, "the time"},
	{"ROLE", digits, "the replication offset"},
	{"COMMAND LIST", sortedElements, "in the order of a hash table with a random seed"},
	{"KEYS", sortedElements, "in the order of a hash table with a random seed"},
	{"SMEMBERS", sortedElements, "unordered"},
	{"SINTER", sortedElements, "unordered"},
	{"SUNION", sortedElements, "unordered"},
	{"SDIFF", sortedElements, "unordered"},
	{"HRANDFIELD", sortedElements, "random"},
}

var (
	digitsPattern = regexp.MustCompile(`[0-9]+`)
	idPattern     = regexp.MustCompile(`(\$2\r\nid\r\n):[0-9]+`)
	fieldPattern  = regexp.MustCompile(`([a-z-]+)=[^ \r\n]*`)
)

func digits(s string) string { return digitsPattern.ReplaceAllString(s, "N") }

func hello(s string) string {
	s, _, _ = strings.Cut(idPattern.ReplaceAllString(s, "$1:N"), "$7\r\nmodules\r\n")
	return s
}

// newerFields came with later versions than 7.0.
var newerFields = []string{"capa", "watch", "lib-name", "lib-ver", "tot-net-in", "tot-net-out", "tot-cmds"}

func fieldNames(s string) string {
	names := []string{s[:1]}
	for _, m := range fieldPattern.FindAllStringSubmatch(s, -1) {
		if !slices.Contains(newerFields, m[1]) {
			names = append(names, m[1])
		}
	}
	return strings.Join(names, " ")
}

// sortedElements sorts a flat array or set of bulk strings.
func sortedElements(s string) string {
	v, err := wire.Parse(s)
	if err != nil || v.Elems == nil {
		return s
	}
	elems := v.Strings()
	slices.Sort(elems)
	return fmt.Sprintf("%c%d %q", v.Kind, len(elems), elems)
}

func normalise(line, reply string) string {
	for _, n := range normal {
		if strings.HasPrefix(line, n.command) {
			return n.how(reply)
		}
	}
	return reply
}

// differing are lines for which the proxy must answer otherwise than a bare server: how it begins, for which versions ("" for all), why.
var differing = []struct{ command, version, reply, why string }{
	{"SELECT 999999", "", "-ERR", "a cluster words the range of databases differently"},
	{"CLUSTER KEYSLOT", "", "-ERR This instance has cluster support disabled", "one answer for all versions; 9.1 computes it anywhere"},
	{"CLIENT SETINFO LIB-NAME tester", "redis-7.0", "+OK", "answered by the proxy, also before servers that do not know it"},
	{"CLIENT SETINFO LIB-VER", "redis-7.0", "+OK", "as above"},
	{"CLIENT SETINFO", "redis-7.0", "-ERR", "as above"},
	{"CLIENT NO-TOUCH", "redis-7.0", "+OK", "as above"},
	{"READONLY", "redis-7.0", "+OK", "later servers accept it without a cluster, and clients send it"},
}

// different finds the beginning of the reply that a line must have, if it is not the server's.
func different(line string, v testcluster.Version) (reply string, ok bool) {
	for _, d := range differing {
		if strings.HasPrefix(line, d.command) && (d.version == "" || d.version == string(v)) {
			return d.reply, true
		}
	}
	return "", false
}

func TestRepliesAreThoseOfABareServerByteForByte(t *testing.T) {
	lines := conformanceLines(t)
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		p := startProxy(t, sharedCluster(t, v).Addrs()[:1])
		server := sharedServer(t, v)
		for _, protocol := range []string{"2", "3"} {
			t.Run("RESP"+protocol, func(t *testing.T) { compareReplies(t, lines, protocol, server.Addr, p.addr, v) })
		}
	})
}

// compareReplies runs the lines at both addresses; v is the version before which the second one is a proxy, "" for a bare server.
func compareReplies(t *testing.T, lines []string, protocol, server, proxy string, v testcluster.Version) {
	t.Helper()
	conns := [2]*wire.Conn{dialAddr(t, server), dialAddr(t, proxy)}
	for _, c := range conns {
		want(t, c, "+OK", "FLUSHALL")
		if protocol == "3" {
			wantPrefix(t, c, "%", "HELLO", protocol)
		}
	}
	for _, line := range lines {
		args := splitLine(t, line)
		var replies [2]string
		for i, c := range conns {
			send(t, c, args)
			b, err := c.ReadRaw()
			if err != nil {
				t.Fatalf("%s at %s: %v", line, []string{"the server", "the proxy"}[i], err)
			}
			replies[i] = string(b)
		}
		wanted, got := normalise(line, replies[0]), normalise(line, replies[1])
		if prefix, ok := different(line, v); ok && v != "" {
			wanted, got = prefix, got[:min(len(prefix), len(got))]
		}
		if got != wanted {
			t.Errorf("%s\n  got  %s\n  want %s", line, brief(got), brief(wanted))
		}
		// These set the protocol back or to something else; what follows is to be compared in the one of this run.
		if name := strings.ToUpper(args[0]); name == "RESET" || name == "HELLO" {
			for _, c := range conns {
				wantPrefix(t, c, map[string]string{"2": "*", "3": "%"}[protocol], "HELLO", protocol)
			}
		}
	}
}

func conformanceLines(t *testing.T) []string {
	t.Helper()
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(read(t, "testdata/conformance.txt")))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
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

// The table itself must be right: two bare servers of one version give the same replies.
func TestTheConformanceTableIsRepeatable(t *testing.T) {
	lines := conformanceLines(t)
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		other := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
		for _, protocol := range []string{"2", "3"} {
			t.Run("RESP"+protocol, func(t *testing.T) { compareReplies(t, lines, protocol, sharedServer(t, v).Addr, other.Addr, "") })
		}
	})
}
