package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
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

// fillFast writes keys of all types into slots, pipelined, and returns how many.
func (r *rig) fillFast(n *testcluster.Node, slots []uint16, each int) int {
	r.Helper()
	for _, s := range slots {
		commands := make([][]string, each)
		for i := range each {
			commands[i] = [][]string{
				{"SET", key(int(s), i), strings.Repeat("v", i)}, {"HSET", key(int(s), i), "a", "1"}, {"RPUSH", key(int(s), i), "x", "y"},
				{"SADD", key(int(s), i), "p"}, {"ZADD", key(int(s), i), "1", "p"}, {"XADD", key(int(s), i), "1-1", "f", "v"},
			}[i%6]
		}
		got, err := r.src.Do(context.Background(), n.Addr, commands...)
		if err != nil {
			r.Fatal(err)
		}
		for _, v := range got {
			if e, is := v.(engine.ServerError); is {
				r.Fatal(e)
			}
		}
	}
	return len(slots) * each
}

// digests are the sums that nodes make of the values of keys; they do not depend on the order in sets.
func (r *rig) digests(n *testcluster.Node, slots []uint16, each int) []string {
	r.Helper()
	var out []string
	for _, s := range slots {
		c := []string{"DEBUG", "DIGEST-VALUE"}
		for i := range each {
			c = append(c, key(int(s), i))
		}
		out = append(out, fmt.Sprint(r.do(n, c...)))
	}
	return out
}

func TestThreeSourcesFillOneTargetAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v}, nil)
		const each = 100
		to := r.cl.Nodes[3]
		var wg sync.WaitGroup
		var all [3][]uint16
		var want [3][]string
		for i := range all {
			n := r.cl.Nodes[i]
			for s := uint16(0); len(all[i]) < 100; s++ {
				if t := r.table(); t.Node(uint16(i)*5500+s).ID == n.ID {
					all[i] = append(all[i], uint16(i)*5500+s)
				}
			}
			r.fillFast(n, all[i], each)
			want[i] = r.digests(n, all[i], each)
		}
		for i := range all {
			wg.Go(func() {
				for k, slots := range slices.Collect(slices.Chunk(all[i], 34)) {
					u := r.unit(10*i+k+1, slots...)
					u.Source = r.cl.Nodes[i].ID
					if !r.attempt(u, gated) {
						return
					}
				}
			})
		}
		wg.Wait()
		for i := range all {
			if got := r.digests(to, all[i], each); !slices.Equal(got, want[i]) {
				t.Errorf("the values of source %d are not the same on the target", i)
			}
		}
		if got := r.do(to, "DBSIZE"); got != int64(300*each) {
			t.Errorf("%v keys on the target, want %d", got, 300*each)
		}
		if r.moved != 300*each || len(r.side) != 0 {
			t.Errorf("progress told of %d keys; %d put aside", r.moved, len(r.side))
		}
	})
}

// Keys that have expired and are still there are neither counted as lost nor waited for.
func TestKeysThatExpireOnTheWayAreNoTrouble(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v}, nil)
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		r.do(from, "DEBUG", "SET-ACTIVE-EXPIRE", "0")
		r.fillFast(from, []uint16{5}, 300)
		for i := range 200 {
			r.do(from, "PEXPIRE", key(5, i), "1")
		}
		u := r.unit(1, 5)
		r.runAll(u, gated)
		if got := r.do(to, "CLUSTER", "COUNTKEYSINSLOT", "5"); got != int64(100) {
			t.Errorf("%v keys arrived, want 100", got)
		}
	})
}
