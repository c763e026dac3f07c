package proxy

import (
	"slices"
	"strings"
	"sync"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// slowFrom is the time in nanoseconds from which the proxy's share of a command is an entry of SLOWLOG: what a server
// that nobody has configured takes, too.
const slowFrom = int64(10 * time.Millisecond)

const (
	slowEntries  = 128 // a loop's entries, as many as a server's
	slowArgs     = 32  // arguments of an entry, as in the server
	slowArgBytes = 128 // bytes of an argument, as in the server
)

// slowLog holds the commands that waited long in one loop: for their slot, for a node, for their turn.
type slowLog struct {
	mu      sync.Mutex
	entries []slowEntry // guarded by mu; oldest first
	last    int64       // guarded by mu; id of the newest, never used again
}

type slowEntry struct {
	id, at int64 // at: Unix seconds
	micros int64
	args   []string
	addr   string
	name   string
}

// noteSlow adds r to the log if it was the proxy that took the time. The node has its own log for its share.
func (l *loop) noteSlow(r *request) {
	s := r.sess
	if s == nil || r.rule.Flags&(router.FlagSkipSlowlog|router.FlagBlocking) != 0 || r.class == metrics.ClassLocal || r.block != nil {
		return
	}
	sent := r.sentAt
	if sent == 0 {
		sent = r.start
	}
	if r.fan != nil {
		for _, p := range r.fan.parts {
			sent = max(sent, p.sentAt)
		}
	}
	if sent-r.start < slowFrom {
		return
	}
	e := slowEntry{at: time.Now().Unix(), micros: (sent - r.start) / 1000, args: slowArguments(r), addr: s.addr, name: s.name}
	g := &l.slow
	g.mu.Lock()
	g.last++
	e.id = g.last
	if len(g.entries) == slowEntries {
		g.entries = append(g.entries[:0], g.entries[1:]...)
	}
	g.entries = append(g.entries, e)
	g.mu.Unlock()
}

// slowArguments are the arguments of an entry, cut as the server cuts them. Passwords do not appear.
func slowArguments(r *request) []string {
	switch r.rule.Name {
	case "auth", "hello", "acl|setuser", "config|set", "migrate":
		return []string{strings.ToUpper(strings.Replace(r.rule.Name, "|", " ", 1)), "(redacted)"}
	case "exec":
		return []string{"EXEC"}
	}
	args := r.arguments()
	if args == nil && r.fan != nil && len(r.fan.parts) > 0 {
		args = r.fan.parts[0].arguments() // of a command that was split, the first part
	}
	var shown []string
	for i, a := range args {
		if i == slowArgs-1 && len(args) > slowArgs {
			return append(shown, "... ("+itoa(len(args)-i)+" more arguments)")
		}
		text := string(a[:min(len(a), slowArgBytes)])
		if len(a) > slowArgBytes {
			text += "... (" + itoa(len(a)-slowArgBytes) + " more bytes)"
		}
		shown = append(shown, text)
	}
	return shown
}

func (e *slowEntry) value() value {
	b := resp.AppendArray(nil, 6)
	b = resp.AppendInt(b, e.id)
	b = resp.AppendInt(b, e.at)
	b = resp.AppendInt(b, e.micros)
	b = resp.AppendArray(b, len(e.args))
	for _, a := range e.args {
		b = resp.AppendBulkString(b, a)
	}
	b = resp.AppendBulkString(b, e.addr)
	b = resp.AppendBulkString(b, e.name)
	v, _ := parseValue(b)
	return v
}

// ofSlow says that a SLOWLOG or COMMANDLOG command is about slow commands: the proxy has no other log.
func ofSlow(r *request) bool {
	args := r.arguments()
	return len(args) > 0 && (strings.HasPrefix(r.rule.Name, "slowlog") || strings.EqualFold(string(args[len(args)-1]), "slow"))
}

// logSources makes the ids of several logs one: a source has its own last digits, binary ones.
const logSources = 12

// mergeLog puts the entries of all primaries and of the proxy into one log, newest first.
func mergeLog(r *request, dst []byte) ([]byte, bool) {
	logs, ok := r.values()
	if !ok {
		return dst, false
	}
	if ofSlow(r) {
		for _, l := range r.sess.l.p.loops {
			logs = append(logs, l.slow.entriesAsValue())
		}
	}
	var all []value
	for source := range logs {
		for _, e := range logs[source].elems {
			if len(e.elems) < 3 {
				return dst, false
			}
			e.elems[0].setInt(e.elems[0].int()<<logSources | int64(source))
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b value) int { return int(b.elems[1].int() - a.elems[1].int()) })
	return appendFirst(dst, all, r.count(2)), true
}

func (g *slowLog) entriesAsValue() value {
	g.mu.Lock()
	defer g.mu.Unlock()
	var v value
	for _, e := range slices.Backward(g.entries) {
		v.elems = append(v.elems, e.value())
	}
	return v
}

// count is how many entries a command asks for at this argument: ten if it does not say, all if it says -1.
func (r *request) count(at int) int {
	args := r.arguments()
	if len(args) <= at {
		return 10
	}
	n, ok := resp.ParseInt(args[at])
	switch {
	case !ok:
		return 10
	case n < 0:
		return int(^uint(0) >> 1)
	}
	return int(n)
}

// appendFirst writes an array of the first n values.
func appendFirst(dst []byte, all []value, n int) []byte {
	all = all[:min(n, len(all))]
	dst = resp.AppendArray(dst, len(all))
	for i := range all {
		dst = all[i].append(dst)
	}
	return dst
}

// mergeLogLen adds up the lengths of the logs.
func mergeLogLen(r *request, dst []byte) ([]byte, bool) {
	var total int64
	for _, p := range r.fan.parts {
		n, ok := integer(p.reply)
		if !ok {
			return dst, false
		}
		total += n
	}
	if ofSlow(r) {
		for _, l := range r.sess.l.p.loops {
			l.slow.mu.Lock()
			total += int64(len(l.slow.entries))
			l.slow.mu.Unlock()
		}
	}
	return resp.AppendInt(dst, total), true
}

// mergeLogReset empties the proxy's log when all primaries have emptied theirs.
func mergeLogReset(r *request, dst []byte) ([]byte, bool) {
	if ofSlow(r) {
		for _, l := range r.sess.l.p.loops {
			l.slow.mu.Lock()
			l.slow.entries = nil
			l.slow.mu.Unlock()
		}
	}
	return mergeFirst(r, dst)
}

// mergeACLLog puts the entries of all primaries into one log, newest first.
func mergeACLLog(r *request, dst []byte) ([]byte, bool) {
	if r.fan.parts[0].reply[0] == '+' {
		return mergeFirst(r, dst) // ACL LOG RESET
	}
	logs, ok := r.values()
	if !ok {
		return dst, false
	}
	var all []value
	for source := range logs {
		for _, e := range logs[source].elems {
			if id := e.get("entry-id"); id != nil {
				id.setInt(id.int()<<logSources | int64(source))
			}
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b value) int { return compareAges(a.get("age-seconds"), b.get("age-seconds")) })
	return appendFirst(dst, all, r.count(2)), true
}

func compareAges(a, b *value) int {
	switch {
	case a == nil || b == nil || a.number() == b.number():
		return 0
	case a.number() < b.number():
		return -1
	}
	return 1
}
