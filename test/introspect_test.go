package test

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// startUps are what tools send when they connect, and how each answer must begin; "" is anything but an error.
var startUps = []struct {
	tool  string
	lines []string // command, then | and the beginning of its answer if it is an error or fixed
}{
	{"valkey-cli", []string{"HELLO 2", "INFO", "INFO server", "COMMAND DOCS", "COMMAND", "CLIENT SETNAME cli", "SELECT 0", "PING|+PONG", "ROLE", "INFO replication"}},
	{"redis_exporter", []string{"CLIENT SETNAME redis_exporter|+OK", "CONFIG GET *", "INFO ALL", "CLUSTER INFO|-ERR This instance has cluster support disabled",
		"LATENCY LATEST|*", "LATENCY HISTOGRAM", "CLIENT LIST", "SLOWLOG LEN|:", "SLOWLOG GET 1|*", "MODULE LIST|*", "DBSIZE|:",
		"SENTINEL MASTERS|-ERR unknown command 'SENTINEL'", "CONFIG GET maxmemory|*2", "INFO commandstats", "MEMORY STATS|*"}},
	{"RedisInsight", []string{"CLIENT SETNAME redisinsight-browser|+OK", "CLIENT SETINFO LIB-NAME ioredis", "INFO", "SENTINEL MASTERS|-ERR unknown command",
		"CLUSTER INFO|-ERR This instance has cluster support disabled", "CLUSTER NODES|-ERR This instance has cluster support disabled",
		"CONFIG GET databases|*2", "CLIENT LIST", "COMMAND|*", "MODULE LIST|*", "ACL WHOAMI|$7", "ACL CAT|*", "ACL CAT dangerous|*",
		"ACL DRYRUN default GET k|+OK", "ACL DRYRUN default SET k v|+OK", "ACL GETUSER default|*", "INFO keyspace", "INFO memory", "SLOWLOG GET 50|*",
		"SLOWLOG LEN|:", "CONFIG GET slowlog*|*", "MEMORY USAGE k SAMPLES 0|$-1", "TYPE k|+none", "TTL k|:-2", "OBJECT ENCODING k|$-1", "FT._LIST|-ERR unknown command",
		"PUBSUB HELP|*", "COMMAND INFO ft.search|*1", "LATENCY DOCTOR|$", "MEMORY DOCTOR|$", "LASTSAVE|:", "TIME|*2"}},
}

func TestToolsFindWhatTheyAskForWhenTheyStart(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		p := startProxy(t, sharedCluster(t, v).Addrs()[:1])
		for _, tool := range startUps {
			c := p.dial(t)
			for _, line := range tool.lines {
				line, begin, _ := strings.Cut(line, "|")
				send(t, c, strings.Fields(line))
				reply, err := c.ReadRaw()
				if err != nil {
					t.Fatalf("%s: %s: %v", tool.tool, line, err)
				}
				wrong := begin == "" && reply[0] == '-' || !strings.HasPrefix(string(reply), begin)
				if line == "CLIENT SETINFO LIB-NAME ioredis" && v == "redis-7.0" {
					wrong = !strings.HasPrefix(string(reply), "-ERR unknown subcommand 'SETINFO'")
				}
				if wrong {
					t.Errorf("%s: %s: got %s, want %q", tool.tool, line, brief(string(reply)), begin)
				}
			}
		}
	})
}

// The words for a wrong number of arguments name the command as the server names it, and which number is wrong depends on
// the version.
func TestEveryCommandWithoutItsArgumentsIsRefusedInTheServersWords(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		c := startProxy(t, sharedCluster(t, v).Addrs()[:1]).dial(t)
		server := dialAddr(t, sharedServer(t, v).Addr)
		tried := 0
		var compare func(path []string, info []wire.Value)
		compare = func(path []string, info []wire.Value) {
			if arity := info[1].Int; arity > int64(len(path)) || -arity > int64(len(path)) {
				tried++
				if got, want := do(t, c, path...).String(), do(t, server, path...).String(); got != want {
					t.Errorf("%v: got %s, want %s", path, got, want)
				}
			}
			if len(info) < 10 || len(info[9].Elems) == 0 {
				return
			}
			path = append(path[:len(path):len(path)], "nosuch")
			if got, want := do(t, c, path...).String(), do(t, server, path...).String(); got != want {
				t.Errorf("%v: got %s, want %s", path, got, want)
			}
			for _, sub := range info[9].Elems {
				_, name, _ := strings.Cut(sub.Elems[0].Text, "|")
				compare([]string{path[0], name}, sub.Elems)
			}
		}
		for _, info := range do(t, server, "COMMAND").Elems {
			compare([]string{info.Elems[0].Text}, info.Elems)
		}
		if tried < 200 {
			t.Errorf("%d commands tried, want 200 at least", tried)
		}
	})
}

func TestStrangersAreToldWhatTheServerTellsThem(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cl := testcluster.ForTest(t, testcluster.Options{Version: v, Password: "secret"})
		server := testcluster.StandaloneForTest(t, testcluster.Options{Version: v, Password: "secret"})
		p := startProxyWith(t, proxyOptions{Seeds: cl.Addrs()[:1], Env: []string{"SLOTPROXY_CLUSTER_PASSWORD=secret"}})
		conns := []*wire.Conn{dialAddr(t, server.Addr), p.dial(t)}
		for _, line := range []string{"GET a", "GET", "FOO", "CLIENT FOO", "CLIENT", "CLIENT LIST x", "HELLO 3", "HELLO", "HELLO 9", "AUTH", "AUTH a b c",
			"AUTH wrong", "AUTH default wrong", "RESET", "HGETEX", "QUIT"} {
			var replies []string
			for _, c := range conns {
				send(t, c, strings.Fields(line))
				b, err := c.ReadRaw()
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				replies = append(replies, string(b))
			}
			if replies[0] != replies[1] {
				t.Errorf("%s: got %q, want %q", line, replies[1], replies[0])
			}
		}
	})
}
