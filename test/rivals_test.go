package test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// slow keeps a job going while others try to do the same.
const slow = "1500"

// rival is another proxy of the same cluster with a state of its own.
func (l *crashLife) rival(cluster *testcluster.Cluster, state string) *crashLife {
	l.t.Helper()
	o := *l
	o.cluster, o.state, o.id = cluster, state, ""
	o.p = startProxy(l.t, cluster.Addrs(), "--state-dir", state)
	return &o
}

func TestOfTwoProxiesOnlyOneMovesSlots(t *testing.T) {
	newest := testcluster.NeedNewest(t)
	for _, engine := range []string{"legacy", "atomic"} {
		t.Run(engine, func(t *testing.T) {
			l := newCrashLife(t, testcluster.Options{Version: newest}, crashSlots, "legacy", "MAXKEYS", slow)
			other := l.rival(l.cluster, t.TempDir())
			l.begin()
			move := []string{"MOVE", "SLOTSRANGE", "0", "9", "TO", l.cluster.Nodes[2].Addr, "ENGINE", engine}
			for n := 0; n < 5 && !l.over(); n++ {
				for _, words := range [][]string{move, {"FIX"}} {
					if v := other.command(words...); !strings.HasPrefix(v.Text, "FOREIGN_COORDINATOR") && !l.over() {
						t.Errorf("PROXY %v beside a job of another proxy: %s", words, v)
					}
				}
			}
			l.end()
			eventually(t, 30*time.Second, func() error { // gossip of the last slot may not have reached all
				if v := other.command(move...); v.IsError() {
					return fmt.Errorf("after the other job: %s", v)
				}
				return nil
			})
			other.id = "1"
			other.end()
			l.sound()
		})
	}
}

func TestOfTwoProxiesThatBeginTogetherOneIsRefused(t *testing.T) {
	l := newCrashLife(t, testcluster.Options{}, crashSlots, "legacy", "MAXKEYS", slow)
	both := []*crashLife{l, l.rival(l.cluster, t.TempDir())}
	ranges, away := [][]string{{"5300", "5399"}, {"5200", "5299"}}, []bool{false, false}
	move := func(i int) []string {
		to := l.cluster.Nodes[2-i]
		if away[i] {
			to = l.cluster.Nodes[0]
		}
		return []string{"PROXY", "MOVE", "SLOTSRANGE", ranges[i][0], ranges[i][1], "TO", to.Addr, "MAXKEYS", slow}
	}
	for range 3 {
		replies := make([]wire.Value, len(both))
		var starting sync.WaitGroup
		for i, o := range both {
			c := dialAddr(t, o.p.admin)
			starting.Go(func() { replies[i], _ = c.Do(move(i)...) })
		}
		starting.Wait()
		began := 0
		for i, v := range replies {
			switch {
			case v.Text != "" && !v.IsError():
				began++
				both[i].id = v.Text
				both[i].end()
				away[i] = !away[i]
			case strings.HasPrefix(v.Text, "STALEPLAN"): // the other job was over when it looked again
			case !strings.HasPrefix(v.Text, "FOREIGN_COORDINATOR"):
				t.Errorf("one of two that begin together: %s", v)
			}
		}
		if began != 1 {
			t.Fatalf("%d jobs have begun: %v", began, replies)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if err := l.cluster.WaitOK(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	l.scribes.finish(t)
	l.scribes.wantAll(t)
}

// stopped is longer than a coordinator that is not heard of counts as one that is at work.
const stopped = 17 * time.Second

// A machine that is suspended, or a process that is stopped, wakes up in the middle of a step, with connections that are older than
// those of whoever has begun meanwhile.
func TestAProxyThatWasStoppedGivesWayToTheOneThatHasBegun(t *testing.T) {
	l := newCrashLife(t, testcluster.Options{}, crashSlots, "legacy", "MAXKEYS", slow)
	other := l.rival(l.cluster, t.TempDir())
	l.begin()
	l.reach("unit-opening", 2)
	l.p.signal(t, syscall.SIGSTOP)
	defer l.p.signal(t, syscall.SIGCONT)
	time.Sleep(stopped)
	eventually(t, time.Minute, func() error {
		if v := other.command("FIX"); v.Fields()["ok"].Int != 1 {
			return fmt.Errorf("PROXY FIX beside a stopped proxy: %s", v)
		}
		return nil
	})
	first, last := strconv.Itoa(int(l.slots[0])), strconv.Itoa(int(l.slots[len(l.slots)-1]))
	eventually(t, time.Minute, func() error {
		v := other.command("MOVE", "SLOTSRANGE", first, last, "TO", l.cluster.Nodes[2].Addr, "MAXKEYS", slow)
		if v.IsError() {
			return fmt.Errorf("a job beside a stopped proxy: %s", v)
		}
		other.id = v.Text
		return nil
	})
	l.p.signal(t, syscall.SIGCONT)
	eventually(t, jobLimit, func() error {
		if !l.over() {
			return fmt.Errorf("the job of the proxy that was stopped: %v", l.job())
		}
		return nil
	})
	if j := l.job(); !strings.Contains(j["reason"].Text, "FOREIGN_COORDINATOR slotproxy-coord:") {
		t.Errorf("that job ended as %s (%s)", j["state"].Text, j["reason"].Text)
	}
	other.end()
	other.checked("CHECK")
	l.scribes.finish(t)
	l.scribes.wantAll(t)
}

// valkey-cli looks for nobody else. Ours does not start beside it, or stops when it sees it, and says so; what both have left is closed
// by PROXY FIX.
func TestAJobBesideAForeignReshardLosesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, v testcluster.Version, engine string) {
		if v != testcluster.NeedNewest(t) && v.Valkey() {
			return // the oldest and the newest differ most
		}
		for _, first := range []string{"the client", "the job"} {
			t.Run(first+" begins", func(t *testing.T) {
				l := newCrashLife(t, testcluster.Options{Version: v}, crashSlots, engine, "MAXKEYS", slow)
				besideForeign(t, l, first == "the job")
			})
		}
	})
}

func besideForeign(t *testing.T, l *crashLife, jobFirst bool) {
	ctx, cancel := context.WithTimeout(context.Background(), jobLimit)
	defer cancel()
	done := make(chan error, 1)
	if jobFirst {
		l.begin()
		l.reach("unit-opening", 1)
	}
	go reshardBeside(ctx, l.cluster, done)
	var refusals []string
	for l.id == "" {
		first, last := strconv.Itoa(int(l.slots[0])), strconv.Itoa(int(l.slots[len(l.slots)-1]))
		reply := l.command("MOVE", "SLOTSRANGE", first, last, "TO", l.cluster.Nodes[1].Addr, "ENGINE", l.engine)
		if !reply.IsError() {
			l.id = reply.Text
			break
		}
		refusals = append(refusals, reply.Text)
		time.Sleep(20 * time.Millisecond)
	}
	eventually(t, jobLimit, func() error {
		if !l.over() {
			return fmt.Errorf("job %s has not ended: %v", l.id, l.job())
		}
		return nil
	})
	foreign := <-done
	j := l.job()
	t.Logf("%d times refused; then job: %s (%s); the client: %v", len(refusals), j["state"].Text, j["reason"].Text, foreign)
	for _, text := range refusals {
		if !strings.HasPrefix(text, "FOREIGN_COORDINATOR") && !strings.HasPrefix(text, "NOTMOVABLE") && !strings.HasPrefix(text, "STALEPLAN") {
			t.Errorf("refused with %s", text)
		}
	}
	if state := j["state"].Text; state != "success" && !strings.Contains(j["reason"].Text, "FOREIGN") {
		t.Errorf("the job ended as %s (%s)", state, j["reason"].Text)
	}
	eventually(t, time.Minute, func() error { // while the client was heard a moment ago, fix waits too
		if v := l.command("FIX"); v.Fields()["ok"].Int != 1 {
			return fmt.Errorf("PROXY FIX: %s", v)
		}
		return nil
	})
	l.checked("CHECK")
	if err := l.cluster.WaitOK(ctx); err != nil {
		t.Error(err)
	}
	l.scribes.finish(t)
	l.scribes.wantAll(t)
}

// reshardBeside moves slots of the third node to the first with the servers' own client, which refuses while it sees open slots.
func reshardBeside(ctx context.Context, c *testcluster.Cluster, done chan<- error) {
	from, to := c.Nodes[2], c.Nodes[0]
	for {
		out, err := c.CLI("--cluster", "reshard", from.Addr, "--cluster-from", from.ID, "--cluster-to", to.ID,
			"--cluster-slots", "150", "--cluster-yes").CombinedOutput()
		if err == nil && strings.Contains(string(out), "Moving slot") || ctx.Err() != nil {
			done <- err
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAJobIsNotResumedOnAnotherCluster(t *testing.T) {
	l := newCrashLife(t, testcluster.Options{}, crashSlots, "legacy", "MAXKEYS", slow)
	l.begin()
	l.reach("unit-opening", 2)
	l.die()

	another := testcluster.ForTest(t, testcluster.Options{})
	wrong := l.rival(another, l.state)
	wrong.id = l.id
	eventually(t, resumeLimit, func() error {
		if j := wrong.job(); !strings.HasPrefix(j["reason"].Text, "OTHERCLUSTER") {
			return fmt.Errorf("the job says %v", j)
		}
		return nil
	})
	if v := wrong.command("MOVE", "SLOTSRANGE", "0", "9", "TO", another.Nodes[1].Addr); !strings.Contains(v.Text, "OTHERCLUSTER") {
		t.Errorf("another job meanwhile: %s", v)
	}
	if owners, err := another.Owners(); err != nil || owners[l.slots[0]] != another.Nodes[0] {
		t.Errorf("slots of the wrong cluster have moved: %v", err)
	}
	wrong.p.kill()

	l.comeBack()
	l.end()
	l.sound()
}
