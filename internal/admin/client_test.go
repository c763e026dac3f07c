package admin

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"slotproxy/proxy"
	"slotproxy/resp"
	"slotproxy/router"
)

// patience is far above what any answer takes and below go test's own limit.
const patience = 10 * time.Second

// fake is a Backend with a small cluster.
type fake struct {
	table   *router.Table
	notYet  string // why it is not ready
	blow    bool   // Nodes panics
	clients []proxy.ClientInfo
}

func newFake() *fake {
	t := &router.Table{Version: 3, Epoch: 7, Nodes: []router.Node{
		{ID: "aaaa", Addr: "127.0.0.1:7000", Primary: true, Epoch: 1, Slots: 16382},
		{ID: "bbbb", Addr: "[::1]:7001", Primary: true, Epoch: 7, Slots: 1},
		{ID: "cccc", Addr: "127.0.0.1:7002", PrimaryID: "aaaa", Failed: true},
	}}
	t.Owner[100] = 1
	t.Owner[200] = -1
	return &fake{table: t, clients: []proxy.ClientInfo{
		{ID: 9, Addr: "127.0.0.1:5", Local: "127.0.0.1:6479", Name: "app", User: "default", Proto: 3, Age: 90 * time.Second, Command: "get", Queued: 2, In: 10, Out: 20},
	}}
}

func (f *fake) Info(section string) string {
	if section != "" {
		return "# " + section + "\r\nasked:1\r\n"
	}
	return "# Slotproxy\r\nloops:2\r\n"
}

func (f *fake) Nodes() []router.Node {
	if f.blow {
		panic("a fault in the backend")
	}
	if f.table == nil {
		return nil
	}
	return f.table.Nodes
}

func (f *fake) Table() *router.Table        { return f.table }
func (f *fake) Clients() []proxy.ClientInfo { return f.clients }

func (f *fake) Config(pattern string) [][2]string {
	if pattern == "l*" {
		return [][2]string{{"lanes", "1"}, {"listen", "127.0.0.1:6479"}}
	}
	return nil
}

func (f *fake) Ready() (bool, string) { return f.notYet == "", f.notYet }

// start serves cfg until the test ends and fails it when Serve or Close fail.
func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	if cfg.Backend == nil {
		cfg.Backend = newFake()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := New(cfg)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// client is a bare connection that understands where a reply ends.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	addr := s.Addr()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{t: t, conn: c, in: bufio.NewReader(c)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, raw); err != nil {
		c.t.Fatalf("write %.60q: %v", raw, err)
	}
}

// reply reads one whole reply.
func (c *client) reply() string {
	c.t.Helper()
	var got []byte
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			c.t.Fatalf("reply ended after %.200q: %v", got, err)
		}
		got = append(got, b)
		if b != '\n' {
			continue
		}
		if n, err := resp.Skip(got); err != nil {
			c.t.Fatalf("reply %.200q: %v", got, err)
		} else if n == len(got) {
			return string(got)
		}
	}
}

// do sends words separated by spaces and returns the reply.
func (c *client) do(line string) string {
	c.t.Helper()
	c.send(string(resp.AppendCommandStrings(nil, strings.Fields(line)...)))
	return c.reply()
}

// rest is all that still comes until the server closes.
func (c *client) rest() string {
	c.t.Helper()
	all, err := io.ReadAll(c.in)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		c.t.Fatalf("the connection stays open after %.200q", all)
	}
	return string(all)
}

// lines drops the framing of a reply, to be compared by eye.
func lines(reply string) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSuffix(reply, "\r\n"), "\r\n") {
		if line == "" || !strings.ContainsRune("$", rune(line[0])) {
			out = append(out, line)
		}
	}
	return strings.Join(out, " ")
}
