package migrate

import (
	"context"
	"fmt"
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

// realTimeout bounds what takes a second or two when the machine is idle.
const realTimeout = 2 * time.Minute

// rig is a real cluster with keys, a keeper and a coordinator.
type rig struct {
	t      *testing.T
	cl     *testcluster.Cluster
	src    *cluster.Source
	keeper *router.Keeper
	dir    string
	keys   int

	c    *Coordinator
	stop func()
}

func newRig(t *testing.T, o testcluster.Options, keys int) *rig {
	t.Helper()
	o.Empty = 1
	r := &rig{t: t, cl: testcluster.ForTest(t, o), dir: t.TempDir(), keys: keys}
	r.src = cluster.NewSource(cluster.Config{Password: o.Password})
	t.Cleanup(r.src.Close)
	r.keeper = router.NewKeeper(r.src, router.KeeperConfig{Seeds: r.cl.Addrs()})
	r.background(r.keeper.Run)
	for deadline := time.Now().Add(realTimeout); r.keeper.Table() == nil || len(r.keeper.Table().Nodes) != len(r.cl.Nodes); {
		if time.Now().After(deadline) {
			t.Fatal("the keeper sees no cluster")
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.fill()
	return r
}

// background runs something until the test ends, or the function that is returned is called.
func (r *rig) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Error(err)
			}
		case <-time.After(realTimeout):
			r.t.Error("something does not end")
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func key(i int) string { return fmt.Sprintf("key:%d", i) }

func (r *rig) fill() {
	r.t.Helper()
	t := r.keeper.Table()
	byAddr := map[string][][]string{}
	for i := range r.keys {
		addr := t.Node(router.Slot([]byte(key(i)))).Addr
		byAddr[addr] = append(byAddr[addr], []string{"SET", key(i), fmt.Sprint("value ", i)})
	}
	for addr, commands := range byAddr {
		replies, err := r.src.Do(context.Background(), addr, commands...)
		if err == nil {
			err = firstError(replies)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// start makes a coordinator on the rig's folder and runs it.
func (r *rig) start() *rig {
	r.t.Helper()
	r.c = r.coordinator(r.dir)
	r.stop = r.background(r.c.Run)
	return r
}

func (r *rig) coordinator(dir string) *Coordinator { return r.coordinatorWith(dir, r.src) }

func (r *rig) coordinatorWith(dir string, nodes engine.Nodes) *Coordinator {
	r.t.Helper()
	c, err := New(Config{Dir: dir, Nodes: nodes, Topology: r.keeper.Table, Refresh: func() { r.keeper.Hint(router.Hint{}) }})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) begin(c *Coordinator, g Goal, o machine.Options) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), realTimeout)
	defer cancel()
	for {
		// What the last job has done may not be known everywhere yet.
		p, err := c.Plan(ctx, g)
		id := ""
		if err == nil {
			id, err = c.Start(ctx, p, o, "test")
		}
		if err == nil {
			return id
		}
		text := err.Error()
		if ctx.Err() != nil || !strings.HasPrefix(text, "NOTMOVABLE") && !strings.HasPrefix(text, "STALEPLAN") && !strings.HasPrefix(text, "BUSYJOB no job") {
			r.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (r *rig) wait(c *Coordinator, id, what string, is func(Status) bool) Status {
	r.t.Helper()
	var st Status
	for deadline := time.Now().Add(realTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if st, _ = c.Job(id); is(st) {
			return st
		}
	}
	r.t.Fatalf("job %s does not become %s: %+v", id, what, st)
	return st
}

func (r *rig) ended(c *Coordinator, id string) Status {
	r.t.Helper()
	return r.wait(c, id, "ended", func(s Status) bool { return !s.Finished.IsZero() })
}

// sound checks that each key is at its owner and nowhere else, and that all nodes agree with nothing open.
func (r *rig) sound() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), realTimeout)
	defer cancel()
	if err := r.cl.WaitOK(ctx); err != nil {
		r.t.Fatal(err)
	}
	owners, err := r.cl.Owners()
	if err != nil {
		r.t.Fatal(err)
	}
	wrong := 0
	gets := map[string][][]string{}
	values := map[string][]string{}
	for i := range r.keys {
		addr := owners[router.Slot([]byte(key(i)))].Addr
		gets[addr] = append(gets[addr], []string{"GET", key(i)})
		values[addr] = append(values[addr], fmt.Sprint("value ", i))
	}
	for addr, commands := range gets {
		replies, err := r.src.Do(ctx, addr, commands...)
		if err != nil {
			r.t.Fatal(err)
		}
		for i, v := range replies {
			if v != values[addr][i] {
				wrong++
			}
		}
	}
	total := int64(0)
	for _, n := range r.cl.Nodes {
		raw, err := n.Do("CLUSTER", "NODES")
		if err != nil {
			continue
		}
		if text := raw.(string); strings.Contains(text, "[") {
			r.t.Errorf("a slot is open on %s:\n%s", n.Addr, text)
		}
		if v, err := router.ParseNodes([]byte(raw.(string)), n.Addr); err != nil || v.Node(v.Myself).Primary {
			size, _ := n.Do("DBSIZE")
			k, _ := size.(int64)
			total += k
		}
	}
	if wrong > 0 || total != int64(r.keys) {
		r.t.Errorf("%d of %d keys are wrong, and all primaries have %d", wrong, r.keys, total)
	}
}

// empty is the primary that began without slots.
func (r *rig) empty() *testcluster.Node {
	for _, n := range r.cl.Nodes {
		if n.ID == r.cl.Nodes[3].ID {
			return n
		}
	}
	return nil
}

// each runs a test with every version of the server, and both engines where there are two.
func each(t *testing.T, run func(t *testing.T, v testcluster.Version, engine string)) {
	for _, v := range testcluster.Need(t) {
		engines := []string{machine.Legacy}
		if strings.HasPrefix(string(v), "valkey-9") {
			engines = append(engines, machine.Atomic)
		}
		for _, engine := range engines {
			t.Run(string(v)+" "+engine, func(t *testing.T) { run(t, v, engine) })
		}
	}
}

func TestSlotsMoveOnRealServers(t *testing.T) {
	each(t, func(t *testing.T, v testcluster.Version, engine string) {
		r := newRig(t, testcluster.Options{Version: v, Password: "secret"}, 5000).start()
		id := r.begin(r.c, Goal{Kind: Reshard, To: r.empty().Addr, Slots: 300}, machine.Options{Engine: engine})
		st := r.ended(r.c, id)
		if st.State != Success || st.SlotsDone != 300 || st.KeysMoved != st.KeysTotal {
			t.Errorf("got %s (%s), %d of 300 slots, %d of %d keys", st.State, st.Reason, st.SlotsDone, st.KeysMoved, st.KeysTotal)
		}
		measured := 0
		for _, m := range st.Measures {
			if measured += m.Slots; m.Target != r.empty().ID || m.Engine != engine || m.SlotsTook <= 0 || m.SlotsTook > st.Finished.Sub(st.Started) {
				t.Errorf("it has measured %+v", m)
			}
		}
		if measured != 300 {
			t.Errorf("%d of 300 slots are measured", measured)
		}
		r.sound()
		id = r.begin(r.c, Goal{Kind: Evacuate, Node: r.empty().ID}, machine.Options{Engine: engine})
		if st := r.ended(r.c, id); st.State != Success || st.SlotsDone != 300 {
			t.Errorf("back: got %s (%s), %d of 300 slots", st.State, st.Reason, st.SlotsDone)
		}
		r.sound()
		if raw, err := r.empty().Do("CLUSTER", "NODES"); err != nil || !strings.Contains(raw.(string), "myself,master") {
			t.Errorf("the empty node is no primary any more: %v, %v", raw, err)
		}
		t.Logf("%d keys and 600 slots in %s", 2*st.KeysMoved, st.Finished.Sub(st.Started))
	})
}
