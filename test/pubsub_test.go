package test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
	"slotproxy/test/wire"
)

// heard reads the messages of one channel, which are numbers, and remembers the last.
type heard struct {
	c    *wire.Conn
	name string
	last int64
	got  int
	skip int64 // numbers left out
}

// take reads what is there. A number that is not above the last is a message twice, or out of order.
func (h *heard) take(t *testing.T) {
	t.Helper()
	for h.c.Readable(time.Millisecond) {
		v, err := h.c.Read()
		if err != nil {
			t.Fatalf("%s, after message %d: %v", h.name, h.last, err)
		}
		n, err := strconv.ParseInt(v.Elems[len(v.Elems)-1].Text, 10, 64)
		if err != nil || n <= h.last {
			t.Fatalf("%s: got %s after message %d", h.name, v, h.last)
		}
		h.skip += n - h.last - 1
		h.last = n
		h.got++
	}
}

// listenerOf is the node at which the proxy is subscribed to a channel.
func listenerOf(t *testing.T, c *testcluster.Cluster, channel string) *testcluster.Node {
	t.Helper()
	for _, n := range c.Nodes {
		got, err := n.Do("PUBSUB", "NUMSUB", channel)
		if err == nil && got.([]any)[1].(int64) > 0 {
			return n
		}
	}
	t.Fatalf("no node knows of a subscriber of %s", channel)
	return nil
}

// slotOf is a slot that a node owned when its cluster began.
func slotOf(t *testing.T, c *testcluster.Cluster, n *testcluster.Node) int {
	t.Helper()
	owners, err := c.Owners()
	if err != nil {
		t.Fatal(err)
	}
	for slot, owner := range owners {
		if owner == n {
			return slot
		}
	}
	t.Fatalf("%s owns no slot", n.Addr)
	return 0
}

func TestSubscribersGoOnAfterTheNodeThatTheyHearHasDied(t *testing.T) {
	found := testcluster.Need(t)
	for _, v := range []testcluster.Version{found[0], found[len(found)-1]} {
		t.Run(string(v), func(t *testing.T) { subscribersOutlive(t, failoverCluster(t, v)) })
	}
}

func subscribersOutlive(t *testing.T, cluster *testcluster.Cluster) {
	p := startProxy(t, cluster.Addrs()[:2], "--loops", "2")
	first := p.dial(t)
	want(t, first, `*["subscribe" "plain" :1]`, "SUBSCRIBE", "plain")
	home := listenerOf(t, cluster, "plain")
	shard := "{" + storm.Tag(uint16(slotOf(t, cluster, home))) + "}shard"
	var all []*heard
	for i, proto := range []string{"2", "3"} {
		plain, pattern, sharded := p.dial(t), p.dial(t), p.dial(t)
		for _, c := range []*wire.Conn{plain, pattern, sharded} {
			do(t, c, "HELLO", proto)
		}
		do(t, plain, "SUBSCRIBE", "plain")
		do(t, pattern, "PSUBSCRIBE", "pl?in")
		do(t, sharded, "SSUBSCRIBE", shard)
		all = append(all, &heard{c: plain, name: fmt.Sprint("plain ", i)}, &heard{c: pattern, name: fmt.Sprint("pattern ", i)},
			&heard{c: sharded, name: fmt.Sprint("sharded ", i)})
	}
	publisher := p.dial(t)
	publish := func(n int64) (served bool) {
		text := strconv.FormatInt(n, 10)
		send(t, publisher, []string{"PUBLISH", "plain", text}, []string{"SPUBLISH", shard, text})
		for range 2 {
			v, err := publisher.Read() // an error is that of the message under way when the node died: unknown
			if err != nil {
				t.Fatal(err)
			}
			served = !v.IsError()
		}
		for _, h := range all {
			h.take(t)
		}
		return served
	}
	n := int64(0)
	for ; n < 100; n++ {
		publish(n + 1)
	}
	if err := cluster.Kill(home); err != nil {
		t.Fatal(err)
	}
	for again := 0; again < 200; n++ {
		if publish(n + 1) {
			again++
		}
	}
	time.Sleep(100 * time.Millisecond)
	for _, h := range all {
		h.take(t)
		t.Logf("%s: %d messages, %d left out", h.name, h.got, h.skip)
		if h.last != n {
			t.Errorf("%s: the last message is %d, want %d", h.name, h.last, n)
		}
		if h.skip > 2 { // the one under way
			t.Errorf("%s: %d messages are missing", h.name, h.skip)
		}
	}
}

func TestSubscribersGoOnOverAManualFailover(t *testing.T) {
	found := testcluster.Need(t)
	for _, v := range []testcluster.Version{found[0], found[len(found)-1]} {
		t.Run(string(v), func(t *testing.T) {
			cluster := failoverCluster(t, v)
			p := startProxy(t, cluster.Addrs()[:2], "--loops", "2")
			shard := keyIn(slot0, "shard")
			all := []*heard{{c: p.dial(t), name: "plain"}, {c: p.dial(t), name: "sharded"}, {c: p.dial(t), name: "sharded, other loop"}}
			do(t, all[0].c, "SUBSCRIBE", "plain")
			do(t, all[1].c, "SSUBSCRIBE", shard)
			do(t, all[2].c, "SSUBSCRIBE", shard)
			publisher := p.dial(t)
			n := 0
			publish := func() {
				n++
				for _, args := range [][]string{{"PUBLISH", "plain", strconv.Itoa(n)}, {"SPUBLISH", shard, strconv.Itoa(n)}} {
					if v := do(t, publisher, args...); v.Kind != ':' {
						t.Fatalf("%v: got %s", args, v)
					}
				}
				for _, h := range all {
					h.take(t)
				}
			}
			for range 2 {
				replica := replicaOf(t, cluster, ownerOf(t, cluster, slot0))
				if _, err := cluster.Do(replica, "CLUSTER", "FAILOVER"); err != nil {
					t.Fatal(err)
				}
				for start := time.Now(); time.Since(start) < 4*time.Second; {
					publish()
				}
				if owner := ownerOf(t, cluster, slot0); owner != replica {
					t.Fatal("the replica has not taken over")
				}
			}
			time.Sleep(100 * time.Millisecond)
			for _, h := range all {
				h.take(t)
				// A primary that steps down ends sharded subscriptions before it carries out the SPUBLISH that has waited for that.
				if h.last != int64(n) || h.skip > 0 && h.name == "plain" || h.skip > 2 {
					t.Errorf("%s: the last message is %d of %d, and %d are missing", h.name, h.last, n, h.skip)
				}
			}
		})
	}
}

func TestSubscribersLeaveANodeThatIsFrozen(t *testing.T) {
	cluster := testcluster.ForTest(t, testcluster.Options{NodeTimeout: 30 * time.Second})
	p := startProxy(t, cluster.Addrs(), "--upstream-timeout", "1s")
	c, d := p.dial(t), p.dial(t)
	want(t, c, `*["subscribe" "x" :1]`, "SUBSCRIBE", "x")
	home := listenerOf(t, cluster, "x")
	if err := cluster.Freeze(home); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() error {
		if v := do(t, d, "PUBLISH", "x", "1"); v.Int != 1 {
			return fmt.Errorf("got %s", v)
		}
		if !c.Readable(100 * time.Millisecond) {
			return fmt.Errorf("the message did not come")
		}
		return nil
	})
	if err := cluster.Thaw(home); err != nil {
		t.Fatal(err)
	}
}
