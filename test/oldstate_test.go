package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// oldState is a node that is started with what its disk had before a job, as one does whose disk was restored.
type oldState struct {
	engine string
	who    string // "source", "target" or "bystander", which has neither given nor taken slots
	how    string
}

const (
	atOnce   = "started at once"
	withHeir = "started when it has an heir"
	// unheard says nothing to the others, nor they to it, so that a slot has two owners until somebody puts that right.
	unheard = "started where gossip does not reach it"
)

func (o oldState) String() string { return o.engine + ", " + o.who + " " + o.how }

// oldStates are a few in CI, and all with SLOTPROXY_FAULTS=all.
func oldStates(v testcluster.Version, newest bool) (list []oldState) {
	if os.Getenv("SLOTPROXY_FAULTS") != "all" {
		if newest {
			list = []oldState{{"legacy", "source", unheard}, {"legacy", "target", atOnce}, {"atomic", "target", withHeir}}
		}
		return list
	}
	engines := []string{"legacy"}
	if v.Valkey() && v.Major() >= 9 {
		engines = append(engines, "atomic")
	}
	for _, engine := range engines {
		for _, who := range []string{"source", "target", "bystander"} {
			list = append(list, oldState{engine, who, atOnce}, oldState{engine, who, withHeir})
		}
		list = append(list, oldState{engine, "source", unheard})
	}
	return list
}

func TestANodeThatIsStartedWithItsStateFromBeforeAJobTakesNothingBack(t *testing.T) {
	newest := testcluster.NeedNewest(t)
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		for _, o := range oldStates(v, v == newest) {
			t.Run(o.String(), func(t *testing.T) { o.run(t, v) })
		}
	})
}

// patience is a cluster-node-timeout that no test outlasts.
const patience = time.Minute

// stateFiles are what a node knows when it starts: who owns what, and its keys.
var stateFiles = []string{"nodes.conf", "dump.rdb"}

func (o oldState) run(t *testing.T, v testcluster.Version) {
	options := testcluster.Options{Version: v, NodeTimeout: patience}
	if o.how == withHeir {
		options.Replicas, options.NodeTimeout = 1, faultTimeout
	}
	var net *network
	slots := crashSlots
	if o.how == unheard {
		net, slots = newNetwork(t), 20 // each of them is merged by itself
	}
	l := newCrashLifeBehind(t, net, options, slots, o.engine, "MAXKEYS", "5000")
	n := l.cluster.Nodes[map[string]int{"source": 0, "target": 1, "bystander": 2}[o.who]]
	old := o.keep(t, n)
	l.begin()
	l.end()
	alone := o.who == "target" && o.how == atOnce
	if alone || o.how == unheard {
		// Of the first, what it has not saved would be lost with any state; of the second, what clients write there.
		l.scribes.finish(t)
	}
	if alone {
		old["dump.rdb"] = o.keep(t, n)["dump.rdb"]
	}
	from := time.Now().Add(-loseBefore)
	o.happen(l, n, old)
	until := time.Now().Add(loseAfter)
	found := l.command("CHECK").Fields()
	if (alone || o.how == unheard) && found["ok"].Int == 1 {
		t.Error("the owner of the slots is in doubt, and PROXY CHECK does not see it")
	}
	if o.how == unheard {
		o.wantTwoOwners(l)
		l.net.heal()
	}
	l.repair()
	l.checked("CHECK")
	o.wantOneOwner(l)
	l.scribes.finish(t)
	switch {
	case alone && v.Valkey(): // 8.0 and later delete at their start what nodes.conf does not say is theirs
		t.Logf("%d writes and %d older keys have gone with the old nodes.conf", len(l.scribes.lost), l.scribes.lostStill)
	case o.who == "target" && o.how == withHeir:
		nodeFault{who: o.who, how: killed}.judge(t, l.scribes, from, until)
	default:
		l.scribes.wantAll(t)
	}
}

// happen starts the node with its old state.
func (o oldState) happen(l *crashLife, n *testcluster.Node, old map[string][]byte) {
	l.t.Helper()
	if err := l.cluster.Kill(n); err != nil {
		l.t.Fatal(err)
	}
	switch o.how {
	case withHeir:
		o.awaitHeir(l, n)
	case unheard:
		l.net.cut(n, gossip)
	}
	for name, text := range old {
		write(l.t, filepath.Join(n.Dir, name), text)
	}
	if err := l.cluster.Restart(n); err != nil {
		l.t.Fatal(err)
	}
}

// slotRanges finds the slots that an action is about.
var slotRanges = regexp.MustCompile(`\bslots? (\d+)(?:-(\d+))?`)

// wantTwoOwners wants a repair to see two owners of the slots that have moved, and to leave one with all keys, although the nodes
// cannot tell each other.
func (o oldState) wantTwoOwners(l *crashLife) {
	l.t.Helper()
	v := l.command("FIX")
	said := 0
	for _, line := range v.Fields()["done"].Strings() {
		if strings.Contains(line, "SETSLOT") && strings.HasSuffix(line, ": OK") {
			for _, r := range slotRanges.FindAllStringSubmatch(line, -1) {
				first, _ := strconv.Atoi(r[1]) // the expression has found digits
				last, err := strconv.Atoi(r[2])
				if err != nil {
					last = first
				}
				said += last - first + 1
			}
		}
	}
	if said < len(l.slots) || v.Fields()["ok"].Int != 1 {
		l.t.Errorf("PROXY FIX says that it has settled %d of %d slots: %s", said, len(l.slots), v)
	}
}

// keep reads the state of a node as it is now.
func (o oldState) keep(t *testing.T, n *testcluster.Node) map[string][]byte {
	t.Helper()
	if _, err := n.Do("SAVE"); err != nil {
		t.Fatal(err)
	}
	state := map[string][]byte{}
	eventually(t, 30*time.Second, func() error {
		if _, err := n.Do("CLUSTER", "SAVECONFIG"); err != nil {
			return err
		}
		for _, name := range stateFiles {
			text, err := os.ReadFile(filepath.Join(n.Dir, name))
			if err != nil {
				return err
			}
			state[name] = text
		}
		return oneShardEach(string(state["nodes.conf"]))
	})
	return state
}

// oneShardEach is nil when all replicas have the shard of their primaries. Valkey 8.0 writes also what it has not heard in full yet,
// and does not start with that.
func oneShardEach(conf string) error {
	shards, primaries := map[string]string{}, map[string]string{}
	for line := range strings.Lines(conf) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		_, shard, _ := strings.Cut(f[1], "shard-id=")
		shards[f[0]], _, _ = strings.Cut(shard, ",")
		if len(f[3]) > 1 {
			primaries[f[0]] = f[3]
		}
	}
	for replica, primary := range primaries {
		if shards[replica] != shards[primary] {
			return fmt.Errorf("a replica has another shard than its primary:\n%s", conf)
		}
	}
	return nil
}

// awaitHeir waits until another node leads the shard of one that is gone.
func (o oldState) awaitHeir(l *crashLife, n *testcluster.Node) {
	l.t.Helper()
	if o.who != "bystander" {
		l.heir(n)
		return
	}
	eventually(l.t, 30*time.Second, func() error {
		if owner, err := l.cluster.SlotOwner(testcluster.Slots - 1); err != nil || owner == nil {
			return fmt.Errorf("nobody has taken over: %v", err)
		}
		return nil
	})
}

// wantOneOwner wants no primary but the owner to hold a key of the slots that have moved.
func (o oldState) wantOneOwner(l *crashLife) {
	l.t.Helper()
	eventually(l.t, 30*time.Second, func() error {
		owner, err := l.cluster.SlotOwner(int(l.slots[0]))
		if err != nil {
			return err
		}
		for _, n := range l.cluster.Nodes {
			info, err := n.Do("INFO", "replication")
			if err != nil {
				return err
			}
			if n == owner || !strings.Contains(fmt.Sprint(info), "role:master") {
				continue
			}
			for _, slot := range l.slots {
				if count, err := n.Do("CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(int(slot))); err != nil || count != int64(0) {
					return fmt.Errorf("%s has %v keys of slot %d, which is at %s: %v", n.Addr, count, slot, owner.Addr, err)
				}
			}
		}
		return nil
	})
}
