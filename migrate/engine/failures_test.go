package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// beside runs a command in a slot that the node is importing.
func (r *rig) beside(n *testcluster.Node, args ...string) any {
	r.Helper()
	v, err := r.src.Do(context.Background(), n.Addr, []string{"ASKING"}, args)
	if err != nil {
		r.Fatal(err)
	}
	if e, is := v[1].(engine.ServerError); is {
		r.Fatalf("%v on %s: %v", args, n.Addr, e)
	}
	return v[1]
}

func key(slot, n int) string { return fmt.Sprintf("{%s}:%d", tags()[slot], n) }

func TestOfAKeyOnBothNodesTheRightCopyStays(t *testing.T) {
	for _, failover := range []bool{false, true} {
		t.Run(fmt.Sprint("after a failover ", failover), func(t *testing.T) {
			onAll(t, func(t *testing.T, v testcluster.Version) {
				r := newRig(t, testcluster.Options{Version: v}, nil)
				from, to := r.cl.Nodes[0], r.cl.Nodes[3]
				dumps := r.fill(from, []uint16{5, 6}, 40)
				u := r.unit(1, 5, 6)
				u.Failover = failover
				r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
				r.beside(to, "SET", key(5, 0), "other")
				r.beside(to, "RESTORE", key(5, 2), "0", dumps[key(5, 2)]) // the same on both
				r.beside(to, "RPUSH", key(6, 39), "other")
				r.run(u, machine.Move)
				r.runAll(u, gated[4:])
				if failover {
					for _, k := range []string{key(5, 0), key(6, 39)} {
						if r.do(to, "DUMP", k) == dumps[k] {
							t.Errorf("the source's %s has won over the target's", k)
						}
						delete(dumps, k)
					}
				}
				r.same(to, dumps)
				if len(r.side) != 2 {
					t.Fatalf("%d pairs were put aside, want 2", len(r.side))
				}
				for _, p := range r.side {
					if p.Source == p.Target || p.Kept != map[bool]string{false: "source", true: "target"}[failover] {
						t.Errorf("put aside: %+v", p)
					}
				}
			})
		})
	}
}

func TestATargetThatHangsInTheMiddleLosesAndDoublesNothing(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v, NodeTimeout: 30 * time.Second}, nil)
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		dumps := r.fill(from, slotsOf(5, 4), 300)
		u := r.unit(1, slotsOf(5, 4)...)
		r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
		if err := r.cl.Freeze(to); err != nil {
			t.Fatal(err)
		}
		frozen := r.e.Run(context.Background(), u, machine.Move)
		if frozen.Outcome == machine.Done {
			t.Fatalf("keys move to a node that hangs: %+v", frozen)
		}
		t.Log(frozen.Outcome, frozen.Reason)
		if err := r.cl.Thaw(to); err != nil {
			t.Fatal(err)
		}
		// What was on its way arrives now, while Move goes on.
		r.run(u, machine.Look)
		r.run(u, machine.Move)
		r.runAll(u, gated[4:5])
		gone := key(5, 7)
		r.do(to, "DEL", gone)
		delete(dumps, gone)
		r.runAll(u, gated[5:])
		r.same(to, dumps)
		if got := r.do(to, "EXISTS", gone); got != int64(0) {
			t.Error("a key that was deleted on its new node came back")
		}
		if len(r.side) != 0 {
			t.Errorf("put aside: %+v", r.side)
		}
	})
}

// TestALostAnswerIsResolvedInTheSameStep has a target that hangs for less than the engine waits.
func TestALostAnswerIsResolvedInTheSameStep(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v, NodeTimeout: 30 * time.Second}, func(c *engine.Config) {
			c.Limits.Answer = 10 * time.Second
		})
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		dumps := r.fill(from, slotsOf(5, 4), 100)
		u := r.unit(1, slotsOf(5, 4)...)
		r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
		if err := r.cl.Freeze(to); err != nil {
			t.Fatal(err)
		}
		thaw := time.AfterFunc(3*time.Second, func() { _ = r.cl.Thaw(to) })
		defer thaw.Stop()
		r.run(u, machine.Move)
		r.runAll(u, gated[4:])
		r.same(to, dumps)
	})
}

// TestWhatServersRefuse has the texts of all versions.
func TestWhatServersRefuse(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v, Password: "secret"}, nil)
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		r.fill(from, []uint16{5, 6}, 40)
		u := r.unit(1, 5, 6)
		expect := func(what string, s machine.Step, want machine.Outcome, has string) {
			t.Helper()
			got := r.e.Run(context.Background(), u, s)
			if got.Outcome != want || !strings.Contains(got.Reason, has) {
				t.Errorf("%s: outcome %d, want %d: %s", what, got.Outcome, want, got.Reason)
			}
		}
		r.do(to, "CLUSTER", "SETSLOT", "100", "IMPORTING", from.ID)
		expect("somebody else imports", machine.Prepare, machine.Foreign, "slot 100")
		r.do(to, "CLUSTER", "SETSLOT", "100", "STABLE")
		r.do(to, "CONFIG", "SET", "maxmemory", "1mb")
		expect("the target is full", machine.Prepare, machine.Blocked, "memory")
		r.do(to, "CONFIG", "SET", "maxmemory", "0")
		r.run(u, machine.Prepare)
		expect("nothing is open", machine.Move, machine.Unknown, "MOVED")
		r.run(u, machine.Open)
		expect("open already", machine.Prepare, machine.Unknown, "open")
		r.do(to, "CONFIG", "SET", "maxmemory", "1mb")
		expect("the target fills up", machine.Move, machine.Blocked, "OOM")
		r.do(to, "CONFIG", "SET", "maxmemory", "0")

		wrong := cluster.NewSource(cluster.Config{User: "mover", Password: "first"})
		defer wrong.Close()
		for _, n := range r.cl.Nodes {
			r.do(n, "ACL", "SETUSER", "mover", "on", ">first", "allkeys", "allcommands")
		}
		r.do(to, "ACL", "SETUSER", "mover", "resetpass", ">second")
		r.e = r.engine(func(c *engine.Config) { c.Nodes = login{r.src, wrong} })
		expect("other credentials on the target", machine.Move, machine.Fatal, "WRONGPASS")
		r.e = r.engine(nil)

		r.run(u, machine.Move)
		expect("keys on the target", machine.Close, machine.Unknown, "keys")
		r.beside(to, "SET", key(5, 0), "x")
		r.runAll(u, gated[4:])
		u.Source, u.Target = u.Target, u.Source
		r.do(to, "CLUSTER", "SETSLOT", "5", "STABLE")
		r.runAll(u, gated)
		u.Target = strings.Repeat("0", 40)
		expect("no such node", machine.Prepare, machine.NodeLost, "not in the cluster")
	})
}

// login reaches nodes as one user and tells them to use another one.
type login struct {
	*cluster.Source
	other *cluster.Source
}

func (l login) Login() (user, password string) { return l.other.Login() }

func TestOrphansOnTheTargetBlockAUnit(t *testing.T) {
	r := newRig(t, testcluster.Options{}, nil)
	r.fill(r.cl.Nodes[0], []uint16{5}, 3)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
	r.beside(r.cl.Nodes[3], "SET", key(5, 99), "orphan")
	for _, n := range []int{0, 3} {
		r.do(r.cl.Nodes[n], "CLUSTER", "SETSLOT", "5", "STABLE")
	}
	got := r.e.Run(context.Background(), u, machine.Prepare)
	if got.Outcome != machine.Blocked || !strings.Contains(got.Reason, "1 keys of slot 5") {
		t.Fatalf("outcome %d: %s", got.Outcome, got.Reason)
	}
}
