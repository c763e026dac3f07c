package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"slotproxy/resp"
	"slotproxy/router"
)

// thread is a share of the clients, and the goroutine that serves them. All fields but the counters are touched by that goroutine alone,
// recorders also by Stop when it has ended.
type thread struct {
	run     *Run
	number  int
	poll    *poller
	clients []*client
	links   []*link
	dirty   []*link
	buf     []byte // what was read last
	opening int    // greetings that are to be answered before the load begins
	broken  error  // why it cannot begin

	addrs   []string // nodes, in the order in which they were heard of
	owner   [router.Slots]int16
	table   *table // of which owner was made
	ops     choice
	keys    chooser
	sizes   sizes
	dice    *rand.Rand
	write   writer
	scratch []byte

	pace        pace
	outstanding int
	spare       []*operation
	recorders   []*recorder // by phase
}

// client is one user. It has a link to each node that it needs.
type client struct {
	thread *thread
	links  []*link // by node
	home   int16   // the node of a bound client, -1 for all
	open   int     // operations under way
	rest   int64   // it sends nothing before
}

// operation is one under way.
type operation struct {
	client  *client
	kind    int
	size    int
	keys    []located
	parts   int
	phase   int
	start   int64 // when it was due
	failed  bool
	missing bool
	live    bool // not among the spare
}

// bufSize is read at once: a megabyte value in a few calls, and small enough for the cache.
const bufSize = 256 << 10

func newThread(r *Run, number int) (*thread, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	c := &r.cfg
	t := &thread{run: r, number: number, poll: poll, buf: make([]byte, bufSize)}
	t.dice = rand.New(rand.NewPCG(uint64(number), 1)) // the same operations in every run
	t.ops = newChoice(c.Ops, func(o Op) int { return o.Weight })
	t.keys = newChooser(c.Distribution, c.Keys, number, c.Threads, t.dice)
	t.sizes = sizes{c.Sizes, newChoice(c.Sizes, func(s Size) int { return s.Weight }), t.dice}
	t.write = writer{prefix: c.Prefix, payload: r.payload}
	for i := number; i < c.Clients; i += c.Threads {
		t.clients = append(t.clients, &client{thread: t})
	}
	t.adopt(r.table.Load())
	return t, nil
}

// adopt takes over a table.
func (t *thread) adopt(tab *table) {
	t.table = tab
	var at []int16
	for _, addr := range tab.addrs {
		at = append(at, int16(t.node(addr)))
	}
	for slot, owner := range tab.owner {
		t.owner[slot] = -1
		if owner >= 0 {
			t.owner[slot] = at[owner]
		}
	}
}

// node is the number of an address.
func (t *thread) node(addr string) int {
	if i := slices.Index(t.addrs, addr); i >= 0 {
		return i
	}
	t.addrs = append(t.addrs, addr)
	return len(t.addrs) - 1
}

// link is the client's to a node. It may be closed.
func (c *client) link(node int) *link {
	for len(c.links) <= node {
		c.links = append(c.links, nil)
	}
	if c.links[node] == nil {
		l := &link{thread: c.thread, client: c, number: len(c.thread.links), addr: c.thread.addrs[node]}
		c.thread.links = append(c.thread.links, l)
		c.links[node] = l
	}
	return c.links[node]
}

// openAtOnce bounds the connections that are being opened by a thread: the queues of listeners hold some hundreds.
const openAtOnce = 64

// openTime bounds the opening of all connections.
const openTime = 60 * time.Second

// open connects all clients to all nodes and waits for the answers to their greetings.
func (t *thread) open() error {
	until := t.run.now() + openTime.Nanoseconds()
	for i, c := range t.clients {
		addrs := t.table.addrs
		c.home = -1
		if t.run.cfg.Bound {
			at := (t.number + i*t.run.cfg.Threads) % len(addrs)
			addrs = addrs[at : at+1]
			c.home = int16(t.node(addrs[0]))
		}
		for _, addr := range addrs {
			l := c.link(t.node(addr))
			if err := l.open(); err != nil {
				return fmt.Errorf("%s: %w", addr, err)
			}
			l.touch()
			t.opening++
			if err := t.await(openAtOnce, until); err != nil {
				return err
			}
		}
	}
	return t.await(1, until)
}

// await returns when fewer than so many greetings are unanswered.
func (t *thread) await(few int, until int64) error {
	for t.opening >= few {
		t.turn(10 * time.Millisecond)
		if t.broken != nil {
			return t.broken
		}
		if t.run.now() > until {
			return errors.New("not all clients could connect in time")
		}
		if err := t.run.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// serve is the goroutine.
func (t *thread) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer punctual()()
	defer t.run.ended(t)
	if !t.run.opened(t.open()) {
		return
	}
	t.pace.begin(t)
	for !t.over() {
		if tab := t.run.table.Load(); tab != t.table {
			t.adopt(tab)
		}
		t.turn(t.pace.send(t))
	}
	t.giveUp()
}

// turn sends what there is, waits for at most d, and deals with what came.
func (t *thread) turn(d time.Duration) {
	t.flush()
	n := t.poll.wait(d)
	for i := range t.poll.events[:n] {
		ev := &t.poll.events[i]
		if l := t.links[ev.Fd]; l.state != linkClosed && l.generation == uint32(ev.Pad) {
			l.ready(ev.Events)
		}
	}
}

func (t *thread) flush() {
	for i := 0; i < len(t.dirty); i++ { // a link that is lost may make others dirty
		t.dirty[i].flush()
	}
	t.dirty = t.dirty[:0]
}

// over tells that all that was due has been answered, or that the time to wait for it has passed.
func (t *thread) over() bool {
	stop := t.run.stopAt.Load()
	if t.outstanding == 0 && t.pace.done {
		return true
	}
	return stop != 0 && t.run.now() > stop+t.run.cfg.Wait.Nanoseconds()
}

// begin makes an operation of a client that was due at start.
func (t *thread) begin(c *client, start int64) {
	op := t.take()
	op.client, op.start, op.phase = c, start, t.run.phaseAt(start)
	if len(t.run.kinds) > 1 {
		op.kind = t.ops.draw(t.dice)
	}
	k := &t.run.kinds[op.kind]
	op.size = t.sizes.next()
	for range k.keys {
		op.keys = append(op.keys, t.key(c))
	}
	c.open++
	t.outstanding++
	if len(op.keys) == 1 || !t.run.cfg.Target.cluster() {
		op.parts = 1
		t.direct(part{op: op, to: int32(len(op.keys))})
		return
	}
	t.split(op)
}

// boundDraws is how often a bound client draws before it takes a key of another node: there are nodes that have lost their slots.
const boundDraws = 1000

// key draws a key for a client.
func (t *thread) key(c *client) located {
	for draw := 0; ; draw++ {
		key := t.keys.next()
		t.scratch = t.write.name(t.scratch[:0], key)
		slot := router.Slot(t.scratch)
		if c.home < 0 || t.owner[slot] == c.home || draw >= boundDraws {
			return located{key, slot}
		}
	}
}

// split sends the keys of each slot as a command of its own, as a cluster wants it.
func (t *thread) split(op *operation) {
	slices.SortFunc(op.keys, func(a, b located) int { return int(a.slot) - int(b.slot) })
	op.parts = 1 // ours, so that it does not end while its parts are made
	for from := 0; from < len(op.keys); {
		to := from + 1
		for to < len(op.keys) && op.keys[to].slot == op.keys[from].slot {
			to++
		}
		op.parts++
		t.direct(part{op: op, from: int32(from), to: int32(to)})
		from = to
	}
	t.finished(op, t.run.now())
}

func (t *thread) take() *operation {
	n := len(t.spare)
	if n == 0 {
		return &operation{live: true}
	}
	op := t.spare[n-1]
	t.spare = t.spare[:n-1]
	*op = operation{keys: op.keys[:0], live: true}
	return op
}

// direct sends a part to the owner of its slot.
func (t *thread) direct(p part) {
	owner := t.owner[p.op.keys[p.from].slot]
	if owner < 0 {
		t.failed(p.op, "a slot without an owner")
		p.op.client.rest = t.run.now() + retryPause
		t.run.ask()
		t.finished(p.op, t.run.now())
		return
	}
	t.send(p, int(owner), false)
}

// send queues a part.
func (t *thread) send(p part, node int, asking bool) {
	c := p.op.client
	l := c.link(node)
	if l.state == linkClosed {
		now := t.run.now()
		err := errors.New("connection lost, not open again")
		if now >= l.retryAt {
			err = l.open()
		}
		if err != nil {
			l.retryAt = max(l.retryAt, now+1)
			c.rest = max(c.rest, l.retryAt, now+retryPause/10)
			t.failed(p.op, l.addr+": "+err.Error())
			t.finished(p.op, now)
			return
		}
	}
	q := l.queue()
	if asking {
		*q = resp.AppendCommandStrings(*q, "ASKING")
		l.due = append(l.due, part{replies: 1})
	}
	k := &t.run.kinds[p.op.kind]
	*q = t.write.append(*q, k, p.op.keys[p.from:p.to], p.op.size)
	p.replies = int32(len(k.commands))
	l.due = append(l.due, p)
	l.touch()
}

// answered deals with a part that has all its replies.
func (t *thread) answered(p *part, now int64) {
	if p.turn != turnNone && !p.op.failed {
		t.recorder(p.op.phase).follows++
		next := part{op: p.op, from: p.from, to: p.to, hops: p.hops + 1}
		t.send(next, int(p.to2), p.turn == turnAsk)
		return
	}
	t.finished(p.op, now)
}

// failed counts an error, one for an operation.
func (t *thread) failed(op *operation, text string) {
	if !op.failed {
		op.failed = true
		t.recorder(op.phase).fail(text)
	}
}

// wonder has the slots looked up when an error says that they may have changed.
func (t *thread) wonder(kind resp.ErrorKind) {
	if kind == resp.ClusterDown || kind == resp.ReadOnly {
		t.run.ask()
	}
}

// finished is the end of a part, and of the operation if it was the last.
func (t *thread) finished(op *operation, now int64) {
	if op.parts--; op.parts > 0 {
		return
	}
	r := t.recorder(op.phase)
	o := &r.ops[op.kind]
	if op.failed {
		o.Failed++
		t.run.errors.Add(1)
	} else {
		o.Count++
		if op.missing {
			o.Missing++
		}
		_ = o.Latency.RecordValue(clamp(now - op.start)) // clamped, so it fits
	}
	t.run.count.Add(1)
	c := op.client
	op.live = false
	t.spare = append(t.spare, op)
	t.outstanding--
	if c.open--; c.open == 0 {
		t.pace.idle(c)
	}
}

func (t *thread) recorder(phase int) *recorder {
	for len(t.recorders) <= phase {
		t.recorders = append(t.recorders, nil)
	}
	if t.recorders[phase] == nil {
		t.recorders[phase] = newRecorder(t.run.kinds, t.run.cfg.Rate > 0)
	}
	return t.recorders[phase]
}

// giveUp counts what has not been answered. It took at least as long as until now, and leaving it out would make a target that hangs
// look fast.
func (t *thread) giveUp() {
	now := t.run.now()
	seen := map[*operation]bool{}
	for _, l := range t.links {
		for i := l.dueAt; i < len(l.due); i++ {
			op := l.due[i].op
			if op == nil || seen[op] {
				continue
			}
			seen[op] = true
			t.failed(op, "no answer in time")
			o := &t.recorder(op.phase).ops[op.kind]
			o.Failed++
			_ = o.Latency.RecordValue(clamp(now - op.start))
		}
	}
	t.pace.unsent(t, now)
}

func (t *thread) close() {
	for _, l := range t.links {
		if l.state != linkClosed {
			l.state = linkClosed
			closeSocket(l.fd)
		}
	}
	t.poll.close()
}
