package test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// benchmarkLimit is far above what a run takes; a benchmark that waits for a lost reply never ends by itself.
const benchmarkLimit = time.Minute

func TestTheServersOwnBenchmarkEndsWithoutAnError(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster := sharedCluster(t, v)
		p := startProxy(t, cluster.Addrs()[:1])
		want(t, p.dial(t), "+OK", "FLUSHALL")
		for _, pipeline := range []string{"1", "16"} {
			t.Run("pipeline "+pipeline, func(t *testing.T) { runBenchmark(t, cluster, p.addr, pipeline) })
		}
		want(t, p.dial(t), "+OK", "FLUSHALL")
	})
}

// runBenchmark uses random keys, so that MSET's ten lie in ten slots. It ends at the first error reply.
func runBenchmark(t *testing.T, cluster *testcluster.Cluster, addr, pipeline string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	plain := cluster.Benchmark("-h", host, "-p", port, "-P", pipeline, "-n", "10000", "-r", "100000", "-d", "64", "-q",
		"-t", "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset")
	ctx, cancel := context.WithTimeout(context.Background(), benchmarkLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, plain.Path, plain.Args[1:]...)
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	// It redraws its line with carriage returns; the last one of each test is its result.
	results := 0
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r", "\n"), "\n") {
		if strings.Contains(line, "requests per second") {
			results++
		}
	}
	for _, bad := range []string{"rror", "WARN", "ould not"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("the benchmark says %q", text)
			return
		}
	}
	if err != nil || results != 13 {
		t.Errorf("got %d results, %v, want 13:\n%s", results, err, text)
	}
}
