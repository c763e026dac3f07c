package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/test/wire"
)

// target is a place to play cases at.
type target struct {
	addr  string
	nodes []*wire.Conn // one to each server behind it, past the proxy
	proxy bool
	code  bool // scripts or functions may be loaded
}

// newTarget makes the nodes look at their timers more often than ten times a second: cases wait for time-outs and for saves.
func newTarget(t *testing.T, addr string, nodes []string, proxy bool) *target {
	t.Helper()
	g := &target{addr: addr, proxy: proxy, code: true}
	for _, node := range nodes {
		g.nodes = append(g.nodes, dialAddr(t, node))
	}
	g.everyNode(t, "CONFIG", "SET", "hz", "500")
	t.Cleanup(func() {
		g.clean(t)
		g.everyNode(t, "CONFIG", "SET", "hz", "10")
	})
	return g
}

// cleaning undoes at every node what a case may have changed. An error of one of them is no matter: older versions do not
// know all of it.
var cleaning = [][]string{
	{"FLUSHALL"}, {"ACL", "DELUSER", "alice", "bob"}, {"ACL", "LOG", "RESET"},
	{"ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all"},
	{"CLIENT", "UNPAUSE"},
	{"CONFIG", "SET", "slowlog-log-slower-than", "10000", "latency-monitor-threshold", "0", "busy-reply-threshold", "5000",
		"notify-keyspace-events", "", "maxmemory-policy", "noeviction", "tracking-table-max-keys", "1000000"},
	{"CONFIG", "SET", "commandlog-request-larger-than", "1048576", "commandlog-reply-larger-than", "1048576"},
	{"SLOWLOG", "RESET"}, {"LATENCY", "RESET"}, {"COMMANDLOG", "RESET", "large-request"}, {"COMMANDLOG", "RESET", "large-reply"},
}

// uncoding is apart, since a server takes milliseconds for a new interpreter.
var uncoding = [][]string{{"FUNCTION", "FLUSH"}, {"SCRIPT", "FLUSH"}}

var codePattern = regexp.MustCompile(`EVAL|FUNCTION|SCRIPT`)

func (g *target) clean(t *testing.T) {
	t.Helper()
	all := cleaning
	if g.code {
		all = slices.Concat(cleaning, uncoding)
		g.code = false
		g.endScripts(t)
		if g.proxy { // it remembers scripts, too
			c, err := wire.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			do(t, c, "SCRIPT", "FLUSH")
			_ = c.Close()
		}
	}
	for _, n := range g.nodes {
		for _, args := range all {
			n.Append(args...)
		}
		if err := n.Flush(); err != nil {
			t.Fatalf("clean: %v", err)
		}
	}
	for _, n := range g.nodes {
		for _, args := range all {
			if _, err := n.Read(); err != nil {
				t.Fatalf("clean with %v: %v", args, err)
			}
		}
	}
}

// endScripts kills what a case may have left running: the node would refuse everything else.
func (g *target) endScripts(t *testing.T) {
	t.Helper()
	for _, n := range g.nodes {
		eventually(t, caseTimeout, func() error {
			v := do(t, n, "PING")
			if strings.HasPrefix(v.Text, "BUSY") {
				do(t, n, "SCRIPT", "KILL")
				do(t, n, "FUNCTION", "KILL")
				return errors.New(v.Text)
			}
			return nil
		})
	}
}

// everyNode says something to every node, which must agree.
func (g *target) everyNode(t *testing.T, args ...string) {
	t.Helper()
	for _, n := range g.nodes {
		if v := do(t, n, args...); v.IsError() {
			t.Fatalf("%s: a node says %s", strings.Join(args, " "), v)
		}
	}
}

// sum adds a field of INFO over the nodes.
func (g *target) sum(t *testing.T, section, field string) int {
	t.Helper()
	total := 0
	for _, n := range g.nodes {
		_, rest, ok := strings.Cut(do(t, n, "INFO", section).Text, "\n"+field+":")
		number, _, _ := strings.Cut(rest, "\r\n")
		count, err := strconv.Atoi(number)
		if !ok || err != nil {
			t.Fatalf("INFO %s has no number %s", section, field)
		}
		total += count
	}
	return total
}

// caseTimeout is how long a reply may take. All of them come at once or, for those that block, in a tenth of a second; the
// rest is for a busy machine.
const caseTimeout = 4 * time.Second

// closeTimeout is the same for the end of a connection, which is waited for by cases that are expected to fail, too.
const closeTimeout = time.Second

// player plays one case at one target.
type player struct {
	t        *testing.T
	g        *target
	protocol string
	c        *testCase
	conns    map[string]*wire.Conn
	order    []string              // of conns, as they were opened
	unread   map[string][][]string // by connection: commands that were sent and whose replies were not read yet
	left     map[string]bool       // connections that are not asked at the end
	vars     map[string]string
	refused  []string // what should have been refused and was not
	replies  []reply
}

// reply is what one step brought: exact bytes, or what happened instead in angle brackets.
type reply struct {
	line string
	args []string // the command that it answers; nil for a push
	what string   // what the normal list knows it by: the words of a "b< what", else the command
	raw  string
}

// play runs the case and returns the replies, as many as the case asks for or fewer when the connection failed. check, if
// not nil, sees each reply at once; once it has said false nothing is waited for that may never come.
func (g *target) play(t *testing.T, c *testCase, protocol string, check func(i int, r reply) bool) *player {
	t.Helper()
	g.clean(t)
	g.code = codePattern.MatchString(c.text)
	p := &player{t: t, g: g, protocol: protocol, c: c, conns: map[string]*wire.Conn{}, unread: map[string][][]string{},
		left: map[string]bool{}, vars: map[string]string{}}
	defer p.close()
	good := true
	for _, s := range slices.Concat(c.steps, []step{{kind: '.'}}) {
		steps := []step{s}
		if s.kind == '.' {
			steps = p.ending()
		}
		for _, s := range steps {
			if !good && s.line != "" && !strings.HasPrefix(s.line, "~ leave") && (s.kind == '<' || s.kind == '!' || s.kind == '~' || len(p.unread[s.conn]) > 0) {
				continue
			}
			before := len(p.replies)
			err := p.step(s)
			if len(p.replies) > before && check != nil {
				good = check(before, p.replies[before]) && good
				p.hasten(!good)
			}
			if err != nil {
				return p
			}
		}
	}
	return p
}

// hasten makes the rest of a case that has failed already wait less for what may never come.
func (p *player) hasten(failed bool) {
	if failed {
		for _, c := range p.conns {
			c.Timeout = closeTimeout / 4
		}
	}
}

// ending asks every connection that is in step for a last word: a reply too many shows here.
func (p *player) ending() []step {
	var steps []step
	for _, name := range p.order {
		if !p.left[name] && len(p.unread[name]) == 0 {
			steps = append(steps, step{line: name + ": ECHO end", conn: name, kind: ':', args: []string{"ECHO", "end"}})
		}
	}
	return steps
}

func (p *player) close() {
	for _, c := range p.conns {
		_ = c.Close() // the test may have made the other side close it
	}
	// What these connections blocked is released by now or soon; the next case must not see it.
	if strings.Contains(p.c.text, "~ blocked") {
		eventually(p.t, caseTimeout, func() error {
			if n := p.g.sum(p.t, "clients", "blocked_clients"); n > 0 {
				return fmt.Errorf("%s leaves %d clients blocked in the nodes", p.c.name, n)
			}
			return nil
		})
	}
}

func (p *player) conn(name string) *wire.Conn {
	p.t.Helper()
	if c := p.conns[name]; c != nil {
		return c
	}
	c, err := wire.Dial("tcp", p.g.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	c.Timeout = caseTimeout
	p.conns[name] = c
	p.order = append(p.order, name)
	if p.protocol == "3" {
		wantPrefix(p.t, c, "%", "HELLO", "3")
	}
	if strings.Contains(p.c.text, "$"+name+".id") {
		p.vars[name+".id"] = strconv.FormatInt(do(p.t, c, "CLIENT", "ID").Int, 10)
	}
	p.vars[name+".addr"] = c.LocalAddr().String()
	return c
}

// step plays one line. After an error the case cannot go on; the error is in the last reply.
func (p *player) step(s step) error {
	if s.kind == '~' {
		return p.directive(s)
	}
	c := p.conn(s.conn)
	switch s.kind {
	case '<':
		return p.take(s, c)
	case '!':
		c.Timeout = closeTimeout
		_, err := c.ReadRaw()
		if errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
			p.note(s, "<still open>")
			return io.ErrNoProgress
		}
		p.left[s.conn] = true
		p.note(s, "<closed>")
		return nil
	}
	args := p.filled(s.args)
	c.Append(args...)
	p.unread[s.conn] = append(p.unread[s.conn], s.args)
	if err := c.Flush(); err != nil {
		p.note(s, fmt.Sprintf("<%v>", err))
		return err
	}
	if s.kind == '>' {
		return nil
	}
	return p.take(s, c)
}

// take reads one reply, which answers the latest command of the connection unless it is a push beside it.
func (p *player) take(s step, c *wire.Conn) error {
	raw, err := c.ReadRaw()
	if err != nil {
		p.note(s, fmt.Sprintf("<%v>", readFailure(err)))
		return err
	}
	r := reply{line: s.line, raw: string(raw)}
	if waiting := p.unread[s.conn]; len(waiting) > 0 && (raw[0] != '>' || s.kind == ':') {
		last := len(waiting) - 1
		r.args = waiting[last]
		p.unread[s.conn] = waiting[:last]
	}
	if r.what = strings.Join(r.args, " "); s.kind == '<' && len(s.args) > 0 {
		r.what = strings.Join(s.args, " ")
	}
	p.replies = append(p.replies, r)
	if s.keep != "" {
		v, err := wire.Parse(r.raw)
		if err != nil {
			return err
		}
		p.vars[s.keep] = v.Text
	}
	return nil
}

// readFailure words an error without addresses, so that two of them compare.
func readFailure(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no reply"
	case errors.Is(err, wire.ErrFraming):
		return err.Error()
	}
	return "closed"
}

func (p *player) note(s step, what string) {
	p.replies = append(p.replies, reply{line: s.line, raw: what})
}

// filled puts values in the place of variables.
func (p *player) filled(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if name, ok := strings.CutPrefix(a, "$"); ok && name != "" { // "$" is the last id of a stream
			value, known := p.vars[name]
			if !known {
				p.t.Fatalf("%s: %s has no value; known are %v", p.c.name, a, slices.Sorted(maps.Keys(p.vars)))
			}
			out[i] = value
		}
	}
	return out
}

func (p *player) directive(s step) error {
	p.t.Helper()
	switch s.args[0] {
	case "blocked":
		want, err := strconv.Atoi(s.args[1])
		if err != nil {
			p.t.Fatalf("%s: %v", s.line, err)
		}
		return p.until(s, func() bool { return p.g.sum(p.t, "clients", "blocked_clients") == want })
	case "quiet":
		return p.until(s, func() bool {
			return p.g.sum(p.t, "persistence", "rdb_bgsave_in_progress")+p.g.sum(p.t, "persistence", "aof_rewrite_in_progress")+
				p.g.sum(p.t, "persistence", "aof_rewrite_scheduled") == 0
		})
	case "busy":
		return p.until(s, func() bool {
			return slices.ContainsFunc(p.g.nodes, func(n *wire.Conn) bool {
				return strings.HasPrefix(do(p.t, n, "PING").Text, "BUSY")
			})
		})
	case "nodes":
		p.g.everyNode(p.t, p.filled(s.args[1:])...)
	case "refused":
		if c := p.conn("a"); p.g.proxy {
			if got, want := do(p.t, c, s.args[1:]...).Text, refusal(s.args[1:]); got != want {
				p.refused = append(p.refused, fmt.Sprintf("%s\n  got  %s\n  want %s", s.line, got, want))
			}
		}
	case "close":
		p.left[s.args[1]] = true
		_ = p.conns[s.args[1]].Close() // nothing is read from it any more
		delete(p.unread, s.args[1])
	case "leave":
		p.left[s.args[1]] = true
	default:
		p.t.Fatalf("%s is no directive", s.line)
	}
	return nil
}

// until waits for something in the nodes; that it never came is a reply like another. It never comes when a command that was
// to wait has a reply already.
func (p *player) until(s step, there func() bool) error {
	for start := time.Now(); !there(); {
		answered := false
		for name, waiting := range p.unread {
			answered = answered || len(waiting) > 0 && p.conns[name].Readable(time.Millisecond)
		}
		if answered && !there() || time.Since(start) > caseTimeout {
			p.note(s, "<never>")
			return io.ErrNoProgress
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}
