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

func TestAPrimaryIsNotLeftWithoutFunctionsBecauseTheOthersCouldNotBeAsked(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Empty: 1})
	src := NewSource(Config{})
	defer src.Close()
	for _, n := range cl.Nodes[:3] {
		if _, err := cl.Do(n, "FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('one', function() return 1 end)"); err != nil {
			t.Fatal(err)
		}
	}
	node := func(i int) router.Node {
		return router.Node{ID: cl.Nodes[i].ID, Addr: cl.Nodes[i].Addr, Primary: true}
	}
	empty, full, away := node(3), node(0), node(0)
	away.Addr = "127.0.0.1:1" // nobody listens there
	for _, tc := range []struct {
		name  string
		known bool // the one with functions was read before
		owns  bool
		done  bool
	}{
		{"one with slots that is new, too", false, true, false},
		{"one with slots that was read before", true, true, false},
		{"one that has no slots", true, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, ctx := NewFunctions(src, slog.New(slog.DiscardHandler)), context.Background()
			if tc.known {
				f.supply(ctx, &router.Table{Nodes: []router.Node{full}})
			}
			lost := &router.Table{Nodes: []router.Node{away, empty}}
			for i := range lost.Owner {
				lost.Owner[i] = map[bool]int16{true: 0, false: 1}[tc.owns]
			}
			if done := f.supply(ctx, lost); done != tc.done {
				t.Fatalf("done: %v, want %v", done, tc.done)
			}
			if tc.done {
				return
			}
			if done := f.supply(ctx, &router.Table{Nodes: []router.Node{full, empty}}); !done || !hasOne(cl, cl.Nodes[3]) {
				t.Errorf("with the other one back: done: %v, the node has the function: %v", done, hasOne(cl, cl.Nodes[3]))
			}
			if _, err := cl.Do(cl.Nodes[3], "FUNCTION", "FLUSH"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// hasOne says that a node has the function one.
func hasOne(cl *testcluster.Cluster, n *testcluster.Node) bool {
	_, err := cl.Do(n, "FCALL", "one", "0")
	return err == nil
}
