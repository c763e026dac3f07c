package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// nodeFault happens to a node while slots move.
type nodeFault struct {
	engine string
	who    string // "source", "target", "source's replica" or "target's replica"
	phase  string // the record of the journal behind which it happens
	how    string
}

const (
	killed = "killed" // and started again when its replica has taken over
	frozen = "frozen" // for frozenFor
	// cutOff is from all others, until its replica has taken over; a replica for frozenFor.
	cutOff = "cut off"
	// cutOffInside leaves the way from the proxy and clients to it: they see two sides.
	cutOffInside = "cut off from nodes"
	// cutOffShortly ends before anybody suspects it.
	cutOffShortly = "cut off shortly"
)

func (f nodeFault) String() string {
	return fmt.Sprintf("%s, %s %s behind %s", f.engine, f.who, f.how, f.phase)
}

// failsOver says whether a replica takes over, so that what it has not got is lost.
func (f nodeFault) failsOver() bool {
	return (f.who == "source" || f.who == "target") && f.how != cutOffShortly
}

const (
	faultTimeout = 2 * time.Second // cluster-node-timeout
	frozenFor    = 3 * time.Second
	shortly      = faultTimeout / 3
	// loseBefore and loseAfter bound when a write was acknowledged that an asynchronous failover may lose: before it, what the replica
	// had not got yet; after it, what a node took that had not heard of its successor.
	loseBefore, loseAfter = time.Second, 2 * time.Second
	// loseStill bounds the older keys that may be lost with a target that dies before its replica has got them: two batches.
	loseStill = 1000
)

// nodeFaults are a few in CI, and all with SLOTPROXY_FAULTS=all.
func nodeFaults(v testcluster.Version, newest bool) (list []nodeFault) {
	engines := []string{"legacy"}
	if v.Valkey() && v.Major() >= 9 {
		engines = append(engines, "atomic")
	}
	if os.Getenv("SLOTPROXY_FAULTS") != "all" {
		if !newest {
			return nil
		}
		return []nodeFault{
			{"legacy", "source", "unit-opening", killed},
			{"atomic", "target", "unit-opening", killed},
			{"legacy", "source", "unit-opening", cutOff},
			{"atomic", "source", "unit-opening", cutOffShortly},
		}
	}
	for _, engine := range engines {
		for _, who := range []string{"source", "target", "source's replica", "target's replica"} {
			for _, phase := range []string{"unit-opening", "unit-committing", "unit-committed"} {
				if engine == "atomic" && phase == "unit-committing" {
					continue // there is none
				}
				for _, how := range []string{killed, frozen, cutOff, cutOffInside, cutOffShortly} {
					list = append(list, nodeFault{engine, who, phase, how})
				}
			}
		}
	}
	return list
}

func TestAJobOutlivesItsNodesAndLosesNoMoreThanTheyDo(t *testing.T) {
	newest := testcluster.NeedNewest(t)
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		for _, f := range nodeFaults(v, v == newest) {
			t.Run(f.String(), func(t *testing.T) { f.run(t, v) })
		}
	})
}

func (f nodeFault) run(t *testing.T, v testcluster.Version) {
	var n *network // refuses no connection to a node that is gone, so it is there only when it is needed
	if f.how != killed && f.how != frozen {
		n = newNetwork(t)
	}
	l := newCrashLifeBehind(t, n, testcluster.Options{Version: v, Replicas: 1, NodeTimeout: faultTimeout}, crashSlots,
		f.engine, "MAXKEYS", "5000")
	for _, p := range l.cluster.Nodes[:3] {
		if _, err := l.cluster.Do(p, "WAIT", "1", "5000"); err != nil {
			t.Fatal(err)
		}
	}
	victims := map[string]*testcluster.Node{"source": l.cluster.Nodes[0], "target": l.cluster.Nodes[1]}
	for _, who := range []string{"source", "target"} {
		victims[who+"'s replica"] = replicaOf(t, l.cluster, victims[who])
	}
	l.begin()
	l.reach(f.phase, 2)
	from := time.Now().Add(-loseBefore)
	f.happen(t, l, victims[f.who])
	until := time.Now().Add(loseAfter)

	eventually(t, jobLimit, func() error {
		if !l.over() {
			return fmt.Errorf("job %s has not ended: %v", l.id, l.job())
		}
		return nil
	})
	j := l.job()
	t.Logf("job: %s (%s), %d of %d slots", j["state"].Text, j["reason"].Text, j["slots-done"].Int, j["slots-total"].Int)
	switch {
	case j["state"].Text != "success", strings.Contains(j["reason"].Text, "PROXY FIX"): // a node has come back with slots open
		l.repair()
	case f.who == "target":
		l.settled() // the slots are at the node that they were meant for, which need not lead its shard any more
	default:
		l.agree()
	}
	l.scribes.finish(t)
	f.judge(t, l.scribes, from, until)
}

// reach waits until the journal has so many records of a kind.
func (l *crashLife) reach(kind string, count int) {
	l.t.Helper()
	eventually(l.t, jobLimit, func() error {
		text, err := os.ReadFile(filepath.Join(l.state, l.id+".journal"))
		if n := bytes.Count(text, []byte(`"kind":"`+kind+`"`)); n >= count || bytes.Contains(text, []byte(`"kind":"ended"`)) {
			return nil
		}
		return fmt.Errorf("no %s: %v", kind, err)
	})
}

// happen ends when the node is back.
func (f nodeFault) happen(t *testing.T, l *crashLife, n *testcluster.Node) {
	t.Helper()
	switch f.how {
	case killed:
		if err := l.cluster.Kill(n); err != nil {
			t.Fatal(err)
		}
		l.heir(n)
		if err := l.cluster.Restart(n); err != nil {
			t.Fatal(err)
		}
	case frozen:
		if err := l.cluster.Freeze(n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(frozenFor)
		if err := l.cluster.Thaw(n); err != nil {
			t.Fatal(err)
		}
	default:
		what := everything
		if f.how == cutOffInside {
			what = fromNodes
		}
		l.net.cut(n, what)
		switch {
		case f.how == cutOffShortly:
			time.Sleep(shortly)
		case f.failsOver():
			l.heir(n)
		default:
			time.Sleep(frozenFor)
		}
		l.net.heal()
	}
}

// heir waits until a node that is away does not lead its shard.
func (l *crashLife) heir(n *testcluster.Node) {
	l.t.Helper()
	slot := 0
	if n == l.cluster.Nodes[1] {
		slot = int(l.slots[len(l.slots)-1]) + 1
	}
	eventually(l.t, 30*time.Second, func() error {
		if owner, err := l.cluster.SlotOwner(slot); err != nil || owner == nil || owner == n {
			return fmt.Errorf("nobody has taken over: %v", err)
		}
		return nil
	})
}

// repair closes what a job that has failed may have left open.
func (l *crashLife) repair() {
	l.t.Helper()
	time.Sleep(faultTimeout) // the nodes come to one picture first
	for range 3 {
		v := l.command("FIX")
		l.t.Logf("PROXY FIX: %s", v)
		if v.Fields()["ok"].Int == 1 {
			break
		}
		time.Sleep(time.Second)
	}
	l.settled()
}

// judge lists what is lost, and wants it to be no more than what the failover of this node may lose.
func (f nodeFault) judge(t *testing.T, s *scribes, from, until time.Time) {
	t.Helper()
	t.Logf("%d writes acknowledged, %d of unknown outcome, %d refused; lost: %d acknowledged, %d older keys",
		s.acked, s.unknown, s.refused, len(s.lost), s.lostStill)
	if n := len(s.lost); n > 0 {
		slices.SortFunc(s.lost, time.Time.Compare)
		t.Logf("the lost writes were acknowledged %v to %v after the fault", s.lost[0].Sub(from)-loseBefore, s.lost[n-1].Sub(from)-loseBefore)
	}
	early := 0
	for _, at := range s.lost {
		if at.Before(from) || at.After(until) {
			early++
		}
	}
	switch {
	case !f.failsOver() && len(s.lost)+s.lostStill > 0:
		t.Error("no primary has failed, and writes are gone")
	case early > 0 && s.lostStill == 0:
		t.Errorf("%d of the lost writes were acknowledged at other times than the failover", early)
	case s.lostStill > 0 && f.who != "target" || s.lostStill > loseStill:
		t.Errorf("%d older keys are gone", s.lostStill)
	}
	for i, sc := range s.list {
		for _, p := range sc.problems {
			t.Logf("scribe %d: %s", i, p)
		}
	}
}
