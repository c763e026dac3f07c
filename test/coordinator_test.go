package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
)

// heavyKeys lie in each busy slot besides its ballast: more than fit the hold budget, so that these slots move online, and more
// than one batch, so that they stay half moved for a while.
const heavyKeys = 1000

func TestStormSeesNoErrorAndNoDisorderWhileTheProxyMovesSlots(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) { stormBesideJobs(t, v, "legacy") })
}

func TestStormSeesNoErrorAndNoDisorderWhileTheProxyLetsNodesMoveSlots(t *testing.T) {
	stormBesideJobs(t, testcluster.NeedNewest(t), "atomic")
}

// stormBesideJobs storms while nothing moves and then while jobs run, and compares. How much slower commands may become is not
// checked: beside other work on the same machine that says little.
func stormBesideJobs(t *testing.T, v testcluster.Version, engine string) {
	t.Helper()
	cluster := testcluster.ForTest(t, testcluster.Options{Version: v})
	p := startProxy(t, cluster.Addrs()[:1])
	d := seconds(t, "SLOTPROXY_STORM_SECONDS", 8)
	jobs := newJobMover(cluster, p.admin, engine)
	// With 200 each slot moves every two or three seconds, which no operator does: with 2000 clients meet what a rebalance costs them.
	jobs.slots = number(t, "SLOTPROXY_STORM_SLOTS", movedSlots)

	opt := stormOptions(p.addr)
	opt.Hot, opt.Heavy = jobs.hot(t), heavyKeys
	ctx, cancel := context.WithTimeout(context.Background(), d/2)
	defer cancel()
	opt.Name = "calm"
	calm, err := storm.Run(ctx, opt)
	checkStorm(t, calm, err)

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	opt.Name = "moving"
	opt.OnStart = func() { go jobs.run(d, cancel) }
	moving, err := storm.Run(ctx, opt)
	checkStorm(t, moving, err)
	<-jobs.done
	jobs.check(t)
	t.Logf("%s, %s: %s\n%s", v, engine, jobs, besides(calm, moving))
}

// besides is a table of how long commands took in two storms, a line a class.
func besides(calm, moving storm.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s %12s %12s %6s %12s %12s\n", "class", "calm p99 ms", "moved p99 ms", "ratio", "calm max ms", "moved max ms")
	for _, c := range calm.Classes {
		i := slices.IndexFunc(moving.Classes, func(m storm.ClassReport) bool { return m.Name == c.Name })
		if i < 0 || c.Latency == nil || moving.Classes[i].Latency == nil {
			continue
		}
		m := moving.Classes[i]
		was, is := c.Latency.ValueAtQuantile(99), m.Latency.ValueAtQuantile(99)
		fmt.Fprintf(&b, "%-11s %12.2f %12.2f %6.2f %12.2f %12.2f\n", c.Name, float64(was)/1000, float64(is)/1000,
			float64(is)/float64(max(was, 1)), float64(c.Latency.Max())/1000, float64(m.Latency.Max())/1000)
	}
	return b.String()
}

func TestTheProxyMovesSlotsOfClusters(t *testing.T) {
	nodes, _ := newTLSFiles(t)
	newest := testcluster.NeedNewest(t)
	if !newest.Valkey() || newest.Major() < 9 {
		t.Fatalf("%s has neither numbered databases in a cluster nor moves of its own: install Valkey 9", newest)
	}
	for _, c := range []struct {
		name      string
		cluster   testcluster.Options
		args      []string
		login     []string
		databases []string
	}{
		{name: "with numbered databases", cluster: testcluster.Options{Args: []string{"--cluster-databases", "4"}}, databases: []string{"1", "3"}},
		{name: "with a password", cluster: testcluster.Options{Password: canary}, args: []string{"--cluster-password", canary},
			login: []string{"AUTH", canary}},
		{name: "that speak TLS only", cluster: testcluster.Options{TLS: nodes}, args: []string{"--cluster-tls=true",
			"--cluster-tls-ca", nodes.CA, "--cluster-tls-cert", nodes.ClientCert, "--cluster-tls-key", nodes.ClientKey}},
	} {
		for _, engine := range []string{"legacy", "atomic"} {
			t.Run(c.name+", "+engine, func(t *testing.T) {
				o := c.cluster
				o.Version = newest
				cluster := testcluster.ForTest(t, o)
				p := startProxy(t, cluster.Addrs(), c.args...)
				moveAndCount(t, cluster, p, engine, c.login, c.databases)
			})
		}
	}
}

// moveAndCount writes keys to the slots that move, moves them to and fro, and looks for the keys after each job.
func moveAndCount(t *testing.T, cluster *testcluster.Cluster, p *proxy, engine string, login, databases []string) {
	t.Helper()
	c := p.dial(t)
	if login != nil {
		want(t, c, "+OK", login...)
	}
	jobs := newJobMover(cluster, p.admin, engine)
	hot := jobs.hot(t)
	each := func(do func(db, key, value string)) {
		for _, db := range append([]string{"0"}, databases...) {
			want(t, c, "+OK", "SELECT", db)
			for _, slot := range hot {
				do(db, "{"+storm.Tag(slot)+"}:key", "of database "+db)
			}
		}
	}
	each(func(_, key, value string) { want(t, c, "+OK", "SET", key, value) })
	for _, round := range []func() error{jobs.away, jobs.home} {
		if err := round(); err != nil {
			t.Fatal(err)
		}
		each(func(_, key, value string) { want(t, c, fmt.Sprintf("%q", value), "GET", key) })
	}
	jobs.check(t)
	t.Log(jobs)
}
