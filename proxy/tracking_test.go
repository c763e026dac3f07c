package proxy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

func TestTrackingTellsOfChangesWhereverTheKeysLie(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
			c, d := connect(t, addr), connect(t, addr)
			c.send("HELLO 3", "CLIENT TRACKING ON", "MGET a b c", "CLIENT TRACKINGINFO")
			c.want("%7", "+OK", "*3", "%3\r\n$5\r\nflags\r\n~1\r\n$2\r\non\r\n")
			for _, k := range []string{"a", "b", "c"} {
				d.send("SET "+k+" 1", "SET "+k+" 2")
				d.want("+OK", "+OK")
				c.want(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n" + k + "\r\n")
			}
			c.send("SET a 3", "CLIENT TRACKING OFF", "CLIENT GETREDIR", "GET a")
			c.want("+OK", "+OK", ":-1", "$1\r\n3")
			c.send("CLIENT TRACKING ON OPTIN", "GET b", "CLIENT CACHING YES", "GET a", "CLIENT CACHING NO", "CLIENT TRACKING ON BCAST")
			c.want("+OK", "$", "+OK", "$", "-ERR CLIENT CACHING NO is only", "-ERR You can't switch BCAST")
			d.send("SET b 5", "SET a 5")
			d.want("+OK", "+OK")
			c.want(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n")
			c.send("CLIENT TRACKING OFF", "CLIENT TRACKING ON BCAST PREFIX x", "CLIENT TRACKING ON BCAST PREFIX y")
			c.want("+OK", "+OK", "+OK")
			for _, k := range []string{"x1", "x2", "y1", "x3", "y2"} {
				d.send("SET " + k + " 1")
				d.want("+OK")
				c.want(">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\n" + k + "\r\n")
			}
			c.send("PING")
			c.want("+PONG")
		})
	}
}

func TestWhatAClientReadBeforeItCouldBeToldIsForgottenWhenItCan(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("CLIENT TRACKING ON", "GET a", "AUTH default wrong", "HELLO 3")
	c.want("+OK", "$-1", "+OK", ">2\r\n$10\r\ninvalidate\r\n_\r\n", "%7")
}

func TestASlotThatMovesInvalidatesWhatWasReadInIt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c, d := connect(t, addr), connect(t, addr)
	c.send("HELLO 3", "CLIENT TRACKING ON", "GET {6ef}none", "GET other")
	c.want("%7", "+OK", "_", "_")
	from, err := cl.SlotOwner(slotOf("{6ef}none"))
	if err != nil {
		t.Fatal(err)
	}
	to := cl.Nodes[0]
	if to == from {
		to = cl.Nodes[1]
	}
	giveSlot(t, cl, slotOf("{6ef}none"), from, to)
	d.send("SET {6ef}none 1")
	d.want("+OK")
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	c.want(">2\r\n$10\r\ninvalidate\r\n_\r\n")
}

func slotOf(key string) int { return int(router.Slot([]byte(key))) }

// giveSlot hands a slot without keys over.
func giveSlot(t *testing.T, cl *testcluster.Cluster, slot int, from, to *testcluster.Node) {
	t.Helper()
	n := strconv.Itoa(slot)
	for _, step := range []struct {
		at   *testcluster.Node
		args []string
	}{
		{to, []string{"CLUSTER", "SETSLOT", n, "IMPORTING", from.ID}}, {from, []string{"CLUSTER", "SETSLOT", n, "MIGRATING", to.ID}},
		{to, []string{"CLUSTER", "SETSLOT", n, "NODE", to.ID}}, {from, []string{"CLUSTER", "SETSLOT", n, "NODE", to.ID}},
	} {
		if _, err := cl.Do(step.at, step.args...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTrackingOfAnOldClientIsToldToAnother(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
			told, c, d := connect(t, addr), connect(t, addr), connect(t, addr)
			told.send("HELLO 3", "CLIENT ID")
			told.want("%7")
			id, err := readReply(told.r)
			if err != nil {
				t.Fatal(err)
			}
			id = strings.Trim(id, ":\r\n")
			c.send("CLIENT TRACKING ON REDIRECT 99999", "CLIENT TRACKING ON REDIRECT "+id, "GET a", "GET b", "CLIENT GETREDIR")
			c.want("-ERR The client ID", "+OK", "$-1", "$-1", ":"+id)
			for _, k := range []string{"a", "b"} {
				d.send("SET " + k + " 1")
				d.want("+OK")
				told.want(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n" + k + "\r\n")
			}
			c.Close()
			until(t, func() bool { return p.Snapshot().UpstreamOpen <= 3*2*2 })
		})
	}
}

func TestWhoIsToBeToldInsteadHasToBeThere(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 3}, cl.Addrs()...)
			one := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
			proxied := redirectReplies(t, addr)
			bare := redirectReplies(t, one.Addr)
			for i, line := range redirectLines {
				if proxied[i] != bare[i] {
					t.Errorf("%s: got %q, want %q", line, proxied[i], bare[i])
				}
			}
			accounted(t, p)
		})
	}
}

// redirectLines are said by a client while THERE and ALSO are the ids of others, and GONE is that of one that has left.
var redirectLines = []string{
	"CLIENT TRACKING ON REDIRECT 99999", "CLIENT TRACKING ON REDIRECT GONE", "CLIENT TRACKING ON REDIRECT 0", "CLIENT TRACKING ON REDIRECT -1",
	"CLIENT TRACKING ON REDIRECT x", "CLIENT TRACKING ON REDIRECT", "CLIENT TRACKING OFF REDIRECT GONE", "CLIENT TRACKING MAYBE REDIRECT GONE",
	"CLIENT TRACKING MAYBE REDIRECT THERE", "CLIENT TRACKING ON FOO REDIRECT GONE", "CLIENT TRACKING ON REDIRECT GONE FOO",
	"CLIENT TRACKING ON REDIRECT THERE FOO", "CLIENT TRACKING ON REDIRECT GONE REDIRECT x", "CLIENT TRACKING ON REDIRECT THERE REDIRECT ALSO",
	"CLIENT TRACKING ON OPTIN OPTOUT REDIRECT GONE", "CLIENT TRACKING ON OPTIN OPTOUT REDIRECT THERE", "CLIENT TRACKINGINFO",
	"CLIENT TRACKING ON REDIRECT THERE", "CLIENT TRACKING ON REDIRECT THERE", "CLIENT TRACKING ON REDIRECT GONE", "CLIENT TRACKING ON BCAST REDIRECT THERE",
	"CLIENT TRACKING OFF REDIRECT GONE", "GET a", "CLIENT TRACKING OFF REDIRECT THERE", "CLIENT TRACKINGINFO",
	"CLIENT TRACKING ON BCAST PREFIX a REDIRECT ALSO", "CLIENT TRACKING OFF", "PING",
}

// redirectReplies says the lines in one piece, so that each has to wait for the one before it.
func redirectReplies(t *testing.T, addr string) (replies []string) {
	t.Helper()
	there, also, gone, c := connect(t, addr), connect(t, addr), connect(t, addr), connect(t, addr)
	id := func(c *client) string { return strings.Trim(c.reply("CLIENT ID"), ":\r\n") }
	names := strings.NewReplacer("THERE", id(there), "ALSO", id(also), "GONE", id(gone))
	left := "id=" + id(gone) + " "
	gone.Close()
	until(t, func() bool { return !strings.Contains(c.reply("CLIENT LIST"), left) })
	lines := make([]string, len(redirectLines))
	for i, line := range redirectLines {
		lines[i] = names.Replace(line)
	}
	c.send(lines...)
	for range lines {
		reply, err := readReply(c.r)
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, strings.ReplaceAll(reply, ":"+id(there)+"\r\n", "THERE"))
	}
	return replies
}

func TestAClientLearnsThatTheOneToldForItHasGone(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 3}, cl.Addrs()...)
	told, c, old, d := connect(t, addr), connect(t, addr), connect(t, addr), connect(t, addr)
	id := strings.Trim(told.reply("CLIENT ID"), ":\r\n")
	c.send("HELLO 3", "CLIENT TRACKING ON REDIRECT "+id, "GET a")
	c.want("%7", "+OK", "_")
	old.send("CLIENT TRACKING ON REDIRECT "+id, "GET a")
	old.want("+OK", "$-1")
	told.Close()
	until(t, func() bool { return len(p.Clients()) == 3 })
	d.send("SET a 1")
	d.want("+OK")
	c.want(">2\r\n$21\r\ntracking-redir-broken\r\n:" + id + "\r\n")
	until(t, func() bool { // the old one has no way to be told, but to ask
		return strings.Contains(old.reply("CLIENT TRACKINGINFO"), "broken_redirect")
	})
	if info := old.reply("CLIENT INFO"); !strings.Contains(info, " flags=tR ") {
		t.Errorf("CLIENT INFO says %q, want the flags tR", info)
	}
	c.send("CLIENT TRACKING OFF", "CLIENT TRACKING ON", "CLIENT TRACKINGINFO")
	c.want("+OK", "+OK", "%3\r\n$5\r\nflags\r\n~1\r\n$2\r\non\r\n")
}

// A node forgets ASKING with the next command, and CLIENT CACHING too, so only one of them can go before a read.
func TestAReadThatTheNodeDoesNotWatchIsNotToBeCached(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.On("GET {t}a", testnode.Ask(s.slot, s.next.Addr()))
	s.next.On("GET {t}a", testnode.Bulk("v"))
	for i := range 3 {
		s.set.Node(i).Every("GET b", testnode.Bulk("b"))
		s.set.Node(i).Every("PING", testnode.Raw("+PONG\r\n"))
	}
	s.send("HELLO 3", "CLIENT TRACKING ON OPTIN", "GET b", "CLIENT CACHING YES", "GET {t}a", "GET b")
	s.want("%7", "+OK", "$1\r\nb", "+OK", "$1\r\nv", string(forgetAll), "$1\r\nb")
	if got := s.next.Seen("GET {t}a"); len(got) != 1 || !got[0].Asking {
		t.Errorf("the target of the ASK saw %v, want the read once, behind ASKING", got)
	}
	if got := len(s.next.Seen("CLIENT CACHING ...")) + len(s.owner.Seen("CLIENT CACHING ...")); got != 1 {
		t.Errorf("nodes saw CLIENT CACHING %d times, want once", got)
	}
}
