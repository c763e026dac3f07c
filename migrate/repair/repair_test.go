package repair_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/repair"
	"slotproxy/router"
)

// ward is a cluster with a doctor.
type ward struct {
	t      *testing.T
	cl     *testcluster.Cluster
	a, b   *testcluster.Node // the owner of the slot, and another primary
	c      *testcluster.Node // a third one
	slot   int
	doctor *repair.Doctor

	mu   sync.Mutex
	kept []string // keys in the side file; guarded by mu
}

// tag is the hash tag of the keys of slot 7638, which the second of three primaries owns.
const tag = "{bar}"

func newWard(t *testing.T, o testcluster.Options) *ward {
	t.Helper()
	cl := testcluster.ForTest(t, o)
	src := cluster.NewSource(cluster.Config{})
	t.Cleanup(src.Close)
	w := &ward{t: t, cl: cl, slot: int(router.Slot([]byte(tag)))}
	w.a = cl.Nodes[w.slot*3/router.Slots]
	w.b, w.c = cl.Nodes[(w.slot*3/router.Slots+1)%3], cl.Nodes[(w.slot*3/router.Slots+2)%3]
	e := engine.New(engine.Config{Nodes: src, Topology: w.table, Ours: func(uint16) bool { return true },
		Side: func(p engine.Pair) error { return w.keep(p.Key) }})
	t.Cleanup(e.Close)
	w.doctor = &repair.Doctor{
		Nodes: src, Topology: w.table, Run: e.Run, Log: slog.New(slog.DiscardHandler), Settle: 300 * time.Millisecond,
		Keep: func(_ string, _ int, key, _ string) error { return w.keep(key) },
	}
	return w
}

func (w *ward) keep(key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, key)
	return nil
}

// table is the cluster's nodes; who owns what the doctor asks for itself.
func (w *ward) table() *router.Table {
	t := &router.Table{Version: 1}
	for _, n := range w.cl.Nodes {
		t.Nodes = append(t.Nodes, router.Node{ID: n.ID, Addr: n.Addr, Host: n.Host, Port: uint16(n.Port), Primary: n.Primary, PrimaryID: n.PrimaryID})
	}
	slices.SortFunc(t.Nodes, func(a, b router.Node) int { return strings.Compare(a.ID, b.ID) })
	owners, err := w.cl.Owners()
	for slot := range t.Owner {
		t.Owner[slot] = -1
		if err == nil && owners[slot] != nil {
			t.Owner[slot] = int16(t.ByID(owners[slot].ID))
			t.Nodes[t.Owner[slot]].Slots++
		}
	}
	return t
}

func (w *ward) do(n *testcluster.Node, args ...string) any {
	w.t.Helper()
	v, err := w.cl.Do(n, args...)
	if err != nil {
		w.t.Fatalf("%s %v: %v", n.Addr, args, err)
	}
	return v
}

func (w *ward) setslot(n *testcluster.Node, words ...string) {
	w.t.Helper()
	w.do(n, append([]string{"CLUSTER", "SETSLOT", strconv.Itoa(w.slot)}, words...)...)
}

// fill writes keys of the slot at its owner.
func (w *ward) fill(keys int) {
	w.t.Helper()
	for i := range keys {
		w.do(w.a, "SET", fmt.Sprint(tag, i), fmt.Sprint("value ", i))
	}
}

// carry moves so many of them by hand; the slot is open.
func (w *ward) carry(to *testcluster.Node, keys int) {
	w.t.Helper()
	for i := range keys {
		w.do(w.a, "MIGRATE", to.Host, strconv.Itoa(to.Port), fmt.Sprint(tag, i), "0", "5000")
	}
}

// plant puts a key on a node that does not own the slot.
func (w *ward) plant(n *testcluster.Node, key, value string) {
	w.t.Helper()
	w.setslot(n, "IMPORTING", w.a.ID)
	if _, err := n.Do("RESTORE-ASKING", key, "0", w.dump(value)); err != nil {
		w.t.Fatal(err)
	}
}

// dump is a value as RESTORE takes it, made at the owner.
func (w *ward) dump(value string) string {
	w.t.Helper()
	w.do(w.a, "SET", tag+"mould", value)
	d, _ := w.do(w.a, "DUMP", tag+"mould").(string)
	w.do(w.a, "DEL", tag+"mould")
	return d
}

// readable counts the keys that clients of the cluster find with the right value.
func (w *ward) readable(keys int) (n int) {
	owner, err := w.cl.SlotOwner(w.slot)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range keys {
		if v, err := w.cl.Do(owner, "GET", fmt.Sprint(tag, i)); err == nil && v == fmt.Sprint("value ", i) {
			n++
		}
	}
	return n
}

const filled = 20

// ills are states that crashes and people leave behind.
var ills = []struct {
	name, kind string
	bring      func(w *ward)
	owner      func(w *ward) *testcluster.Node // after the repair; nil: nobody special
	orphans    string
	only       string // a version, "" for all
	kept       []int  // keys whose copy that does not count is in the side file
}{
	{name: "opened on both sides, nothing moved", kind: "interrupted-move", owner: (*ward).first, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
	}},
	{name: "half moved", kind: "interrupted-move", owner: (*ward).second, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled/2)
	}},
	{name: "all moved, not handed over", kind: "interrupted-move", owner: (*ward).second, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled)
	}},
	{name: "the target waits, the source does not know", kind: "target-waits", owner: (*ward).first, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
	}},
	{name: "the source moves, the target does not know", kind: "target-forgot", owner: (*ward).first, bring: func(w *ward) {
		w.setslot(w.a, "MIGRATING", w.b.ID)
	}},
	{name: "the target has lost its state and has keys", kind: "target-forgot", owner: (*ward).second, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled/2)
		w.setslot(w.b, "STABLE")
	}},
	{name: "the source has lost its state and the target has keys", kind: "source-forgot", owner: (*ward).second, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled/2)
		w.setslot(w.a, "STABLE")
	}},
	{name: "two targets", kind: "several-targets", owner: (*ward).second, bring: func(w *ward) {
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.c, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled/2)
	}},
	{name: "two targets with keys", kind: "several-targets", owner: (*ward).second, kept: []int{3, 12}, bring: func(w *ward) {
		w.doctor.Failover = func(machine.Unit) bool { return true } // of the source; what the third node has is older nevertheless
		old := w.dump("an old value")
		w.setslot(w.b, "IMPORTING", w.a.ID)
		w.setslot(w.c, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.c.ID)
		w.carry(w.c, 3) // only there
		w.setslot(w.a, "MIGRATING", w.b.ID)
		w.carry(w.b, filled/2)
		for _, i := range []int{3, 12} { // one has a newer value at the other target, one at the source
			if _, err := w.c.Do("RESTORE-ASKING", fmt.Sprint(tag, i), "0", old); err != nil {
				w.t.Fatal(err)
			}
		}
	}},
	{name: "keys where nobody looks", kind: "orphans", owner: (*ward).first, orphans: "merge", kept: []int{0}, bring: func(w *ward) {
		w.plant(w.b, fmt.Sprint(tag, filled), fmt.Sprint("value ", filled)) // only there
		w.plant(w.b, fmt.Sprint(tag, 0), "an old value")
		w.setslot(w.b, "STABLE")
	}},
	{name: "nobody owns it", kind: "no-owner", owner: (*ward).first, bring: func(w *ward) {
		w.do(w.a, "CLUSTER", "DELSLOTS", strconv.Itoa(w.slot))
		for _, n := range w.cl.Nodes {
			_, _ = w.cl.Do(n, "CLUSTER", "DELSLOTS", strconv.Itoa(w.slot)) // those that had it from the owner
		}
	}},
	// The last one, as it leaves a key behind.
	{name: "a node imports what another one has got since", kind: "outdated-target", owner: (*ward).third, bring: func(w *ward) {
		old := w.dump("an old value")
		w.setslot(w.c, "IMPORTING", w.a.ID)
		w.setslot(w.a, "MIGRATING", w.c.ID)
		w.carry(w.c, filled)
		w.setslot(w.c, "NODE", w.c.ID)
		w.setslot(w.a, "NODE", w.c.ID)
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // what gossip brings would close it
			if v := w.do(w.b, "CLUSTER", "NODES").(string); owns(v, w.c.ID, w.slot) || time.Now().After(end) {
				break
			}
		}
		w.setslot(w.b, "IMPORTING", w.a.ID)
		if _, err := w.b.Do("RESTORE-ASKING", fmt.Sprint(tag, 0), "0", old); err != nil {
			w.t.Fatal(err)
		}
	}},
}

// owns tells whether a node's view gives a slot to a node.
func owns(view, id string, slot int) bool {
	v, err := router.ParseNodes([]byte(view), "")
	return err == nil && v.OwnerID(uint16(slot)) == id
}

func (w *ward) first() *testcluster.Node  { return w.a }
func (w *ward) second() *testcluster.Node { return w.b }
func (w *ward) third() *testcluster.Node  { return w.c }

func TestEveryIllIsNamedAndCured(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			w := newWard(t, testcluster.Options{Version: v})
			for _, ill := range ills {
				t.Run(strings.ReplaceAll(ill.name, " ", "_"), func(t *testing.T) {
					w.t = t
					w.healthy()
					w.fill(filled)
					ill.bring(w)
					w.cured(ill.kind, ill.owner(w), ill.orphans)
					slices.Sort(w.kept)
					var want []string
					for _, i := range ill.kept {
						want = append(want, fmt.Sprint(tag, i))
					}
					if slices.Sort(want); !slices.Equal(w.kept, want) {
						t.Errorf("kept aside are %q, want %q", w.kept, want)
					}
				})
			}
		})
	}
}

// healthy brings the slot back to its first owner, empty.
func (w *ward) healthy() {
	w.t.Helper()
	owner, err := w.cl.SlotOwner(w.slot)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range filled + 1 {
		_, _ = w.cl.Do(owner, "DEL", fmt.Sprint(tag, i))
	}
	if owner != w.a {
		w.setslot(w.a, "IMPORTING", owner.ID)
		w.setslot(owner, "MIGRATING", w.a.ID)
		w.setslot(w.a, "NODE", w.a.ID)
		w.setslot(owner, "NODE", w.a.ID)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.cl.WaitOK(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.kept, w.doctor.Failover = nil, nil
}

// cured checks what the doctor finds, that a dry run changes nothing, and that the cure works.
func (w *ward) cured(kind string, owner *testcluster.Node, orphans string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o := repair.Options{DryRun: true, Orphans: orphans}
	dry, err := w.doctor.Fix(ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	f := find(dry, kind)
	if f == nil || len(f.Slots) != 1 || int(f.Slots[0]) != w.slot || len(f.Repair) == 0 || len(dry.Done) != 0 {
		w.t.Fatalf("the dry run found %+v, want %s of slot %d with a repair and nothing done", dry, kind, w.slot)
	}
	w.t.Logf("%s\n  %s", f.Text, strings.Join(f.Repair, "\n  "))
	if again, err := w.doctor.Check(ctx); err != nil || find(again, kind) == nil {
		w.t.Fatalf("after a dry run: %+v, %v; want the same finding", again, err)
	}
	o.DryRun = false
	r, err := w.doctor.Fix(ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	if !r.OK && !w.settled(ctx) || len(r.Done) == 0 {
		w.t.Fatalf("after the repair: %+v", r)
	}
	if now, err := w.cl.SlotOwner(w.slot); err != nil || now.ID != owner.ID {
		w.t.Errorf("%v owns slot %d, want %s; %v", now, w.slot, owner.Addr, err)
	}
	if n := w.readable(filled); n != filled {
		w.t.Errorf("%d of %d keys are there", n, filled)
	}
	if n := w.readable(filled + 1); orphans == "merge" && n != filled+1 {
		w.t.Errorf("%d of %d keys are there after a merge", n, filled+1)
	}
}

// settled says that a check is content soon: gossip may be behind.
func (w *ward) settled(ctx context.Context) bool {
	for ctx.Err() == nil {
		if r, err := w.doctor.Check(ctx); err == nil && r.OK && r.Agree {
			return true
		}
	}
	return false
}

func find(r *repair.Report, kind string) *repair.Finding {
	for i := range r.Findings {
		if r.Findings[i].Kind == kind {
			return &r.Findings[i]
		}
	}
	return nil
}
