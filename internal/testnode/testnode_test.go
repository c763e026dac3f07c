package testnode

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func dial(t *testing.T, n *Node) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func exchange(t *testing.T, c net.Conn, send, want string) {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("after %q: got %q (%v), want %q", send, got[:n], err, want)
	}
}

func TestSingleRulesAreUsedUpInTurnAndGoBeforeLastingOnes(t *testing.T) {
	n := New(t)
	n.Every("GET a", Raw("$1\r\nz\r\n"))
	n.On("get a", Moved(7, "b:1"))
	n.On("GET a", Raw("+2\r\n"))
	n.On("SET * v", Raw("+s\r\n"))
	n.Every("PING ...", Raw("+mine\r\n"))
	c := dial(t, n)
	exchange(t, c, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "-MOVED 7 b:1\r\n")
	exchange(t, c, "GET a\r\n", "+2\r\n")
	exchange(t, c, "GET a\r\nGET a\r\n", "$1\r\nz\r\n$1\r\nz\r\n")
	exchange(t, c, "SET k v\r\n", "+s\r\n")
	exchange(t, c, "PING x\r\nPING\r\n", "+mine\r\n+mine\r\n")
	exchange(t, c, "GET b\r\n", "-ERR testnode: no script for GET\r\n")
	if got := len(n.Wait(t, "GET a", 4)); got != 4 {
		t.Errorf("GET a was seen %d times, want 4", got)
	}
	if u := n.Unused(); len(u) != 0 {
		t.Errorf("unused rules %q, want none", u)
	}
}

func TestACommandAfterASKINGIsMarked(t *testing.T) {
	n := New(t)
	c := dial(t, n)
	exchange(t, c, "ASKING\r\nPING\r\nPING\r\n", "+OK\r\n+PONG\r\n+PONG\r\n")
	got := n.Wait(t, "PING", 2)
	if !got[0].Asking || got[1].Asking {
		t.Errorf("got asking %v and %v, want true and false", got[0].Asking, got[1].Asking)
	}
}

func TestAConnectionCanBeCutInsideAReply(t *testing.T) {
	for name, c := range map[string]struct {
		action Action
		want   string
	}{
		"after three bytes": {Cut(3, "$5\r\nhello\r\n"), "$5\r"},
		"before the reply":  {Close(), ""},
		"by a reset":        {Reset(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := New(t)
			n.On("GET a", c.action)
			conn := dial(t, n)
			if _, err := io.WriteString(conn, "GET a\r\n"); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(conn) // a reset is an error, a close is none
			if string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnAnswerWaitsUntilTold(t *testing.T) {
	n := New(t)
	gate := make(chan struct{})
	n.On("GET a", Until(gate), Raw("+late\r\n"))
	c := dial(t, n)
	if _, err := io.WriteString(c, "GET a\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	n.Wait(t, "GET a", 1)
	if got := n.Seen("PING"); len(got) != 0 {
		t.Fatalf("the command behind a waiting one was read: %v", got)
	}
	close(gate)
	exchange(t, c, "", "+late\r\n+PONG\r\n")
}

func TestANodeStopsAndStartsOnTheSamePort(t *testing.T) {
	n := New(t)
	c := dial(t, n)
	exchange(t, c, "PING\r\n", "+PONG\r\n")
	n.Stop()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stopped node answers")
	}
	if _, err := net.Dial("tcp", n.Addr()); err == nil {
		t.Error("a stopped node accepts")
	}
	n.Start(t)
	exchange(t, dial(t, n), "PING\r\n", "+PONG\r\n")
}

func TestClusterNodesFollowsTheMap(t *testing.T) {
	s := NewSet(t, 2)
	s.Give(3, 1)
	s.Give(16383, 0)
	s.OpenSlot(5, 1)
	s.Announce(1, "", s.Node(1).Port(), "two.test")
	lines := strings.Split(strings.TrimSpace(s.Nodes(0)), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want 2: %q", len(lines), lines)
	}
	if want := " connected 0-2 4-8191 16383 [5->-" + s.Node(1).ID() + "]"; !strings.HasSuffix(lines[0], want) {
		t.Errorf("got %q, want the end %q", lines[0], want)
	}
	if !strings.Contains(lines[0], " myself,master - 0 0 4 ") || !strings.Contains(lines[1], " master - 0 0 3 ") {
		t.Errorf("got %q, want myself with epoch 4 and the other with epoch 3", lines)
	}
	if !strings.Contains(lines[1], ",two.test master") || !strings.HasSuffix(lines[1], " connected 3 8192-16382") {
		t.Errorf("got %q, want the host name and the slots 3 8192-16382", lines[1])
	}
	if other := s.Nodes(1); !strings.Contains(other, "[5-<-"+s.Node(0).ID()+"]") {
		t.Errorf("got %q, want slot 5 importing", other)
	}
}

func TestAReplicaTakesOverEverySlotOfItsPrimary(t *testing.T) {
	s := NewSet(t, 3)
	s.Replica(2, 0)
	if s.Owner(16383) != s.Node(0) {
		t.Fatal("the primary did not get its replica's slots")
	}
	s.Promote(2, "master,fail")
	if s.Owner(0) != s.Node(2) || s.Owner(16383) != s.Node(2) {
		t.Error("the promoted node does not own the slots")
	}
	if text := s.Nodes(1); !strings.Contains(text, " master,fail - ") {
		t.Errorf("got %q, want the old primary failed", text)
	}
}

func TestHelloSwitchesTheProtocolOfOneConnection(t *testing.T) {
	s := NewSet(t, 1)
	c := dial(t, s.Node(0))
	if _, err := io.WriteString(c, "HELLO 3 AUTH alice pw\r\nCLUSTER NODES\r\nSELECT 2\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	if first, _ := in.ReadString('\n'); first != "%7\r\n" {
		t.Errorf("got %q, want a map of 7", first)
	}
	got := s.Node(0).Wait(t, "PING", 1)[0]
	if got.Proto != 3 || got.User != "alice" || got.DB != "2" {
		t.Errorf("got %+v, want protocol 3, user alice, database 2", got)
	}
}
