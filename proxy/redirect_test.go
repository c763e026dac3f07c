package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// scripted is a proxy before three scripted nodes, and the node that owns the slot of the hash tag {t} with another.
type scripted struct {
	set         *testnode.Set
	owner, next *testnode.Node
	slot        int
	proxy       *Proxy
	*client
}

func script(t *testing.T, cfg Config) *scripted {
	t.Helper()
	set := testnode.NewSet(t, 3)
	slot := int(router.Slot([]byte("{t}")))
	s := &scripted{set: set, slot: slot, owner: set.Owner(slot)}
	for i := range 3 {
		if n := set.Node(i); n != s.owner {
			s.next = n
		}
	}
	var addr string
	s.proxy, addr = serve(t, cfg, set.Addrs()...)
	s.client = connect(t, addr)
	return s
}

// arrivals lists the commands a node has seen that match any of the patterns, in order of arrival.
func arrivals(n *testnode.Node, words ...string) string {
	var seen []string
	for _, c := range n.Seen("...") {
		for _, w := range words {
			if c.Args[0] == w {
				seen = append(seen, c.String())
			}
		}
	}
	return strings.Join(seen, ", ")
}

func TestRedirectsAreFollowedForTheClient(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script func(s *scripted)
		send   []string
		want   []string
		atNext string // what the other node must have seen, in order
	}{
		{
			name: "MOVED sends the command and the slot's later commands to the new owner",
			script: func(s *scripted) {
				s.owner.Every("GET *", testnode.Moved(s.slot, s.next.Addr()))
				s.next.Every("GET {t}a", testnode.Bulk("there"))
				s.next.Every("GET {t}b", testnode.Bulk("too"))
			},
			send: []string{"GET {t}a", "GET {t}b"}, want: []string{"$5\r\nthere", "$3\r\ntoo"},
			atNext: "GET {t}a, GET {t}b",
		},
		{
			name: "ASK sends ASKING and the command, and asks the owner again for the next one",
			script: func(s *scripted) {
				s.owner.On("GET {t}a", testnode.Ask(s.slot, s.next.Addr()))
				s.owner.On("GET {t}a", testnode.Bulk("back"))
				s.next.On("GET {t}a", testnode.Bulk("asked"))
			},
			send: []string{"GET {t}a", "GET {t}a"}, want: []string{"$5\r\nasked", "$4\r\nback"},
			atNext: "ASKING, GET {t}a",
		},
		{
			name: "TRYAGAIN, CLUSTERDOWN, LOADING and MASTERDOWN are waited out, for writes too",
			script: func(s *scripted) {
				for _, e := range []string{"TRYAGAIN Multiple keys request during rehashing of slot", "CLUSTERDOWN The cluster is down", "LOADING Valkey is loading the dataset in memory", "MASTERDOWN Link with MASTER is down"} {
					s.owner.On("INCR {t}a", testnode.Error(e))
				}
				s.owner.On("INCR {t}a", testnode.Raw(":1\r\n"))
			},
			send: []string{"INCR {t}a"}, want: []string{":1"},
		},
		{
			name: "an error of the client's own passes",
			script: func(s *scripted) {
				s.owner.On("INCR {t}a", testnode.Error("ERR value is not an integer or out of range"))
			},
			send: []string{"INCR {t}a"}, want: []string{"-ERR value is not"},
		},
		{
			name: "a redirect for another slot is never followed nor shown",
			script: func(s *scripted) {
				s.owner.On("GET {t}a", testnode.Moved(s.slot+1, s.next.Addr()))
			},
			send: []string{"GET {t}a"}, want: []string{"-CLUSTERDOWN"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			tc.script(s)
			s.send(tc.send...)
			s.want(tc.want...)
			if got := arrivals(s.next, "GET", "ASKING"); got != tc.atNext {
				t.Fatalf("the other node saw %q, want %q", got, tc.atNext)
			}
		})
	}
}

func TestACommandDoesNotOvertakeARedirectedOne(t *testing.T) {
	s := script(t, Config{Loops: 1})
	hold := make(chan struct{})
	// The owner has given the slot away and says so slowly; a command behind the first would find the new owner at once.
	s.owner.On("SET {t}a 1", testnode.Until(hold), testnode.Moved(s.slot, s.next.Addr()))
	s.owner.On("INCR {t}a", testnode.Moved(s.slot, s.next.Addr()))
	s.next.On("SET {t}a 1", testnode.Until(hold), testnode.Raw("+OK\r\n"))
	s.next.On("INCR {t}a", testnode.Raw(":2\r\n"))
	s.next.On("GET {t}a", testnode.Bulk("2"))
	s.send("SET {t}a 1", "INCR {t}a")
	s.owner.Wait(t, "SET ...", 1)
	s.set.Give(s.slot, indexOf(s.set, s.next))
	s.until("the loop knows the new owner", func(l *loop) bool {
		return l.owners.of(uint16(s.slot)).addr == s.next.Addr()
	})
	s.send("GET {t}a")
	close(hold)
	s.want("+OK", ":2", "$1\r\n2")
	if got, want := arrivals(s.next, "SET", "INCR", "GET"), "SET {t}a 1, INCR {t}a, GET {t}a"; got != want {
		t.Fatalf("the new owner saw %q, want %q", got, want)
	}
}

func indexOf(set *testnode.Set, n *testnode.Node) int {
	for i := range 3 {
		if set.Node(i) == n {
			return i
		}
	}
	panic("not in the set")
}

// until waits until the loop's own state satisfies a condition, at most ten seconds.
func (s *scripted) until(what string, is func(*loop) bool) {
	s.t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for range 2000 {
		met := false
		s.proxy.ask(time.Second, func(l *loop) { met = is(l) })
		if met {
			return
		}
		<-poll.C
	}
	s.t.Fatalf("never: %s", what)
}

func TestALaterCommandWaitsForAMultiKeyWriteThatMayHaveToTryAgain(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("MSET ...", testnode.Error("TRYAGAIN Multiple keys request during rehashing of slot"))
	s.owner.On("MSET ...", testnode.Raw("+OK\r\n"))
	s.owner.On("SADD {t}s x", testnode.Raw(":1\r\n"))
	s.send("MSET {t}a 1 {t}b 2", "SADD {t}s x")
	s.want("+OK", ":1")
	want := "MSET {t}a 1 {t}b 2, MSET {t}a 1 {t}b 2, SADD {t}s x"
	if got := arrivals(s.owner, "MSET", "SADD"); got != want {
		t.Fatalf("the node saw %q, want %q", got, want)
	}
}

func TestALostConnectionRepeatsOnlyWhatCannotHaveRun(t *testing.T) {
	for _, tc := range []struct {
		name, send, want string
		attempts         int
	}{
		{"a read goes again", "GET {t}a", "$1\r\nx", 2},
		{"a write is not repeated and its client is told", "INCR {t}a", "-PROXYUNKNOWN", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			word := strings.Fields(tc.send)[0]
			s.owner.On(word+" ...", testnode.Close())
			s.owner.Every(word+" ...", testnode.Bulk("x"))
			s.send(tc.send)
			s.want(tc.want)
			if n := len(s.owner.Seen(word + " ...")); n != tc.attempts {
				t.Fatalf("the node saw %s %d times, want %d", word, n, tc.attempts)
			}
		})
	}
}

func TestALateReplyIsCountedAndDropped(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{UpstreamTimeout: 200 * time.Millisecond}})
	hold := make(chan struct{})
	s.owner.On("GET {t}slow", testnode.Until(hold), testnode.Bulk("late"))
	s.owner.Every("GET {t}b", testnode.Bulk("b"))
	s.send("GET {t}slow")
	s.want("-PROXYTIMEOUT")
	s.send("GET {t}b")
	close(hold)
	s.want("$1\r\nb")
	if n := s.owner.Dials(); n > 3 {
		t.Errorf("the node was dialed %d times; a late reply is no reason to reconnect", n)
	}
}

func TestADesynchronisedNodeConnectionIsClosedAndHurtsNobodyElse(t *testing.T) {
	for _, tc := range []struct{ name, reply string }{
		{"two replies where one is due", "$1\r\na\r\n$6\r\nforged\r\n"},
		{"bytes that are no reply", "hello\r\n"},
		{"a length beyond all bounds", "$99999999999999999999\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			s.owner.On("GET {t}a", testnode.Raw(tc.reply))
			s.owner.Every("GET {t}b", testnode.Bulk("b"))
			s.send("GET {t}a")
			s.want("")
			for i := range 5 {
				s.send("GET {t}b")
				s.want("$1\r\nb\r\n")
				_ = i
			}
			if n := s.proxy.Snapshot().Desyncs; n == 0 {
				t.Error("no desync was counted")
			}
		})
	}
}

func TestRedirectsOutsideTheClusterAreNotFollowed(t *testing.T) {
	outside := testnode.New(t)
	for _, addr := range []string{outside.Addr(), "169.254.169.254:80", "?:7000"} {
		t.Run(addr, func(t *testing.T) {
			s := script(t, Config{Loops: 1, Limits: Limits{RedirectBudget: 300 * time.Millisecond}})
			before := outside.Dials()
			s.owner.Every("GET {t}a", testnode.Moved(s.slot, addr))
			s.send("GET {t}a")
			s.want("-CLUSTERDOWN")
			if n := outside.Dials(); n != before {
				t.Fatalf("the address outside the cluster was dialed")
			}
		})
	}
}

func TestASplitCommandAnswersAnErrorNeverANil(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("MGET ...", testnode.Answer(func(c testnode.Command) string {
			if n == s.owner {
				return "-WRONGTYPE scripted\r\n"
			}
			return fmt.Sprintf("*%d\r\n%s", len(c.Args)-1, strings.Repeat("$1\r\nv\r\n", len(c.Args)-1))
		}))
	}
	s.send("MGET a b c {t}d e f g h")
	s.want("-WRONGTYPE scripted")
}

func TestAReadOfKeysAtTwoNodesIsAskedKeyByKey(t *testing.T) {
	for _, tc := range []struct {
		name, send, want string
	}{
		{"values of one slot keep the order of the keys", "MGET {t}a {t}b {t}c", "*3\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n0\r\n"},
		{"values of several slots keep the order of the keys", "MGET x {t}b {t}a y {t}c", "*5\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\n0\r\n$1\r\nx\r\n$1\r\n0\r\n"},
		{"counts are added up", "EXISTS {t}a {t}b {t}c", ":3\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			for i := range 3 {
				s.set.Node(i).Every("MGET ...", answerMGet("x"))
			}
			for _, word := range []string{"MGET", "EXISTS"} {
				s.owner.Every(word+" ...", halfMoved(s, "0"))
				s.next.Every(word+" ...", halfMoved(s, "1"))
			}
			s.send(tc.send)
			s.want(tc.want)
		})
	}
}

// answerMGet gives the same value for every key, and counts one for each otherwise.
func answerMGet(value string) testnode.Action {
	return testnode.Answer(func(c testnode.Command) string {
		n := len(c.Args) - 1
		if c.Args[0] == "EXISTS" {
			return fmt.Sprintf(":%d\r\n", n)
		}
		return fmt.Sprintf("*%d\r\n%s", n, strings.Repeat("$1\r\n"+value+"\r\n", n))
	})
}

// halfMoved answers as the owner of an open slot whose key {t}b has left, or, asked with ASKING, as its target.
func halfMoved(s *scripted, value string) testnode.Action {
	return testnode.Answer(func(c testnode.Command) string {
		tagged := strings.HasPrefix(c.Args[1], "{t}")
		switch {
		case tagged && len(c.Args) > 2:
			return "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
		case c.Args[1] == "{t}b" && !c.Asking:
			return fmt.Sprintf("-ASK %d %s\r\n", s.slot, s.next.Addr())
		}
		if c.Args[0] == "EXISTS" {
			return fmt.Sprintf(":%d\r\n", len(c.Args)-1)
		}
		v := value
		if !tagged {
			v = "x"
		}
		return fmt.Sprintf("*%d\r\n%s", len(c.Args)-1, strings.Repeat("$1\r\n"+v+"\r\n", len(c.Args)-1))
	})
}

func TestAFailedCommandCountsOnceHoweverManyPartsItHas(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for i := range 3 {
		s.set.Node(i).Every("DEL ...", testnode.Close())
	}
	s.send("DEL a b c {t}d e f g h", "PING")
	s.want("-PROXYUNKNOWN", "+PONG")
	if n := s.proxy.Pulse().Errors; n != 1 {
		t.Errorf("%d errors are counted, its client saw 1", n)
	}
	if n := s.proxy.Pulse().Errors; n != 0 {
		t.Errorf("%d more later", n)
	}
}
