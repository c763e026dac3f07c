package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// facts are what does not change of a node while it runs.
type facts struct {
	valkey      bool
	version     [3]int
	databases   int
	nodeTimeout time.Duration
}

// atLeast compares with a Valkey release.
func (f *facts) atLeast(major, minor int) bool {
	return f.valkey && (f.version[0] > major || f.version[0] == major && f.version[1] >= minor)
}

func (f *facts) String() string {
	maker := "redis"
	if f.valkey {
		maker = "valkey"
	}
	return fmt.Sprintf("%s %d.%d.%d", maker, f.version[0], f.version[1], f.version[2])
}

// peer is a primary that a step works with.
type peer struct {
	router.Node
	*facts
}

// lookup finds a node that should be a primary in the newest table.
func (e *Engine) lookup(id string) (router.Node, error) {
	t := e.cfg.Topology()
	if t == nil {
		return router.Node{}, fail(machine.NodeLost, "no table of the cluster yet")
	}
	at := t.ByID(id)
	switch {
	case at < 0:
		return router.Node{}, fail(machine.NodeLost, "node %s is not in the cluster", id)
	case !t.Nodes[at].Primary:
		return router.Node{}, fail(machine.NodeLost, "node %s is no primary", t.Nodes[at].Addr)
	}
	return t.Nodes[at], nil
}

// peer finds a primary and what it can do.
func (e *Engine) peer(ctx context.Context, id string) (*peer, error) {
	n, err := e.lookup(id)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	f := e.nodes[id]
	e.mu.Unlock()
	if f == nil {
		if f, err = e.askFacts(ctx, n); err != nil {
			return nil, err
		}
		e.mu.Lock()
		e.nodes[id] = f
		e.mu.Unlock()
	}
	return &peer{n, f}, nil
}

func (e *Engine) askFacts(ctx context.Context, n router.Node) (*facts, error) {
	r, err := e.do(ctx, n.Addr, cmd("INFO", "server"), cmd("CONFIG", "GET", "cluster-node-timeout"),
		cmd("CONFIG", "GET", "cluster-databases"))
	if err != nil {
		return nil, err
	}
	f := &facts{databases: 1, nodeTimeout: 15 * time.Second}
	var release string
	release, f.valkey = ReadInfo(r[0]).Release()
	for i, part := range strings.SplitN(release, ".", 3) {
		f.version[i], _ = strconv.Atoi(part)
	}
	if ms, err := strconv.Atoi(setting(r[1])); err == nil && ms > 0 {
		f.nodeTimeout = time.Duration(ms) * time.Millisecond
	}
	if n, err := strconv.Atoi(setting(r[2])); err == nil && n > 1 {
		f.databases = n
	}
	if f.version[0] == 0 {
		return nil, fail(machine.Fatal, "INFO of %s names no version", n.Addr)
	}
	return f, nil
}

// refusal is an error reply where the step expected another answer.
type refusal struct{ addr, command, text string }

func (r *refusal) Error() string { return r.command + " on " + r.addr + ": " + r.text }

// do runs short commands on a node; an error reply to any of them is a *refusal.
func (e *Engine) do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	r, err := e.try(ctx, addr, commands...)
	if err != nil {
		return nil, err
	}
	return r, refused(addr, commands, r)
}

// try is do for a caller who looks at error replies itself.
func (e *Engine) try(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Limits.Answer)
	defer cancel()
	return e.cfg.Nodes.Do(ctx, addr, commands...)
}

// refused is the first error among replies.
func refused(addr string, commands [][]string, replies []any) error {
	for i, r := range replies {
		if s, ok := r.(ServerError); ok {
			return &refusal{addr, strings.Join(commands[i][:min(2, len(commands[i]))], " "), string(s)}
		}
	}
	return nil
}

// ask is one pipeline to one node, as one of several that run at the same time.
type ask struct {
	e        *Engine
	ctx      context.Context
	addr     string
	commands [][]string
	replies  []any
	err      error
}

func (a *ask) run() { a.replies, a.err = a.e.try(a.ctx, a.addr, a.commands...) }

// together runs pipelines on several nodes at once.
func (e *Engine) together(ctx context.Context, asks ...*ask) {
	var wg sync.WaitGroup
	for _, a := range asks {
		a.e, a.ctx = e, ctx
		wg.Go(a.run)
	}
	wg.Wait()
}

// must is together where every answer counts; the first error in the order of the asks is returned.
func (e *Engine) must(ctx context.Context, asks ...*ask) error {
	e.together(ctx, asks...)
	for _, a := range asks {
		if a.err != nil {
			return a.err
		}
		if err := refused(a.addr, a.commands, a.replies); err != nil {
			return err
		}
	}
	return nil
}

func view(addr string, reply any) (*router.View, error) {
	v, err := router.ParseNodes([]byte(text(reply)), addr)
	if err != nil {
		return nil, fail(machine.NodeLost, "%s: %v", addr, err)
	}
	return v, nil
}

// views asks nodes for their picture of the cluster, all at once.
func (e *Engine) views(ctx context.Context, addrs ...string) ([]*router.View, error) {
	asks := make([]*ask, len(addrs))
	for i, addr := range addrs {
		asks[i] = &ask{addr: addr, commands: [][]string{cmd("CLUSTER", "NODES")}}
	}
	if err := e.must(ctx, asks...); err != nil {
		return nil, err
	}
	out := make([]*router.View, len(addrs))
	for i, a := range asks {
		var err error
		if out[i], err = view(a.addr, a.replies[0]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// counts are the keys of each slot on a node, in all its databases.
func (e *Engine) counts(ctx context.Context, p *peer, slots []uint16) ([]int64, error) {
	commands := make([][]string, 0, len(slots)+1)
	sums := make([]int64, len(slots))
	if p.databases == 1 {
		for _, s := range slots {
			commands = append(commands, cmd("CLUSTER", "COUNTKEYSINSLOT", number(s)))
		}
		r, err := e.do(ctx, p.Addr, commands...)
		addCounts(sums, r)
		return sums, err
	}
	s, err := e.session(ctx, p.Addr)
	if err != nil {
		return nil, err
	}
	defer e.giveBack(p.Addr, s)
	for db := range p.databases {
		commands = append(commands[:0], cmd("SELECT", strconv.Itoa(db)))
		for _, s := range slots {
			commands = append(commands, cmd("CLUSTER", "COUNTKEYSINSLOT", number(s)))
		}
		r, err := s.must(ctx, e.cfg.Limits.Answer, commands...)
		if err != nil {
			return nil, err
		}
		addCounts(sums, r[1:])
	}
	return sums, nil
}

func addCounts(sums []int64, replies []any) {
	for i, r := range replies {
		n, _ := r.(int64)
		sums[i] += n
	}
}

func total(counts []int64) int64 {
	var n int64
	for _, c := range counts {
		n += c
	}
	return n
}

// line is a Session with its address, for errors.
type line struct {
	Session
	addr   string
	broken bool
}

// must runs commands; an error reply to any of them is a *refusal.
func (l *line) must(ctx context.Context, limit time.Duration, commands ...[]string) ([]any, error) {
	r, err := l.try(ctx, limit, commands...)
	if err != nil {
		return nil, err
	}
	return r, refused(l.addr, commands, r)
}

func (l *line) try(ctx context.Context, limit time.Duration, commands ...[]string) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := l.Do(ctx, commands...)
	l.broken = l.broken || err != nil
	return r, err
}

// session takes an idle connection to a node, or opens one. Which database it is at is not known.
func (e *Engine) session(ctx context.Context, addr string) (*line, error) {
	e.mu.Lock()
	if idle := e.idle[addr]; len(idle) > 0 {
		s := idle[len(idle)-1]
		e.idle[addr] = idle[:len(idle)-1]
		e.mu.Unlock()
		return &line{Session: s, addr: addr}, nil
	}
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Limits.Answer)
	defer cancel()
	s, err := e.cfg.Nodes.Session(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &line{Session: s, addr: addr}, nil
}

func (e *Engine) giveBack(addr string, l *line) {
	e.mu.Lock()
	keep := !l.broken && !e.closed && len(e.idle[addr]) < e.cfg.Limits.Sessions
	if keep {
		e.idle[addr] = append(e.idle[addr], l.Session)
	}
	e.mu.Unlock()
	if !keep {
		l.Close()
	}
}

// learnShards remembers who followed whom: of a primary that is gone, the new one is found among its former replicas.
// CLUSTER NODES does not name shards.
func (e *Engine) learnShards() {
	t := e.cfg.Topology()
	e.mu.Lock()
	defer e.mu.Unlock()
	if t == nil || t.Version == e.seen && len(e.roots) > 0 {
		return
	}
	e.seen = t.Version
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Primary {
			if _, known := e.roots[n.ID]; !known {
				e.roots[n.ID] = n.ID
			}
			e.led[n.ID] = e.roots[n.ID]
		}
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Primary || n.PrimaryID == "" {
			continue
		}
		root, known := e.roots[n.PrimaryID]
		if !known {
			root = n.PrimaryID
		}
		e.roots[n.ID] = root
	}
}

func cmd(args ...string) []string { return args }

func number(slot uint16) string { return strconv.Itoa(int(slot)) }

func text(v any) string {
	s, _ := v.(string)
	return s
}

// setting is the value in a reply to CONFIG GET of one name, "" if the node does not know it or refuses.
func setting(v any) string {
	if a, _ := v.([]any); len(a) == 2 {
		return text(a[1])
	}
	return ""
}

// named lists slots for people: "0-5 9".
func named(slots []uint16) string {
	sorted := slices.Sorted(slices.Values(slots))
	var b strings.Builder
	for i := 0; i < len(sorted); {
		k := i
		for k+1 < len(sorted) && sorted[k+1] == sorted[k]+1 {
			k++
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(number(sorted[i]))
		if k > i {
			b.WriteString("-" + number(sorted[k]))
		}
		i = k + 1
	}
	return b.String()
}
