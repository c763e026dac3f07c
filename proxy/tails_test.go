package proxy

import (
	"fmt"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
)

// streamInfo is a reply to XINFO STREAM in either protocol.
func streamInfo(head, id string) string {
	fields := "$6\r\nlength\r\n:1\r\n$17\r\nlast-generated-id\r\n" + bulkText(id) + "$11\r\nfirst-entry\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
	return head + "\r\n" + fields
}

func bulkText(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func TestAWaitForNewEntriesKnowsFromWhereBeforeItBegins(t *testing.T) {
	x, y := "XINFO STREAM {t}x", "XINFO STREAM {t}y"
	for _, tc := range []struct {
		name, hello   string
		script        func(s *scripted)
		send          string
		atOwner, next string // the nodes must have seen, in order
	}{
		{name: "a stream", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", XREAD BLOCK 0 STREAMS {t}x 5-1"},
		{name: "a stream, by RESP3", hello: "HELLO 3", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", XREAD BLOCK 0 STREAMS {t}x 7-1"},
		{name: "several streams", send: "xread count 3 block 0 streams {t}x {t}z {t}y $ 0 $", atOwner: x + ", " + y + ", xread count 3 block 0 streams {t}x {t}z {t}y 5-1 0 0-0"},
		{name: "no stream yet", send: "XREAD BLOCK 0 STREAMS {t}y $", atOwner: y + ", XREAD BLOCK 0 STREAMS {t}y 0-0"},
		{name: "an id that is known", send: "XREAD BLOCK 0 STREAMS {t}x 3", atOwner: "XREAD BLOCK 0 STREAMS {t}x 3"},
		{name: "the last entry", send: "XREAD BLOCK 0 STREAMS {t}x +", atOwner: "XREAD BLOCK 0 STREAMS {t}x +"},
		{name: "a group", send: "XREADGROUP GROUP g c BLOCK 0 STREAMS {t}x >", atOwner: "XREADGROUP GROUP g c BLOCK 0 STREAMS {t}x >"},
		{name: "no wait", send: "XREAD STREAMS {t}x $", atOwner: "XREAD STREAMS {t}x $"},
		{name: "an id too few", send: "XREAD BLOCK 0 STREAMS {t}x {t}y $", atOwner: "XREAD BLOCK 0 STREAMS {t}x {t}y $"},
		{name: "a long entry", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", XREAD BLOCK 0 STREAMS {t}x 6-1", script: func(s *scripted) {
			s.owner.On(x, testnode.Raw("*4\r\n$11\r\nfirst-entry\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n"+bulkText(strings.Repeat("b", 300_000))+"$17\r\nlast-generated-id\r\n$3\r\n6-1\r\n"))
		}},
		{name: "a key of another type", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", XREAD BLOCK 0 STREAMS {t}x $", script: func(s *scripted) {
			s.owner.On(x, testnode.Error("WRONGTYPE Operation against a key holding the wrong kind of value"))
		}},
		{name: "a reply that nobody knows", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", XREAD BLOCK 0 STREAMS {t}x $", script: func(s *scripted) {
			s.owner.On(x, testnode.Raw("*1\r\n$1\r\nx\r\n"))
		}},
		{name: "a slot that has moved", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x, next: x + ", XREAD BLOCK 0 STREAMS {t}x 5-1", script: func(s *scripted) {
			s.owner.On(x, testnode.Moved(s.slot, s.next.Addr()))
		}},
		{name: "a key that is moving", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x, next: "ASKING, " + x + ", ASKING, XREAD BLOCK 0 STREAMS {t}x 5-1", script: func(s *scripted) {
			s.owner.On(x, testnode.Ask(s.slot, s.next.Addr()))
		}},
		{name: "a connection that is lost", send: "XREAD BLOCK 0 STREAMS {t}x $", atOwner: x + ", " + x + ", XREAD BLOCK 0 STREAMS {t}x 5-1", script: func(s *scripted) {
			s.owner.On(x, testnode.Close())
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			info := streamInfo("*6", "5-1")
			if tc.hello != "" {
				info = streamInfo("%3", "7-1")
				s.send(tc.hello)
				s.want("%7")
			}
			for i := range 3 {
				s.set.Node(i).Every(x, testnode.Raw(info))
				s.set.Node(i).Every(y, testnode.Error("ERR no such key"))
				s.set.Node(i).Every("XREAD ...", testnode.Raw("*-1\r\n"))
				s.set.Node(i).Every("XREADGROUP ...", testnode.Raw("*-1\r\n"))
				s.set.Node(i).Every("ASKING", testnode.Raw("+OK\r\n"))
			}
			if tc.script != nil {
				tc.script(s)
			}
			s.send(tc.send, "PING")
			s.want("*-1", "+PONG")
			words := []string{"XINFO", "XREAD", "xread", "XREADGROUP", "ASKING"}
			if got := arrivals(s.owner, words...); got != tc.atOwner {
				t.Errorf("the owner saw %q, want %q", got, tc.atOwner)
			}
			if got := arrivals(s.next, words...); got != tc.next {
				t.Errorf("the other node saw %q, want %q", got, tc.next)
			}
			s.until("the lease is free", func(l *loop) bool { return l.stats.LeasesBusy == 0 })
		})
	}
}

func TestAUserWhoMayNotAskWhereAStreamEndsIsNotAskedForAgain(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.Every("XINFO ...", testnode.Error("NOPERM User u has no permissions to run the 'xinfo|stream' command"))
	s.owner.Every("XREAD ...", testnode.Raw("*-1\r\n"))
	s.send("XREAD BLOCK 1 STREAMS {t}x $", "XREAD BLOCK 2 STREAMS {t}x $")
	s.want("*-1", "*-1")
	if got, want := arrivals(s.owner, "XINFO", "XREAD"), "XINFO STREAM {t}x, XREAD BLOCK 1 STREAMS {t}x $, XREAD BLOCK 2 STREAMS {t}x $"; got != want {
		t.Errorf("the node saw %q, want %q", got, want)
	}
}

func TestAWaitWhoseSlotIsHeldWhileItAsksWhereTheStreamEndsBeginsAtTheNewOwner(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: patient})
	slow := make(chan struct{})
	s.owner.On("XINFO ...", testnode.Until(slow), testnode.Raw(streamInfo("*6", "5-1")))
	s.next.On("XREAD ...", testnode.Raw("*-1\r\n"))
	s.send("XREAD BLOCK 0 STREAMS {t}x $", "PING")
	s.owner.Wait(t, "XINFO ...", 1)
	mustHold(t, s.proxy, tSlot)
	close(slow)
	held(t, s.proxy, 1)
	s.proxy.Release([]uint16{tSlot}, s.next.Addr())
	s.want("*-1", "+PONG")
	if got, want := arrivals(s.next, "XINFO", "XREAD"), "XREAD BLOCK 0 STREAMS {t}x 5-1"; got != want {
		t.Errorf("the new owner saw %q, want %q", got, want)
	}
}

func TestAClientThatLeavesWhileItsConnectionAsksWhereAStreamEndsLeavesNothingBehind(t *testing.T) {
	s := script(t, Config{Loops: 1})
	slow := make(chan struct{})
	s.owner.On("XINFO ...", testnode.Until(slow), testnode.Raw(streamInfo("*6", "5-1")))
	s.send("XREAD BLOCK 0 STREAMS {t}x $")
	s.owner.Wait(t, "XINFO ...", 1)
	s.leave()
	s.alone()
	close(slow)
	s.until("the lease is free", func(l *loop) bool { return l.stats.LeasesBusy == 0 })
	if got := arrivals(s.owner, "XREAD"); got != "" {
		t.Errorf("the node saw %q from a client that had left", got)
	}
}

func TestANodeThatDoesNotSayWhereAStreamEndsIsNotWaitedForAsLongAsForTheEntry(t *testing.T) {
	s := script(t, Config{Loops: 1, Limits: Limits{UpstreamTimeout: 100e6}})
	s.owner.Every("XINFO ...", testnode.Silence())
	s.send("XREAD BLOCK 0 STREAMS {t}x $", "PING")
	s.want("-PROXYTIMEOUT", "+PONG")
}

func TestAnEntryThatIsAddedWhileItsStreamIsOnTheWayIsNotMissed(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 2, Limits: patient}, cl.Addrs()...)
			move := newCarrier(t, p, cl)
			for _, n := range cl.Nodes {
				if _, err := n.Do("ACL", "SETUSER", "reader", "on", ">x", "~*", "+@all", "-xinfo"); err != nil {
					t.Fatal(err)
				}
			}
			d := connect(t, addr)
			d.send("XADD {t}x 5-1 a b", "XADD {t}del 6-1 a b", "XDEL {t}del 6-1", "SET {t}s x")
			d.want("$3", "$3", ":1", "+OK")
			waits := []struct{ hello, send, want string }{
				{"", "XREAD BLOCK 0 STREAMS {t}x $", "*1\r\n*2\r\n$4\r\n{t}x"},
				{"", "XREAD BLOCK 0 STREAMS {t}new $", "*1\r\n*2\r\n$6\r\n{t}new"},
				{"", "XREAD COUNT 1 BLOCK 60000 STREAMS {t}never {t}del $ $", "*1\r\n*2\r\n$6\r\n{t}del"},
				{"HELLO 3", "XREAD BLOCK 0 STREAMS {t}x $", "%1\r\n$4\r\n{t}x"},
				{"HELLO 3", "XREAD BLOCK 0 STREAMS {t}new {t}never $ $", "%1\r\n$6\r\n{t}new"},
			}
			var blocked []*client
			for _, w := range waits {
				c := connect(t, addr)
				if w.hello != "" {
					c.send(w.hello)
					c.want("%7")
				}
				c.send(w.send, "PING")
				blocked = append(blocked, c)
			}
			plain := connect(t, addr) // may not ask, and is served as by the node
			plain.send("AUTH reader x", "XREAD BLOCK 0 STREAMS {t}plain $", "PING")
			plain.want("+OK")
			until(t, func() bool { return blockedAt(t, move.from) == len(waits)+1 })
			mustHold(t, p, tSlot)
			if err := move.carry(tSlot); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"{t}x", "{t}new", "{t}del"} {
				if _, err := move.to.Do("XADD", key, "9-1", "a", "c"); err != nil {
					t.Fatal(err)
				}
			}
			p.Release([]uint16{tSlot}, move.to.Addr)
			for i, w := range waits {
				blocked[i].want(w.want, "+PONG")
			}
			until(t, func() bool { return blockedAt(t, move.to) == 1 })
			d.send("XADD {t}plain 9-1 a c")
			d.want("$3")
			plain.want("*1\r\n*2\r\n$8\r\n{t}plain", "+PONG")
			d.send("XREAD BLOCK 0 STREAMS {t}s $")
			d.want("-WRONGTYPE")
		})
	}
}
