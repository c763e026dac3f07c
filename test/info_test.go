package test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestINFODescribesOneStandaloneServerWithTheSumsOfTheCluster(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		p := startProxy(t, sharedCluster(t, v).Addrs()[:1])
		c := p.dial(t)
		want(t, c, "+OK", "FLUSHALL")
		for i := range 100 {
			want(t, c, "+OK", "SET", "info:"+strconv.Itoa(i), "v")
		}
		want(t, c, ":100", "DBSIZE")
		if got := len(do(t, c, "KEYS", "info:*").Elems); got != 100 {
			t.Errorf("KEYS found %d keys, want 100", got)
		}
		all := do(t, c, "INFO").Text
		for _, pattern := range []string{
			`(?m)^(redis|server)_mode:standalone\r$`, `(?m)^cluster_enabled:0\r$`, `(?m)^role:master\r$`, `(?m)^db0:keys=100,`,
			`(?m)^redis_version:\d`, `(?m)^used_memory:\d`, `(?m)^total_commands_processed:\d`, `(?m)^# Slotproxy\r$`,
		} {
			if !regexp.MustCompile(pattern).MatchString(all) {
				t.Errorf("INFO has nothing like %s:\n%s", pattern, all)
			}
		}
		for section, title := range map[string]string{"server": "# Server", "keyspace": "# Keyspace", "replication": "# Replication"} {
			text := do(t, c, "INFO", section).Text
			if !strings.HasPrefix(strings.TrimSpace(text), title) || strings.Count(text, "# ") != 1 {
				t.Errorf("INFO %s: got %q, want only that section", section, text)
			}
		}
		want(t, c, "+OK", "FLUSHALL")
		if keyspace := do(t, c, "INFO", "keyspace").Text; strings.Contains(keyspace, "db0") {
			t.Errorf("INFO keyspace after FLUSHALL: %q", keyspace)
		}
	})
}

func TestWhatAClusterMakesImpossibleIsRefused(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	c := p.dial(t)
	want(t, c, ":1", "SADD", "{a}s", "x")
	for _, line := range []string{"SYNC",
		"MIGRATE h 1 k 0 1", "CLUSTER RESET", "SHUTDOWN", "DEBUG SLEEP 0", "REPLICAOF NO ONE"} {
		wantPrefix(t, c, "-", strings.Fields(line)...)
	}
	wantPrefix(t, c, "-CROSSSLOT", "SINTER", keyIn(slot0, "a"), keyIn(slot2, "b"))
	wantPrefix(t, c, "-CROSSSLOT", "RENAME", keyIn(slot0, "a"), keyIn(slot2, "b"))
	want(t, c, "+PONG", "PING")
	want(t, c, ":1", "SCARD", "{a}s")
}
