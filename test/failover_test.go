package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// behindDirect is how much later than the best possible direct client the proxy may serve a slot again after a failover.
const behindDirect = 250 * time.Millisecond

// failoverCluster has a replica for each primary and fails over about two seconds after a primary died.
func failoverCluster(t *testing.T, v testcluster.Version) *testcluster.Cluster {
	t.Helper()
	return testcluster.ForTest(t, testcluster.Options{Version: v, Replicas: 1, NodeTimeout: 2 * time.Second})
}

func TestAfterAKilledPrimaryClientsGoOnAndNoWriteIsDoneTwice(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := failoverCluster(t, v)
		p := startProxy(t, cluster.Addrs()[:2])
		load := startLedger(t, p.addr)
		time.Sleep(500 * time.Millisecond) // some load before the kill
		primary := cluster.Nodes[0]
		replica := replicaOf(t, cluster, primary)
		key := keyIn(slot0, "probe")
		proxyProbe := startProbe(t, p.addr, key)
		directProbe := startProbe(t, replica.Addr, key) // MOVED until the replica has taken over: no client can know earlier
		if err := cluster.Kill(primary); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		proxyProbe.since(killed)
		directProbe.since(killed)
		direct, through := directProbe.first(t), proxyProbe.first(t)
		t.Logf("%s: served again %v after the kill, through the proxy %v later", v, direct.Sub(killed).Round(time.Millisecond),
			through.Sub(direct).Round(time.Millisecond))
		if through.Sub(direct) > behindDirect {
			t.Errorf("the proxy served the slot %v after a direct client, want at most %v", through.Sub(direct), behindDirect)
		}
		time.Sleep(500 * time.Millisecond) // some load afterwards
		load.finish(t)
		t.Logf("%d writes acknowledged, %d of unknown outcome, %d acknowledged and lost with the primary", load.acked, load.unknown, load.lost)
		if load.acked == 0 {
			t.Error("no write was acknowledged")
		}
		// Two in flight for each client, and once more: a connection that was accepted by the dying node is reset with what was sent on it.
		if most := ledgerClients * 2 * 2; load.unknown > most {
			t.Errorf("%d writes of unknown outcome, want at most those in flight (%d)", load.unknown, most)
		}
	})
}

func TestAManualFailoverIsNotSeenAtAll(t *testing.T) {
	cluster := failoverCluster(t, testcluster.NeedNewest(t))
	p := startProxy(t, cluster.Addrs()[:2])
	load := startLedger(t, p.addr)
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		replica := replicaOf(t, cluster, ownerOf(t, cluster, slot0))
		if _, err := cluster.Do(replica, "CLUSTER", "FAILOVER"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error {
			if owner, err := cluster.SlotOwner(slot0); err != nil || owner != replica {
				return fmt.Errorf("the replica has not taken over: %v", err)
			}
			return nil
		})
	}
	time.Sleep(300 * time.Millisecond)
	load.finish(t)
	if load.unknown != 0 || load.lost != 0 {
		t.Errorf("%d writes of unknown outcome and %d lost, want none: a manual failover cuts nothing", load.unknown, load.lost)
	}
	t.Logf("%d writes acknowledged", load.acked)
}

func TestAFrozenPrimarySlowsOnlyItsOwnSlots(t *testing.T) {
	const frozenFor = 3 * time.Second
	// No replicas and a long time-out: nothing but the thaw ends the freeze.
	cluster := testcluster.ForTest(t, testcluster.Options{NodeTimeout: 30 * time.Second})
	p := startProxy(t, cluster.Addrs())
	frozen := ownerOf(t, cluster, slot0)
	mine, other := keyIn(slot0, "k"), keyIn(slot2, "k")
	c := p.dial(t)
	want(t, c, ":1", "INCR", mine)

	baseline := worst(t, p, other, frozenFor/3)
	if err := cluster.Freeze(frozen); err != nil {
		t.Fatal(err)
	}
	send(t, c, []string{"INCR", mine})
	during := worst(t, p, other, frozenFor)
	// A client that asks for the frozen slots first and for others behind them waits, as replies leave in order; no other does.
	if err := cluster.Thaw(frozen); err != nil {
		t.Fatal(err)
	}
	if limit := max(2*baseline, 100*time.Millisecond); during > limit {
		t.Errorf("a command for another node took %v, want at most %v (%v before the freeze)", during, limit, baseline)
	}
	v, err := c.Read()
	if err != nil || v.String() != ":2" && !v.IsError() {
		t.Errorf("the command for the frozen node: got %v %v, want :2 or an error", v, err)
	}
	again := p.dial(t)
	eventually(t, 10*time.Second, func() error {
		if v := do(t, again, "GET", mine); v.IsError() {
			return fmt.Errorf("after the thaw: %s", v)
		}
		return nil
	})
	want(t, again, `"2"`, "GET", mine)
}

// worst is the longest time that a command for key took, through a client of its own; an error reply fails the test.
func worst(t *testing.T, p *proxy, key string, d time.Duration) (longest time.Duration) {
	t.Helper()
	c := p.dial(t)
	for start := time.Now(); time.Since(start) < d; time.Sleep(2 * time.Millisecond) {
		sent := time.Now()
		if v := do(t, c, "SET", key, "v"); v.IsError() {
			t.Errorf("SET on another node: %s", v)
		}
		longest = max(longest, time.Since(sent))
	}
	return longest
}

func ownerOf(t *testing.T, c *testcluster.Cluster, slot int) *testcluster.Node {
	t.Helper()
	n, err := c.SlotOwner(slot)
	if err != nil || n == nil {
		t.Fatalf("slot %d has no owner: %v", slot, err)
	}
	return n
}

func replicaOf(t *testing.T, c *testcluster.Cluster, primary *testcluster.Node) (replica *testcluster.Node) {
	t.Helper()
	eventually(t, 10*time.Second, func() error { // others may hear of it before the primary does
		reply, err := c.Do(primary, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		for line := range strings.Lines(reply.(string)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == primary.ID && strings.Contains(f[2], "slave") {
				replica = c.Node(f[0])
				return nil
			}
		}
		return fmt.Errorf("%s has no replica:\n%s", primary.Addr, reply)
	})
	return replica
}

// probe writes one key every five milliseconds and notes the first success after a moment.
type probe struct {
	from atomic.Pointer[time.Time]
	hit  chan time.Time
}

func startProbe(t *testing.T, addr, key string) *probe {
	t.Helper()
	pr := &probe{hit: make(chan time.Time, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	// Two in turn: a command that was in flight when the node died may be answered only when its time-out is over.
	for range 2 {
		wg.Go(func() { pr.run(ctx, addr, key) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return pr
}

func (pr *probe) run(ctx context.Context, addr, key string) {
	var c *wire.Conn
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if c == nil {
			var err error
			if c, err = wire.Dial("tcp", addr); err != nil {
				continue
			}
		}
		from, sent := pr.from.Load(), time.Now()
		v, err := c.Do("SET", key, "probe")
		if err != nil {
			_ = c.Close()
			c = nil
			continue
		}
		if from != nil && sent.After(*from) && !v.IsError() {
			select {
			case pr.hit <- time.Now():
			default:
			}
			return
		}
	}
}

func (pr *probe) since(at time.Time) { pr.from.Store(&at) }

func (pr *probe) first(t *testing.T) time.Time {
	t.Helper()
	select {
	case at := <-pr.hit:
		return at
	case <-time.After(30 * time.Second):
		t.Fatal("no write succeeded within 30 s after the kill")
	}
	return time.Time{}
}

// ledger is a load of writes of which each is known afterwards: done once, not done, or said to be of unknown outcome.
type ledger struct {
	addr    string
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	clients []*ledgerClient

	// Valid after finish.
	acked, unknown, lost int
}

const ledgerClients = 12

type ledgerClient struct {
	list, counter string
	conn          *wire.Conn
	acked         map[string]bool
	unknown       map[string]bool
	incrs, doubts int
	problems      []string
}

func startLedger(t *testing.T, addr string) *ledger {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &ledger{addr: addr, cancel: cancel}
	for i := range ledgerClients {
		// Two thirds of the clients write to the node that dies.
		slot := []int{slot0, slot0 + 1000, slot2}[i%3]
		c := &ledgerClient{
			list: keyIn(slot, fmt.Sprintf("ledger:%d", i)), counter: keyIn(slot, fmt.Sprintf("count:%d", i)),
			conn: dialAddr(t, addr), acked: map[string]bool{}, unknown: map[string]bool{},
		}
		l.clients = append(l.clients, c)
		l.wg.Go(func() { c.run(ctx, i) })
	}
	t.Cleanup(func() { cancel(); l.wg.Wait() })
	return l
}

// run keeps one RPUSH and one INCR in flight; each RPUSH brings a value that is never used again.
func (c *ledgerClient) run(ctx context.Context, number int) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%d:%d", number, n)
		c.conn.Append("RPUSH", c.list, id)
		c.conn.Append("INCR", c.counter)
		if err := c.conn.Flush(); err != nil {
			c.problem("the client was disconnected: %v", err)
			return
		}
		push, err := c.conn.Read()
		if err != nil {
			c.problem("the client was disconnected: %v", err)
			return
		}
		incr, err := c.conn.Read()
		if err != nil {
			c.problem("the client was disconnected: %v", err)
			return
		}
		switch {
		case push.Kind == ':':
			c.acked[id] = true
		case strings.HasPrefix(push.String(), unknownPrefix):
			c.unknown[id] = true
		default:
			c.problem("RPUSH: %s", push)
		}
		switch {
		case incr.Kind == ':':
			c.incrs++
		case strings.HasPrefix(incr.String(), unknownPrefix):
			c.doubts++
		default:
			c.problem("INCR: %s", incr)
		}
	}
}

func (c *ledgerClient) problem(format string, args ...any) {
	if len(c.problems) < 3 {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// finish ends the load and compares it with what is in the cluster.
func (l *ledger) finish(t *testing.T) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	r := dialAddr(t, l.addr)
	for i, c := range l.clients {
		for _, p := range c.problems {
			t.Errorf("client %d: %s", i, p)
		}
		present := map[string]int{}
		for _, id := range do(t, r, "LRANGE", c.list, "0", "-1").Strings() {
			present[id]++
			if !c.acked[id] && !c.unknown[id] && len(c.problems) == 0 {
				t.Errorf("client %d: %s is there, but was never sent", i, id)
			}
		}
		for id, n := range present {
			if n > 1 {
				t.Errorf("client %d: %s was written %d times", i, id, n)
			}
		}
		for id := range c.acked {
			if present[id] == 0 {
				l.lost++
			}
		}
		l.acked += len(c.acked)
		l.unknown += len(c.unknown)
		l.unknown += c.doubts
		var count int
		if v := do(t, r, "GET", c.counter); !v.Null {
			_, _ = fmt.Sscan(v.Text, &count) // not a number counts as none, which no check below takes for a double
		}
		if count > c.incrs+c.doubts {
			t.Errorf("client %d: the counter is %d after %d acknowledged and %d unknown INCRs", i, count, c.incrs, c.doubts)
		}
	}
}
