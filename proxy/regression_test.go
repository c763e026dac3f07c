package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/resp"
	"slotproxy/router"
)

// tagOf returns a hash tag whose slot belongs to n.
func tagOf(s *scripted, n *testnode.Node, skip int) string {
	for i := 0; ; i++ {
		tag := fmt.Sprintf("{k%d}", i)
		if sl := int(router.Slot([]byte(tag))); s.set.Owner(sl) == n && sl != s.slot {
			if skip == 0 {
				return tag
			}
			skip--
		}
	}
}

func TestAFailedRedirectKeepsItsReplyUntilItsTurn(t *testing.T) {
	s := script(t, Config{Loops: 1})
	x := tagOf(s, s.next, 0)
	hold := make(chan struct{})
	s.next.On("GET "+x, testnode.Until(hold), testnode.Bulk("x"))
	s.owner.On("GET {t}a", testnode.Moved(s.slot+1, s.next.Addr()))
	s.owner.On("GET {t}b", testnode.Bulk("b"))
	s.send("GET "+x, "GET {t}a", "GET {t}b")
	s.owner.Wait(t, "GET {t}b", 1)
	s.until("the failed command has its reply", func(l *loop) bool {
		return l.sessions[0].head.next.state == stateDone
	})
	close(hold)
	s.want("$1\r\nx", "-CLUSTERDOWN", "$1\r\nb")
}

func TestASpentBudgetKeepsItsReplyUntilItsTurn(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 200 * time.Millisecond}})
	x := tagOf(s, s.next, 0)
	hold := make(chan struct{})
	s.next.On("GET "+x, testnode.Until(hold), testnode.Bulk("x"))
	s.owner.Every("GET {t}a", testnode.Error("LOADING x"))
	s.owner.On("GET {t}b", testnode.Bulk("b"))
	s.send("GET "+x, "GET {t}a", "GET {t}b")
	s.owner.Wait(t, "GET {t}b", 1)
	s.until("the failed command has its reply", func(l *loop) bool {
		return l.sessions[0].head.next.state == stateDone
	})
	close(hold)
	s.want("$1\r\nx", "-LOADING", "$1\r\nb")
}

func TestAFullNodeIsTriedAgainAlsoDuringAHandshake(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.Every("GET ...", testnode.Raw("$1\r\nv\r\n"))
	s.owner.On("HELLO 3", testnode.Error("ERR max number of clients reached"), testnode.Close())
	s.send("HELLO 3", "GET {t}a")
	s.want("%7", "$1\r\nv")
}

func TestALostLoginLeavesNoProfile(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for i := range 3 {
		s.set.Node(i).Every("AUTH ...", testnode.Silence())
	}
	for i := range 5 {
		c := connect(t, s.proxy.Addrs()[0].String())
		c.send(fmt.Sprintf("AUTH u pass%d", i))
		s.until("the login is under way", func(l *loop) bool {
			return l.profiles[profileKey{user: "u", password: fmt.Sprintf("pass%d", i), login: true, proto: 2}] != nil
		})
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	s.until("only the plain profile is left", func(l *loop) bool { return len(l.profiles) == 1 })
}

func TestAnOpenSlotBecomesCalmAgain(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("GET {t}a", testnode.Ask(s.slot, s.next.Addr()))
	s.owner.Every("GET {t}a", testnode.Bulk("v"))
	s.next.On("GET {t}a", testnode.Bulk("v"))
	s.send("GET {t}a")
	s.want("$1\r\nv")
	s.until("the slot is calm", func(l *loop) bool { return l.cares[s.slot].trouble == nil })
}

func TestFlushAllDoesNotOvertakeARedirectedSet(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("SET {t}a 1", testnode.Moved(s.slot, s.next.Addr()))
	s.next.On("SET {t}a 1", testnode.Raw("+OK\r\n"))
	for i := range 3 {
		s.set.Node(i).Every("FLUSHALL", testnode.Raw("+OK\r\n"))
	}
	s.send("SET {t}a 1", "FLUSHALL")
	s.want("+OK", "+OK")
	// The slot has moved, so the flush comes a second time.
	if got, want := arrivals(s.next, "SET", "FLUSHALL"), "SET {t}a 1, FLUSHALL"; !strings.HasPrefix(got, want) {
		t.Fatalf("the new owner saw %q, want %q first", got, want)
	}
}

func TestFlushAllKeepsItsPlaceInAllLanes(t *testing.T) {
	s := script(t, Config{Loops: 1, Lanes: 2})
	tag := "{t}"
	for i := 0; s.slot%2 == 0; i++ {
		tag = fmt.Sprintf("{t%d}", i)
		s.slot = int(router.Slot([]byte(tag)))
		s.owner = s.set.Owner(s.slot)
	}
	hold := make(chan struct{})
	s.owner.On("FLUSHALL", testnode.Until(hold), testnode.Raw("+OK\r\n"))
	for i := range 3 {
		s.set.Node(i).Every("FLUSHALL", testnode.Raw("+OK\r\n"))
	}
	s.owner.Every("SET ...", testnode.Raw("+OK\r\n"))
	s.send("FLUSHALL", "SET "+tag+" 1")
	s.owner.Wait(t, "FLUSHALL", 1)
	s.until("the SET waits behind the FLUSHALL", func(l *loop) bool { return l.sessions[0].stops&stopBarrier != 0 })
	if n := len(s.owner.Seen("SET ...")); n != 0 {
		t.Errorf("SET reached the node (conn %v) before FLUSHALL (conn %v) was answered", s.owner.Seen("SET ...")[0].Conn, s.owner.Seen("FLUSHALL")[0].Conn)
	}
	close(hold)
	s.want("+OK", "+OK")
}

func TestAClientThatReadsEverythingIsNotCutOff(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{OutLow: 64 << 10, OutHard: 256 << 10}})
	for i := range 3 {
		s.set.Node(i).Every("MGET ...", testnode.Answer(func(c testnode.Command) string {
			n := len(c.Args) - 1
			return fmt.Sprintf("*%d\r\n%s", n, strings.Repeat("$1000\r\n"+strings.Repeat("v", 1000)+"\r\n", n))
		}))
	}
	for i := range 60 {
		s.send("MGET a b c d e f g h")
		if _, err := readReply(s.r); err != nil {
			t.Fatalf("after %d MGETs of 8 KiB, each read at once: %v", i, err)
		}
	}
}

func TestRepliesBehindASlowOneAreBounded(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{OutLow: 64 << 10, OutHard: 256 << 10, BufferBudget: 1 << 20}})
	x := tagOf(s, s.next, 0)
	hold := make(chan struct{})
	defer close(hold)
	s.next.On("GET "+x, testnode.Until(hold), testnode.Bulk("x"))
	s.owner.Every("GET ...", testnode.Bulk(strings.Repeat("v", 1<<20)))
	s.send("GET " + x)
	for i := range 20 {
		s.send(fmt.Sprintf("GET {t}%d", i))
	}
	s.owner.Wait(t, "GET ...", 20)
	s.until("the client is cut off", func(l *loop) bool { return len(l.sessions) == 0 })
}

func TestAHungNodeDoesNotStopAClientForEver(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{UpstreamTimeout: 300 * time.Millisecond, NodeQueue: 1 << 20}})
	hold := make(chan struct{})
	defer close(hold)
	x := tagOf(s, s.next, 0)
	s.owner.On("SET ...", testnode.Until(hold), testnode.Raw("+OK\r\n"))
	s.next.Every("GET ...", testnode.Bulk("x"))
	v := strings.Repeat("v", 1<<20)
	go func() {
		defer func() { recover() }()
		for i := range 24 {
			s.Write(resp.AppendCommandStrings(nil, "SET", fmt.Sprint("{t}", i), v))
		}
		s.Write(resp.AppendCommandStrings(nil, "GET", x))
	}()
	n := 0
	for {
		_ = s.SetReadDeadline(time.Now().Add(4 * time.Second))
		got, err := readReply(s.r)
		if err != nil {
			s.proxy.ask(time.Second, func(l *loop) {
				t.Errorf("after %d replies: %v; stops %b queued %d stalled node out %d", n, err, l.sessions[0].stops, l.sessions[0].queued, s.owner.Dials())
			})
			return
		}
		n++
		if strings.HasPrefix(got, "$1") {
			return
		}
		if n == 1 {
			t.Log(short(got))
		}
	}
}

func TestALostSelectIsNotABadIndex(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 200 * time.Millisecond}})
	for i := range 3 {
		s.set.Node(i).Every("SELECT 1", testnode.Close())
	}
	s.send("SELECT 1")
	got, err := readReply(s.r)
	t.Log(short(got), err)
}

func TestALostLoginIsNotAWrongPassword(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 200 * time.Millisecond}})
	for i := range 3 {
		s.set.Node(i).Every("AUTH ...", testnode.Close())
	}
	for i := range 7 {
		if _, err := s.Write(resp.AppendCommandStrings(nil, "AUTH", "u", "p")); err != nil {
			t.Log(err)
		}
		got, err := readReply(s.r)
		t.Log(i, short(got), err)
		if err != nil {
			return
		}
	}
}

func TestDbsizeGoesToTheSuccessorOfAFailedNode(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 2 * time.Second}})
	hold := make(chan struct{})
	for i := range 3 {
		s.set.Node(i).Every("DBSIZE", testnode.Raw(":0\r\n"))
	}
	s.owner.On("DBSIZE", testnode.Until(hold), testnode.Close())
	s.send("DBSIZE")
	s.owner.Wait(t, "DBSIZE", 1)
	for slot := range 16384 {
		if s.set.Owner(slot) == s.owner {
			s.set.Give(slot, indexOf(s.set, s.next))
		}
	}
	s.set.Fail(indexOf(s.set, s.owner), "master,fail", "disconnected")
	s.owner.Stop()
	close(hold)
	got, err := readReply(s.r)
	t.Log(short(got), err)
	s.send("DBSIZE")
	got, err = readReply(s.r)
	t.Log(short(got), err)
}

func TestAHalfClosedTLSClientIsAnswered(t *testing.T) {
	files, err := testcluster.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	set, hold := testnode.NewSet(t, 3), make(chan struct{})
	for i := range 3 {
		set.Node(i).Every("GET ...", testnode.Until(hold), testnode.Bulk("v"))
	}
	cc, _ := files.ClientConfig()
	_, addr := serve(t, Config{Listeners: []Listener{{Network: "tcp", Address: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}}}, set.Addrs()...)
	nc, err := tls.Dial("tcp", addr, cc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(resp.AppendCommandStrings(nil, "GET", "a")); err != nil {
		t.Fatal(err)
	}
	if err := nc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(hold)
	got, err := readReply(bufio.NewReader(nc))
	if err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestAFailedDialCountsOnce(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.Stop()
	s.send("GET {t}a")
	// The wait behind the first failure is 50 ms long, so it is still the first one that is seen.
	s.until("the failed dial is noted once", func(l *loop) bool { return l.nodes[s.owner.Addr()].fails == 1 })
}

func TestManyKeysOfAnOpenSlotAreAskedOneByOne(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for _, word := range []string{"MGET"} {
		s.owner.Every(word+" ...", halfMoved(s, "0"))
		s.next.Every(word+" ...", halfMoved(s, "1"))
	}
	for _, n := range []int{2000, 8000} {
		cmd := "MGET"
		for i := range n {
			cmd += fmt.Sprintf(" {t}%d", i)
		}
		s.send(cmd)
		_ = s.SetReadDeadline(time.Now().Add(30 * time.Second))
		got, err := readReply(s.r)
		if err != nil || !strings.HasPrefix(got, fmt.Sprintf("*%d\r\n$", n)) || strings.Count(got, "$") != n {
			t.Errorf("%d keys: %v, %s", n, err, short(got))
		}
	}
}
