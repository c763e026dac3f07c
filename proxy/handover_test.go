package proxy

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/internal/testcluster"
	"slotproxy/router"
	"slotproxy/test/storm"
)

// carrier moves slots by hand between two nodes of a real cluster, as a coordinator would: with the proxy's gate closed.
type carrier struct {
	p        *Proxy
	cl       *testcluster.Cluster
	from, to *testcluster.Node
}

// turn makes the way back the next one.
func (c *carrier) turn() { c.from, c.to = c.to, c.from }

// carry moves the slots, whose commands are held.
func (c *carrier) carry(slots ...uint16) error {
	for _, slot := range slots {
		n := strconv.Itoa(int(slot))
		if _, err := c.to.Do("CLUSTER", "SETSLOT", n, "IMPORTING", c.from.ID); err != nil {
			return err
		}
		if _, err := c.from.Do("CLUSTER", "SETSLOT", n, "MIGRATING", c.to.ID); err != nil {
			return err
		}
	}
	for _, slot := range slots {
		if err := c.empty(slot); err != nil {
			return err
		}
	}
	for _, slot := range slots {
		for _, n := range []*testcluster.Node{c.to, c.from} {
			if _, err := n.Do("CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "NODE", c.to.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty moves the keys of a slot.
func (c *carrier) empty(slot uint16) error {
	host, port, err := net.SplitHostPort(c.to.Addr)
	if err != nil {
		return err
	}
	for {
		got, err := c.from.Do("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(int(slot)), "100")
		if err != nil {
			return err
		}
		keys, ok := got.([]any)
		if !ok || len(keys) == 0 {
			return nil
		}
		move := []string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}
		for _, k := range keys {
			move = append(move, fmt.Sprint(k))
		}
		if _, err := c.from.Do(move...); err != nil {
			return err
		}
	}
}

// handOver holds the slots, moves them and releases them.
func (c *carrier) handOver(ctx context.Context, slots ...uint16) error {
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.p.Hold(short, slots, holdFor); err != nil {
		return err
	}
	err := c.carry(slots...)
	owner := c.to.Addr
	if err != nil {
		owner = ""
	}
	c.p.Release(slots, owner)
	return err
}

// tell gives the other nodes the news, and waits until all agree. A slot that goes back before the last packet of the nodes' gossip
// has come may get a former owner again.
func (c *carrier) tell(ctx context.Context, slots ...uint16) error {
	for _, slot := range slots {
		for _, n := range c.cl.Nodes {
			if n == c.from || n == c.to {
				continue
			}
			if _, err := n.Do("CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "NODE", c.to.ID); err != nil {
				return err
			}
		}
	}
	return c.cl.WaitOK(ctx)
}

func followed(p *Proxy) (n uint64) {
	for _, of := range p.Snapshot().Redirects {
		n += of
	}
	return n
}

// newCarrier finds the two nodes that the slot of {t} goes to and fro between.
func newCarrier(t *testing.T, p *Proxy, cl *testcluster.Cluster) *carrier {
	t.Helper()
	owners, err := cl.Owners()
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{p: p, cl: cl, from: owners[tSlot]}
	for _, n := range cl.Nodes {
		if n != c.from {
			c.to = n
		}
	}
	return c
}

func TestCommandsOfASlotThatIsHandedOverAreHeldAndThenRunOnceAtItsNewOwner(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t)})
	p, addr := serve(t, Config{Loops: 2, Limits: patient, EmulateCrossSlot: true}, cl.Addrs()...)
	move := newCarrier(t, p, cl)
	for _, tc := range []struct {
		name               string
		before, held, want string // commands and replies
		after, left        string // what is asked when all is over
		follows            uint64 // redirects
	}{
		{name: "single keys", before: "SET {t}a 1", held: "INCR {t}a|GET {t}a", want: ":2|$1\r\n2"},
		{name: "a transaction", before: "SET {t}a 1", held: "MULTI|INCR {t}a|GET {t}a|EXEC", want: "+OK|+QUEUED|+QUEUED|*2\r\n:2\r\n$1\r\n2"},
		{name: "a script", before: "SET {t}a 1", held: "EVAL return(redis.call('incr',KEYS[1])) 1 {t}a", want: ":2"},
		{name: "several keys in the slot", before: "SET {t}a 1", held: "MSET {t}a 2 {t}b 3|MGET {t}a {t}b", want: "+OK|*2\r\n$1\r\n2\r\n$1\r\n3"},
		{name: "several keys in several slots", before: "SET {t}a 1", held: "MSET {t}a 2 {u}b 3 {v}c 4|MGET {v}c {t}a {u}b|DEL {t}a {u}b {v}c",
			want: "+OK|*3\r\n$1\r\n4\r\n$1\r\n2\r\n$1\r\n3|:3"},
		{name: "a command in steps", before: "SET {t}a 1|DEL {u}a", held: "RENAME {t}a {u}a|GET {u}a", want: "+OK|$1\r\n1"},
		{name: "a watched key", before: "SET {t}a 1|WATCH {t}a|MULTI|INCR {t}a", held: "EXEC|GET {t}a", want: "*-1|$1\r\n1"},
		{name: "a second watch", before: "SET {t}a 1|WATCH {t}a", held: "WATCH {t}b|MULTI|INCR {t}a|EXEC", want: "+OK|+OK|+QUEUED|*-1"},
		{name: "a blocking command", before: "RPUSH {t}l x", held: "BLPOP {t}l 0", want: "*2\r\n$4\r\n{t}l\r\n$1\r\nx"},
		{name: "a flush", before: "SET {t}a 1|SET {u}a 1", held: "FLUSHALL|DBSIZE", want: "+OK|:0"},
		{name: "a count", before: "FLUSHALL|SET {t}a 1|SET {t}b 1|SET {u}a 1", held: "DBSIZE", want: ":3"},
		{name: "a message", before: "PING", held: "SPUBLISH {t}c 1", want: ":0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, addr)
			if tc.before != "" {
				lines := strings.Split(tc.before, "|")
				c.send(lines...)
				c.want(make([]string, len(lines))...)
			}
			mustHold(t, p, tSlot)
			was, n := followed(p), p.Pulse().HeldTotal
			c.send(strings.Split(tc.held, "|")...)
			until(t, func() bool { return p.Pulse().HeldTotal > n })
			if err := move.carry(tSlot); err != nil {
				t.Fatal(err)
			}
			p.Release([]uint16{tSlot}, move.to.Addr)
			c.want(strings.Split(tc.want, "|")...)
			if got := followed(p) - was; got != tc.follows {
				t.Errorf("%d redirects were followed, want %d", got, tc.follows)
			}
			if err := move.tell(t.Context(), tSlot); err != nil {
				t.Fatal(err)
			}
			move.turn()
		})
	}
}

func TestAClientThatIsBlockedGoesToTheNewOwnerAtOnce(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 2, Limits: patient}, cl.Addrs()...)
			move := newCarrier(t, p, cl)
			d := connect(t, addr)
			d.send("XADD {t}x 1-1 a b", "FLUSHALL", "XADD {t}x 1-1 a b")
			d.want("$3", "+OK", "$3")
			waits := []string{"BLPOP {t}l 0", "BRPOP {t}k {t}m 20", "BLMOVE {t}n {t}o LEFT LEFT 0", "BZPOPMIN {t}z 0", "XREAD BLOCK 0 STREAMS {t}x 1-1"}
			var blocked []*client
			for _, w := range waits {
				c := connect(t, addr)
				c.send(w, "PING")
				blocked = append(blocked, c)
			}
			busy := uint64(len(waits))
			until(t, func() bool { return uint64(blockedAt(t, move.from)) == busy })
			for range 3 {
				if err := move.handOver(t.Context(), tSlot); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				until(t, func() bool { return uint64(blockedAt(t, move.to)) == busy && blockedAt(t, move.from) == 0 })
				t.Logf("all have followed after %v", time.Since(begin).Round(time.Millisecond))
				if err := move.tell(t.Context(), tSlot); err != nil {
					t.Fatal(err)
				}
				move.turn()
			}
			d.send("RPUSH {t}l 1", "RPUSH {t}m 2", "RPUSH {t}n 3", "ZADD {t}z 4 5", "XADD {t}x 1-2 a c", "DBSIZE")
			d.want(":1", ":1", ":1", ":1", "$3", ":2")
			for i, want := range []string{"*2\r\n$4\r\n{t}l\r\n$1\r\n1", "*2\r\n$4\r\n{t}m\r\n$1\r\n2", "$1\r\n3", "*3\r\n$4\r\n{t}z\r\n$1\r\n5", "*1"} {
				blocked[i].want(want, "+PONG")
			}
		})
	}
}

// blockedAt asks a node how many clients wait in it.
func blockedAt(t *testing.T, n *testcluster.Node) int {
	t.Helper()
	info, err := n.Do("INFO", "clients")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(fmt.Sprint(info), "blocked_clients:")
	count, _, _ := strings.Cut(rest, "\r\n")
	blocked, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return blocked
}

func TestAUserWhoMayNotUnblockIsSentAwayByItsNode(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t)})
	for _, n := range cl.Nodes {
		if _, err := n.Do("ACL", "SETUSER", "plain", "on", "nopass", "~*", "+@all", "-@admin"); err != nil {
			t.Fatal(err)
		}
	}
	p, addr := serve(t, Config{Loops: 1, Limits: patient}, cl.Addrs()...)
	move := newCarrier(t, p, cl)
	c, d := connect(t, addr), connect(t, addr)
	c.send("AUTH plain x", "BLPOP {t}l 0", "PING")
	c.want("+OK")
	until(t, func() bool { return blockedAt(t, move.from) == 1 })
	if err := move.handOver(t.Context(), tSlot); err != nil {
		t.Fatal(err)
	}
	d.send("RPUSH {t}l x")
	d.want(":1")
	c.want("*2\r\n$4\r\n{t}l\r\n$1\r\nx", "+PONG")
}

func TestMessagesOfAShardedChannelHaveNoGapWhileItsSlotIsHandedOver(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t)})
	p, addr := serve(t, Config{Loops: 2, Limits: patient}, cl.Addrs()...)
	move := newCarrier(t, p, cl)
	var listeners []*client
	for range 4 {
		c := connect(t, addr)
		c.send("SSUBSCRIBE {t}c")
		c.want("*3")
		listeners = append(listeners, c)
	}
	d := connect(t, addr)
	const rounds, each = 6, 50
	for i := range rounds {
		for j := range each {
			d.send(fmt.Sprintf("SPUBLISH {t}c %d", i*each+j))
		}
		if err := move.handOver(t.Context(), tSlot); err != nil {
			t.Fatal(err)
		}
		for range each {
			d.want(":4\r\n")
		}
		if err := move.tell(t.Context(), tSlot); err != nil {
			t.Fatal(err)
		}
		move.turn()
	}
	for _, c := range listeners {
		for i := range rounds * each {
			c.want(heard(2, "smessage", "{t}c", strconv.Itoa(i)))
		}
	}
}

// stormWhile storms for a while during which ten slots at a time are handed over, and says how many were.
func stormWhile(t *testing.T, c *carrier, addr string, d time.Duration) (r storm.Report, moved int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		<-started
		n, err := c.carryOn(ctx)
		moved = n
		done <- err
	}()
	hot := make([]uint16, 40)
	for i := range hot {
		hot[i] = uint16(i)
	}
	r, err := storm.Run(ctx, storm.Options{
		Dial: func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) },
		Hot:  hot, Clients: 1, Ballast: 5, OnStart: func() { close(started) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r, moved
}

// carryOn hands the slots 0 to 39 over in units of ten, away and back, until ctx ends.
func (c *carrier) carryOn(ctx context.Context) (moved int, err error) {
	for {
		for first := uint16(0); first < 40; first += 10 {
			unit := make([]uint16, 10)
			for i := range unit {
				unit[i] = first + uint16(i)
			}
			err := c.handOver(context.WithoutCancel(ctx), unit...)
			if err == nil {
				err = c.tell(context.WithoutCancel(ctx), unit...)
			}
			if err != nil {
				return moved, err
			}
			if moved += len(unit); ctx.Err() != nil && moved%80 == 0 {
				return moved, nil // all are at home
			}
		}
		c.turn()
	}
}

func TestAStormNoticesNothingOfSlotsThatAreHandedOver(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 2, Limits: patient, Info: faceOf(v)}, cl.Addrs()...)
			owners, err := cl.Owners()
			if err != nil {
				t.Fatal(err)
			}
			c := &carrier{p: p, cl: cl, from: owners[0], to: owners[router.Slots-1]}
			r, moved := stormWhile(t, c, addr, 10*time.Second)
			pulse, counted := p.Pulse(), p.Snapshot()
			t.Logf("%d slots moved, %d commands held, none for longer than %v; redirects %v\n%s", moved, pulse.HeldTotal, pulse.LongHold, counted.Redirects, r)
			if r.Errors() != 0 || r.Violations() != 0 {
				t.Errorf("%d errors and %d violations in %d replies, want none", r.Errors(), r.Violations(), r.Ops())
			}
			if pulse.Errors != 0 || counted.Redirects[metrics.RedirectAsk] != 0 || counted.Redirects[metrics.RedirectTryAgain] != 0 {
				t.Errorf("the proxy gave up %d commands and followed the redirects %v, want none", pulse.Errors, counted.Redirects)
			}
		})
	}
}
