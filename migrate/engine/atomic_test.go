package engine_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// byNodes is the way of a unit that the nodes move themselves.
var byNodes = []machine.Step{machine.Prepare, machine.Start, machine.Watch, machine.Release, machine.Verify}

func (r *rig) atomicUnit(id int, slots ...uint16) machine.Unit {
	u := r.unit(id, slots...)
	u.Engine = machine.Atomic
	return u
}

func TestAnAtomicUnitMovesWithAllItsKeys(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1", Password: "secret", Args: []string{"--cluster-databases", "3"}}, nil)
	slots := append(slotsOf(100, 30), 7, 9)
	dumps := r.fill(r.cl.Nodes[0], slots, 10)
	r.runAll(r.atomicUnit(1, slots...), byNodes)
	r.same(r.cl.Nodes[3], dumps)
	if r.moved != int64(len(dumps)) {
		t.Errorf("progress told of %d keys, want %d", r.moved, len(dumps))
	}
}

func TestAServerThatCannotMigrateAtomicallyIsLeftToTheOtherEngine(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-8.1"}, nil)
	got := r.e.Run(context.Background(), r.atomicUnit(1, 5), machine.Start)
	if got.Outcome != machine.Switch {
		t.Fatalf("outcome %d: %s", got.Outcome, got.Reason)
	}
}

func TestAnAtomicMigrationThatFailsSaysHow(t *testing.T) {
	for _, tc := range []struct {
		name string
		on   int // the node that is configured
		set  [2]string
		want machine.Outcome
		has  string
	}{
		{"no credentials for the target", 0, [2]string{"primaryauth", ""}, machine.Switch, ""},
		{"wrong credentials for the target", 0, [2]string{"primaryauth", "wrong"}, machine.Switch, "WRONGPASS"},
		{"no memory on the target", 3, [2]string{"maxmemory", "6mb"}, machine.Blocked, "OOM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, testcluster.Options{Version: "valkey-9.1", Password: "secret"}, nil)
			from := r.cl.Nodes[0]
			for i := range 20 {
				r.do(from, "SET", "{"+tags()[5]+"}"+strconv.Itoa(i), strings.Repeat("x", 1<<20))
			}
			u := r.atomicUnit(1, 5, 6)
			r.run(u, machine.Prepare)
			r.do(r.cl.Nodes[tc.on], "CONFIG", "SET", tc.set[0], tc.set[1])
			r.run(u, machine.Start)
			got := r.e.Run(context.Background(), u, machine.Watch)
			if got.Outcome != tc.want || !strings.Contains(got.Reason, tc.has) {
				t.Fatalf("outcome %d: %s", got.Outcome, got.Reason)
			}
			look := r.run(u, machine.Look)
			for _, l := range look.Looks {
				if !l.SourceOwns || l.TargetOwns || l.TargetKeys != 0 {
					t.Errorf("afterwards a slot looks like %+v", l)
				}
			}
		})
	}
}

func TestAnAtomicMigrationIsCancelled(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	from := r.cl.Nodes[0]
	dumps := r.fill(from, slotsOf(5, 1), 60)
	r.do(from, "CONFIG", "SET", "rdb-key-save-delay", "100000") // microseconds for each key
	u := r.atomicUnit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Start, machine.Cancel, machine.Cancel})
	got := r.e.Run(context.Background(), u, machine.Watch)
	if got.Outcome != machine.Again {
		t.Fatalf("watching what is cancelled: outcome %d: %s", got.Outcome, got.Reason)
	}
	r.same(from, dumps)
	r.do(from, "CONFIG", "SET", "rdb-key-save-delay", "0")
	r.runAll(u, byNodes)
	r.same(r.cl.Nodes[3], dumps)
}

func TestAMigrationUnderWayIsFoundAgainAfterARestart(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	from := r.cl.Nodes[0]
	dumps := r.fill(from, slotsOf(5, 1), 60)
	r.do(from, "CONFIG", "SET", "rdb-key-save-delay", "20000")
	u := r.atomicUnit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Start})
	r.e = r.engine(nil)
	r.runAll(u, []machine.Step{machine.Look, machine.Start, machine.Watch, machine.Release, machine.Verify})
	r.same(r.cl.Nodes[3], dumps)
	all := r.do(from, "CLUSTER", "GETSLOTMIGRATIONS").([]any)
	if len(all) != 1 {
		t.Errorf("%d migrations, want 1: %v", len(all), all)
	}
}

// TestWritesDoNotKeepAnAtomicMigrationFromItsEnd has clients that write to the slots as fast as they can, pipelined.
func TestWritesDoNotKeepAnAtomicMigrationFromItsEnd(t *testing.T) {
	g := &stopGate{}
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, func(c *engine.Config) { c.Gate = g })
	slots := slotsOf(100, 20)
	r.fill(r.cl.Nodes[0], slots, 200)
	w := &storm{r: r, g: g, slots: slots}
	w.start(3)
	u := r.atomicUnit(1, slots...)
	for attempt := 0; ; attempt++ {
		r.run(u, machine.Prepare)
		r.run(u, machine.Start)
		got := r.e.Run(context.Background(), u, machine.Watch)
		t.Logf("attempt %d after %d writes, %d holds: %d %s (%v)", attempt, w.written.Load(), g.holds.Load(), got.Outcome, got.Reason, got.Took)
		if got.Outcome == machine.Done {
			break
		}
		g.Release(slots, "")
		if got.Outcome != machine.Again || attempt == 5 {
			t.Fatal("it does not get there")
		}
		time.Sleep(50 * time.Millisecond)
	}
	g.Release(slots, "")
	w.end()
}
