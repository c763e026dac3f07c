package proxy

import (
	"bytes"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"slotproxy/resp"
)

func setOf(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// aboutCluster are counted errors that clients of one server never see.
var aboutCluster = setOf("errorstat_MOVED", "errorstat_ASK", "errorstat_TRYAGAIN", "errorstat_CLUSTERDOWN", "errorstat_CROSSSLOT")

// infoText takes the text out of INFO's reply, a bulk string or, in RESP3, a verbatim one.
func infoText(reply []byte) (string, bool) {
	if len(reply) < 4 || reply[0] != '$' && reply[0] != '=' {
		return "", false
	}
	i := bytes.IndexByte(reply, '\n')
	if i < 0 || len(reply) < i+3 {
		return "", false
	}
	text := reply[i+1 : len(reply)-2]
	if reply[0] == '=' && len(text) >= 4 {
		text = text[4:]
	}
	return string(text), true
}

// mergeInfo makes the INFO of all primaries into that of one server.
func mergeInfo(r *request, dst []byte) ([]byte, bool) {
	texts := make([]string, 0, len(r.fan.parts))
	for _, p := range r.fan.parts {
		t, ok := infoText(p.reply)
		if !ok {
			return dst, false
		}
		texts = append(texts, t)
	}
	s := r.sess
	m := newInfoMerge(s, texts)
	text := m.text(texts[0])
	if wantsOurs(r.buf) {
		if text != "" {
			text += "\r\n"
		}
		text += s.proxySection()
	}
	return resp.AppendVerbatim(dst, text, s.profile.key.proto), true
}

// wantsOurs says whether an INFO command asks for the proxy's section: by its name, or for everything.
func wantsOurs(command []byte) bool {
	var p resp.Parser
	if n, err := p.Next(command, &resp.AfterAuth); err != nil || n == 0 || len(p.Args) < 2 {
		return true
	}
	for _, a := range p.Args[1:] {
		switch strings.ToLower(string(a)) {
		case "slotproxy", "all", "everything", "default":
			return true
		}
	}
	return false
}

// infoMerge joins INFO texts.
type infoMerge struct {
	s      *session
	values map[string][]string // of each field, in the order of the nodes that have it
	many   []string            // names of lines like db0:keys=1,expires=0 and cmdstat_get:calls=1,..., sorted
}

func newInfoMerge(s *session, texts []string) *infoMerge {
	m := &infoMerge{s: s, values: map[string][]string{}}
	for _, t := range texts {
		m.take(t)
	}
	sort.Strings(m.many)
	return m
}

func (m *infoMerge) take(text string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == '#' {
			continue
		}
		if m.values[name] == nil && manyValued(name) {
			m.many = append(m.many, name)
		}
		m.values[name] = append(m.values[name], value)
	}
}

// manyValued says that a line holds name=value pairs which are added up one by one.
func manyValued(name string) bool {
	return strings.HasPrefix(name, "db") && len(name) > 2 && name[2] >= '0' && name[2] <= '9' ||
		strings.HasPrefix(name, "cmdstat_") || strings.HasPrefix(name, "errorstat_") || strings.HasPrefix(name, percentiles)
}

// text writes the first node's text with the sums in place, the face of a standalone server, and the proxy's section.
func (m *infoMerge) text(first string) string {
	if first == "" {
		return "" // no such section
	}
	var b strings.Builder
	section, done := "", map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSuffix(first, "\r\n"), "\r\n") {
		if strings.HasPrefix(line, "# ") {
			m.finishSection(&b, section, done)
			section = strings.ToLower(line[2:])
			b.WriteString(line + "\r\n")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok {
			line = name + ":" + m.value(name, value)
			done[name] = true
		}
		if strings.HasPrefix(section, "cluster") && ok && name != "cluster_enabled" || strings.HasPrefix(name, "errorstat_") && aboutCluster[name] {
			continue
		}
		if section == "replication" && strings.HasPrefix(name, "slave") && strings.Contains(value, "ip=") {
			continue // replicas are the cluster's concern
		}
		b.WriteString(line + "\r\n")
	}
	m.finishSection(&b, section, done)
	return b.String()
}

// finishSection adds the lines that only other nodes have: a database or a command that the first has not seen.
func (m *infoMerge) finishSection(b *strings.Builder, section string, done map[string]bool) {
	prefix := map[string]string{"keyspace": "db", "commandstats": "cmdstat_", "errorstats": "errorstat_", "latencystats": percentiles}[section]
	if prefix == "" {
		return
	}
	for _, name := range m.many {
		if strings.HasPrefix(name, prefix) && !done[name] && !aboutCluster[name] {
			done[name] = true
			b.WriteString(name + ":" + joinPairs(m.values[name], joinOf(name)) + "\r\n")
		}
	}
}

// value is what the merged text says for one field.
func (m *infoMerge) value(name, value string) string {
	switch name {
	case "redis_mode", "server_mode":
		return "standalone"
	case "cluster_enabled":
		return "0"
	case "role":
		return "master"
	case "connected_slaves", "cluster_connections":
		return "0"
	case "connected_clients":
		return decimal(m.s.l.p.clients.Load())
	case "maxclients":
		return decimal(int64(m.s.l.limits.MaxClients))
	case "tcp_port":
		return m.s.port(value)
	}
	if of, ok := strings.CutSuffix(name, "_human"); ok {
		return human(m.sum(of))
	}
	if ratio := infoRatios[name]; ratio != nil {
		return ratio(m)
	}
	if join := infoJoins[name]; join != nil {
		return join(m.values[name])
	}
	if manyValued(name) {
		return joinPairs(m.values[name], joinOf(name))
	}
	return value
}

// human words a number of bytes as the server does.
func human(n float64) string {
	units := []string{"B", "K", "M", "G", "T", "P"}
	u := 0
	for n >= 1024 && u < len(units)-1 {
		n /= 1024
		u++
	}
	if u == 0 {
		return strconv.FormatFloat(n, 'f', 0, 64) + "B"
	}
	return strconv.FormatFloat(n, 'f', 2, 64) + units[u]
}

// percentiles begin the lines of latencies. Those of several nodes cannot be known from theirs: the largest is shown.
const percentiles = "latency_percentiles_usec_"

func joinOf(name string) func(a, b float64) float64 {
	if strings.HasPrefix(name, percentiles) {
		return func(a, b float64) float64 { return max(a, b) }
	}
	return func(a, b float64) float64 { return a + b }
}

// joinPairs joins lists like keys=1,expires=0,avg_ttl=5 pair by pair; averages and rates are averaged.
func joinPairs(values []string, join func(a, b float64) float64) string {
	if len(values) == 1 {
		return values[0]
	}
	var names []string
	sums := map[string]float64{}
	for _, v := range values {
		for pair := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(pair, "=")
			if _, seen := sums[name]; !seen {
				names = append(names, name)
			}
			n, _ := strconv.ParseFloat(value, 64)
			sums[name] = join(sums[name], n)
		}
	}
	for i, name := range names {
		n, digits := sums[name], 0
		if name == "usec_per_call" {
			n, digits = sums["usec"]/max(sums["calls"], 1), 2
		} else if strings.HasPrefix(name, "avg_") {
			n /= float64(len(values))
		} else if n != math.Trunc(n) {
			digits = 3
		}
		names[i] = name + "=" + strconv.FormatFloat(n, 'f', digits, 64)
	}
	return strings.Join(names, ",")
}

// port is the port that the client connected to.
func (s *session) port(otherwise string) string {
	if i := strings.LastIndexByte(s.local, ':'); i >= 0 && s.listener.cfg.Network != "unix" {
		return s.local[i+1:]
	}
	return otherwise
}

// proxySection is what INFO says of the proxy itself.
func (s *session) proxySection() string {
	l := s.l
	nodes, primaries, epoch := 0, 0, uint64(0)
	if l.table != nil {
		nodes, primaries, epoch = len(l.table.Nodes), len(l.primaries), l.table.Epoch
	}
	var b strings.Builder
	b.WriteString("# Slotproxy\r\n")
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"slotproxy_loops", int64(len(l.p.loops))},
		{"slotproxy_uptime_in_seconds", int64(time.Since(l.p.started).Seconds())},
		{"slotproxy_connected_clients", l.p.clients.Load()},
		{"slotproxy_cluster_nodes", int64(nodes)},
		{"slotproxy_cluster_primaries", int64(primaries)},
		{"slotproxy_cluster_epoch", int64(epoch)},
	} {
		b.WriteString(f.name + ":" + decimal(f.value) + "\r\n")
	}
	return b.String()
}
