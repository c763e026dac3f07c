package members_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/members"
	"slotproxy/router"
)

func TestNodesAreSeated(t *testing.T) {
	six := []string{"h1:1", "h1:2", "h2:1", "h2:2", "h3:1", "h3:2"}
	tests := []struct {
		name     string
		addrs    []string
		replicas int
		want     []string // address, slots or primary
		err      string
	}{
		{"three without replicas", []string{"h:1", "h:2", "h:3"}, 0, []string{"h:1 0-5460", "h:2 5461-10921", "h:3 10922-16383"}, ""},
		{"a replica each, on another host", six, 1, []string{"h1:1 0-5460", "h2:1 5461-10921", "h3:1 10922-16383", "h3:2 of h1:1", "h1:2 of h2:1", "h2:2 of h3:1"}, ""},
		{"two replicas each, on three hosts", []string{"h1:1", "h1:2", "h1:3", "h2:1", "h2:2", "h2:3", "h3:1", "h3:2", "h3:3"}, 2, []string{
			"h1:1 0-5460", "h2:1 5461-10921", "h3:1 10922-16383",
			"h2:2 of h1:1", "h1:2 of h2:1", "h1:3 of h3:1", "h3:2 of h1:1", "h3:3 of h2:1", "h2:3 of h3:1"}, ""},
		{"as few as can be on one host with their primary", []string{"h1:1", "h1:2", "h1:3", "h1:4", "h2:1", "h2:2"}, 1, []string{
			"h1:1 0-5460", "h2:1 5461-10921", "h1:2 10922-16383", "h2:2 of h1:1", "h1:3 of h2:1", "h1:4 of h1:2"}, ""},
		{"one host", []string{"h:1", "h:2", "h:3", "h:4", "h:5", "h:6"}, 1, []string{"h:1 0-5460", "h:2 5461-10921", "h:3 10922-16383", "h:4 of h:1", "h:5 of h:2", "h:6 of h:3"}, ""},
		{"one too many is a replica more", append(slices.Clone(six), "h1:3"), 1, nil, ""},
		{"too few", six[:5], 1, nil, "needs at least 3 primaries"},
		{"one twice", []string{"h:1", "h:2", "h:1"}, 0, nil, "named twice"},
		{"no port", []string{"h:1", "h:2", "h"}, 0, nil, "host:port is wanted"},
		{"less than none", six, -1, nil, "0 or more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seats, err := members.Layout(tt.addrs, tt.replicas)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || len(seats) != len(tt.addrs) {
				t.Fatalf("got %v, %v for %d nodes", seats, err, len(tt.addrs))
			}
			slots := 0
			for i, s := range seats {
				text := s.Addr + " of " + s.Of
				if s.Of == "" {
					slots += s.Last - s.First + 1
					text = fmt.Sprint(s.Addr, " ", s.First, "-", s.Last)
				}
				if tt.want != nil && text != tt.want[i] {
					t.Errorf("seat %d: got %q, want %q", i, text, tt.want[i])
				}
			}
			if slots != router.Slots {
				t.Errorf("%d slots are given", slots)
			}
		})
	}
}

// bare starts nodes in cluster mode that know nobody.
func bare(t *testing.T, v testcluster.Version, n int) []*testcluster.Node {
	t.Helper()
	nodes := make([]*testcluster.Node, n)
	for i := range nodes {
		node, err := testcluster.Standalone(context.Background(), testcluster.Options{Version: v, Password: "secret",
			Args: []string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(node.Stop)
		nodes[i] = node
	}
	return nodes
}

func TestAClusterIsMadeGrownAndShrunk(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			nodes := bare(t, v, 8)
			src := cluster.NewSource(cluster.Config{Password: "secret"})
			defer src.Close()
			r := &members.Registrar{Nodes: src, Say: t.Logf}
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			var addrs []string
			for _, n := range nodes[:6] {
				addrs = append(addrs, n.Addr)
			}
			seats, err := members.Layout(addrs, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Create(ctx, seats); err != nil {
				t.Fatal(err)
			}
			if err := r.Create(ctx, seats); err == nil || !strings.Contains(err.Error(), "is not empty") {
				t.Fatalf("a second time: %v, want that a node is not empty", err)
			}
			const library = "#!lua name=lib\nredis.register_function('one', function() return 1 end)"
			for _, n := range nodes[:3] {
				if _, err := n.Do("FUNCTION", "LOAD", library); err != nil {
					t.Fatal(err)
				}
			}
			keep := keeper(t, src, addrs)
			seven, eight := nodes[6], nodes[7]
			if err := r.Add(ctx, keep(6), seven.Addr, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := seven.Do("FCALL", "one", "0"); err != nil {
				t.Errorf("the new primary does not have the functions: %v", err)
			}
			t7 := keep(7)
			id := t7.Nodes[t7.ByAddr(seven.Addr)].ID
			if err := r.Add(ctx, t7, eight.Addr, id); err != nil {
				t.Fatal(err)
			}
			if err := r.Add(ctx, keep(8), eight.Addr, ""); err == nil || !strings.Contains(err.Error(), "already") {
				t.Errorf("added twice: %v", err)
			}
			if _, err := r.Remove(ctx, keep(8), t7.Nodes[t7.ByAddr(addrs[0])].ID); err == nil || !strings.Contains(err.Error(), "EVACUATE") {
				t.Errorf("a node with slots was removed: %v", err)
			}
			skipped, err := r.Remove(ctx, keep(8), id)
			if err != nil || len(skipped) > 0 {
				t.Fatalf("removed: %v, not told: %v", err, skipped)
			}
			left := keep(7)
			if at := left.ByAddr(eight.Addr); at < 0 || left.Nodes[at].PrimaryID == id {
				t.Errorf("the replica of the removed node is %+v, want that it follows another", left.Nodes)
			}
		})
	}
}

// keeper returns a function that waits until the cluster has so many nodes, and returns its table.
func keeper(t *testing.T, src *cluster.Source, seeds []string) func(nodes int) *router.Table {
	t.Helper()
	k := router.NewKeeper(src, router.KeeperConfig{Seeds: seeds, Interval: 200 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go run(ctx, k, done)
	t.Cleanup(func() { cancel(); <-done })
	return func(nodes int) *router.Table {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if table := k.Table(); table != nil && len(table.Nodes) == nodes {
				return table
			}
		}
		t.Fatalf("the table has not come to %d nodes", nodes)
		return nil
	}
}

func run(ctx context.Context, k *router.Keeper, done chan<- struct{}) {
	defer close(done)
	_ = k.Run(ctx) // ends with ctx
}
