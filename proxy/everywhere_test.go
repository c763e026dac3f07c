package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestWhatBelongsToOneNodeIsNotSetOnAll(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for _, refused := range []string{"port 1", "PORT 1", "tls-port 1", "bind 127.0.0.9", "dir /", "dbfilename one.rdb",
		"cluster-announce-ip 10.9.9.9", "cluster-announce-bus-port 1", "replica-announce-port 1", "maxmemory 64mb port 1"} {
		c.send("CONFIG SET " + refused)
		c.want("-PROXYUNSUPPORTED CONFIG SET ")
	}
	c.send("CONFIG GET maxmemory", "CONFIG SET maxmemory 64mb", "CONFIG GET maxmemory", "CONFIG SET maxmemory 0", "CONFIG SET port")
	c.want("*2\r\n$9\r\nmaxmemory\r\n$1\r\n0", "+OK", "*2\r\n$9\r\nmaxmemory\r\n$8\r\n67108864", "+OK", "-ERR wrong number of arguments")
}

func TestACommandThatSomePrimariesRefuseSaysHowManyHaveDoneIt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	if _, err := cl.Do(cl.Nodes[1], "ACL", "SETUSER", "default", "-config|set", "-acl|setuser", "-script|flush", "-flushall", "-acl|deluser", "-dbsize"); err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for _, line := range []string{"CONFIG SET maxmemory 0", "ACL SETUSER somebody on", "ACL DELUSER somebody", "SCRIPT FLUSH", "FLUSHALL"} {
		if got := c.reply(line); !strings.HasPrefix(got, "-NOPERM ") || !strings.HasSuffix(got, " (so says a node; 2 of 3 primaries have done it)\r\n") {
			t.Errorf("%s, which one of three nodes forbids: got %q", line, got)
		}
	}
	for _, line := range []string{"DBSIZE", "CONFIG SET nothing 1"} {
		if got := c.reply(line); !strings.HasPrefix(got, "-") || strings.Contains(got, "primaries") {
			t.Errorf("%s, which changes no node: got %q, want only what the node says", line, got)
		}
	}
}
