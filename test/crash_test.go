package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// crashLife is a proxy that moves slots of a cluster to and fro, and that dies and comes back.
type crashLife struct {
	t       *testing.T
	cluster *testcluster.Cluster
	net     *network // that the nodes are behind; nil for none
	args    []string // of serve
	state   string   // its folder
	p       *proxy
	scribes *scribes
	slots   []uint16 // that move, next to each other
	engine  string
	options []string // of each job
	away    bool     // the running or last job goes to the second node
	id      string   // of that job

	slowest time.Duration // from ready to the job going on
	resumed int
}

// crashSlots move in these tests: four units of the legacy engine.
const crashSlots = 200

func newCrashLife(t *testing.T, o testcluster.Options, slots int, engine string, options ...string) *crashLife {
	t.Helper()
	return newCrashLifeBehind(t, nil, o, slots, engine, options...)
}

// newCrashLifeBehind is newCrashLife where the nodes can be cut off, unless there is no network.
func newCrashLifeBehind(t *testing.T, n *network, o testcluster.Options, slots int, engine string, options ...string) *crashLife {
	t.Helper()
	if n != nil {
		o.NodeArgs = n.nodeArgs
	}
	l := &crashLife{t: t, cluster: testcluster.ForTest(t, o), net: n, state: t.TempDir(), engine: engine, options: options}
	if n != nil {
		n.join(l.cluster)
	}
	l.start(slots)
	return l
}

// address is where the proxy and clients find a node.
func (l *crashLife) address(n *testcluster.Node) string {
	if l.net != nil {
		return l.net.address(n)
	}
	return n.Addr
}

// start chooses the slots, which are the last of the first node.
func (l *crashLife) start(slots int) {
	l.t.Helper()
	owned := 0
	owners, err := l.cluster.Owners()
	if err != nil {
		l.t.Fatal(err)
	}
	for owned < len(owners) && owners[owned] == l.cluster.Nodes[0] {
		owned++
	}
	if owned <= slots {
		l.t.Fatalf("the first node has only %d slots at the beginning", owned)
	}
	for slot := owned - slots; slot < owned; slot++ {
		l.slots = append(l.slots, uint16(slot))
	}
	l.serve()
	l.scribes = startScribes(l.t, l.cluster, l.address, l.p.addr, l.slots)
}

// serve starts a proxy on the same state as the one before.
func (l *crashLife) serve() {
	l.t.Helper()
	var seeds []string
	for _, n := range l.cluster.Nodes {
		seeds = append(seeds, l.address(n))
	}
	l.p = startProxy(l.t, seeds, append([]string{"--state-dir", l.state}, l.args...)...)
	if l.scribes != nil {
		l.scribes.proxy.Store(&l.p.addr)
	}
}

// die ends the proxy as kill -9 does.
func (l *crashLife) die() {
	l.scribes.proxy.Store(nil)
	l.p.kill()
}

// command sends one to the admin port.
func (l *crashLife) command(words ...string) wire.Value {
	l.t.Helper()
	c := dialAddr(l.t, l.p.admin)
	defer func() { _ = c.Close() }()
	c.Timeout = jobLimit
	return do(l.t, c, append([]string{"PROXY"}, words...)...)
}

// begin starts a job in the other direction than the last one.
func (l *crashLife) begin() {
	l.t.Helper()
	l.away = !l.away
	first, last := strconv.Itoa(int(l.slots[0])), strconv.Itoa(int(l.slots[len(l.slots)-1]))
	words := append([]string{"MOVE", "SLOTSRANGE", first, last, "TO", l.address(l.primary(l.target())), "ENGINE", l.engine}, l.options...)
	eventually(l.t, 30*time.Second, func() error { // gossip of the last job may not have reached all
		v := l.command(words...)
		if v.IsError() {
			return fmt.Errorf("%v: %s", words, v)
		}
		l.id = v.Text
		return nil
	})
}

// target is the index of the shard that the running job moves to.
func (l *crashLife) target() int {
	if l.away {
		return 1
	}
	return 0
}

// primary is who leads a shard now, named by its first primary.
func (l *crashLife) primary(shard int) *testcluster.Node {
	l.t.Helper()
	slot := 0 // stays where it is
	if shard == 1 {
		slot = int(l.slots[len(l.slots)-1]) + 1
	}
	return ownerOf(l.t, l.cluster, slot)
}

// job is what the proxy says of the running or last job.
func (l *crashLife) job() map[string]wire.Value {
	l.t.Helper()
	v := l.command("JOB", l.id)
	if v.IsError() {
		l.t.Fatalf("PROXY JOB %s: %s", l.id, v)
	}
	return v.Fields()
}

func (l *crashLife) over() bool { return l.job()["finished-at"].Int != 0 }

// end waits for the job to end, and wants it to have done all.
func (l *crashLife) end() {
	l.t.Helper()
	eventually(l.t, jobLimit, func() error {
		if !l.over() {
			return fmt.Errorf("job %s has not ended: %v", l.id, l.job())
		}
		return nil
	})
	if j := l.job(); j["state"].Text != "success" {
		l.t.Fatalf("job %s: %s (%s)", l.id, j["state"].Text, j["reason"].Text)
	}
}

// resumeLimit is twice what is promised, since a machine that is busy with other tests must not fail this one.
const resumeLimit = 10 * time.Second

// comeBack starts the proxy again and waits until the job goes on, or has ended.
func (l *crashLife) comeBack() {
	l.t.Helper()
	l.serve()
	ready := time.Now()
	eventually(l.t, resumeLimit, func() error {
		if strings.Contains(l.p.log.String(), "job resumed") {
			l.resumed++
			return nil
		}
		if !l.over() {
			return fmt.Errorf("job %s does not go on: %v", l.id, l.job())
		}
		return nil
	})
	l.slowest = max(l.slowest, time.Since(ready))
}

// records counts what the journal of the job says.
func (l *crashLife) records() int {
	text, err := os.ReadFile(filepath.Join(l.state, l.id+".journal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// agree wants all nodes to have the same picture without open slots, and the slots to be where the last job has brought them.
func (l *crashLife) agree() {
	l.t.Helper()
	l.settled()
	owners, err := l.cluster.Owners()
	if err != nil {
		l.t.Fatal(err)
	}
	want := l.primary(l.target())
	for _, slot := range l.slots {
		if owners[slot] != want {
			l.t.Fatalf("slot %d is not at %s", slot, want.Addr)
		}
	}
}

// settled wants all nodes to have the same picture without open slots.
func (l *crashLife) settled() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.cluster.WaitOK(ctx); err != nil {
		l.t.Error(err)
	}
}

// sound is what must hold when only proxies have died.
func (l *crashLife) sound() {
	l.t.Helper()
	l.agree()
	l.checked("CHECK")
	if sides, _ := filepath.Glob(filepath.Join(l.state, "*.side")); len(sides) > 0 {
		text, _ := os.ReadFile(sides[0])
		l.t.Errorf("keys differed between the nodes: %.500s", text)
	}
	l.scribes.finish(l.t)
	l.scribes.wantAll(l.t)
}

// checked runs PROXY CHECK or FIX, and wants no more than warnings to be left.
func (l *crashLife) checked(words ...string) {
	l.t.Helper()
	v := l.command(words...)
	for _, f := range v.Fields()["findings"].Elems {
		if f.Fields()["severity"].Text != "warning" {
			l.t.Errorf("PROXY %v: %s", words, f)
		}
	}
	if v.Fields()["ok"].Int != 1 {
		l.t.Errorf("PROXY %v: %s", words, v)
	}
}

// times reads how often something is done from the environment.
func times(t *testing.T, name string, otherwise int) int {
	t.Helper()
	return int(seconds(t, name, otherwise) / time.Second)
}

// eachEngine runs a test for each version and each engine that it has.
func eachEngine(t *testing.T, f func(t *testing.T, v testcluster.Version, engine string)) {
	t.Helper()
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		t.Run("legacy", func(t *testing.T) { f(t, v, "legacy") })
		if v.Valkey() && v.Major() >= 9 {
			t.Run("atomic", func(t *testing.T) { f(t, v, "atomic") })
		}
	})
}

func TestAProxyThatIsKilledAtAnyMomentGoesOnWithItsJob(t *testing.T) {
	eachEngine(t, func(t *testing.T, v testcluster.Version, engine string) {
		l := newCrashLife(t, testcluster.Options{Version: v}, crashSlots, engine, "MAXKEYS", "5000")
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
		for range times(t, "SLOTPROXY_CRASHES", 3) {
			if l.id == "" || l.over() {
				l.begin()
			}
			// Most jobs last for a second, those that nodes do themselves for a tenth of it.
			time.Sleep(time.Duration(random.Int64N(int64(800 * time.Millisecond >> random.IntN(5)))))
			l.die()
			l.comeBack()
		}
		l.end()
		l.sound()
		t.Logf("%d jobs resumed, the slowest after %v", l.resumed, l.slowest.Round(time.Millisecond))
	})
}

func TestAProxyThatIsKilledBehindAnyRecordOfItsJournalGoesOnWithItsJob(t *testing.T) {
	eachEngine(t, func(t *testing.T, v testcluster.Version, engine string) {
		// Two units, of which the second has the slot that moves online.
		l := newCrashLife(t, testcluster.Options{Version: v}, 70, engine, "PARALLEL", "1")
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
		step := max(1, 12/times(t, "SLOTPROXY_CRASHES", 3))
		point := 1
		for killed := true; killed; point += step {
			l.begin()
			killed = l.killBehind(point, time.Duration(random.Int64N(int64(3*time.Millisecond))))
			if killed {
				l.comeBack()
			}
			l.end()
		}
		if point <= 4 {
			t.Errorf("only %d records were reached", point)
		}
		l.sound()
		t.Logf("%d jobs resumed, the slowest after %v; a job has about %d records", l.resumed, l.slowest.Round(time.Millisecond), point-step)
	})
}

// killBehind kills the proxy a moment after the journal has so many records; false when the job has ended before.
func (l *crashLife) killBehind(records int, later time.Duration) bool {
	l.t.Helper()
	for start := time.Now(); ; time.Sleep(200 * time.Microsecond) {
		if l.records() >= records {
			time.Sleep(later)
			l.die()
			return true
		}
		if time.Since(start) > jobLimit {
			l.t.Fatalf("job %s has only %d records", l.id, l.records())
		}
		if strings.Contains(l.p.log.String(), "job ended") && l.over() {
			return false
		}
	}
}
