package proxy

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/resp"
	"slotproxy/router"
)

// ask sends one command and returns its whole reply.
func (c *client) ask(args ...string) string {
	c.t.Helper()
	if _, err := c.Write(resp.AppendCommandStrings(nil, args...)); err != nil {
		c.t.Fatal(err)
	}
	// Scripted nodes are asked for every slot one by one, and slow under the race detector.
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	reply, err := readReply(c.r)
	if err != nil {
		c.t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// texts are the elements of an array of strings.
func texts(reply string) []string {
	var all []string
	for _, e := range elements([]byte(reply)) {
		all = append(all, string(e))
	}
	return all
}

// sweep runs SCAN, or HSCAN and its like when name has a key behind it, from one end to the other and counts what comes.
// between, if not nil, is called after each page.
func (c *client) sweep(name []string, options []string, between func(page int)) map[string]int {
	c.t.Helper()
	seen := map[string]int{}
	cursor := "0"
	for page := range 100000 {
		reply := c.ask(append(append(append([]string{}, name...), cursor), options...)...)
		if !strings.HasPrefix(reply, "*2\r\n") {
			c.t.Fatalf("%v %s %v: got %q", name, cursor, options, short(reply))
		}
		next, at, ok := pageCursor([]byte(reply))
		if !ok || next >= 1<<63 {
			c.t.Fatalf("%v %s: cursor of %q is not a number of 63 bits", name, cursor, short(reply))
		}
		for _, key := range texts(reply[at:]) {
			seen[key]++
		}
		if next == 0 {
			return seen
		}
		cursor = strconv.FormatUint(next, 10)
		if between != nil {
			between(page)
		}
	}
	c.t.Fatalf("%v does not end", name)
	return nil
}

// wantAll fails when a key with the prefix is missing, or one that should not be there has come.
func wantAll(t *testing.T, what string, seen map[string]int, want map[string]bool) {
	t.Helper()
	var missing, extra []string
	for key := range want {
		if seen[key] == 0 {
			missing = append(missing, key)
		}
	}
	for key := range seen {
		if !want[key] {
			extra = append(extra, key)
		}
	}
	sort.Strings(missing)
	if len(missing)+len(extra) > 0 {
		t.Errorf("%s: %d of %d keys missing, %d too many: %q %q", what, len(missing), len(want), len(extra),
			missing[:min(5, len(missing))], extra[:min(5, len(extra))])
	}
}

// fill writes strings over all slots, hashes, and slots with many keys; it returns all keys.
func fill(c *client) map[string]bool {
	all := map[string]bool{}
	var lines []string
	put := func(line, key string) { lines = append(lines, line); all[key] = true }
	for i := range 2000 {
		put(fmt.Sprintf("SET k%d 1", i), fmt.Sprintf("k%d", i))
	}
	for i := range 300 {
		put(fmt.Sprintf("HSET h%d a 1", i), fmt.Sprintf("h%d", i))
	}
	for i := range 1500 {
		put(fmt.Sprintf("SET {hot}:%d 1", i), fmt.Sprintf("{hot}:%d", i))
	}
	for i := 0; i < len(lines); i += 500 {
		c.send(lines[i:min(i+500, len(lines))]...)
		for range min(500, len(lines)-i) {
			if got, err := readReply(c.r); err != nil || got[0] == '-' {
				c.t.Fatalf("got %q, %v", got, err)
			}
		}
	}
	return all
}

// only are the keys with a prefix.
func only(keys map[string]bool, prefix string) map[string]bool {
	some := map[string]bool{}
	for key := range keys {
		if strings.HasPrefix(key, prefix) {
			some[key] = true
		}
	}
	return some
}

func counted(keys []string) map[string]int {
	n := map[string]int{}
	for _, key := range keys {
		n[key]++
	}
	return n
}

func TestASweepSeesEveryKeyOnEveryVersion(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("SCAN 0", "KEYS *", "RANDOMKEY", "DBSIZE")
			c.want("*2\r\n$1\r\n0\r\n*0\r\n", "*0\r\n", "$-1\r\n", ":0\r\n")
			all := fill(c)
			for _, options := range [][]string{nil, {"COUNT", "1"}, {"COUNT", "100"}, {"COUNT", "1000"}, {"COUNT", "100000"}} {
				wantAll(t, fmt.Sprint("SCAN ", options), c.sweep([]string{"SCAN"}, options, nil), all)
			}
			wantAll(t, "MATCH", c.sweep([]string{"SCAN"}, []string{"MATCH", "h*", "COUNT", "50"}, nil), only(all, "h"))
			wantAll(t, "MATCH with a tag", c.sweep([]string{"SCAN"}, []string{"MATCH", "{hot}*"}, nil), only(all, "{hot}"))
			wantAll(t, "TYPE", c.sweep([]string{"SCAN"}, []string{"type", "HASH", "COUNT", "30"}, nil), only(all, "h"))
			for pattern, prefix := range map[string]string{"*": "", "k*": "k", "{hot}*": "{hot}", "{hot}:1": "{hot}:1"} {
				got := counted(texts(c.ask("KEYS", pattern)))
				want := only(all, prefix)
				if pattern == "{hot}:1" {
					want = map[string]bool{pattern: true}
				}
				wantAll(t, "KEYS "+pattern, got, want)
				for key, n := range got {
					if n != 1 {
						t.Fatalf("KEYS %s has %s %d times", pattern, key, n)
					}
				}
			}
			c.send("HELLO 3", "SCAN 0 MATCH {hot}:7 COUNT 100000", "KEYS {hot}:7", "KEYS nothing", "DBSIZE")
			c.want("%", "*2\r\n$1\r\n0\r\n*1\r\n$7\r\n{hot}:7\r\n", "*1\r\n$7\r\n{hot}:7\r\n", "*0\r\n", fmt.Sprintf(":%d\r\n", len(all)))
			c.send("PEXPIRE {hot}:7 1", "FLUSHALL", "SCAN 0", "RANDOMKEY", "DBSIZE")
			c.want(":1", "+OK", "*2\r\n$1\r\n0\r\n*0\r\n", "_", ":0")
		})
	}
}

func TestARandomKeyComesFromTheNodesByTheirNumberOfKeys(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	c.ask("SET", "{b}alone", "1")
	for i := range 99 {
		c.ask("SET", fmt.Sprintf("{a}%d", i), "1")
	}
	alone := 0
	for range 2000 {
		if strings.Contains(c.ask("RANDOMKEY"), "alone") {
			alone++
		}
	}
	if alone < 2 || alone > 80 { // 20 are expected of one key in a hundred
		t.Errorf("the one key of the second node came %d times in 2000, want about 20", alone)
	}
}

func TestGlobMatchesWhatAServerMatches(t *testing.T) {
	n := testcluster.StandaloneForTest(t, testcluster.Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(alphabet string, most int) string {
		b := make([]byte, rnd.IntN(most))
		for i := range b {
			b[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(b)
	}
	keys := map[string]bool{}
	for range 300 {
		keys[random("ab-]^\\\xe9[", 6)] = true
	}
	for key := range keys {
		if _, err := n.Do("SET", key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for range 3000 {
		pattern := random("aabb**?[]^-\\\xe9", 9)
		reply, err := n.Do("KEYS", pattern)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, key := range reply.([]any) {
			want[key.(string)] = true
		}
		for key := range keys {
			if got := globMatch([]byte(pattern), []byte(key)); got != want[key] {
				t.Fatalf("pattern %q, key %q: got %v, want %v", pattern, key, got, want[key])
			}
		}
	}
}

// openSlot begins to move a slot and moves the first n keys of it.
func openSlot(t *testing.T, cl *testcluster.Cluster, slot int, n int) (from, to *testcluster.Node) {
	t.Helper()
	from, err := cl.SlotOwner(slot)
	if err != nil {
		t.Fatal(err)
	}
	to = cl.Nodes[0]
	if to == from {
		to = cl.Nodes[1]
	}
	do(t, to, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "IMPORTING", from.ID)
	do(t, from, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "MIGRATING", to.ID)
	moveKeys(t, from, to, slot, n)
	return from, to
}

func do(t *testing.T, n *testcluster.Node, args ...string) any {
	t.Helper()
	reply, err := n.Do(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

func moveKeys(t *testing.T, from, to *testcluster.Node, slot, n int) (moved int) {
	t.Helper()
	keys, _ := do(t, from, "CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slot), strconv.Itoa(n)).([]any)
	if len(keys) == 0 {
		return 0
	}
	args := []string{"MIGRATE", to.Host, strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}
	for _, k := range keys {
		args = append(args, k.(string))
	}
	do(t, from, args...)
	return len(keys)
}

// closeSlot moves what is left and hands the slot over.
func closeSlot(t *testing.T, cl *testcluster.Cluster, slot int, from, to *testcluster.Node) {
	t.Helper()
	for moveKeys(t, from, to, slot, 1000) > 0 {
	}
	do(t, to, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", to.ID)
	for _, n := range cl.Nodes {
		do(t, n, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", to.ID)
	}
}

func TestASweepSeesEveryKeyWhileItsSlotMovesUnderIt(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			all := fill(c)
			hot := int(router.Slot([]byte("hot")))
			for _, count := range []string{"100000", "10", "300"} { // first in the middle of many slots of one node
				from, to := openSlot(t, cl, hot, 500)
				what := "half moved, COUNT " + count
				wantAll(t, what, c.sweep([]string{"SCAN"}, []string{"COUNT", count}, nil), all)
				wantAll(t, what, c.sweep([]string{"SCAN"}, []string{"MATCH", "{hot}*", "COUNT", count}, nil), only(all, "{hot}"))
				wantAll(t, what, counted(texts(c.ask("KEYS", "*"))), all)
				wantAll(t, "while keys leave", c.sweep([]string{"SCAN"}, []string{"MATCH", "{hot}*", "COUNT", count}, func(page int) {
					if page%3 == 1 {
						moveKeys(t, from, to, hot, 50)
					}
				}), only(all, "{hot}"))
				closeSlot(t, cl, hot, from, to)
				wantAll(t, "right after", c.sweep([]string{"SCAN"}, []string{"COUNT", count}, nil), all)
				wantAll(t, "while it moves wholly", c.sweep([]string{"SCAN"}, []string{"MATCH", "{hot}*", "COUNT", count}, func(page int) {
					if page == 3 || page == 9 {
						a, b := openSlot(t, cl, hot, 500)
						closeSlot(t, cl, hot, a, b)
						if got := c.ask("GET", "{hot}:1"); page == 9 && got != "$1\r\n1\r\n" { // now the loop knows the new owner
							t.Fatalf("got %q", got)
						}
					}
				}), only(all, "{hot}"))
			}
		})
	}
}

func TestElementsOfALargeKeyAreAllSeenWhenItMovesInTheMiddle(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			c := connect(t, addr)
			want := map[string]bool{}
			for i := range 3000 {
				member := fmt.Sprintf("m%d", i)
				want[member] = true
				c.send("HSET {hot}h "+member+" 1", "SADD {hot}s "+member, "ZADD {hot}z 1 "+member)
				c.want(":1", ":1", ":1")
			}
			want["1"] = true
			hot := int(router.Slot([]byte("hot")))
			var from, to *testcluster.Node
			for _, name := range [][]string{{"HSCAN", "{hot}h"}, {"SSCAN", "{hot}s"}, {"ZSCAN", "{hot}z"}} {
				seen := c.sweep(name, []string{"COUNT", "50"}, func(page int) {
					switch page {
					case 20:
						from, to = openSlot(t, cl, hot, 100)
					case 35:
						closeSlot(t, cl, hot, from, to)
					}
				})
				seen["1"]++
				wantAll(t, name[0], seen, want)
			}
			c.send("HSCAN {hot}h x", "HSCAN {hot}h 0 COUNT 0", "HSCAN nokey 0", "SET s 1", "HSCAN s 0", "HSCAN {hot}h 99999999999999999999")
			c.want("-ERR invalid cursor\r\n", "-ERR syntax error\r\n", "*2\r\n$1\r\n0\r\n*0\r\n", "+OK", "-WRONGTYPE", "-ERR invalid cursor\r\n")
			c.send("MULTI", "HSCAN {hot}h 0 COUNT 5", "PING", "EXEC")
			c.want("+OK", "+QUEUED", "+QUEUED", "*2\r\n*2\r\n")
		})
	}
}

func TestScanRefusesWhatAServerRefuses(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: faceOf(v)}, cl.Addrs()...)
			one := testcluster.StandaloneForTest(t, testcluster.Options{Version: v, Args: []string{"--databases", "1"}})
			c, server := connect(t, addr), connect(t, one.Addr)
			for _, x := range []*client{c, server} {
				x.ask("SET", "k", "1")
			}
			for _, line := range []string{"SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT x", "SCAN 0 COUNT -1", "SCAN 0 FOO", "SCAN 0 FOO 1", "SCAN 0 MATCH",
				"SCAN 99999999999999999999", "SCAN 0 TYPE nosuch COUNT 5", "SCAN 0 COUNT 5 COUNT 7", "SCAN", "KEYS", "KEYS a b", "DBSIZE x",
				"MOVE k 1", "MOVE k 0", "MOVE k x", "MOVE k -1", "MOVE nokey 1", "COPY k {k}2 DB 1", "COPY k {k}2 DB x", "SELECT 1", "FLUSHALL x", "FLUSHALL ASYNC", "FLUSHDB SYNC"} {
				args := strings.Fields(line)
				if got, want := c.ask(args...), server.ask(args...); got != want {
					t.Errorf("%s: got %q, want %q", line, got, want)
				}
			}
		})
	}
}
