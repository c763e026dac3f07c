package testcluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eachVersion runs the test on every version; clusters spend their time waiting, so several at once cost little.
func eachVersion(t *testing.T, test func(t *testing.T, v Version)) {
	for _, v := range Need(t) {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			test(t, v)
		})
	}
}

func owners(t *testing.T, c *Cluster) [Slots]*Node {
	t.Helper()
	o, err := c.Owners()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := poll(ctx, try); err != nil {
		t.Fatal(err)
	}
}

func TestAClusterCoversAllSlotsReshardsAndLeavesNothingBehind(t *testing.T) {
	eachVersion(t, func(t *testing.T, v Version) {
		begin := time.Now()
		c := ForTest(t, Options{Version: v, Primaries: 3, Empty: 1})
		t.Logf("%s: 4 nodes formed a cluster in %v", v, time.Since(begin).Round(time.Millisecond))
		perNode := make(map[*Node]int)
		for slot, n := range owners(t, c) {
			if n == nil {
				t.Fatalf("slot %d has no owner", slot)
			}
			perNode[n]++
		}
		if perNode[c.Nodes[3]] != 0 || len(perNode) != 3 {
			t.Fatalf("slots per node: %v, want three owners and an empty fourth node", perNode)
		}
		moved, err := c.Reshard(t.Context(), c.Nodes[0], c.Nodes[3], 20)
		if err != nil || moved != 20 {
			t.Fatalf("Reshard moved %d slots, want 20: %v", moved, err)
		}
		if n, err := c.SlotOwner(0); err != nil || n != c.Nodes[3] {
			t.Fatalf("slot 0 is owned by %v, want the node that was empty: %v", n, err)
		}
		dir := c.dir
		c.Stop()
		for _, n := range c.Nodes {
			if err := syscall.Kill(n.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d of %s is still there: %v", n.Pid(), n.Addr, err)
			}
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("folder %s is still there: %v", dir, err)
		}
	})
}

func TestAKilledNodeComesBackAsItself(t *testing.T) {
	eachVersion(t, func(t *testing.T, v Version) {
		c := ForTest(t, Options{Version: v})
		n := c.Nodes[1]
		pid := n.Pid()
		if err := c.Kill(n); err != nil {
			t.Fatal(err)
		}
		if n.Alive() {
			t.Fatal("a killed node counts as alive")
		}
		if _, err := n.Do("PING"); err == nil {
			t.Fatal("a killed node answers")
		}
		if err := c.Restart(n); err != nil {
			t.Fatal(err)
		}
		id, err := c.Do(n, "CLUSTER", "MYID")
		if err != nil || id != n.ID {
			t.Fatalf("id after the restart: %v, want %s: %v", id, n.ID, err)
		}
		if n.Pid() == pid {
			t.Fatal("the restarted node has its old pid")
		}
		if err := c.WaitOK(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAReplicaTakesOverFromAKilledPrimary(t *testing.T) {
	eachVersion(t, func(t *testing.T, v Version) {
		c := ForTest(t, Options{Version: v, Replicas: 1, NodeTimeout: 1500 * time.Millisecond})
		primary, replica := c.Nodes[0], c.Nodes[3]
		if replica.PrimaryID != primary.ID || replica.Primary || !primary.Primary {
			t.Fatalf("node 4 was started as %+v, want a replica of node 1", replica)
		}
		if err := c.Kill(primary); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		eventually(t, func() error {
			n, err := c.SlotOwner(0)
			if err == nil && n != replica {
				err = errors.New("slot 0 is not yet owned by the replica")
			}
			return err
		})
		t.Logf("%s: slot 0 had a new owner after %v", v, time.Since(begin).Round(10*time.Millisecond))
		if err := c.WaitOK(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAFrozenNodeIsSilentUntilThawed(t *testing.T) {
	c := ForTest(t, Options{Version: NeedNewest(t), Primaries: 3})
	n := c.Nodes[2]
	if err := c.Freeze(n); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ask(200*time.Millisecond, "PING"); err == nil {
		t.Fatal("a frozen node answers")
	}
	if o := owners(t, c); o[0] != c.Nodes[0] {
		t.Fatal("the owners cannot be told while a node is frozen")
	}
	if err := c.Thaw(n); err != nil {
		t.Fatal(err)
	}
	if pong, err := n.Do("PING"); pong != "PONG" {
		t.Fatalf("a thawed node answers %v, %v", pong, err)
	}
}

func TestAFrozenNodeCanBeStopped(t *testing.T) {
	c := ForTest(t, Options{Version: NeedNewest(t), Primaries: 3})
	if err := c.Freeze(c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	c.Stop()
}

func TestTLSAndAPasswordWorkEverywhere(t *testing.T) {
	files, err := NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	eachVersion(t, func(t *testing.T, v Version) {
		c := ForTest(t, Options{Version: v, Empty: 1, Replicas: 1, TLS: files, Password: "a secret"})
		if moved, err := c.Reshard(t.Context(), c.Nodes[1], c.Nodes[3], 5); err != nil || moved != 5 {
			t.Fatalf("Reshard moved %d slots, want 5: %v", moved, err)
		}
		out, err := c.Nodes[0].CLI("PING").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "PONG" {
			t.Fatalf("CLI PING: %q, %v", out, err)
		}
		out, err = c.Nodes[0].Benchmark("-t", "ping_mbulk", "-n", "100", "-q").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "requests per second") {
			t.Fatalf("Benchmark: %q, %v", out, err)
		}
		if _, err := dial(c.Nodes[0].Addr, "wrong", c.tls, time.Second); !errors.As(err, new(ErrorReply)) {
			t.Fatalf("a wrong password gives %v, want the server's error", err)
		}
	})
}

func TestAStandaloneServerIsNoCluster(t *testing.T) {
	eachVersion(t, func(t *testing.T, v Version) {
		n := StandaloneForTest(t, Options{Version: v, Args: []string{"--maxmemory", "64mb"}})
		if reply, err := n.Do("MSET", "a", "1", "b", "2"); reply != "OK" {
			t.Fatalf("MSET of two slots answers %v, %v", reply, err)
		}
		values, err := n.Do("MGET", "a", "none", "b")
		if err != nil {
			t.Fatal(err)
		}
		if got := values.([]any); got[0] != "1" || got[1] != nil || got[2] != "2" {
			t.Fatalf("MGET answers %v", got)
		}
		memory, err := n.Do("CONFIG", "GET", "maxmemory")
		if err != nil || memory.([]any)[1] != "67108864" {
			t.Fatalf("maxmemory is %v, want what Args said: %v", memory, err)
		}
		if _, err := n.Do("NOSUCH"); !errors.As(err, new(ErrorReply)) {
			t.Fatalf("an unknown command gives %v, want an ErrorReply", err)
		}
		n.Stop()
		if n.Alive() {
			t.Fatal("the server outlives Stop")
		}
	})
}

func TestAWrongSettingIsTold(t *testing.T) {
	_, err := Standalone(t.Context(), Options{Version: NeedNewest(t), Args: []string{"--no-such-setting", "1"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Fatalf("got %v, want the server's own words", err)
	}
}

func TestAVersionThatIsNotThereIsTold(t *testing.T) {
	if _, err := Start(t.Context(), Options{Version: "valkey-1.0"}); !errors.Is(err, ErrNoServer) {
		t.Fatalf("got %v, want ErrNoServer", err)
	}
}

func TestAGivenFolderIsKept(t *testing.T) {
	dir := t.TempDir()
	n := StandaloneForTest(t, Options{Version: NeedNewest(t), Dir: dir})
	n.Stop()
	if _, err := os.Stat(filepath.Join(dir, "node-1", logName)); err != nil {
		t.Fatalf("the log is gone: %v", err)
	}
}
