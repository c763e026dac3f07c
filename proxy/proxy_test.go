package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/resp"
	"slotproxy/router"
)

// readReply reads one whole reply.
func readReply(r *bufio.Reader) (string, error) {
	var f resp.Framer
	var all []byte
	for want := 1; ; {
		if _, err := r.Peek(want); err != nil {
			return "", err
		}
		have, _ := r.Peek(r.Buffered())
		n, done, err := f.Feed(have)
		if err != nil {
			return "", err
		}
		all = append(all, have[:n]...)
		_, _ = r.Discard(n)
		if done {
			return string(all), nil
		}
		want = len(have) - n + 1
	}
}

// short keeps failure messages readable.
func short(s string) string {
	if len(s) <= 200 {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", s[:200], len(s))
}

// serve runs a proxy before the given nodes until the test ends and returns it with its address.
func serve(t testing.TB, cfg Config, seeds ...string) (*Proxy, string) {
	t.Helper()
	return serveAs(t, cfg, cluster.Config{}, seeds...)
}

// serveAs is serve with a control plane that logs in or speaks TLS.
func serveAs(t testing.TB, cfg Config, control cluster.Config, seeds ...string) (*Proxy, string) {
	t.Helper()
	src := cluster.NewSource(control)
	t.Cleanup(src.Close)
	ctx, cancel := context.WithCancel(context.Background())
	var p *Proxy
	ready := make(chan struct{})
	first := sync.OnceFunc(func() { close(ready) })
	cfg.Keeper = router.NewKeeper(src, router.KeeperConfig{
		Seeds: seeds, Interval: time.Second, MinGap: 100 * time.Millisecond, Timeout: time.Second,
		OnTable: func(tab *router.Table) { p.SetTable(tab); first() },
	})
	if cfg.Listeners == nil {
		cfg.Listeners = []Listener{{Network: "tcp", Address: "127.0.0.1:0"}}
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	kept, ran := make(chan struct{}), make(chan struct{})
	go func() { _ = cfg.Keeper.Run(ctx); close(kept) }()
	go func() { _ = p.Run(ctx); close(ran) }()
	t.Cleanup(func() { cancel(); <-kept; <-ran })
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("no table after 10 s")
	}
	return p, p.Addrs()[0].String()
}

// client is a raw client for tests.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func connect(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

func (c *client) send(line ...string) {
	c.t.Helper()
	var b []byte
	for _, l := range line {
		b = resp.AppendCommandStrings(b, strings.Fields(l)...)
	}
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(replies ...string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for _, want := range replies {
		got, err := readReply(c.r)
		if err != nil {
			c.t.Fatalf("reading the reply that should be %q: %v", short(want), err)
		}
		if !strings.HasPrefix(got, want) {
			c.t.Fatalf("got %q, want %q", short(got), short(want))
		}
	}
}

func TestCommandsOfEveryPolicyThroughARealCluster(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("PING", "SET a 1", "GET a", "INCR a", "MSET x 1 y 2 z 3", "MGET z nothing x a", "DEL x y z nothing", "DBSIZE")
	c.want("+PONG", "+OK", "$1\r\n1", ":2", "+OK", "*4\r\n$1\r\n3\r\n$-1\r\n$1\r\n1\r\n$1\r\n2\r\n", ":3", ":1")
	c.send("HELLO 3", "GET nothing", "SELECT 0", "KEYS *", "TIME", "INFO", "ROLE", "CLIENT LIST", "CLUSTER INFO", "FOO bar", "GET")
	c.want("%7", "_", "+OK", "*1\r\n$1\r\na\r\n", "*2", "=", "*3", "=", "-ERR This instance", "-ERR unknown command 'FOO'", "-ERR wrong number")
	c.send("LPUSH a x", "SINTER b c", "FLUSHALL", "DBSIZE", "RESET", "GET nothing", "CONFIG GET cluster-enabled")
	c.want("-WRONGTYPE", "-CROSSSLOT", "+OK", ":0", "+RESET", "$-1", "*2\r\n$15\r\ncluster-enabled\r\n$2\r\nno\r\n")
}

func TestLargeValuesPassInBothDirections(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	for _, size := range []int{1 << 10, 15 << 10, 16 << 10, 64 << 10, 1 << 20, 20 << 20} {
		value := strings.Repeat(fmt.Sprintf("%d.", size), size/4)
		c.send("SET big "+value, "GET big", "STRLEN big", "GET big")
		bulk := string(resp.AppendBulkString(nil, value))
		c.want("+OK", bulk, fmt.Sprintf(":%d\r\n", len(value)), bulk)
	}
}

func TestRepliesKeepTheOrderOfAPipelineAcrossNodes(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	c := connect(t, addr)
	var lines, replies []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("SET k%d v%d", i, i), fmt.Sprintf("GET k%d", i))
		v := fmt.Sprintf("v%d", i)
		replies = append(replies, "+OK", fmt.Sprintf("$%d\r\n%s\r\n", len(v), v))
	}
	c.send(lines...)
	c.want(replies...)
}
