package main

import (
	"fmt"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

// strangers are nodes that belong to no cluster.
func strangers(t *testing.T, count int) []*testcluster.Node {
	t.Helper()
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3, Empty: count - 3})
	for _, n := range cl.Nodes {
		if _, err := n.Do("CLUSTER", "RESET", "HARD"); err != nil {
			t.Fatal(err)
		}
	}
	return cl.Nodes
}

func TestAClusterIsMadeAndReshardedWithoutAProxy(t *testing.T) {
	testcluster.NeedNewest(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	nodes := strangers(t, 4)
	addrs := []string{nodes[0].Addr, nodes[1].Addr, nodes[2].Addr}
	step := func(says string, args ...string) {
		t.Helper()
		code, out, errs := run(append([]string{"cluster"}, args...)...)
		if code != exitOK || !strings.Contains(out, says) {
			t.Fatalf("%v: code %d, want 0 and %q\n%s%s", args, code, says, out, errs)
		}
	}
	step("Primary[2] -> Slots 10922 - 16383, "+addrs[2], append([]string{"create", "--dry-run"}, addrs...)...)
	step("[OK] All 16384 slots covered.", append([]string{"create", "--yes"}, addrs...)...)
	here := func(args ...string) []string { return append(args, "--cluster", addrs[1]) }
	step("[OK] All nodes agree about slots configuration.", here("check")...)
	for i := range 500 {
		key := fmt.Sprint("key:", i)
		for _, n := range nodes[:3] {
			if _, err := n.Do("SET", key, "v"); err == nil {
				break
			}
		}
	}
	step("OK", here("add-node", nodes[3].Addr)...)
	step("Job 1: success", here("reshard", "--from", "all", "--to", nodes[3].Addr, "--slots", "300", "--yes")...)
	step("| 300 slots |", here("info")...)
	step("Job 2: success", here("evacuate", nodes[3].Addr, "--yes")...)
	step("success", here("jobs")...)
	step("OK", here("del-node", nodes[3].Addr, "--yes")...)
	step("(using node "+addrs[1]+")", here("check")...)
	step("500 keys in 3 primaries", here("info")...)
}
