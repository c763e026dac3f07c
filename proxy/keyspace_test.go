package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/router"
)

func TestASlotTooLargeForOnePieceIsWalkedWhileItMovesOnAnOldServer(t *testing.T) {
	v := oldest(t)
	cl := testcluster.ForTest(t, testcluster.Options{Version: v})
	_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
	c := connect(t, addr)
	all := fill(c)
	for i := 0; i < bigSlot+2000; i += 1000 {
		args := []string{"MSET"}
		for j := i; j < i+1000; j++ {
			key := fmt.Sprintf("{big}%d", j)
			args = append(args, key, "1")
			all[key] = true
		}
		c.ask(args...)
	}
	big := int(router.Slot([]byte("big")))
	for _, options := range [][]string{{"COUNT", "10"}, {"COUNT", "1000"}, {"MATCH", "{big}*", "TYPE", "string"}} {
		seen := c.sweep([]string{"SCAN"}, options, nil)
		want := all
		if options[0] == "MATCH" {
			want = only(all, "{big}")
		}
		wantAll(t, fmt.Sprint("at rest ", options), seen, want)
	}
	wantAll(t, "KEYS", counted(texts(c.ask("KEYS", "*"))), all)
	var from, to *testcluster.Node
	wantAll(t, "while it moves", c.sweep([]string{"SCAN"}, []string{"MATCH", "{big}*"}, func(page int) {
		switch page {
		case 1:
			from, to = openSlot(t, cl, big, 3000)
		case 2:
			moveKeys(t, from, to, big, 4000)
		case 4:
			closeSlot(t, cl, big, from, to)
			c.ask("GET", "{big}1")
		}
	}), only(all, "{big}"))
}

// oldest is the version whose servers keep the keys of all slots in one table.
func oldest(t *testing.T) testcluster.Version {
	all := testcluster.Need(t)
	return all[len(all)-1]
}

func TestUsersWithFewRightsSweepWithoutProofAndNobodyGetsMoreThanHisRights(t *testing.T) {
	for _, v := range []testcluster.Version{testcluster.NeedNewest(t), oldest(t)} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			for _, n := range cl.Nodes {
				do(t, n, "ACL", "SETUSER", "reader", "on", ">pw", "~k*", "+@read", "-keys", "-randomkey")
				do(t, n, "ACL", "SETUSER", "lister", "on", ">pw", "~nothing", "+@all", "-scan", "-cluster")
				do(t, n, "ACL", "SETUSER", "careful", "on", ">pw", "~*", "+@all", "-@dangerous", "-@admin", "-cluster")
			}
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			all := fill(c)
			for _, user := range []string{"reader", "careful"} {
				x := connect(t, addr)
				x.send("AUTH " + user + " pw")
				x.want("+OK")
				for _, count := range []string{"10", "1000", "100000"} {
					wantAll(t, user, x.sweep([]string{"SCAN"}, []string{"COUNT", count}, nil), all)
					wantAll(t, user, x.sweep([]string{"SCAN"}, []string{"COUNT", count, "TYPE", "hash"}, nil), only(all, "h"))
				}
				x.send("KEYS *")
				x.want("-NOPERM")
			}
			x := connect(t, addr)
			x.send("AUTH lister pw", "SCAN 0", "DBSIZE")
			x.want("+OK", "-NOPERM", fmt.Sprintf(":%d\r\n", len(all)))
			hot := int(router.Slot([]byte("hot")))
			openSlot(t, cl, hot, 400)
			careful := connect(t, addr)
			careful.send("AUTH careful pw")
			careful.want("+OK")
			if v == testcluster.NeedNewest(t) { // the old one has no CLUSTER for him, so nothing is certain
				wantAll(t, "half moved", careful.sweep([]string{"SCAN"}, []string{"COUNT", "1000"}, nil), all)
			}
		})
	}
}

func TestKeysRefusesWhatWouldTakeTooMuchMemory(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1, Limits: Limits{BufferBudget: 4 * 20000}}, cl.Addrs()...)
	c := connect(t, addr)
	for i := range 400 {
		c.ask("SET", strings.Repeat("x", 60)+strconv.Itoa(i), "1")
	}
	c.send("KEYS *", "KEYS *1", "PING")
	c.want("-PROXYLIMIT", "*40\r\n", "+PONG")
}

func TestAFlushReachesKeysThatAreOnTheirWay(t *testing.T) {
	for _, v := range []testcluster.Version{testcluster.NeedNewest(t), oldest(t)} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			hot := int(router.Slot([]byte("hot")))
			for _, flush := range []string{"FLUSHALL", "FLUSHDB ASYNC", "FLUSHALL SYNC"} {
				calls := func() (n int) {
					for _, node := range cl.Nodes {
						n += flushes(t, node)
					}
					return n
				}
				fill(c)
				before := calls()
				c.send(flush, "DBSIZE")
				c.want("+OK", ":0")
				if n := calls() - before; n != len(cl.Nodes) {
					t.Errorf("%s at rest: %d flushes, want one a node", flush, n)
				}
				fill(c)
				from, to := openSlot(t, cl, hot, 100)
				before = calls()
				c.send(flush, "DBSIZE")
				c.want("+OK", ":0")
				if n := calls() - before; n != 2*len(cl.Nodes) {
					t.Errorf("%s while a slot is open: %d flushes, want two a node", flush, n)
				}
				closeSlot(t, cl, hot, from, to)
				c.ask("GET", "{hot}:1")
			}
		})
	}
}

// flushes is how many FLUSHALL and FLUSHDB a node has run.
func flushes(t *testing.T, n *testcluster.Node) (calls int) {
	t.Helper()
	for line := range strings.Lines(do(t, n, "INFO", "commandstats").(string)) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_flush"); ok {
			_, rest, _ = strings.Cut(rest, ":calls=")
			count, _, _ := strings.Cut(rest, ",")
			k, _ := strconv.Atoi(count)
			calls += k
		}
	}
	return calls
}

func TestNumberedDatabasesWorkWhereTheClusterHasThem(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Args: []string{"--cluster-databases", "16"}})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	all := fill(c)
	c.send("SELECT 3", "DBSIZE", "SCAN 0", "KEYS *", "RANDOMKEY", "SET only3 1", "SELECT 0", "MOVE k1 3", "MOVE k1 3", "COPY k2 {k2}copy DB 3", "SELECT 3", "GET k1", "SET {hot}x 1")
	c.want("+OK", ":0", "*2\r\n$1\r\n0\r\n*0", "*0", "$-1", "+OK", "+OK", ":1", ":0", ":1", "+OK", "$1\r\n1\r\n", "+OK")
	three := map[string]bool{"only3": true, "k1": true, "{k2}copy": true, "{hot}x": true}
	delete(all, "k1")
	wantAll(t, "SCAN in 3", c.sweep([]string{"SCAN"}, nil, nil), three)
	wantAll(t, "KEYS in 3", counted(texts(c.ask("KEYS", "*"))), three)
	hot := int(router.Slot([]byte("hot")))
	from, to := openSlot(t, cl, hot, 700)
	wantAll(t, "SCAN in 3 of an open slot", c.sweep([]string{"SCAN"}, nil, nil), three)
	c.send("SELECT 0")
	c.want("+OK")
	wantAll(t, "SCAN in 0 of an open slot", c.sweep([]string{"SCAN"}, []string{"COUNT", "100"}, nil), all)
	moveKeys(t, from, to, hot, 10000)
	c.send("SELECT 3", "FLUSHDB", "DBSIZE", "SELECT 0", "DBSIZE", "SELECT 16", "SWAPDB 0 1", "FLUSHALL", "DBSIZE")
	c.want("+OK", "+OK", ":0", "+OK", fmt.Sprintf(":%d\r\n", len(all)), "-ERR DB index is out of range", "-PROXYUNSUPPORTED", "+OK", ":0")
}

func TestASweepGoesOnAtAnotherProxy(t *testing.T) {
	for _, v := range []testcluster.Version{testcluster.NeedNewest(t), oldest(t)} {
		cl := testcluster.ForTest(t, testcluster.Options{Version: v})
		_, first := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
		_, second := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
		a, b := connect(t, first), connect(t, second)
		all := fill(a)
		x := &client{t: t, Conn: a.Conn, r: a.r}
		wantAll(t, "SCAN", x.sweep([]string{"SCAN"}, []string{"COUNT", "7"}, func(page int) {
			if *x = *a; page%2 == 0 {
				*x = *b
			}
		}), all)
	}
}

func TestASweepOutlivesThePrimaryThatItIsAt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Replicas: 1, NodeTimeout: time.Second})
	_, addr := serve(t, Config{Limits: Limits{RedirectBudget: 15 * time.Second}}, cl.Addrs()...)
	c := connect(t, addr)
	all := fill(c)
	for _, n := range cl.Nodes[:3] {
		do(t, n, "WAIT", "1", "5000")
	}
	wantAll(t, "SCAN", c.sweep([]string{"SCAN"}, []string{"COUNT", "100"}, func(page int) {
		if page == 3 {
			if err := cl.Kill(cl.Nodes[0]); err != nil {
				t.Fatal(err)
			}
		}
	}), all)
	if err := cl.Kill(cl.Nodes[1]); err != nil {
		t.Fatal(err)
	}
	wantAll(t, "KEYS", counted(texts(c.ask("KEYS", "*"))), all)
}

func TestClientsThatLeaveInTheMiddleOfAWalkLeaveNothingBehind(t *testing.T) {
	for _, v := range []testcluster.Version{testcluster.NeedNewest(t), oldest(t)} {
		cl := testcluster.ForTest(t, testcluster.Options{Version: v})
		p, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
		c := connect(t, addr)
		all := fill(c)
		from, to := openSlot(t, cl, int(router.Slot([]byte("hot"))), 300)
		for i := range 60 {
			x := connect(t, addr)
			x.send("SCAN 0 COUNT 3000", "KEYS *", "RANDOMKEY", "HSCAN h1 0", "FLUSHDB x", "KEYS h*")
			time.Sleep(time.Duration(i*100) * time.Microsecond) // in all places of a walk, by and by
			x.Close()
		}
		closeSlot(t, cl, int(router.Slot([]byte("hot"))), from, to)
		wantAll(t, "KEYS", counted(texts(c.ask("KEYS", "*"))), all)
		_ = c.Close()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			n := p.Snapshot()
			if n.BufferBytes == 0 && n.InFlight == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d bytes and %d commands are left", v, n.BufferBytes, n.InFlight)
			}
		}
	}
}

func TestANodeThatIsOlderThanTheOthersIsFoundOut(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: oldest(t)})
	_, addr := serve(t, Config{Info: faceOf(testcluster.NeedNewest(t))}, cl.Addrs()...)
	c := connect(t, addr)
	all := fill(c)
	for _, key := range []string{"k*7", "h2?0", "k1"} { // first such as few keys, by which it cannot be told
		few := map[string]bool{}
		for k := range all {
			if globMatch([]byte(key), []byte(k)) {
				few[k] = true
			}
		}
		_, addr := serve(t, Config{Info: faceOf(testcluster.NeedNewest(t))}, cl.Addrs()...)
		wantAll(t, "SCAN MATCH "+key, connect(t, addr).sweep([]string{"SCAN"}, []string{"MATCH", key}, nil), few)
	}
	wantAll(t, "SCAN", c.sweep([]string{"SCAN"}, nil, nil), all)
	wantAll(t, "KEYS", counted(texts(c.ask("KEYS", "*"))), all)
}
