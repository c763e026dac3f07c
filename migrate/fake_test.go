package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// fakeCluster answers what surveys and presences ask. It has no keys but counts.
type fakeCluster struct {
	mu      sync.Mutex
	ids     []string // of the primaries
	owner   [router.Slots]int
	epoch   int
	keys    int64 // in each slot
	clients map[string][]fakeClient
	nextID  int64
	down    map[string]bool
	late    map[string][]fakeClient // of closed connections that a node still shows
	marks   string                  // further fields of the first node's own line
	lingers bool                    // nodes do not notice that connections are closed
	losing  string                  // the command whose next reply gets lost, when the node has carried it out
	cpu     map[int]int64           // microseconds by slot; nil: the nodes do not say it
	busy    []int                   // slots whose next look finds a second more
}

type fakeClient struct {
	id        int64
	name, cmd string
	idle      int
}

func newFakeCluster(n int) *fakeCluster {
	f := &fakeCluster{keys: 2, clients: map[string][]fakeClient{}, late: map[string][]fakeClient{}, down: map[string]bool{}, epoch: 10, nextID: 100} // smaller ids are for clients that tests make
	for i := range n {
		f.ids = append(f.ids, strings.Repeat(fmt.Sprintf("%x", i+1), 40))
	}
	for s := range f.owner {
		f.owner[s] = s * (n - 1) / router.Slots // the last one has none
	}
	return f
}

func (f *fakeCluster) addr(i int) string { return fmt.Sprintf("127.0.0.1:%d", 7001+i) }

func (f *fakeCluster) at(addr string) int {
	for i := range f.ids {
		if f.addr(i) == addr {
			return i
		}
	}
	return -1
}

func (f *fakeCluster) nodes(asked int) string {
	var b strings.Builder
	for i, id := range f.ids {
		flags := "master"
		if i == asked {
			flags = "myself,master"
		}
		fmt.Fprintf(&b, "%s %s@%d %s - 0 0 %d connected", id, f.addr(i), 17001+i, flags, f.epoch+i)
		var slots []uint16
		for s, o := range f.owner {
			if o == i {
				slots = append(slots, uint16(s))
			}
		}
		if len(slots) > 0 {
			b.WriteString(" " + plan.Ranges(slots))
		}
		if i == 0 && asked == 0 {
			b.WriteString(f.marks)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (f *fakeCluster) table() *router.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	var views []*router.View
	for i := range f.ids {
		v, err := router.ParseNodes([]byte(f.nodes(i)), f.addr(i))
		if err != nil {
			panic(err)
		}
		views = append(views, v)
	}
	t, err := router.Build(views)
	if err != nil {
		panic(err)
	}
	return t
}

func (f *fakeCluster) Login() (user, password string) { return "", "" }

func (f *fakeCluster) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.at(addr)
	if at < 0 || f.down[addr] {
		return nil, errors.New("connection refused")
	}
	var out []any
	for _, c := range commands {
		switch strings.Join(c[:min(2, len(c))], " ") {
		case "CLUSTER NODES":
			out = append(out, f.nodes(at))
		case "INFO":
			out = append(out, "valkey_version:8.1.0\r\nused_memory:1000\r\nmaxmemory:0\r\nused_memory_startup:500\r\n")
		case "CLUSTER INFO":
			out = append(out, "cluster_state:ok\r\n")
		case "CLUSTER SLOT-STATS":
			var list []any
			for s, o := range f.owner {
				if o == at {
					list = append(list, []any{int64(s), f.stats(s)})
				}
			}
			out = append(out, list)
		case "CLIENT LIST":
			var b strings.Builder
			for _, k := range slices.Concat(f.late[addr], f.clients[addr]) {
				fmt.Fprintf(&b, "id=%d addr=127.0.0.1:50000 name=%s idle=%d cmd=%s\n", k.id, k.name, k.idle, k.cmd)
			}
			out = append(out, b.String())
		default:
			out = append(out, engine.ServerError("ERR unknown command "+strings.Join(c, " ")))
		}
	}
	return out, nil
}

// stats is what a node says of a slot, which works on.
func (f *fakeCluster) stats(slot int) []any {
	stats := []any{"key-count", f.keys}
	if f.cpu == nil {
		return stats
	}
	defer func() {
		if slices.Contains(f.busy, slot) {
			f.cpu[slot] += 1e6
		}
	}()
	return append(stats, "cpu-usec", f.cpu[slot])
}

func (f *fakeCluster) Session(_ context.Context, addr string) (engine.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at(addr) < 0 || f.down[addr] {
		return nil, errors.New("connection refused")
	}
	f.nextID++
	f.clients[addr] = append(f.clients[addr], fakeClient{id: f.nextID})
	return &fakeSession{f: f, addr: addr, id: f.nextID}, nil
}

type fakeSession struct {
	f    *fakeCluster
	addr string
	id   int64
}

func (s *fakeSession) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	var out []any
	for _, c := range commands {
		switch {
		case c[0] == "PING":
			out = append(out, "PONG")
		case c[0] == "CLIENT" && c[1] == "ID":
			out = append(out, s.id)
		case c[0] == "CLIENT" && c[1] == "SETNAME":
			s.f.with(func() {
				list := s.f.clients[s.addr]
				i := slices.IndexFunc(list, func(k fakeClient) bool { return k.id == s.id })
				list[i].name = c[2]
			})
			out = append(out, "OK")
		default:
			r, err := s.f.Do(ctx, s.addr, c)
			if err != nil {
				return nil, err
			}
			out = append(out, r...)
		}
		lost := false
		s.f.with(func() {
			if lost = s.f.losing == strings.Join(c[:min(2, len(c))], " "); lost {
				s.f.losing = ""
			}
		})
		if lost {
			return nil, context.DeadlineExceeded
		}
	}
	return out, nil
}

func (s *fakeSession) Close() {
	s.f.with(func() {
		if s.f.lingers {
			return
		}
		s.f.clients[s.addr] = slices.DeleteFunc(s.f.clients[s.addr], func(k fakeClient) bool { return k.id == s.id })
	})
}

func (f *fakeCluster) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// fakeRunner does steps on a fakeCluster. before may answer in its place.
type fakeRunner struct {
	f      *fakeCluster
	gate   engine.Gate
	before func(ctx context.Context, u machine.Unit, s machine.Step) *machine.Result

	mu    sync.Mutex
	steps []string
}

func (r *fakeRunner) Run(ctx context.Context, u machine.Unit, s machine.Step) machine.Result {
	r.mu.Lock()
	r.steps = append(r.steps, s.String())
	r.mu.Unlock()
	if r.before != nil {
		if res := r.before(ctx, u, s); res != nil {
			return *res
		}
	}
	res := machine.Result{Outcome: machine.Done, Source: u.Source, Target: u.Target}
	switch s {
	case machine.Hold:
		if err := r.gate.Hold(ctx, u.Slots, time.Second); err != nil {
			res.Outcome = machine.Again
		}
	case machine.Release:
		r.gate.Release(u.Slots, "")
	case machine.Move:
		res.Keys = r.f.keys * int64(len(u.Slots))
	case machine.Commit:
		r.f.with(func() {
			for _, slot := range u.Slots {
				r.f.owner[slot] = slices.Index(r.f.ids, u.Target)
			}
			r.f.epoch++
		})
	case machine.Look:
		r.f.with(func() {
			for _, slot := range u.Slots {
				o := r.f.ids[r.f.owner[slot]]
				res.Looks = append(res.Looks, machine.SlotLook{Slot: slot, SourceOwns: o == u.Source, TargetOwns: o == u.Target})
			}
		})
	}
	return res
}

func (r *fakeRunner) Close() {}

// fakeGate counts.
type fakeGate struct {
	mu   sync.Mutex
	held map[uint16]bool
}

func (g *fakeGate) Hold(_ context.Context, slots []uint16, _ time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range slots {
		g.held[s] = true
	}
	return nil
}

func (g *fakeGate) Release(slots []uint16, _ string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range slots {
		delete(g.held, s)
	}
}

func (g *fakeGate) Extend(_ []uint16, limit time.Duration) (time.Duration, error) { return limit, nil }

func (g *fakeGate) Waiting([]uint16) bool { return false }

func (g *fakeGate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held)
}

// bench is a coordinator on a fake cluster.
type bench struct {
	t      *testing.T
	f      *fakeCluster
	c      *Coordinator
	runner *fakeRunner
	gate   *fakeGate
	stop   func()
}

const testTimeout = 30 * time.Second

func newBench(t *testing.T, dir string, f *fakeCluster, before func(context.Context, machine.Unit, machine.Step) *machine.Result) *bench {
	t.Helper()
	b := &bench{t: t, f: f, gate: &fakeGate{held: map[uint16]bool{}}}
	b.runner = &fakeRunner{f: f, before: before}
	c, err := New(Config{Dir: dir, Nodes: f, Topology: f.table, Gate: b.gate})
	if err != nil {
		t.Fatal(err)
	}
	c.engine = func(d *drive) runner { b.runner.gate = d.gate; return b.runner }
	b.c = c
	return b
}

func (b *bench) run() *bench {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.c.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				b.t.Errorf("Run: %v", err)
			}
		case <-time.After(testTimeout):
			b.t.Error("Run does not end")
		}
	})
	b.t.Cleanup(b.stop)
	return b
}

// reshard starts to move n slots to the empty node.
func (b *bench) reshard(n int) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	p, err := b.c.Plan(ctx, Goal{Kind: Reshard, To: b.f.ids[len(b.f.ids)-1][:8], Slots: n})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.start(p)
}

// start begins a plan as soon as a job may.
func (b *bench) start(p *plan.Plan) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for {
		id, err := b.c.Start(ctx, p, machine.Options{}, "test")
		if err == nil {
			return id
		}
		if !strings.HasPrefix(err.Error(), "BUSYJOB no job can start") {
			b.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// wait polls a job until it is as wanted.
func (b *bench) wait(id string, what string, is func(Status) bool) Status {
	b.t.Helper()
	var st Status
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if st, _ = b.c.Job(id); is(st) {
			return st
		}
	}
	b.t.Fatalf("job %s does not become %s: %+v", id, what, st)
	return st
}

func (b *bench) ended(id, state string) Status {
	b.t.Helper()
	st := b.wait(id, "ended", func(s Status) bool { return !s.Finished.IsZero() })
	if st.State != state {
		b.t.Fatalf("job %s ended as %s (%s), want %s", id, st.State, st.Reason, state)
	}
	if n := b.gate.count(); n > 0 {
		b.t.Errorf("%d slots are still held", n)
	}
	return st
}

func (f *fakeCluster) owned(node int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, o := range f.owner {
		if o == node {
			n++
		}
	}
	return n
}
