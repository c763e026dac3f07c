package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/test/wire"
)

const (
	unknownPrefix = "-PROXYUNKNOWN"
	timeoutPrefix = "-PROXYTIMEOUT" // for writes it says the same
)

func TestALostConnectionIsRetriedForReadsAndReportedForWrites(t *testing.T) {
	k := keyIn(slot0, "k")
	for name, action := range map[string]testnode.Action{
		"closed before the reply":   testnode.Close(),
		"reset before the reply":    testnode.Reset(),
		"closed inside the header":  testnode.Cut(2, "$5\r\nhello\r\n"),
		"closed inside the payload": testnode.Cut(6, "$5\r\nhello\r\n"),
		"closed before the last LF": testnode.Cut(10, "$5\r\nhello\r\n"),
		"garbage":                   testnode.Raw("?garbage\r\n"),
		"a length with a sign":      testnode.Raw("$+5\r\nhello\r\n"),
		"a length out of range":     testnode.Raw("$99999999999999999999\r\nhello\r\n"),
		"a negative count":          testnode.Raw("*-5\r\n"),
		"nested without end":        testnode.Raw(strings.Repeat("*1\r\n", 2000)),
		"a header without end":      testnode.Raw("+" + strings.Repeat("x", 200<<10)),
		"a streamed string":         testnode.Raw("$?\r\n;5\r\nhello\r\n;0\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, p := fake(t)
			set.Node(0).On("GET "+k, action)
			set.Node(0).On("INCR "+k, action)
			set.Node(0).Every("GET "+k, testnode.Bulk("hello"))
			set.Node(0).Every("INCR "+k, testnode.Raw(":2\r\n"))
			c := p.dial(t)
			want(t, c, `"hello"`, "GET", k)
			wantPrefix(t, c, unknownPrefix+" ", "INCR", k)
			if n := len(set.Node(0).Seen("INCR " + k)); n != 1 {
				t.Errorf("a write was sent %d times", n)
			}
			want(t, c, ":2", "INCR", k)
			want(t, c, `"hello"`, "GET", k)
		})
	}
}

func TestCommandsInFlightOnALostConnectionAreToldApart(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t)
	gate := make(chan struct{})
	set.Node(0).On("SET "+k+" 1", testnode.Until(gate), testnode.Raw("+OK\r\n"), testnode.Close())
	set.Node(0).Every("SET ...", testnode.Raw("+OK\r\n"))
	set.Node(0).Every("GET "+k, testnode.Bulk("v"))
	c := p.dial(t)
	send(t, c, []string{"SET", k, "1"}, []string{"SET", k, "2"}, []string{"GET", k}, []string{"PING"})
	set.Node(0).Wait(t, "SET "+k+" 1", 1)
	close(gate)
	first, err := c.Read()
	if err != nil || first.String() != "+OK" {
		t.Errorf("the answered SET: got %v %v, want +OK", first, err)
	}
	second, err := c.Read()
	if err != nil || !strings.HasPrefix(second.String(), unknownPrefix) {
		t.Errorf("the unanswered SET: got %v %v, want %s", second, err, unknownPrefix)
	}
	wantReplies(t, c, `"v"`, "+PONG")
	if n := len(set.Node(0).Seen("SET " + k + " 2")); n > 1 {
		t.Errorf("a write of unknown outcome was sent %d times", n)
	}
}

func TestAConnectionThatEndedWhileIdleCostsNoError(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t)
	set.Node(0).Every("INCR "+k, testnode.Raw(":1\r\n"))
	c := p.dial(t)
	want(t, c, ":1", "INCR", k)
	for range 20 {
		set.Node(0).Drop()
		want(t, c, ":1", "INCR", k)
	}
}

func TestACommandWaitsForANodeThatRestarts(t *testing.T) {
	k, elsewhere := keyIn(slot0, "k"), keyIn(slot2, "k")
	set, p := fake(t)
	set.Node(0).Every("INCR "+k, testnode.Raw(":1\r\n"))
	set.Node(2).Every("GET "+elsewhere, testnode.Bulk("fine"))
	c, other := p.dial(t), p.dial(t)
	want(t, c, ":1", "INCR", k)
	set.Node(0).Stop()
	time.Sleep(50 * time.Millisecond) // the proxy notices; what follows was never written to a node
	send(t, c, []string{"INCR", k})
	want(t, other, `"fine"`, "GET", elsewhere)
	time.Sleep(500 * time.Millisecond) // the time a restart takes
	set.Node(0).Start(t)
	wantReplies(t, c, ":1")
}

func TestANodeThatStaysAwayIsAnErrorAfterTheBudget(t *testing.T) {
	k := keyIn(slot0, "k")
	set, p := fake(t, "--redirect-budget", "500ms")
	set.Node(0).Every("INCR "+k, testnode.Raw(":1\r\n"))
	c := p.dial(t)
	want(t, c, ":1", "INCR", k)
	set.Node(0).Stop()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	v := do(t, c, "INCR", k)
	if took := time.Since(start); took < 200*time.Millisecond || took > 3*time.Second {
		t.Errorf("the error came after %v, want about 500ms", took)
	}
	if !v.IsError() || strings.HasPrefix(v.String(), unknownPrefix) {
		t.Errorf("got %s, want an error that does not claim an unknown outcome", v)
	}
}

func TestAReplicaThatTookOverIsUsedAtOnce(t *testing.T) {
	k := keyIn(slot0, "k")
	set := testnode.NewSet(t, 4)
	set.Replica(3, 0)
	p := startProxy(t, set.Addrs())
	set.Node(0).Every("INCR "+k, testnode.Raw(":1\r\n"))
	set.Node(3).Every("INCR "+k, testnode.Raw(":2\r\n"))
	c := p.dial(t)
	want(t, c, ":1", "INCR", k)
	set.Node(0).Stop()
	time.Sleep(50 * time.Millisecond)
	send(t, c, []string{"INCR", k})
	time.Sleep(200 * time.Millisecond)
	promoted := time.Now()
	set.Promote(3, "master,fail")
	wantReplies(t, c, ":2")
	if took := time.Since(promoted); took > time.Second {
		t.Errorf("the new primary was found after %v, want within a few refreshes", took)
	}
}

func TestAReplyNobodyAskedForReachesNobody(t *testing.T) {
	a, b := keyIn(slot0, "a"), keyIn(slot0, "b")
	for name, script := range map[string]func(n *testnode.Node){
		"two replies where one is due": func(n *testnode.Node) {
			n.On("GET "+a, testnode.Raw("$1\r\na\r\n$6\r\nstolen\r\n"))
		},
		"two replies, apart": func(n *testnode.Node) {
			n.On("GET "+a, testnode.Pieces("$1\r\na\r\n", "$6\r\nstolen\r\n"))
		},
		"half a reply too much": func(n *testnode.Node) {
			n.On("GET "+a, testnode.Raw("$1\r\na\r\n$6\r\nsto"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, p := fake(t)
			script(set.Node(0))
			set.Node(0).Every("GET "+b, testnode.Bulk("b"))
			c, other := p.dial(t), p.dial(t)
			want(t, c, `"a"`, "GET", a)
			// With the next command in flight already, nobody could tell the extra reply from its answer.
			time.Sleep(50 * time.Millisecond)
			for range 10 {
				want(t, c, `"b"`, "GET", b)
				want(t, other, `"b"`, "GET", b)
			}
		})
	}
}

func TestAReplyForAClientThatLeftReachesNobodyElse(t *testing.T) {
	a, b := keyIn(slot0, "a"), keyIn(slot0, "b")
	set, p := fake(t)
	gate := make(chan struct{})
	set.Node(0).On("GET "+a, testnode.Until(gate), testnode.Bulk("for the one who left"))
	set.Node(0).Every("GET "+b, testnode.Bulk("b"))
	gone, c := p.dial(t), p.dial(t)
	send(t, gone, []string{"GET", a})
	set.Node(0).Wait(t, "GET "+a, 1)
	_ = gone.Close()
	send(t, c, []string{"GET", b})
	time.Sleep(50 * time.Millisecond)
	close(gate)
	wantReplies(t, c, `"b"`)
	want(t, c, `"b"`, "GET", b)
}

func TestALargeReplyThatBreaksOffEndsTheClientsConnectionInstead(t *testing.T) {
	k := keyIn(slot0, "k")
	body := strings.Repeat("x", 1<<20)
	reply := fmt.Sprintf("$%d\r\n%s\r\n", len(body), body)
	set, p := fake(t)
	set.Node(0).On("GET "+k, testnode.Cut(700_000, reply))
	set.Node(0).Every("GET "+k, testnode.Raw(reply))
	c := p.dial(t)
	send(t, c, []string{"GET", k}, []string{"PING"})
	v, err := c.Read()
	switch {
	case err == nil && v.Text == body: // the proxy had sent nothing yet and tried again
		wantReplies(t, c, "+PONG")
	case err == nil:
		t.Errorf("got %v, want the whole value or the end of the connection", v)
	case errors.Is(err, wire.ErrFraming):
		t.Errorf("something else followed half a value: %v", err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err):
		t.Errorf("got %v, want the end of the connection", err)
	}
	want(t, p.dial(t), fmt.Sprintf("%q", body[:120]+fmt.Sprintf("...(%d bytes)", len(body))), "GET", k)
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func TestRepliesInAnyPiecesArriveWhole(t *testing.T) {
	k := keyIn(slot0, "k")
	reply := "*3\r\n$5\r\nhello\r\n:12\r\n*2\r\n$-1\r\n+OK\r\n"
	set, p := fake(t)
	c := p.dial(t)
	for cut := 1; cut < len(reply); cut++ {
		set.Node(0).On("LRANGE "+k+" 0 -1", testnode.Pieces(reply[:cut], reply[cut:]))
		c.Append("LRANGE", k, "0", "-1")
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, err := c.ReadRaw(); err != nil || string(got) != reply {
			t.Fatalf("cut at %d: got %q %v, want %q", cut, got, err, reply)
		}
	}
}

func TestNonsenseInCLUSTERNODESKeepsTheOldTable(t *testing.T) {
	k := keyIn(slot0, "k")
	id := strings.Repeat("a", 40)
	for name, text := range map[string]string{
		"nothing":             "",
		"no node list":        "hello\n",
		"a slot out of range": id + " 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-16384\n",
		"an endless range":    id + " 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-99999999999999999999\n",
		"a port out of range": id + " 127.0.0.1:70000@2 myself,master - 0 0 1 connected 0-16383\n",
		"many lines":          strings.Repeat(id+" 127.0.0.1:1@2 master - 0 0 1 connected\n", 20000),
		"binary":              strings.Repeat("\x00\xff", 1000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, p := fake(t)
			for i := range 3 {
				set.Node(i).Every("CLUSTER NODES", testnode.Bulk(text))
				set.Node(i).Every("GET "+k, testnode.Bulk("v"))
			}
			// A redirect makes the proxy ask again, so the nonsense is read before the last GET.
			set.Node(0).On("GET "+k, testnode.Error("CLUSTERDOWN The cluster is down"))
			c := p.dial(t)
			want(t, c, `"v"`, "GET", k)
			set.Node(0).Wait(t, "CLUSTER NODES", 2)
			for range 3 {
				want(t, c, `"v"`, "GET", k)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
}

func TestAProxyStartsWhenSomeSeedsAreDeadOrLie(t *testing.T) {
	k := keyIn(slot0, "k")
	set := testnode.NewSet(t, 3)
	set.Node(0).Every("GET "+k, testnode.Bulk("v"))
	liar := testnode.New(t) // says that cluster support is disabled
	dead := freePorts(t, 1)[0]
	p := startProxy(t, []string{dead, liar.Addr(), set.Node(1).Addr()})
	want(t, p.dial(t), `"v"`, "GET", k)
}

func TestASlowNodeTimesOutAloneAndItsLateReplyIsDropped(t *testing.T) {
	k, other, elsewhere := keyIn(slot0, "k"), keyIn(slot0, "other"), keyIn(slot2, "k")
	set, p := fake(t, "--upstream-timeout", "400ms")
	gate, gate2 := make(chan struct{}), make(chan struct{})
	set.Node(0).On("GET "+k, testnode.Until(gate), testnode.Bulk("late"))
	set.Node(0).On("INCR "+k, testnode.Until(gate2), testnode.Raw(":7\r\n"))
	set.Node(0).Every("GET "+other, testnode.Bulk("other"))
	set.Node(0).Every("GET "+k, testnode.Bulk("again"))
	set.Node(2).Every("GET "+elsewhere, testnode.Bulk("fine"))
	c := p.dial(t)
	send(t, c, []string{"GET", k})
	set.Node(0).Wait(t, "GET "+k, 1)
	c2 := p.dial(t)
	for range 20 {
		want(t, c2, `"fine"`, "GET", elsewhere)
	}
	v, err := c.Read()
	if err != nil || v.Text == "late" {
		t.Errorf("got %v %v, want an error or the value of another try", v, err)
	}
	close(gate)
	want(t, c2, `"other"`, "GET", other)
	want(t, c, `"other"`, "GET", other)
	if v := do(t, c, "INCR", k); !v.IsError() {
		t.Errorf("INCR without an answer: got %s, want an error", v)
	}
	close(gate2)
	want(t, c, `"other"`, "GET", other)
}
