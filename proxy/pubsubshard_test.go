package proxy

import (
	"fmt"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// confirms answers an SSUBSCRIBE of one channel.
func confirms(name string) testnode.Action {
	return testnode.Raw(confirmation(3, "ssubscribe", name, 1))
}

func TestAShardedSubscriptionFollowsItsSlotUnseen(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.owner.On("HELLO", testnode.Default(), testnode.Raw(heard(3, "smessage", "{t}c", "1")),
		testnode.Raw(confirmation(3, "sunsubscribe", "{t}c", 0)))
	s.owner.On("SSUBSCRIBE {t}c", testnode.Moved(s.slot, s.next.Addr()))
	s.next.On("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.next.On("HELLO", testnode.Default(), testnode.Raw(heard(3, "smessage", "{t}c", "2")))
	s.send("SSUBSCRIBE {t}c")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1))
	s.want(heard(2, "smessage", "{t}c", "1"), heard(2, "smessage", "{t}c", "2"))
	s.silent(50 * time.Millisecond)
	s.next.Every("SUNSUBSCRIBE {t}c", testnode.Raw(confirmation(3, "sunsubscribe", "{t}c", 0)))
	s.send("SUNSUBSCRIBE")
	s.want(confirmation(2, "sunsubscribe", "{t}c", 0))
}

func TestAMessageWaitsUntilTheSubscribersAreWhereItGoes(t *testing.T) {
	s := script(t, Config{Loops: 2})
	hold := make(chan struct{})
	s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.owner.Every("SSUBSCRIBE {t}c", testnode.Moved(s.slot, s.next.Addr()))
	s.owner.Every("SPUBLISH ...", testnode.Do(func() { s.set.Give(s.slot, indexOf(s.set, s.next)) }),
		testnode.Moved(s.slot, s.next.Addr()))
	s.owner.Every("SUNSUBSCRIBE {t}c", testnode.Raw(confirmation(3, "sunsubscribe", "{t}c", 0)))
	s.next.On("SSUBSCRIBE {t}c", testnode.Until(hold), confirms("{t}c"))
	s.next.Every("SPUBLISH ...", testnode.Raw(":1\r\n"))
	s.send("SSUBSCRIBE {t}c")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1))
	d := connect(t, s.proxy.Addrs()[0].String())
	d.send("SPUBLISH {t}c 1", "SPUBLISH {t}c 2")
	s.next.Wait(t, "SSUBSCRIBE {t}c", 1)
	time.Sleep(100 * time.Millisecond)
	if got := arrivals(s.next, "SPUBLISH"); got != "" {
		t.Errorf("the new owner saw %q before the subscription", got)
	}
	close(hold)
	d.want(":1", ":1")
	if got := arrivals(s.next, "SPUBLISH"); got != "SPUBLISH {t}c 1, SPUBLISH {t}c 2" {
		t.Errorf("the new owner saw %q", got)
	}
}

// The publisher's loop is the one that is wrong. Who left the owner for its sake could miss what it then takes.
func TestASubscriberDoesNotLeaveTheOwnerForAPublisherWhoBelievesInAnotherNode(t *testing.T) {
	s := script(t, Config{Loops: 2})
	s.owner.Every("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.owner.Every("SUNSUBSCRIBE {t}c", testnode.Raw(confirmation(3, "sunsubscribe", "{t}c", 0)))
	s.owner.Every("SPUBLISH ...", testnode.Raw(":1\r\n"))
	s.next.Every("SPUBLISH ...", testnode.Moved(s.slot, s.owner.Addr()))
	s.send("SSUBSCRIBE {t}c")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1))
	var d *client
	for there := false; !there; { // on the other loop
		d = s.another()
		d.send("PING")
		d.want("+PONG")
		s.proxy.ask(time.Second, func(l *loop) {
			if len(l.hubs) == 0 && len(l.sessions) > 0 {
				there = true
				l.setOwner(uint16(s.slot), l.nodeAt(s.next.Addr()))
			}
		})
	}
	d.send("SPUBLISH {t}c 1")
	s.owner.Wait(t, "SSUBSCRIBE {t}c", 2) // it is asked
	d.want(":1")
	if got := s.owner.Seen("SUNSUBSCRIBE {t}c"); len(got) > 0 {
		t.Errorf("the owner was told %v", got)
	}
}

func TestANodeThatHasLostItsSlotAndDoesNotSaySoIsLeft(t *testing.T) {
	for name, answer := range map[string]func(s *scripted) testnode.Action{
		"it knows": func(s *scripted) testnode.Action { return testnode.Moved(s.slot, s.next.Addr()) },
		// A primary that is cut off from the other nodes, but not from us, believes that it still has its slots.
		"it would serve":   func(*scripted) testnode.Action { return confirms("{t}c") },
		"it serves nobody": func(*scripted) testnode.Action { return testnode.Error("CLUSTERDOWN The cluster is down") },
		"it has been loaded": func(*scripted) testnode.Action {
			return testnode.Error("LOADING Valkey is loading the dataset in memory")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"))
			s.owner.Every("SSUBSCRIBE {t}c", answer(s))
			s.owner.Every("SUNSUBSCRIBE {t}c", testnode.Raw(confirmation(3, "sunsubscribe", "{t}c", 0)))
			s.next.Every("SSUBSCRIBE {t}c", confirms("{t}c"), testnode.Raw(heard(3, "smessage", "{t}c", "1")))
			s.send("SSUBSCRIBE {t}c")
			s.want(confirmation(2, "ssubscribe", "{t}c", 1))
			s.set.Give(s.slot, indexOf(s.set, s.next))
			s.proxy.ask(time.Second, func(l *loop) { l.hint(router.Hint{Cause: router.Moved, Addr: s.next.Addr()}) })
			s.want(heard(2, "smessage", "{t}c", "1"))
		})
	}
}

// busy is what a node says while a script does not end.
const busy = "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."

func TestASubscriptionThatANodeCannotServeNowIsTriedAgain(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for _, e := range []string{"LOADING Valkey is loading the dataset in memory", "CLUSTERDOWN The cluster is down", busy} {
		s.owner.On("SSUBSCRIBE {t}c", testnode.Error(e))
	}
	s.owner.On("SSUBSCRIBE {t}c", testnode.Close())
	s.owner.Every("SSUBSCRIBE {t}c", confirms("{t}c")) // once more if the connection was lost behind the first confirmation
	s.owner.On("SSUBSCRIBE {t}d", testnode.Error("NOPERM No permissions to access a channel"))
	s.send("SSUBSCRIBE {t}c", "SSUBSCRIBE {t}d", "PING")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1), "-NOPERM", "*2\r\n$4\r\npong\r\n")
	s.silent(50 * time.Millisecond)
}

func TestAFeedThatIsOutOfStepIsClosedAndReplaced(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("SSUBSCRIBE {t}c", testnode.Raw("+OK\r\n"))
	s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.send("SSUBSCRIBE {t}c", "PING")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1), "*2\r\n$4\r\npong\r\n")
	if got := s.proxy.Snapshot().Desyncs; got != 1 {
		t.Errorf("%d connections were out of step, want 1", got)
	}
}

func TestABusyNodeTakesNoChannelFromASubscriber(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"))
	s.send("SSUBSCRIBE {t}c")
	s.want(confirmation(2, "ssubscribe", "{t}c", 1))
	s.owner.On("SSUBSCRIBE {t}c", testnode.Error(busy))
	s.owner.On("SSUBSCRIBE {t}c", confirms("{t}c"), testnode.Raw(heard(3, "smessage", "{t}c", "1")))
	s.owner.Drop()
	s.want(heard(2, "smessage", "{t}c", "1"))
}

func TestWhoComesWhileTheLastOneLeavesHearsTheEventsOfAllPrimaries(t *testing.T) {
	const events = "__keyevent@0__:*"
	s := script(t, Config{Loops: 1})
	hold := make(chan struct{})
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("PSUBSCRIBE "+events, testnode.Raw(confirmation(3, "psubscribe", events, 1)))
		n.Every("PUNSUBSCRIBE "+events, testnode.Until(hold), testnode.Raw(confirmation(3, "punsubscribe", events, 0)))
	}
	s.send("PSUBSCRIBE " + events)
	s.want(confirmation(2, "psubscribe", events, 1))
	s.until("all primaries are listened to", func(l *loop) bool { return heardAt(l, events) == 3 })
	s.send("PUNSUBSCRIBE " + events)
	for i := range 3 {
		s.set.Node(i).Wait(t, "PUNSUBSCRIBE "+events, 1)
	}
	d := s.another()
	d.send("PSUBSCRIBE " + events)
	s.until("another one is on his way", func(l *loop) bool {
		return len(l.sessions) == 2 && l.sessions[1].head != nil
	})
	close(hold)
	s.want(confirmation(2, "punsubscribe", events, 0))
	d.want(confirmation(2, "psubscribe", events, 1))
	s.until("all primaries are listened to again", func(l *loop) bool { return heardAt(l, events) == 3 })
}

func TestWhoIsAboutToLeaveIsNotSubscribedAgainWhereTheNodeHasConfirmed(t *testing.T) {
	const events = "__keyevent@0__:*"
	s := script(t, Config{Loops: 1})
	hold := make(chan struct{})
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("PSUBSCRIBE "+events, testnode.Raw(confirmation(3, "psubscribe", events, 1)))
		last := testnode.Raw(confirmation(3, "punsubscribe", events, 0))
		if i == 2 {
			n.Every("PUNSUBSCRIBE "+events, testnode.Until(hold), last)
		} else {
			n.Every("PUNSUBSCRIBE "+events, last)
		}
	}
	s.send("PSUBSCRIBE " + events)
	s.want(confirmation(2, "psubscribe", events, 1))
	s.send("PUNSUBSCRIBE " + events)
	s.until("two nodes have confirmed", func(l *loop) bool { return heardAt(l, events) == 1 })
	s.until("nothing is to be done", func(l *loop) bool { return l.hubsDue == 0 })
	close(hold)
	s.want(confirmation(2, "punsubscribe", events, 0))
	s.until("every node has answered", func(l *loop) bool {
		for _, h := range l.hubs {
			for _, f := range h.feeds {
				if len(f.sent) > 0 {
					return false
				}
			}
		}
		return true
	})
	for i := range 3 {
		if n := len(s.set.Node(i).Seen("PSUBSCRIBE " + events)); n != 1 {
			t.Errorf("node %d was asked for the pattern %d times, want 1", i, n)
		}
	}
}

// heardAt is how many nodes a pattern is subscribed at.
func heardAt(l *loop, pattern string) int {
	n := 0
	for _, h := range l.hubs {
		if t := h.topics[patternTopic][pattern]; t != nil {
			n += len(t.at)
		}
	}
	return n
}

func TestAPatternThatItsNodeHasNotEndedYetIsNotCounted(t *testing.T) {
	s := script(t, Config{Loops: 1})
	hold := make(chan struct{})
	defer close(hold)
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("PSUBSCRIBE a*", testnode.Raw(confirmation(3, "psubscribe", "a*", 1)))
		n.Every("PUNSUBSCRIBE a*", testnode.Until(hold))
		n.Every("PUBSUB NUMPAT", testnode.Answer(func(testnode.Command) string {
			return fmt.Sprintf(":%d\r\n", len(n.Seen("PSUBSCRIBE a*")))
		}))
	}
	s.send("PSUBSCRIBE a*")
	s.want(confirmation(2, "psubscribe", "a*", 1))
	d := s.another()
	s.Close()
	s.until("the node is told", func(*loop) bool {
		return len(s.set.Node(0).Seen("PUNSUBSCRIBE a*"))+len(s.set.Node(1).Seen("PUNSUBSCRIBE a*"))+len(s.set.Node(2).Seen("PUNSUBSCRIBE a*")) > 0
	})
	d.send("PUBSUB NUMPAT")
	d.want(":0")
}
