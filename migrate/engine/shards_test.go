package engine_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/machine"
)

// await runs Look until good likes it.
func (r *rig) await(u machine.Unit, what string, good func(machine.Result) bool) machine.Result {
	r.Helper()
	var got machine.Result
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		got = r.e.Run(context.Background(), u, machine.Look)
		if got.Outcome == machine.Done && good(got) {
			return got
		}
	}
	r.Fatalf("%s: last look: outcome %d %s %+v", what, got.Outcome, got.Reason, got.Looks)
	return got
}

// replicated waits until the replicas of a node have all of its data.
func (r *rig) replicated(n *testcluster.Node) {
	r.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if v := r.do(n, "WAIT", "1", "1000"); v.(int64) >= 1 {
			return
		}
	}
	r.Fatalf("%s has no replica", n.Addr)
}

func TestAUnitGoesOnWithTheSuccessorsOfItsNodes(t *testing.T) {
	for _, dies := range []string{"source", "target"} {
		t.Run(dies, func(t *testing.T) {
			onAll(t, func(t *testing.T, v testcluster.Version) {
				r := newRig(t, testcluster.Options{Version: v, Replicas: 1, NodeTimeout: 2 * time.Second}, nil)
				from, to := r.cl.Nodes[0], r.cl.Nodes[1]
				slots := slotsOf(5, 3)
				dumps := r.fill(from, slots, 20)
				u := r.unit(1, slots...)
				u.Target = to.ID
				r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
				old := r.run(u, machine.Look)
				// Half of the keys are there.
				for _, s := range slots[:2] {
					for i := range 20 {
						r.do(from, "MIGRATE", to.Host, strconv.Itoa(to.Port), key(int(s), i), "0", "5000")
					}
				}
				r.replicated(from)
				r.replicated(to)
				lost := map[string]*testcluster.Node{"source": from, "target": to}[dies]
				if err := r.cl.Kill(lost); err != nil {
					t.Fatal(err)
				}
				got := r.await(u, "a successor", func(l machine.Result) bool { return l.Source != u.Source || l.Target != u.Target })
				if got.Source == u.Source == (dies == "source") || got.Target == u.Target == (dies == "target") {
					t.Fatalf("the %s died: now %s and %s", dies, got.Source, got.Target)
				}
				if dies == "source" && got.SourceEpoch <= old.SourceEpoch {
					t.Errorf("epoch %d after the failover, %d before", got.SourceEpoch, old.SourceEpoch)
				}
				for _, l := range got.Looks {
					if l.OtherOpen || !l.SourceOwns {
						t.Errorf("after the failover: %+v", l)
					}
				}
				u.Source, u.Target, u.Failover = got.Source, got.Target, dies == "source"
				r.e = r.engine(nil) // and after a restart
				u.SourceEpoch = got.SourceEpoch
				r.runAll(u, gated[1:])
				r.same(r.cl.Node(got.Target), dumps)
			})
		})
	}
}

func TestANodeThatFollowsTheTargetNowHasItsSuccessorForTheSource(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: testcluster.NeedNewest(t), Replicas: 1}, nil)
	source, target := r.cl.Nodes[0], r.cl.Nodes[1]
	var heir *testcluster.Node
	for _, n := range r.cl.Nodes {
		if n.PrimaryID == source.ID {
			heir = n
		}
	}
	u := r.unit(1, 5, 6)
	u.Target = target.ID
	r.run(u, machine.Look)
	r.do(heir, "CLUSTER", "FAILOVER")
	r.await(u, "the successor", func(l machine.Result) bool { return l.Source == heir.ID })
	r.do(source, "CLUSTER", "REPLICATE", target.ID)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		table := r.table()
		if at := table.ByID(source.ID); at >= 0 && table.Nodes[at].PrimaryID == target.ID {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the old source does not follow the target")
		}
	}
	for _, life := range []string{"at once", "after a restart"} {
		if got := r.run(u, machine.Look); got.Source != heir.ID || got.Target != target.ID {
			t.Errorf("%s: the source is %s and the target %s, want %s and %s", life, got.Source, got.Target, heir.ID, target.ID)
		}
		r.e = r.engine(nil)
	}
}

func TestAReplicaThatWasAwayWhenSlotsChangedHandsClosesThem(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: testcluster.NeedNewest(t), Replicas: 1}, nil)
	source := r.cl.Nodes[0]
	var replica *testcluster.Node
	for _, n := range r.cl.Nodes {
		if n.PrimaryID == source.ID {
			replica = n
		}
	}
	u := r.unit(1, 5, 6)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
	r.replicated(source)
	if err := r.cl.Kill(replica); err != nil {
		t.Fatal(err)
	}
	r.runAll(u, []machine.Step{machine.Move, machine.Commit, machine.Tell})
	if err := r.cl.Restart(replica); err != nil {
		t.Fatal(err)
	}
	var last machine.Result
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		last = r.e.Run(context.Background(), u, machine.Verify)
		view := r.do(replica, "CLUSTER", "NODES").(string)
		if last.Outcome == machine.Done && !strings.Contains(view, "->-") && !strings.Contains(view, "-<-") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the last Verify: %s %s; the replica shows\n%s", last.Outcome, last.Reason, view)
		}
	}
}

func TestAPrimaryThatGivesItsLastSlotStaysAPrimary(t *testing.T) {
	for _, way := range []string{"legacy", "atomic"} {
		t.Run(way, func(t *testing.T) {
			onAll(t, func(t *testing.T, v testcluster.Version) {
				if way == "atomic" && v.Major() < 9 {
					return
				}
				r := newRig(t, testcluster.Options{Version: v, Replicas: 1}, nil)
				from := r.cl.Nodes[3] // has none
				u := r.unit(1, 5, 6)
				r.runAll(u, gated)
				u.ID, u.Source, u.Target = 2, u.Target, r.cl.Nodes[1].ID
				if way == "atomic" {
					u.Engine = machine.Atomic
					r.runAll(u, byNodes)
				} else {
					r.runAll(u, gated)
				}
				if role := r.do(from, "ROLE").([]any)[0]; role != "master" {
					t.Errorf("the emptied node is a %v now", role)
				}
				for _, n := range r.cl.Nodes {
					if got := r.do(n, "CONFIG", "GET", "cluster-allow-replica-migration").([]any)[1]; got != "yes" {
						t.Errorf("%s: cluster-allow-replica-migration is %v after the move", n.Addr, got)
					}
				}
			})
		})
	}
}

func TestATargetThatIsAReplicaIsNoTarget(t *testing.T) {
	r := newRig(t, testcluster.Options{Replicas: 1}, nil)
	u := r.unit(1, 5)
	u.Target = r.cl.Nodes[5].ID
	got := r.e.Run(context.Background(), u, machine.Prepare)
	if got.Outcome != machine.NodeLost || !strings.Contains(got.Reason, "no primary") {
		t.Fatalf("outcome %d: %s", got.Outcome, got.Reason)
	}
}

func TestKeysOfAllDatabasesMove(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1", Args: []string{"--cluster-databases", "4"}}, nil)
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	for db := range 4 {
		got, err := r.src.Do(context.Background(), from.Addr, []string{"SELECT", strconv.Itoa(db)},
			[]string{"SET", key(5, 1), "in " + strconv.Itoa(db)}, []string{"SET", key(6, db), "only in " + strconv.Itoa(db)}, []string{"SELECT", "0"})
		if err != nil || got[1] != "OK" || got[2] != "OK" {
			t.Fatal(got, err)
		}
	}
	r.runAll(r.unit(1, 5, 6), gated)
	for db := range 4 {
		got, err := r.src.Do(context.Background(), to.Addr, []string{"SELECT", strconv.Itoa(db)},
			[]string{"GET", key(5, 1)}, []string{"GET", key(6, db)}, []string{"DBSIZE"}, []string{"SELECT", "0"})
		if err != nil || got[1] != "in "+strconv.Itoa(db) || got[2] != "only in "+strconv.Itoa(db) || got[3] != int64(2) {
			t.Errorf("database %d: %v, %v", db, got, err)
		}
	}
}

func TestAClusterThatSpeaksOnlyTLSMovesSlots(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		files, err := testcluster.NewTLSFiles(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, testcluster.Options{Version: v, TLS: files, Password: "secret"}, nil)
		dumps := r.fill(r.cl.Nodes[0], []uint16{5, 6}, 30)
		r.runAll(r.unit(1, 5, 6), gated)
		r.same(r.cl.Nodes[3], dumps)
	})
}

func TestASettingIsSwitchedBackHoweverAUnitEnds(t *testing.T) {
	var orphans atomic.Bool
	r := tapRig(t, nil, func(r *rig, addr string, commands [][]string, replies []any) {
		for i, c := range commands {
			if orphans.Load() && addr == r.cl.Nodes[3].Addr && c[1] == "COUNTKEYSINSLOT" {
				replies[i] = int64(1)
			}
		}
	})
	from := r.cl.Nodes[3] // has none
	expect := func(when, want string) {
		t.Helper()
		if got := r.do(from, "CONFIG", "GET", "cluster-allow-replica-migration").([]any)[1]; got != want {
			t.Errorf("%s: %v, want %s", when, got, want)
		}
	}
	r.runAll(r.unit(1, 5), gated)
	u := r.unit(2, 5)
	u.Source, u.Target = u.Target, r.cl.Nodes[1].ID
	r.runAll(u, gated[:7])
	expect("while the last slot goes", "no")
	orphans.Store(true)
	u.Committed, u.Failover = true, true
	if got := r.try(u, machine.Verify); got.Outcome != machine.Blocked {
		t.Errorf("outcome %d, want Blocked: %s", got.Outcome, got.Reason)
	}
	expect("after a unit that leaves keys behind", "yes")
	orphans.Store(false)

	r.runAll(r.unit(3, 6), gated)
	u = r.unit(4, 6)
	u.Source, u.Target = u.Target, r.cl.Nodes[1].ID
	r.runAll(u, gated[:5])
	expect("while a unit is left", "no")
	r.e.Close()
	expect("at the end of the engine", "yes")
}
