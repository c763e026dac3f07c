package cluster

import (
	"context"
	"log/slog"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/router"
)

func TestAPrimaryThatJoinsGetsTheFunctionsOfTheOthers(t *testing.T) {
	for _, v := range []testcluster.Version{"valkey-9.1", "redis-7.0"} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v, Empty: 1})
			src := NewSource(Config{})
			defer src.Close()
			f := NewFunctions(src, slog.New(slog.DiscardHandler))
			var three, four router.Table
			for i, n := range cl.Nodes {
				node := router.Node{ID: n.ID, Addr: n.Addr, Primary: true}
				if i < 3 {
					three.Nodes = append(three.Nodes, node)
				}
				four.Nodes = append(four.Nodes, node)
			}
			ctx := context.Background()
			if !f.supply(ctx, &three) {
				t.Fatal("three nodes without functions need something")
			}
			const library = "#!lua name=lib\nredis.register_function('one', function() return 1 end)"
			for _, n := range cl.Nodes[:3] {
				if _, err := cl.Do(n, "FUNCTION", "LOAD", library); err != nil {
					t.Fatal(err)
				}
			}
			if done := f.supply(ctx, &four); !done || !hasOne(cl, cl.Nodes[3]) {
				t.Fatalf("done: %v, the new node has the function: %v", done, hasOne(cl, cl.Nodes[3]))
			}
			if _, err := cl.Do(cl.Nodes[0], "FUNCTION", "FLUSH"); err != nil {
				t.Fatal(err)
			}
			f.supply(ctx, &four)
			if hasOne(cl, cl.Nodes[0]) {
				t.Fatal("a node that was supplied, and then flushed by somebody, got its functions back")
			}
			f.supply(ctx, &router.Table{Nodes: four.Nodes[1:]})
			if done := f.supply(ctx, &four); !done || !hasOne(cl, cl.Nodes[0]) {
				t.Fatalf("after its return: done: %v, the node has the function: %v", done, hasOne(cl, cl.Nodes[0]))
			}
		})
	}
}

// hasOne says that a node has the function one.
func hasOne(cl *testcluster.Cluster, n *testcluster.Node) bool {
	_, err := cl.Do(n, "FCALL", "one", "0")
	return err == nil
}
