package test

import (
	"crypto/sha1"
	"fmt"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

const (
	// transferScript moves an amount from one balance to another, and tells their sum, which is always 0.
	transferScript = `redis.call('DECRBY', KEYS[1], ARGV[1]) redis.call('INCRBY', KEYS[2], ARGV[1])
return redis.call('GET', KEYS[1]) + redis.call('GET', KEYS[2])`
	countLibrary = "#!lua name=counts\nredis.register_function('count', function(k) return redis.call('INCR', k[1]) end)"
)

func shaOf(script string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(script))) }

// transfers runs scripts with two keys in its slots until it is told to stop: alone, in a pipeline and in a transaction.
type transfers struct {
	conn  *wire.Conn
	tags  []string
	stop  chan struct{}
	count int
	err   error
}

func (x *transfers) run(wg *sync.WaitGroup) {
	defer wg.Done()
	name := shaOf(transferScript)
	for i := 0; x.err == nil; i++ {
		select {
		case <-x.stop:
			return
		default:
		}
		a, b := x.tags[i%len(x.tags)]+"a", x.tags[i%len(x.tags)]+"b"
		x.conn.Append("EVALSHA", name, "2", a, b, "3")
		x.conn.Append("MGET", a, b)
		x.conn.Append("MULTI")
		x.conn.Append("EVALSHA", name, "2", b, a, "1")
		x.conn.Append("EXEC")
		if x.err = x.conn.Flush(); x.err != nil {
			return
		}
		round := int64(i/len(x.tags) + 1)
		for _, want := range []string{":0", fmt.Sprintf("*[%q %q]", fmt.Sprint(-2*round-1), fmt.Sprint(2*round+1)), "+OK", "+QUEUED", "*[:0]"} {
			v, err := x.conn.Read()
			if err != nil {
				x.err = err
				return
			}
			if got := v.String(); got != want {
				x.err = fmt.Errorf("round %d of %s: got %s, want %s", round, a, got, want)
				return
			}
		}
		x.count++
	}
}

func TestScriptsWithTwoKeysKeepTheirSumWhileSlotsMove(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := testcluster.ForTest(t, testcluster.Options{Version: v})
		p := startProxy(t, cluster.Addrs())
		want(t, p.dial(t), fmt.Sprintf("%q", shaOf(transferScript)), "SCRIPT", "LOAD", transferScript)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		var all []*transfers
		for i := range 6 {
			x := &transfers{conn: p.dial(t), stop: stop}
			for slot := range 40 { // of those that move
				x.tags = append(x.tags, keyIn(slot*movedSlots/40, fmt.Sprint("balance", i)))
			}
			all = append(all, x)
			wg.Add(1)
			go x.run(&wg)
		}
		m := newMover(t, cluster, movedSlots, 4*time.Second, func() { close(stop) })
		m.start()
		moved := m.wait(t)
		wg.Wait()
		total := 0
		for _, x := range all {
			total += x.count
			if x.err != nil {
				t.Error(x.err)
			}
		}
		t.Logf("%d slots moved under %d rounds", moved, total)
	})
}

func TestScriptsAndFunctionsSurviveAFailoverAndReachANodeThatJoins(t *testing.T) {
	for _, v := range []testcluster.Version{"valkey-9.1", "redis-7.0"} {
		t.Run(string(v), func(t *testing.T) {
			cluster := testcluster.ForTest(t, testcluster.Options{Version: v, Replicas: 1, Empty: 1, NodeTimeout: 2 * time.Second})
			late := cluster.Nodes[len(cluster.Nodes)-1]
			expel(t, cluster, late)
			p := startProxy(t, cluster.Addrs()[:2])
			c := p.dial(t)
			want(t, c, fmt.Sprintf("%q", shaOf(transferScript)), "SCRIPT", "LOAD", transferScript)
			want(t, c, `"counts"`, "FUNCTION", "LOAD", countLibrary)

			primary := ownerOf(t, cluster, slot0)
			if err := cluster.Kill(primary); err != nil {
				t.Fatal(err)
			}
			key := keyIn(slot0, "k")
			eventually(t, 20*time.Second, func() error { // the replica has never heard of the script
				if v := do(t, c, "EVALSHA", shaOf(transferScript), "2", key+"a", key+"b", "1"); v.String() != ":0" {
					return fmt.Errorf("after the failover: %s", v)
				}
				return nil
			})
			want(t, c, ":1", "FCALL", "count", "1", key+"c")

			if _, err := cluster.Do(late, "CLUSTER", "MEET", cluster.Nodes[1].Host, fmt.Sprint(cluster.Nodes[1].Port)); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, func() error {
				_, err := cluster.Do(late, "FCALL", "count", "0")
				if err != nil && err.Error() == "ERR Function not found" {
					return err
				}
				return nil
			})
		})
	}
}

// expel makes a node one that the cluster has never seen.
func expel(t *testing.T, c *testcluster.Cluster, n *testcluster.Node) {
	t.Helper()
	if _, err := c.Do(n, "CLUSTER", "RESET", "HARD"); err != nil {
		t.Fatal(err)
	}
	for _, other := range c.Nodes {
		if other == n {
			continue
		}
		if _, err := c.Do(other, "CLUSTER", "FORGET", n.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedisCLIStyleScriptsRunInEverySlot(t *testing.T) {
	cluster := testcluster.ForTest(t, testcluster.Options{})
	p := startProxy(t, cluster.Addrs())
	c := p.dial(t)
	want(t, c, fmt.Sprintf("%q", shaOf(transferScript)), "SCRIPT", "LOAD", transferScript)
	const slots = 16384
	for first := 0; first < slots; first += 512 {
		for i := range 512 {
			k := keyIn(first+i, "all")
			c.Append("EVALSHA", shaOf(transferScript), "2", k+"a", k+"b", "1")
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for i := range 512 {
			v, err := c.Read()
			if err != nil || v.String() != ":0" {
				t.Fatalf("slot %d: %s, %v", first+i, v, err)
			}
		}
	}
}
