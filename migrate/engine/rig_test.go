package engine_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// rig is a real cluster with an engine.
type rig struct {
	testing.TB
	cl  *testcluster.Cluster
	src *cluster.Source
	e   *engine.Engine

	mu      sync.Mutex
	version uint64
	side    []engine.Pair
	gate    []string // what the gate was asked, in order
	moved   int64    // as Progress tells it
}

func newRig(t testing.TB, o testcluster.Options, change func(*engine.Config)) *rig {
	t.Helper()
	if o.Empty == 0 {
		o.Empty = 1
	}
	r := &rig{TB: t, cl: testcluster.ForTest(t, o)}
	config := cluster.Config{Password: o.Password}
	if o.TLS != nil {
		var err error
		if config.TLS, err = o.TLS.ClientConfig(); err != nil {
			t.Fatal(err)
		}
	}
	r.src = cluster.NewSource(config)
	t.Cleanup(r.src.Close)
	r.e = r.engine(change)
	return r
}

// engine makes another engine, as a restart does.
func (r *rig) engine(change func(*engine.Config)) *engine.Engine {
	c := engine.Config{Nodes: r.src, Gate: (*gate)(r), Topology: r.table, Side: r.keep, Progress: r.progress}
	if change != nil {
		change(&c)
	}
	e := engine.New(c)
	r.Cleanup(e.Close)
	return e
}

type gate rig

func (g *gate) Hold(_ context.Context, slots []uint16, _ time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = append(g.gate, "hold "+strconv.Itoa(len(slots)))
	return nil
}

func (g *gate) Release(slots []uint16, owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = append(g.gate, strings.TrimSpace(fmt.Sprint("release ", len(slots), " ", owner)))
}

func (g *gate) Extend(slots []uint16, limit time.Duration) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = append(g.gate, "extend "+strconv.Itoa(len(slots)))
	return limit, nil
}

func (g *gate) Waiting([]uint16) bool { return false }

func (r *rig) keep(p engine.Pair) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.side = append(r.side, p)
	return nil
}

func (r *rig) progress(_ int, keys, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved += keys
}

// table asks a node that answers, each time.
func (r *rig) table() *router.Table {
	for _, n := range r.cl.Nodes {
		if !n.Alive() {
			continue
		}
		raw, err := n.Do("CLUSTER", "NODES")
		if err != nil {
			continue
		}
		v, err := router.ParseNodes([]byte(raw.(string)), n.Addr)
		if err != nil {
			continue
		}
		r.mu.Lock()
		r.version++
		t := &router.Table{Version: r.version}
		r.mu.Unlock()
		index := map[string]int16{}
		for i, n := range v.Nodes {
			t.Nodes = append(t.Nodes, n.Node)
			index[n.ID] = int16(i)
		}
		for s := range t.Owner {
			t.Owner[s] = -1
			if o := v.Owner(uint16(s)); o != nil {
				t.Owner[s] = index[o.ID]
			}
		}
		return t
	}
	r.Error("no node answers")
	return &router.Table{}
}

// gated is the way of a unit that is held.
var gated = []machine.Step{machine.Prepare, machine.Hold, machine.Open, machine.Move, machine.Commit, machine.Release,
	machine.Tell, machine.Verify}

// online is the way of one that is too large for it.
var online = []machine.Step{machine.Prepare, machine.Open, machine.Move, machine.Commit, machine.Release, machine.Tell,
	machine.Verify}

// unit is slots of the first primary for the last node.
func (r *rig) unit(id int, slots ...uint16) machine.Unit {
	to := r.cl.Nodes[3]
	return machine.Unit{ID: id, Source: r.cl.Nodes[0].ID, Target: to.ID, Slots: slots, Engine: machine.Legacy}
}

// attempt does steps in a goroutine of a test; false and the test has failed.
func (r *rig) attempt(u machine.Unit, steps []machine.Step) bool {
	for _, s := range steps {
		u.Committed = u.Committed || s == machine.Release
		if got := r.try(u, s); got.Outcome != machine.Done {
			r.Errorf("step %d of %v: outcome %d: %s", s, u.Slots, got.Outcome, got.Reason)
			return false
		}
	}
	return true
}

// run does one step that must be Done; Again is tried again for a while.
func (r *rig) run(u machine.Unit, step machine.Step) machine.Result {
	r.Helper()
	got := r.try(u, step)
	if got.Outcome != machine.Done {
		r.Fatalf("step %d of %v: outcome %d: %s", step, u.Slots, got.Outcome, got.Reason)
	}
	return got
}

func (r *rig) try(u machine.Unit, step machine.Step) machine.Result {
	var got machine.Result
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got = r.e.Run(context.Background(), u, step)
		if got.Outcome != machine.Again || time.Now().After(end) {
			break
		}
	}
	return got
}

func (r *rig) runAll(u machine.Unit, steps []machine.Step) {
	r.Helper()
	for _, s := range steps {
		u.Committed = u.Committed || s == machine.Release
		r.run(u, s)
	}
}

// do runs a command on a node; an error ends the test.
func (r *rig) do(n *testcluster.Node, args ...string) any {
	r.Helper()
	v, err := n.Do(args...)
	if err != nil {
		r.Fatalf("%v on %s: %v", args, n.Addr, err)
	}
	return v
}

func slotsOf(first, count int) []uint16 {
	out := make([]uint16, count)
	for i := range out {
		out[i] = uint16(first + i)
	}
	return out
}

// onAll runs a test on each server version.
func onAll(t *testing.T, f func(t *testing.T, v testcluster.Version)) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) { f(t, v) })
	}
}

// tags[slot] is a hash tag of it.
var tags = sync.OnceValue(func() *[router.Slots]string {
	out := new([router.Slots]string)
	for i, left := 0, router.Slots; left > 0; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		if s := router.Slot([]byte(tag)); out[s] == "" {
			out[s] = tag
			left--
		}
	}
	return out
})
