package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

// heard is what a subscriber is sent.
func heard(proto int, words ...string) string {
	b := resp.AppendPush(nil, len(words), proto)
	for _, w := range words {
		b = resp.AppendBulkString(b, w)
	}
	return string(b)
}

// confirmation is what a (P|S)(UN)SUBSCRIBE is answered for one name.
func confirmation(proto int, word, name string, count int) string {
	return string(confirm(nil, word, []byte(name), count, proto))
}

func TestSubscribersOfAllLoopsGetEachMessageOnceAndAreCounted(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
			a, b, c, d := connect(t, addr), connect(t, addr), connect(t, addr), connect(t, addr) // two of each loop
			a.send("SUBSCRIBE x y")
			a.want(confirmation(2, "subscribe", "x", 1), confirmation(2, "subscribe", "y", 2))
			b.send("HELLO 3", "PSUBSCRIBE x* z", "SUBSCRIBE x", "SSUBSCRIBE s{1} s{2} s{3}")
			b.want("%", confirmation(3, "psubscribe", "x*", 1), confirmation(3, "psubscribe", "z", 2), confirmation(3, "subscribe", "x", 3),
				confirmation(3, "ssubscribe", "s{1}", 1), confirmation(3, "ssubscribe", "s{2}", 2), confirmation(3, "ssubscribe", "s{3}", 3))
			c.send("SSUBSCRIBE s{1}")
			c.want(confirmation(2, "ssubscribe", "s{1}", 1))
			d.send("PUBLISH x 1", "PUBLISH y 2", "PUBLISH nobody 3", "SPUBLISH s{1} 4", "SPUBLISH s{2} 5", "SPUBLISH s{9} 6", "PUBLISH x 7")
			d.want(":3", ":1", ":0", ":2", ":1", ":0", ":3")
			a.want(heard(2, "message", "x", "1"), heard(2, "message", "y", "2"), heard(2, "message", "x", "7"))
			c.want(heard(2, "smessage", "s{1}", "4"))
			seen := map[string]int{}
			for range 6 {
				got, err := readReply(b.r)
				if err != nil {
					t.Fatal(err)
				}
				seen[got]++
			}
			for _, m := range []string{heard(3, "message", "x", "1"), heard(3, "pmessage", "x*", "x", "1"), heard(3, "message", "x", "7"),
				heard(3, "pmessage", "x*", "x", "7"), heard(3, "smessage", "s{1}", "4"), heard(3, "smessage", "s{2}", "5")} {
				if seen[m] != 1 {
					t.Errorf("got %q %d times, want once", m, seen[m])
				}
			}
			d.send("PUBSUB NUMSUB x y none", "PUBSUB NUMPAT", "PUBSUB CHANNELS", "PUBSUB CHANNELS [y-z]", "PUBSUB SHARDNUMSUB s{1} s{3}", "PUBSUB SHARDCHANNELS s{[12]}")
			d.want("*6\r\n$1\r\nx\r\n:2\r\n$1\r\ny\r\n:1\r\n$4\r\nnone\r\n:0\r\n", ":2", "*2\r\n$1\r\nx\r\n$1\r\ny\r\n", "*1\r\n$1\r\ny\r\n",
				"*4\r\n$4\r\ns{1}\r\n:2\r\n$4\r\ns{3}\r\n:1\r\n", "*2\r\n$4\r\ns{1}\r\n$4\r\ns{2}\r\n")
			for _, c := range []*client{a, b, c} {
				c.silent(50 * time.Millisecond)
				c.Close()
			}
			d.send("SUBSCRIBE x", "UNSUBSCRIBE", "PING")
			d.want(confirmation(2, "subscribe", "x", 1), confirmation(2, "unsubscribe", "x", 0), "+PONG")
			wantNobodyListens(t, cl, p)
		})
	}
}

// wantNobodyListens waits until neither the nodes nor the proxy know of a subscription.
func wantNobodyListens(t *testing.T, cl *testcluster.Cluster, p *Proxy) {
	t.Helper()
	until(t, func() bool {
		for _, n := range cl.Nodes {
			for _, what := range []string{"CHANNELS", "SHARDCHANNELS"} {
				if got, err := n.Do("PUBSUB", what); err != nil || len(got.([]any)) > 0 {
					return false
				}
			}
			if got, err := n.Do("PUBSUB", "NUMPAT"); err != nil || got != int64(0) {
				return false
			}
		}
		a := &p.audience
		a.mu.Lock()
		defer a.mu.Unlock()
		s := p.Snapshot()
		return a.topics.Load() == 0 && a.shards.Load() == 0 && len(a.of[0])+len(a.of[1])+len(a.of[2])+len(a.slots) == 0 &&
			s.Subscribers == 0 && s.Subscriptions == 0
	})
}

func TestAfterItsResetNobodyCountsAClientAmongTheSubscribers(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	a, b := connect(t, addr), connect(t, addr)
	for range 100 {
		a.send("SUBSCRIBE x", "PSUBSCRIBE p*", "SSUBSCRIBE s{1}", "RESET", "PING")
		a.want(confirmation(2, "subscribe", "x", 1), confirmation(2, "psubscribe", "p*", 2), confirmation(2, "ssubscribe", "s{1}", 1), "+RESET", "+PONG")
		b.send("PUBLISH x 1", "SPUBLISH s{1} 1", "PUBSUB NUMPAT", "PUBSUB CHANNELS", "PUBSUB SHARDCHANNELS")
		b.want(":0", ":0", ":0", "*0\r\n", "*0\r\n")
	}
}

func TestSubscribersBesideTheProxyAreCountedToo(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	a, d := connect(t, addr), connect(t, addr)
	a.send("SUBSCRIBE x")
	a.want(confirmation(2, "subscribe", "x", 1))
	for _, n := range cl.Nodes {
		c := connect(t, n.Addr)
		c.send("SUBSCRIBE x", "PSUBSCRIBE y*")
		c.want(confirmation(2, "subscribe", "x", 1), confirmation(2, "psubscribe", "y*", 2))
	}
	d.send("PUBSUB NUMSUB x", "PUBSUB CHANNELS", "PUBLISH x 1") // PUBLISH is counted by one node, as in any cluster
	d.want("*2\r\n$1\r\nx\r\n:4\r\n", "*1\r\n$1\r\nx\r\n", ":2")
	a.want(heard(2, "message", "x", "1"))
	a.silent(50 * time.Millisecond)
}

func TestKeyspaceEventsOfAllPrimariesComeOnce(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v, Replicas: 1, Args: []string{"--notify-keyspace-events", "KEA"}})
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			a, b, d := connect(t, addr), connect(t, addr), connect(t, addr)
			a.send("SUBSCRIBE __keyevent@0__:set")
			a.want(confirmation(2, "subscribe", "__keyevent@0__:set", 1))
			b.send("PSUBSCRIBE *")
			b.want(confirmation(2, "psubscribe", "*", 1))
			want := map[string]int{}
			for i := range 30 {
				k := fmt.Sprint("k", i)
				d.send("SET "+k+" v", "PUBLISH plain "+k)
				d.want("+OK", ":1")
				want[heard(2, "message", "__keyevent@0__:set", k)]++
				want[heard(2, "pmessage", "*", "__keyevent@0__:set", k)]++
				want[heard(2, "pmessage", "*", "__keyspace@0__:"+k, "set")]++
				want[heard(2, "pmessage", "*", "plain", k)]++
			}
			for _, c := range []*client{a, b} {
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				for range map[*client]int{a: 30, b: 90}[c] {
					got, err := readReply(c.r)
					if err != nil {
						t.Fatal(err)
					}
					want[got]--
				}
				c.silent(50 * time.Millisecond)
			}
			for m, n := range want {
				if n != 0 {
					t.Errorf("%q came %d times, want once", m, 1-n)
				}
			}
		})
	}
}

func TestAMessageToTheChannelOfAnEventComesOnceForEachPrimary(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	a, d := connect(t, addr), connect(t, addr)
	a.send("PSUBSCRIBE __key*")
	a.want(confirmation(2, "psubscribe", "__key*", 1))
	until(t, func() bool {
		for _, n := range cl.Nodes {
			if got, err := n.Do("PUBSUB", "NUMPAT"); err != nil || got != int64(1) {
				return false
			}
		}
		return true
	})
	d.send("PUBLISH __keyevent@0__:set k", "PUBLISH __keys k")
	d.want(":1", ":1")
	seen := map[string]int{}
	for range 4 {
		seen[a.next()]++
	}
	if event, other := heard(2, "pmessage", "__key*", "__keyevent@0__:set", "k"), heard(2, "pmessage", "__key*", "__keys", "k"); seen[event] != 3 || seen[other] != 1 {
		t.Errorf("got %v, want the first message three times, the second once", seen)
	}
	a.silent(50 * time.Millisecond)
}

func TestSubscriptionsOutliveTheirConnections(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	a, b, d := connect(t, addr), connect(t, addr), connect(t, addr)
	for _, c := range []*client{a, b} {
		c.send("SUBSCRIBE x", "PSUBSCRIBE y* *", "SSUBSCRIBE s{1} s{2} s{3} s{4}")
		c.want(confirmation(2, "subscribe", "x", 1), confirmation(2, "psubscribe", "y*", 2), confirmation(2, "psubscribe", "*", 3),
			"*3", "*3", "*3", confirmation(2, "ssubscribe", "s{4}", 4))
	}
	for round := range 3 {
		for _, n := range cl.Nodes {
			if _, err := n.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprint("after ", round)
		until(t, func() bool { return subscribedAgain(cl) }) // two loops
		for _, m := range []string{"x", "yes", "z"} {
			d.send("PUBLISH " + m + " " + strings.ReplaceAll(text, " ", ""))
			d.want(":")
		}
		d.send("SPUBLISH s{1} 1", "SPUBLISH s{2} 2", "SPUBLISH s{3} 3", "SPUBLISH s{4} 4")
		d.want(":2", ":2", ":2", ":2")
		for _, c := range []*client{a, b} {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			for range 5 + 4 { // x is heard twice, yes twice, z once
				if got, err := readReply(c.r); err != nil {
					t.Fatalf("round %d: %v %q", round, err, got)
				}
			}
			c.silent(50 * time.Millisecond)
		}
	}
	a.Close()
	b.Close()
	wantNobodyListens(t, cl, p)
}

// subscribedAgain says that two loops are subscribed to the four sharded channels, and at one node to the other three.
func subscribedAgain(cl *testcluster.Cluster) bool {
	shards, channels := 0, 0
	for _, n := range cl.Nodes {
		got, err := n.Do("PUBSUB", "SHARDNUMSUB", "s{1}", "s{2}", "s{3}", "s{4}")
		plain, err2 := n.Do("PUBSUB", "NUMSUB", "x")
		patterns, err3 := n.Do("PUBSUB", "NUMPAT")
		if err != nil || err2 != nil || err3 != nil || patterns.(int64) < 1 {
			return false
		}
		for i := 1; i < 8; i += 2 {
			shards += int(got.([]any)[i].(int64))
		}
		channels += int(plain.([]any)[1].(int64))
	}
	return shards == 8 && channels == 2
}

func TestWhoMayNotListenIsTold(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	everywhere := func(args ...string) {
		t.Helper()
		for _, n := range cl.Nodes {
			if _, err := n.Do(args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	everywhere("ACL", "SETUSER", "bob", "on", ">pw", "+@all", "~*", "resetchannels", "&a", "&s*")
	everywhere("ACL", "SETUSER", "eve", "on", ">pw", "+subscribe", "+auth", "resetchannels", "&a")
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	eve := connect(t, addr)
	eve.send("AUTH eve pw", "SUBSCRIBE a", "PSUBSCRIBE a", "UNSUBSCRIBE")
	eve.want("+OK", confirmation(2, "subscribe", "a", 1), "-NOPERM", "-NOPERM")
	eve.Close()
	free, bob := connect(t, addr), connect(t, addr)
	free.send("SUBSCRIBE a b")
	free.want("*3", "*3")
	bob.send("AUTH bob pw", "SUBSCRIBE a b", "GET k", "SUBSCRIBE a", "PSUBSCRIBE a*", "SSUBSCRIBE x", "SSUBSCRIBE s{1} s{2}")
	bob.want("+OK", "-NOPERM", "$-1", confirmation(2, "subscribe", "a", 1), "-NOPERM", "-NOPERM", "*3", confirmation(2, "ssubscribe", "s{2}", 2))
	free.send("UNSUBSCRIBE", "PUBLISH a 1", "PUBLISH b 2", "PUBSUB NUMSUB a b")
	free.want("*3", "*3", ":1", ":0", "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n")
	bob.want(heard(2, "message", "a", "1"))
	everywhere("ACL", "SETUSER", "bob", "resetchannels", "&s*") // a server closes the connections of those who lose a channel
	_ = bob.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := readReply(bob.r); err == nil {
		t.Fatal("bob was told something, want the end of the connection")
	}
	wantNobodyListens(t, cl, p)
}

func TestWhoLeavesAChannelDoesNotTakeItFromOthers(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	a, b, d := connect(t, addr), connect(t, addr), connect(t, addr)
	for _, c := range []*client{a, b} {
		c.send("SUBSCRIBE x y", "SSUBSCRIBE s")
		c.want("*3", "*3", "*3")
	}
	for i := range 50 { // leaving and coming back at the same time
		a.send("UNSUBSCRIBE x y", "SUNSUBSCRIBE", "SUBSCRIBE x y", "SSUBSCRIBE s")
		b.send("PING", "UNSUBSCRIBE y", "SUBSCRIBE y")
		a.want("*3", "*3", "*3", "*3", "*3", "*3")
		b.want("*2", "*3", "*3")
		n := fmt.Sprint(i)
		d.send("PUBLISH x "+n, "SPUBLISH s "+n, "PUBLISH y "+n)
		d.want(":2", ":2", ":2")
		for _, c := range []*client{a, b} {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			for range 3 {
				if got, err := readReply(c.r); err != nil || !strings.HasSuffix(got, "\r\n"+n+"\r\n") {
					t.Fatalf("round %d: got %q %v", i, got, err)
				}
			}
		}
	}
	a.send("RESET")
	a.want("+RESET")
	b.Close()
	wantNobodyListens(t, cl, p)
}

func TestASlowSubscriberIsCutAndTheOthersKeepTheirPace(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	limits := DefaultLimits()
	limits.OutLow, limits.OutHard = 256<<10, 1<<20
	p, addr := serve(t, Config{Loops: 1, Limits: limits}, cl.Addrs()...)
	slow, quick, d := connect(t, addr), connect(t, addr), connect(t, addr)
	for _, c := range []*client{slow, quick} {
		c.send("SUBSCRIBE x")
		c.want(confirmation(2, "subscribe", "x", 1))
	}
	text := strings.Repeat("m", 64<<10)
	for i := range 400 { // more than sockets and limit hold
		d.send("PUBLISH x " + text)
		d.want(":")
		quick.want(heard(2, "message", "x", text))
		if i > 100 && p.Snapshot().SubscribersCut > 0 {
			break
		}
	}
	s := p.Snapshot()
	if s.SubscribersCut != 1 || s.Subscribers != 1 {
		t.Fatalf("%d subscribers cut, %d left, want one of each", s.SubscribersCut, s.Subscribers)
	}
	d.send("PUBLISH x end")
	d.want(":1")
	quick.want(heard(2, "message", "x", "end"))
	quick.silent(50 * time.Millisecond)
}

func TestPatternsMatchAsTheServerMatchesThem(t *testing.T) {
	n := testcluster.StandaloneForTest(t, testcluster.Options{})
	names := []string{"", "a", "b", "ab", "abc", "*", "?", "[", "]", "a-c", "\\", "^", "-", "aab", "a]", "[a"}
	patterns := []string{"*", "?", "a*", "*b", "a*b", "**", "*a*b*", "[a]", "[a-c]", "[c-a]", "[^a]", "[^a-b]*", "[", "[a", "[a-", "[]", "[]]", "\\*", "\\",
		"a\\", "[\\]]", "[\\-]", "[a-]", "[^", "?*", "*?", "a?c", "[^]", "[a]b", "", "*[", "*[a-b]", "\\[a"}
	args := []string{"MSET"}
	for _, name := range names {
		args = append(args, name, "v")
	}
	if _, err := n.Do(args...); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range patterns {
		reply, err := n.Do("KEYS", pattern)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, k := range reply.([]any) {
			want[k.(string)] = k != "" || pattern != "*" // KEYS * asks no pattern
		}
		for _, name := range names {
			if got := channelMatch([]byte(pattern), []byte(name)); got != want[name] {
				t.Errorf("%q and %q: got %v, want %v", pattern, name, got, want[name])
			}
			if want[name] && !mayMatch([]byte(pattern), []byte(name)) {
				t.Errorf("%q matches %q, and is said not to match what begins so", pattern, name)
			}
		}
	}
}
