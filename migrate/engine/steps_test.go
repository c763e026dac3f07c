package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/machine"
)

// fill writes keys of all types into slots, n in each, and returns their DUMPs.
func (r *rig) fill(n *testcluster.Node, slots []uint16, each int) map[string]string {
	r.Helper()
	dumps := map[string]string{}
	for _, s := range slots {
		for i := range each {
			key := fmt.Sprintf("{%s}:%d", tags()[s], i)
			switch i % 6 {
			case 0:
				r.do(n, "SET", key, "value"+strconv.Itoa(i))
			case 1:
				r.do(n, "HSET", key, "a", "1", "b", strconv.Itoa(i))
			case 2:
				r.do(n, "RPUSH", key, "x", "y", strconv.Itoa(i))
			case 3:
				r.do(n, "SADD", key, "1", "2", strconv.Itoa(i)) // of numbers: those of strings have no order in DUMP
			case 4:
				r.do(n, "ZADD", key, "1", "p", "2", "q")
			case 5:
				r.do(n, "XADD", key, "1-"+strconv.Itoa(i+1), "f", "v")
			}
			if i%4 == 0 {
				r.do(n, "PEXPIRE", key, "600000")
			}
			dumps[key] = r.do(n, "DUMP", key).(string)
		}
	}
	return dumps
}

// same fails unless the node has exactly these values.
func (r *rig) same(n *testcluster.Node, dumps map[string]string) {
	r.Helper()
	for _, key := range slices.Sorted(maps.Keys(dumps)) {
		if got := r.do(n, "DUMP", key); got != dumps[key] {
			r.Fatalf("%s on %s is %q, want %q", key, n.Addr, got, dumps[key])
		}
	}
}

func TestAUnitMovesWithAllItsKeys(t *testing.T) {
	for _, way := range []struct {
		name  string
		steps []machine.Step
		slots int
		each  int
	}{{"gated", gated, 40, 13}, {"online", online, 1, 3000}} {
		onAll(t, func(t *testing.T, v testcluster.Version) {
			r := newRig(t, testcluster.Options{Version: v}, nil)
			from, to := r.cl.Nodes[0], r.cl.Nodes[3]
			slots := slotsOf(100, way.slots)
			dumps := r.fill(from, slots, way.each)
			u := r.unit(1, slots...)
			u.Online = way.name == "online"
			r.runAll(u, way.steps)
			r.same(to, dumps)
			if ttl := r.do(to, "PTTL", "{"+tags()[100]+"}:0").(int64); ttl < 1000 || ttl > 600000 {
				t.Errorf("time to live %d after the move", ttl)
			}
			if r.moved != int64(len(dumps)) {
				t.Errorf("progress told of %d keys, want %d", r.moved, len(dumps))
			}
			if got := r.do(from, "DBSIZE"); got != int64(0) {
				t.Errorf("%v keys stayed behind", got)
			}
			t.Log(r.gate)
		})
	}
}

func TestEveryStepMayBeRepeated(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v}, nil)
		slots := slotsOf(7, 5)
		dumps := r.fill(r.cl.Nodes[0], slots, 20)
		u := r.unit(1, slots...)
		for _, s := range gated {
			u.Committed = u.Committed || s == machine.Release
			for range 2 {
				if s == machine.Prepare || s == machine.Hold {
					r.e = r.engine(nil) // as after a restart
				}
				r.run(u, s)
			}
		}
		r.same(r.cl.Nodes[3], dumps)
	})
}

func TestAUnitThatWasOnlyOpenedIsRolledBack(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v}, nil)
		slots := slotsOf(7, 5)
		dumps := r.fill(r.cl.Nodes[0], slots, 5)
		u := r.unit(1, slots...)
		r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
		for _, l := range r.run(u, machine.Look).Looks {
			if !l.SourceOwns || l.TargetOwns || !l.Migrating || !l.Importing || l.OtherOpen || l.SourceKeys != 5 || l.TargetKeys != 0 {
				t.Fatalf("an open slot looks like %+v", l)
			}
		}
		r.runAll(u, []machine.Step{machine.Close})
		for _, l := range r.run(u, machine.Look).Looks {
			if !l.SourceOwns || l.TargetOwns || l.Migrating || l.Importing || l.OtherOpen {
				t.Fatalf("a closed slot looks like %+v", l)
			}
		}
		r.same(r.cl.Nodes[0], dumps)
	})
}
