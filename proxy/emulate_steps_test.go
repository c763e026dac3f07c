package proxy

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// twoSlots is a script with a key {t} on one node and a key x on another.
func twoSlots(t *testing.T) (s *scripted, x string) {
	t.Helper()
	s = script(t, Config{Loops: 1, EmulateCrossSlot: true, Limits: Limits{RedirectBudget: 300 * time.Millisecond}})
	return s, tagOf(s, s.next, 0)
}

// leave ends the connection so that the other side sees it at once.
func (c *client) leave() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func number(n int) testnode.Action { return testnode.Raw(fmt.Sprintf(":%d\r\n", n)) }

func TestAnElementThatCannotBePushedIsPutBack(t *testing.T) {
	s, x := twoSlots(t)
	s.owner.Every("LLEN {t}", number(2))
	s.next.Every("LLEN "+x, number(0))
	s.owner.On("LPOP {t}", testnode.Bulk("e"))
	s.next.On("RPUSH "+x+" e", testnode.Error("OOM command not allowed when used memory > 'maxmemory'."))
	s.owner.On("LPUSH {t} e", number(2))
	s.send("LMOVE {t} "+x+" LEFT RIGHT", "PING")
	s.want("-OOM", "+PONG")
	if got, want := arrivals(s.owner, "LPOP", "LPUSH"), "LPOP {t}, LPUSH {t} e"; got != want {
		t.Errorf("the first list saw %q, want %q", got, want)
	}

	s.owner.On("RPOP {t}", testnode.Bulk("f"))
	s.next.On("LPUSH "+x+" f", testnode.Close())
	s.send("RPOPLPUSH {t} "+x, "PING")
	s.want("-PROXYUNKNOWN RPOPLPUSH popped an element; whether it was pushed is not known: PROXYUNKNOWN outcome unknown", "+PONG")
	accounted(t, s.proxy)
}

func TestStepsOfACommandFollowRedirects(t *testing.T) {
	s, x := twoSlots(t)
	slot := int(router.Slot([]byte(x)))
	s.owner.Every("EXISTS {t}", number(1))
	s.owner.Every("SISMEMBER {t} m", number(1))
	s.next.Every("SISMEMBER "+x+" m", number(0))
	s.next.On("SADD "+x+" m", testnode.Ask(slot, s.owner.Addr()))
	s.owner.On("SADD "+x+" m", number(1))
	s.owner.On("SREM {t} m", testnode.Moved(s.slot, s.next.Addr()))
	s.next.On("SREM {t} m", number(1))
	s.send("SMOVE {t} "+x+" m", "PING")
	s.want(":1", "+PONG")
	if got, want := arrivals(s.owner, "ASKING", "SADD", "SREM"), "ASKING, SADD "+x+" m, SREM {t} m"; got != want {
		t.Errorf("the owner saw %q, want %q", got, want)
	}
	accounted(t, s.proxy)
}

func TestOfTwoClientsThatMoveAMemberOneHasMovedIt(t *testing.T) {
	s, x := twoSlots(t)
	s.owner.Every("EXISTS {t}", number(1))
	s.owner.Every("SISMEMBER {t} m", number(1))
	s.next.Every("SISMEMBER "+x+" m", number(0))
	s.next.On("SADD "+x+" m", number(1))
	s.owner.On("SREM {t} m", number(0))
	s.next.On("SREM "+x+" m", number(1))
	s.send("SMOVE {t} " + x + " m")
	s.want(":0")
	if got, want := arrivals(s.next, "SADD", "SREM"), "SADD "+x+" m, SREM "+x+" m"; got != want {
		t.Errorf("the second set saw %q, want %q", got, want)
	}
}

func TestKeysOfMSetNXAreTakenBackWhenAnotherClientWasFaster(t *testing.T) {
	s, x := twoSlots(t)
	s.owner.Every("EXISTS {t}", number(0))
	s.next.Every("EXISTS "+x, number(0))
	s.owner.On("SET {t} 1 NX", testnode.Raw("+OK\r\n"))
	s.next.On("SET "+x+" 2 NX", testnode.Raw("$-1\r\n"))
	s.owner.On("DEL {t}", number(1))
	s.send("MSETNX {t} 1 "+x+" 2", "PING")
	s.want(":0", "+PONG")
	s.owner.Wait(t, "DEL {t}", 1)
	if got := arrivals(s.next, "DEL"); got != "" {
		t.Errorf("the key of the other client saw %q", got)
	}
}

// renames scripts a RENAME of {t} to x up to its RESTORE.
func renames(s *scripted, x string) {
	for _, n := range []*testnode.Node{s.owner, s.next} {
		n.Every("MULTI", testnode.Raw("+OK\r\n"))
		n.Every("DUMP ...", testnode.Raw("+QUEUED\r\n"))
		n.Every("PEXPIRETIME ...", testnode.Raw("+QUEUED\r\n"))
		n.Every("DEL ...", testnode.Raw("+QUEUED\r\n"))
	}
	s.owner.On("EXEC", testnode.Raw("*0\r\n")) // whether the user may
	s.owner.On("EXEC", testnode.Raw("*2\r\n$4\r\nold!\r\n:-1\r\n"))
}

func TestRenameCarriesALateChangeOver(t *testing.T) {
	s, x := twoSlots(t)
	renames(s, x)
	s.next.Every("RESTORE ...", testnode.Raw("+OK\r\n"))
	s.owner.On("EXEC", testnode.Raw("*3\r\n$4\r\nnew!\r\n:77\r\n:1\r\n"))
	s.send("RENAME {t} "+x, "PING")
	s.want("+OK", "+PONG")
	want := "RESTORE " + x + " 0 old! ABSTTL REPLACE, RESTORE " + x + " 77 new! ABSTTL REPLACE"
	if got := arrivals(s.next, "RESTORE"); got != want {
		t.Errorf("the new key saw %q, want %q", got, want)
	}
	accounted(t, s.proxy)
}

func TestRenameSaysHowFarItCameWhenANodeIsLost(t *testing.T) {
	s, x := twoSlots(t)
	renames(s, x)
	s.next.Every("RESTORE ...", testnode.Raw("+OK\r\n"))
	s.owner.On("EXEC", testnode.Close())
	s.send("RENAME {t} "+x, "PING")
	s.want("-PROXYUNKNOWN RENAME wrote the new key; the old one could not be deleted, or nobody knows whether it was: PROXYUNKNOWN outcome", "+PONG")

	s, x = twoSlots(t)
	renames(s, x)
	s.next.Every("RESTORE ...", testnode.Close())
	s.send("RENAME {t} "+x, "PING")
	s.want("-PROXYUNKNOWN RENAME left the old key as it was", "+PONG")
	if got := arrivals(s.owner, "DEL"); got != "" {
		t.Errorf("the old key saw %q", got)
	}
	accounted(t, s.proxy)
}

func TestWhatAClientHasBegunIsFinishedWhenItLeaves(t *testing.T) {
	s, x := twoSlots(t)
	hold := make(chan struct{})
	s.owner.Every("LLEN {t}", number(2))
	s.next.Every("LLEN "+x, number(0))
	s.owner.On("LPOP {t}", testnode.Until(hold), testnode.Bulk("e"))
	s.next.On("LPUSH "+x+" e", testnode.Error("LOADING wait"))
	s.next.On("LPUSH "+x+" e", number(1))
	s.send("LMOVE {t} " + x + " LEFT LEFT")
	s.owner.Wait(t, "LPOP {t}", 1)
	s.leave()
	s.until("the client is gone", func(l *loop) bool { return len(l.sessions) == 0 })
	close(hold)
	s.next.Wait(t, "LPUSH "+x+" e", 2)
	accounted(t, s.proxy)
}

func TestAnOrderPassThatIsPutOffIsMadeAlsoWhenTheClientLeaves(t *testing.T) {
	s, x := twoSlots(t)
	s.owner.Every("LLEN {t}", number(2))
	s.next.Every("LLEN "+x, number(0))
	s.owner.On("LPOP {t}", testnode.Bulk("e"))
	for range 6 { // the last of the waits is long enough to be met
		s.next.On("LPUSH "+x+" e", testnode.Error("LOADING wait"))
	}
	s.next.Every("LPUSH "+x+" e", number(1))
	left := false
	s.send("LMOVE {t} " + x + " LEFT LEFT")
	s.until("the client leaves between two attempts", func(l *loop) bool {
		for _, c := range l.sessions {
			if c.head == nil || c.head.fan == nil {
				continue
			}
			for _, p := range c.head.fan.parts {
				if !left && p.state == stateWaiting {
					left = true
					l.beginQuiet()
					l.hold(p)
					c.conn.close(errClosedByPeer)
					l.endQuiet()
					break
				}
			}
		}
		return left
	})
	s.next.Wait(t, "LPUSH "+x+" e", 7)
	accounted(t, s.proxy)
}

func TestAnElementOfAClientThatHasLeftIsPutBackWhenTheOtherNodeIsGone(t *testing.T) {
	s, x := twoSlots(t)
	hold := make(chan struct{})
	s.owner.Every("LLEN {t}", number(2))
	s.next.Every("LLEN "+x, number(0))
	s.owner.On("RPOP {t}", testnode.Until(hold), testnode.Bulk("e"))
	s.owner.On("RPUSH {t} e", number(2))
	s.send("RPOPLPUSH {t} " + x)
	s.owner.Wait(t, "RPOP {t}", 1)
	s.leave()
	s.next.Stop()
	s.until("the client is gone", func(l *loop) bool { return len(l.sessions) == 0 })
	close(hold)
	s.owner.Wait(t, "RPUSH {t} e", 1)
	accounted(t, s.proxy)
}

func TestNothingIsLeftOfACommandThatEndsWithoutItsClientAndItsNode(t *testing.T) {
	s, x := twoSlots(t)
	hold := make(chan struct{})
	s.owner.Every("EXISTS {t}", number(1))
	s.owner.Every("SISMEMBER {t} m", number(1))
	s.next.Every("SISMEMBER "+x+" m", number(0))
	s.next.On("SADD "+x+" m", testnode.Until(hold), number(1))
	s.send("SMOVE {t} " + x + " m")
	s.next.Wait(t, "SADD "+x+" m", 1)
	s.leave()
	s.owner.Stop()
	s.until("the client is gone", func(l *loop) bool { return len(l.sessions) == 0 })
	close(hold)
	s.until("the command has ended", func(l *loop) bool { return l.plain.sessions == 0 })
	accounted(t, s.proxy)
}

// lowKeys are n names in different slots among the lowest, which a reshard takes first.
func lowKeys(n int) []string {
	var keys []string
	taken := map[uint16]bool{}
	for i := 0; len(keys) < n; i++ {
		k := fmt.Sprint("low", i)
		if slot := router.Slot([]byte(k)); slot < 30 && !taken[slot] {
			taken[slot] = true
			keys = append(keys, k)
		}
	}
	return keys
}

func TestCommandsInSeveralSlotsWhileTheSlotsMove(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: "valkey-9.1"})
	p, addr := serve(t, emulating, cl.Addrs()...)
	done := make(chan error, 1)
	go reshards(cl, done)
	c, k := connect(t, addr), lowKeys(6)
	at := func(line string) string { // digits stand for the keys
		return strings.NewReplacer("0", k[0], "1", k[1], "2", k[2], "3", k[3], "4", k[4], "5", k[5]).Replace(line)
	}
	for rounds := 0; ; rounds++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if rounds < 20 {
				t.Errorf("%d rounds while slots moved, want more", rounds)
			}
			accounted(t, p)
			return
		default:
		}
		c.send(at("DEL 0 1 2 3 4 5"), at("SADD 0 a b"), at("SADD 1 b c"), at("SUNIONSTORE 2 0 1"), at("SCARD 2"), at("SINTER 0 1"), at("RENAME 2 3"), at("EXISTS 2 3"),
			at("SMOVE 3 4 a"), at("SCARD 3"), at("RPUSH 5 x y"), at("LMOVE 5 2 LEFT LEFT"), at("RPOPLPUSH 5 2"), at("LRANGE 2 ")+"0 -1", at("COPY 2 5"), at("MSETNX 2 v 5 w"))
		c.want(":", ":2", ":2", ":3", ":3", "*1", "+OK", ":1", ":1", ":2", ":2", "$1\r\nx", "$1\r\ny", "*2\r\n$1\r\ny\r\n$1\r\nx\r\n", ":1", ":0")
	}
}

// reshards moves the lowest slots to another node and back, with the client and by the nodes themselves.
func reshards(cl *testcluster.Cluster, done chan<- error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		if _, err := cl.Reshard(ctx, cl.Nodes[way[0]], cl.Nodes[way[1]], 30); err != nil {
			done <- err
			return
		}
	}
	done <- nil
}

// A part that cannot be sent in the middle of an order pass may be the last of its step; the parts of the next one are
// added behind what the pass looks at.
func TestAPartThatIsAddedInTheMiddleOfAnOrderPassIsSent(t *testing.T) {
	s, x := twoSlots(t)
	var third *testnode.Node
	for i := range 3 {
		if n := s.set.Node(i); n != s.owner && n != s.next {
			third = n
		}
	}
	s.set.OpenSlot(s.slot, indexOf(s.set, third)) // the element comes from there, and goes back in the order of the slot
	hold := make(chan struct{})
	s.owner.Every("LLEN {t}", number(2))
	s.next.Every("LLEN "+x, number(0))
	s.owner.On("LPOP {t}", testnode.Until(hold), testnode.Ask(s.slot, third.Addr()))
	third.On("LPOP {t}", testnode.Bulk("e"))
	s.owner.On("LPUSH {t} e", number(2))
	s.send("LMOVE {t} "+x+" LEFT RIGHT", "PING")
	s.owner.Wait(t, "LPOP {t}", 1)
	s.next.Stop()
	s.until("the other list cannot be reached", func(l *loop) bool {
		n := l.nodes[s.next.Addr()]
		n.retryAt = forever // or now and then a part would fail when its connection does, which is no order pass
		return len(n.conns) == 0
	})
	close(hold)
	s.want("-", "+PONG")
	if got := arrivals(s.owner, "LPOP", "LPUSH"); got != "LPOP {t}, LPUSH {t} e" {
		t.Errorf("the first list saw %q", got)
	}
	accounted(t, s.proxy)
}

func TestAnElementThatIsTooLargeIsNotLost(t *testing.T) {
	s := script(t, Config{Loops: 1, EmulateCrossSlot: true, Limits: Limits{EmulateBytes: 1000}})
	x, e := tagOf(s, s.next, 0), strings.Repeat("e", 2000)
	for _, reply := range []testnode.Action{testnode.Bulk(e), testnode.Pieces("$2000\r\n"+e[:1500], e[1500:]+"\r\n")} {
		s.owner.Every("LLEN {t}", number(2))
		s.next.Every("LLEN "+x, number(0))
		s.owner.On("LPOP {t}", reply)
		s.next.On("RPUSH "+x+" "+e, number(1))
		s.send("LMOVE {t} "+x+" LEFT RIGHT", "PING")
		s.want("$2000\r\n"+e+"\r\n", "+PONG")
	}
	accounted(t, s.proxy)
}
