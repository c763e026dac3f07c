package main

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestAWrongPasswordOfTheClusterIsNamed(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Password: "right"})
	r := start(t, cl.Addrs()[:1], "cluster_password: no-such-secret\n")
	if log := r.log.String(); strings.Count(log, "WRONGPASS") != 2 || strings.Contains(log, "no-such-secret") {
		t.Errorf("want WRONGPASS when the first table fails and when the wait for it ends, and no password:\n%s", log)
	}
	if ok, why := r.s.ready(); ok || !strings.Contains(why, "WRONGPASS") {
		t.Errorf("ready is %v, %q, want WRONGPASS", ok, why)
	}
}
