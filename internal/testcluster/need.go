package testcluster

import (
	"context"
	"os"
	"slices"
)

// TB is what these helpers use of testing.TB. Naming testing itself here would link it into slotproxy, whose playground
// uses this package.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
}

// Need returns the versions to test with, the newest first. Where CI or SLOTPROXY_REQUIRE_SERVERS is set, every Wanted
// version must be there, else the test fails: a green run means that all of them passed. Elsewhere a machine without
// any server skips the test.
func Need(t TB) []Version {
	t.Helper()
	found := Versions()
	if os.Getenv("CI") != "" || os.Getenv("SLOTPROXY_REQUIRE_SERVERS") != "" {
		for _, v := range Wanted {
			if !slices.Contains(found, v) {
				t.Fatalf("%s is missing on this machine; scripts/servers.sh brings it (found: %v)", v, found)
			}
		}
	}
	if len(found) == 0 {
		t.Skipf("%v", ErrNoServer)
	}
	return found
}

// NeedNewest is the first of Need.
func NeedNewest(t TB) Version {
	t.Helper()
	return Need(t)[0]
}

// ForTest is Start for a test: it fails the test on an error, stops the cluster at its end, and shows the servers' last
// words when the test has failed.
func ForTest(t TB, o Options) *Cluster {
	t.Helper()
	c, err := Start(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { c.endTest(t) })
	return c
}

// StandaloneForTest is Standalone for a test.
func StandaloneForTest(t TB, o Options) *Node {
	t.Helper()
	n, err := Standalone(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { n.cluster.endTest(t) })
	return n
}

func (c *Cluster) endTest(t TB) {
	t.Helper()
	if t.Failed() {
		for _, n := range c.Nodes {
			t.Logf("last words of %s %s:\n%s", c.Version, n.Addr, n.lastWords())
		}
	}
	c.Stop()
}
