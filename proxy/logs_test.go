package proxy

import (
	"fmt"
	"strings"
	"testing"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
)

func control(password string) cluster.Config { return cluster.Config{Password: password} }

// face tells clients that the servers are of this version.
func face(v testcluster.Version) func() ServerFace {
	name, version, _ := strings.Cut(string(v), "-")
	return func() ServerFace { return ServerFace{Name: name, Version: version + ".0"} }
}

// value sends one command and takes its reply apart.
func (c *client) value(line string) value {
	c.t.Helper()
	c.send(line)
	reply, err := readReply(c.r)
	if err != nil {
		c.t.Fatal(err)
	}
	v, ok := parseValue([]byte(reply))
	if !ok {
		c.t.Fatalf("%s: %q", line, short(reply))
	}
	return v
}

// spread runs SET on keys of all three primaries and returns their number.
func (c *client) spread() int {
	c.t.Helper()
	for i := range 30 {
		c.send(fmt.Sprintf("SET key%d v", i))
		c.want("+OK")
	}
	return 30
}

func TestSLOWLOGAndCOMMANDLOGAreThoseOfAllPrimaries(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Info: face(v)}, cl.Addrs()...)
			c := connect(t, addr)
			c.send("CONFIG SET slowlog-log-slower-than 0", "SLOWLOG RESET")
			c.want("+OK", "+OK")
			n := c.spread()
			c.send("CONFIG SET slowlog-log-slower-than -1")
			c.want("+OK")
			logs := []string{"SLOWLOG LEN|SLOWLOG GET|SLOWLOG GET -1|SLOWLOG GET 3|SLOWLOG RESET"}
			if v.Valkey() && v != "valkey-8.0" {
				logs = append(logs, "COMMANDLOG LEN slow|COMMANDLOG GET 10 slow|COMMANDLOG GET -1 slow|COMMANDLOG GET 3 slow|COMMANDLOG RESET slow")
			}
			for i := len(logs) - 1; i >= 0; i-- {
				line := strings.Split(logs[i], "|")
				if got := c.value(line[0]); got.int() < int64(n) {
					t.Errorf("%s is %d after %d commands", line[0], got.int(), n)
				}
				all := c.value(line[2])
				if ten, three := c.value(line[1]), c.value(line[3]); len(ten.elems) != 10 || len(three.elems) != 3 || len(all.elems) < n {
					t.Errorf("%d, %d and %d entries, want 10, 3 and %d", len(ten.elems), len(three.elems), len(all.elems), n)
				}
				ids := map[int64]bool{}
				for j, e := range all.elems {
					if ids[e.elems[0].int()] || j > 0 && e.elems[1].int() > all.elems[j-1].elems[1].int() {
						t.Fatalf("entry %d has an id that was there before, or is newer than the one before it: %s", j, e.append(nil))
					}
					ids[e.elems[0].int()] = true
				}
			}
			c.send("SLOWLOG RESET", "SLOWLOG LEN")
			c.want("+OK", ":0")
		})
	}
}

func TestSLOWLOGHasWhatWaitedInTheProxy(t *testing.T) {
	s := script(t, Config{Loops: 2})
	for range 6 { // the waits add up to more than 10 ms
		s.owner.On("SET {t}a ...", testnode.Error("CLUSTERDOWN The cluster is down"))
	}
	s.owner.On("SET {t}a ...", testnode.Raw("+OK\r\n"))
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("SLOWLOG GET ...", testnode.Raw(fmt.Sprintf("*1\r\n*6\r\n:7\r\n:%d\r\n:99\r\n*1\r\n$4\r\nPING\r\n$0\r\n\r\n$0\r\n\r\n", i)))
		n.Every("SLOWLOG LEN", testnode.Raw(":1\r\n"))
		n.Every("SLOWLOG RESET", testnode.Raw("+OK\r\n"))
	}
	s.send("CLIENT SETNAME waiter", "SET {t}a "+strings.Repeat("v", 200), "SLOWLOG LEN")
	s.want("+OK", "+OK", ":4")
	all := s.value("SLOWLOG GET -1")
	if len(all.elems) != 4 {
		t.Fatalf("%d entries, want 4: %s", len(all.elems), all.append(nil))
	}
	e := all.elems[0].elems
	if e[2].int() < 10000 || e[3].elems == nil || string(e[3].elems[0].text) != "SET" || string(e[5].text) != "waiter" ||
		string(e[4].text) != s.LocalAddr().String() || !strings.HasSuffix(string(e[3].elems[2].text), "... (72 more bytes)") {
		t.Errorf("the entry is %s", all.elems[0].append(nil))
	}
	if last := all.elems[3].elems; last[1].int() != 0 || last[0].int() == all.elems[2].elems[0].int() {
		t.Errorf("the oldest entry is %s", all.elems[3].append(nil))
	}
	s.send("SLOWLOG RESET", "SLOWLOG LEN")
	s.want("+OK", ":3")
}

func TestACLLOGIsThatOfAllPrimaries(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("ACL SETUSER limited on >pw ~allowed* +get", "ACL LOG RESET")
	c.want("+OK", "+OK")
	limited := connect(t, addr)
	limited.send("AUTH limited pw")
	limited.want("+OK")
	for i := range 30 {
		limited.send(fmt.Sprintf("GET key%d", i))
		limited.want("-NOPERM")
	}
	all, two := c.value("ACL LOG 1000"), c.value("ACL LOG 2")
	if len(all.elems) < 30 || len(two.elems) != 2 {
		t.Errorf("%d and %d entries, want 30 and 2", len(all.elems), len(two.elems))
	}
	ids := map[int64]bool{}
	for _, e := range all.elems {
		ids[e.get("entry-id").int()] = true
		if string(e.get("username").text) != "limited" {
			t.Errorf("an entry is %s", e.append(nil))
		}
	}
	if len(ids) != len(all.elems) {
		t.Errorf("%d ids of %d entries", len(ids), len(all.elems))
	}
	c.send("ACL LOG RESET", "ACL LOG")
	c.want("+OK", "*0")
}

func TestLatenciesAndMemoryAreThoseOfAllPrimaries(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	for _, proto := range []string{"HELLO 2", "HELLO 3"} {
		t.Run(proto, func(t *testing.T) {
			c := connect(t, addr)
			c.value(proto)
			c.send("CONFIG RESETSTAT", "CONFIG SET latency-monitor-threshold 1")
			c.want("+OK", "+OK")
			n := c.spread()
			h := c.value("LATENCY HISTOGRAM set get")
			set := h.get("set")
			if set == nil || h.get("get") != nil || set.get("calls").int() != int64(n) {
				t.Fatalf("the histogram of %d SETs is %s", n, h.append(nil))
			}
			steps := set.get("histogram_usec").elems
			for i := 2; i < len(steps); i += 2 {
				if steps[i].int() <= steps[i-2].int() || steps[i+1].int() < steps[i-1].int() {
					t.Errorf("the histogram falls: %s", set.append(nil))
				}
			}
			if steps[len(steps)-1].int() != int64(n) {
				t.Errorf("the histogram ends with %d, want %d", steps[len(steps)-1].int(), n)
			}
			for i, node := range cl.Nodes {
				if _, err := node.Do("DEBUG", "SLEEP", fmt.Sprintf("0.0%d", 2+i)); err != nil {
					t.Fatal(err)
				}
			}
			latest, history := c.value("LATENCY LATEST"), c.value("LATENCY HISTORY command")
			if len(latest.elems) != 1 || latest.elems[0].elems[3].int() < 40 || len(history.elems) < 3 {
				t.Errorf("latest %s, history %s", latest.append(nil), history.append(nil))
			}
			c.send("LATENCY GRAPH command", "LATENCY GRAPH nothing", "LATENCY RESET", "LATENCY LATEST")
			c.want(map[string]string{"HELLO 2": "$", "HELLO 3": "="}[proto], "-ERR No samples", ":1", "*0")
			stats := c.value("MEMORY STATS")
			if keys := stats.get("keys.count"); keys.int() != int64(n) || stats.get("keys.bytes-per-key").int() == 0 || stats.get("db.0") == nil {
				t.Errorf("MEMORY STATS is %s", stats.append(nil))
			}
			if share := stats.get("dataset.percentage").number(); share <= 0 || share > 100 {
				t.Errorf("dataset.percentage is %v", share)
			}
		})
	}
}

func TestCONFIGGETShowsTheDatabasesThatClientsCanSelect(t *testing.T) {
	for args, want := range map[string]string{"": "1", "4": "4"} {
		o := testcluster.Options{}
		if args != "" {
			o.Args = []string{"--cluster-databases", args}
		}
		cl := testcluster.ForTest(t, o)
		_, addr := serve(t, Config{}, cl.Addrs()...)
		c := connect(t, addr)
		all := c.value("CONFIG GET *")
		if got := string(all.get("databases").text); got != want || string(all.get("cluster-enabled").text) != "no" || len(all.elems) < 300 {
			t.Errorf("databases is %s of %d settings, want %s", got, len(all.elems)/2, want)
		}
		c.send("CONFIG GET databases", "CONFIG GET nosuch")
		c.want("*2\r\n$9\r\ndatabases\r\n$1\r\n"+want, "*0")
	}
}

func TestDEBUGLooksAtObjectsAndNothingElse(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	c.spread()
	for i := range 30 {
		c.send(fmt.Sprintf("DEBUG OBJECT key%d", i))
		c.want("+Value at:")
	}
	c.send("DEBUG OBJECT nothing", "DEBUG OBJECT", "DEBUG SLEEP 0", "DEBUG JMAP", "DEBUG segfault", "DEBUG")
	c.want("-ERR no such key", "-ERR unknown subcommand or wrong", "-PROXYUNSUPPORTED DEBUG SLEEP", "-PROXYUNSUPPORTED DEBUG JMAP",
		"-PROXYUNSUPPORTED DEBUG SEGFAULT", "-ERR wrong number of arguments for 'debug' command")
	_, addr = serve(t, Config{DebugSleep: true}, cl.Addrs()...)
	c = connect(t, addr)
	c.send("DEBUG SLEEP 0", "DEBUG JMAP")
	c.want("+OK", "-PROXYUNSUPPORTED DEBUG JMAP")
}
