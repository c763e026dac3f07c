package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// This file is the one place that says where the proxy need not answer byte for byte as a bare server does. It is reviewed: an
// entry needs a reason that has nothing to do with a proxy, or one that docs/commands.md names.

// normal makes replies comparable that cannot be equal. The first entry that fits counts.
var normal = []struct {
	what string // how the command begins, or the words behind "<"
	how  func(string) string
	why  string
}{
	{"ACL CAT", sortedElements, "in the order of a hash table with a random seed"},
	{"ACL GENPASS", hex, "random"},
	{"ACL LOG", aclLog, "times, ids, and the node's view of the client"},
	{"CLIENT GETREDIR", digits, "an id"},
	{"CLIENT ID", digits, "an id"},
	{"CLIENT INFO", clientFields, "addresses, times and sizes of another connection"},
	{"CLIENT LIST", clientFields, "as CLIENT INFO"},
	{"CLIENT TRACKINGINFO", digits, "the id of the connection that is told"},
	{"COMMAND DOCS", sortedPairs, "in the order of a hash table with a random seed"},
	{"COMMAND INFO", sortedTree, "in the order of a hash table with a random seed"},
	{"COMMAND LIST", sortedElements, "in the order of a hash table with a random seed"},
	{"COMMAND", sortedTree, "in the order of a hash table with a random seed; sub-commands and flags too"},
	{"CONFIG GET *", sortedNames, "a server's ports and folders, and what its cluster needs"},
	{"CONFIG GET", sortedPairs, "in the order of a hash table with a random seed"},
	{"DEBUG OBJECT", debugObject, "an address in memory and a time"},
	{"HELLO", hello, "the connection's id, and the modules: 9.1 lists its Lua engine there"},
	{"INFO", infoNames, "figures; what they describe is compared by name, and some by value"},
	{"KEYS", sortedElements, "in the order of a hash table with a random seed"},
	{"LASTSAVE", digits, "a time"},
	{"LATENCY GRAPH", kindOnly, "every node draws its own samples"},
	{"LATENCY HISTOGRAM", histogram, "how long a command took"},
	{"LATENCY HISTORY", digits, "times"},
	{"LATENCY LATEST", digits, "times"},
	{"MEMORY MALLOC-STATS", kindOnly, "the allocator's own report"},
	{"MEMORY STATS", statNames, "figures"},
	{"OBJECT IDLETIME", digits, "how long ago, in seconds"},
	{"PUBSUB CHANNELS", sortedElements, "in the order of a hash table with a random seed"},
	{"ROLE", digits, "the replication offset"},
	{"TIME", digits, "the time"},
	{"XINFO CONSUMERS", idle, "how long ago"},
	{"XPENDING {t}x grp - +", digits, "how long ago"},
	{"monitor", monitorLine, "the time and the client's address"},
	{"tracking-redir-broken", digits, "a client's id"},
	{"slowlog entries", digits, "times, ids, addresses"},
}

var (
	digitsPattern = regexp.MustCompile(`[0-9]+`)
	hexPattern    = regexp.MustCompile(`[0-9a-f]`)
	idPattern     = regexp.MustCompile(`(\$2\r\nid\r\n):[0-9]+`)
	fieldPattern  = regexp.MustCompile(`([a-z-]+)=([^ \r\n]*)`)
)

func digits(s string) string { return digitsPattern.ReplaceAllString(s, "N") }

func hex(s string) string {
	if s[0] == '-' {
		return s
	}
	head, text, _ := strings.Cut(s, "\r\n")
	return head + hexPattern.ReplaceAllString(text, "x")
}

// aclLogPattern finds the fields of an entry that tell when, and by which client.
var aclLogPattern = regexp.MustCompile(`((?:age-seconds|client-info|entry-id|timestamp-created|timestamp-last-updated)\r\n)(?:[:,][^\r]*|\$[0-9]+\r\n[^\r]*)`)

func aclLog(s string) string { return aclLogPattern.ReplaceAllString(s, "$1...") }

func hello(s string) string {
	s, _, _ = strings.Cut(idPattern.ReplaceAllString(s, "$1:N"), "$7\r\nmodules\r\n")
	return s
}

// sameFields have a meaning for the client and are the same for all servers.
var sameFields = []string{"name", "flags", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user",
	"redir", "resp", "capa", "lib-name", "lib-ver"}

// clientFields are the names of the fields, and the values of some.
func clientFields(s string) string {
	if s[0] == '-' {
		return s
	}
	fields := []string{s[:1]}
	for _, m := range fieldPattern.FindAllStringSubmatch(s, -1) {
		switch {
		case slices.Contains(sameFields, m[1]):
			fields = append(fields, m[0])
		default:
			fields = append(fields, m[1])
		}
	}
	return strings.Join(fields, " ")
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

// sortedPairs sorts a map, or an array of names and values in turn, by the names.
func sortedPairs(s string) string {
	v, err := wire.Parse(s)
	if err != nil || len(v.Elems)%2 != 0 {
		return s
	}
	var pairs []string
	for pair := range slices.Chunk(v.Elems, 2) {
		pairs = append(pairs, fmt.Sprintf("%+v", pair))
	}
	slices.Sort(pairs)
	return fmt.Sprintf("%c%d %q", v.Kind, len(v.Elems), pairs)
}

// sortedTree sorts every aggregate of aggregates, at any depth.
func sortedTree(s string) string {
	v, err := wire.Parse(s)
	if err != nil || v.Elems == nil {
		return s
	}
	return sortedBranch(v)
}

func sortedBranch(v wire.Value) string {
	if v.Elems == nil {
		return fmt.Sprintf("%c%q%v", v.Kind, v.Text, v.Null)
	}
	var elems []string
	sortable := v.Kind != '%'
	for _, e := range v.Elems {
		elems = append(elems, sortedBranch(e))
		sortable = sortable && (e.Elems != nil || v.Kind == '~')
	}
	if sortable {
		slices.Sort(elems)
	}
	return fmt.Sprintf("%c%d%v", v.Kind, len(elems), elems)
}

// kindOnly keeps what kind of reply it is.
func kindOnly(s string) string {
	if s[0] == '-' {
		return s
	}
	return s[:1]
}

// statNames keeps the names of an array of names and figures.
func statNames(s string) string {
	v, err := wire.Parse(s)
	if err != nil || v.Elems == nil {
		return s
	}
	names := []string{string(v.Kind)}
	for pair := range slices.Chunk(v.Elems, 2) {
		if !strings.HasPrefix(pair[0].Text, "db.") { // the databases that cases before this one have used
			names = append(names, pair[0].Text)
		}
	}
	return strings.Join(names, " ")
}

func sortedNames(s string) string {
	names := strings.Fields(statNames(s))
	slices.Sort(names)
	return strings.Join(names, " ")
}

var (
	histogramPattern = regexp.MustCompile(`(histogram_usec\r\n[*%])[0-9]+\r\n(?::[0-9]+\r\n)+`)
	idlePattern      = regexp.MustCompile(`((?:idle|inactive)\r\n):[0-9]+`)
	ttlPattern       = regexp.MustCompile(`avg_ttl=[0-9]+`)
	objectPattern    = regexp.MustCompile(`at:0x[0-9a-f]+|lru(_seconds_idle)?:[0-9]+`)
	monitorPattern   = regexp.MustCompile(`^\+[0-9.]+ \[([0-9]+) (?:[0-9.]+:[0-9]+|lua)\]`)
)

func idle(s string) string        { return idlePattern.ReplaceAllString(s, "$1...") }
func debugObject(s string) string { return objectPattern.ReplaceAllString(s, "...") }
func histogram(s string) string   { return histogramPattern.ReplaceAllString(s, "$1...") }
func monitorLine(s string) string { return monitorPattern.ReplaceAllString(s, "+TIME [$1 ADDR]") }

// infoValues are fields of INFO whose values one server and a proxy must share.
var infoValues = []string{"redis_version", "server_name", "valkey_version", "redis_mode", "server_mode", "role", "connected_slaves",
	"cluster_enabled", "loading", "db0", "maxmemory_policy", "aof_enabled"}

// infoUsage are the sections that list what was used since the start.
var infoUsage = []string{"# Commandstats", "# Errorstats", "# Latencystats"}

// infoNames are the sections and the names of their fields, without the proxy's own section.
func infoNames(s string) string {
	v, err := wire.Parse(s)
	if err != nil || v.IsError() {
		return s
	}
	names := []string{string(v.Kind)}
	section := ""
	for line := range strings.Lines(strings.TrimPrefix(v.Text, "txt:")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "# ") {
			section = line
		}
		name, _, _ := strings.Cut(line, ":")
		switch {
		case line == "" || section == "# Slotproxy":
		case line == section || slices.Contains(infoValues, name):
			names = append(names, ttlPattern.ReplaceAllString(line, "avg_ttl"))
		case !slices.Contains(infoUsage, section):
			names = append(names, name)
		}
	}
	return strings.Join(names, "\n")
}

// begins tells whether a command begins with these words.
func begins(command, words string) bool {
	rest, ok := strings.CutPrefix(command, words)
	return ok && (rest == "" || rest[0] == ' ')
}

func normalise(r reply) string {
	for _, n := range normal {
		if begins(r.what, n.what) {
			return n.how(r.raw)
		}
	}
	return r.raw
}

// differing are commands that the proxy must answer otherwise than a bare server: how it begins, for which versions ("" for all),
// why. Commands that the policy table refuses are not listed: they must be answered with its reason.
var differing = []struct{ command, version, reply, why string }{
	{"SELECT 999999", "", "-ERR", "a cluster words the range of databases differently"},
	{"SLOWLOG LEN", "", ":", "a command for all nodes is in the log of each"},
	{"slowlog entries", "", "*N", "as above"},
	{"LATENCY HISTORY command", "", "*N", "every node has samples of its own"},
	{"DEBUG NOSUCH", "", "-PROXYUNSUPPORTED DEBUG NOSUCH", "DEBUG has one sub-command that only looks"},
	{"DEBUG SLEEP 0", "", "-PROXYUNSUPPORTED DEBUG SLEEP", "as above; a setting allows it"},
	{"DEBUG HELP", "", "-PROXYUNSUPPORTED DEBUG HELP", "as above"},
	{"READONLY", "redis-7.0", "+OK", "later servers accept it without a cluster, and clients send it"},
	{"READWRITE", "redis-7.0", "+OK", "as above"},
	{"SELECT 1", "", "-ERR DB index is out of range", "the cluster of this test has one database"},
	{"MOVE {t}k 1", "", "-ERR", "as above, in the words of a cluster"},
	{"MOVE k", "", "-ERR", "as above"},
	{"COPY {t}k {t}k DB 1", "", "-ERR", "as above"},
	{"SORT {t}l BY", "valkey-8.0", "-ERR", "a cluster of this version takes no patterns for GET and BY"},
	{"SORT {t}l BY", "redis-7.0", "-ERR", "as above"},
	{"SORT_RO {t}l BY", "valkey-8.0", "-ERR", "as above"},
	{"SORT_RO {t}l BY", "redis-7.0", "-ERR", "as above"},
	{"MEMORY USAGE k", "redis-7.0", ":", "in a cluster Redis 7.0 links the keys of a slot"},
}

// exempt replaces what the proxy must say to a command, where that is not what the server says.
func exempt(r reply, got, want string, v testcluster.Version) (string, string) {
	if got == want {
		return got, want
	}
	if text := refusal(r.args); text != "" {
		return r.raw, "-" + text + "\r\n"
	}
	for _, d := range differing {
		if begins(r.what, d.command) && (d.version == "" || d.version == string(v)) {
			return got[:min(len(d.reply), len(got))], d.reply
		}
	}
	return got, want
}

// neverSucceeds tells why no case makes a command succeed at a server; empty for others.
func neverSucceeds(name string) string {
	rule := ruleOf(strings.Split(name, "|"))
	switch {
	case rule == nil:
		return ""
	case rule.Subs != nil && name != "command":
		return "a container does nothing by itself"
	case strings.HasPrefix(name, "cluster|"):
		return "a server that is not in a cluster says so"
	}
	return fruitless[name]
}

var fruitless = map[string]string{
	"acl|load":      "the servers of the tests have no ACL file",
	"acl|save":      "the servers of the tests have no ACL file",
	"asking":        "a server that is not in a cluster says so",
	"clusterscan":   "a server that is not in a cluster says so",
	"failover":      "the servers of the tests have no replica",
	"module|load":   "there is no module to load",
	"module|loadex": "there is no module to load",
	"module|unload": "there is no module to unload",
	"readonly":      "Redis 7.0 says that it is in no cluster",
	"readwrite":     "Redis 7.0 says that it is in no cluster",
	"pfselftest":    "computes for half a second: one version is enough",
	"psync":         "turns the connection into a replica's",
	"shutdown":      "ends the server",
	"sync":          "turns the connection into a replica's",
}

// neverFails are commands that no arguments make fail, with the reason where it is not that any number of any words will do.
var neverFails = map[string]string{
	"command|docs":       "unknown commands are left out",
	"command|info":       "unknown commands are nil",
	"info":               "unknown sections are empty",
	"latency|histogram":  "unknown commands are left out",
	"latency|reset":      "unknown events count nothing",
	"pubsub|numsub":      "any channels",
	"pubsub|shardnumsub": "any channels",
	"punsubscribe":       "any patterns",
	"quit":               "any words",
	"replconf":           "unknown options are accepted",
	"sunsubscribe":       "any channels",
	"unsubscribe":        "any channels",
}
