package proxy

import (
	"context"
	"crypto/sha1"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/resp"
	"slotproxy/router"
)

// cmd sends one command whose arguments may have spaces.
func (c *client) cmd(args ...string) {
	c.t.Helper()
	if _, err := c.Write(resp.AppendCommandStrings(nil, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func sha(script string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(script))) }

const (
	addScript = "return redis.call('incrby', KEYS[1], ARGV[1])"
	setScript = "redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])"
	library   = "#!lua name=lib\nredis.register_function('add', function(k, a) return redis.call('incrby', k[1], a[1]) end)\n" +
		"redis.register_function{function_name='read', callback=function(k, a) return redis.call('get', k[1]) end, flags={'no-writes'}}"
)

func TestScriptsAreKnownOnEveryNodeAsOnOneServer(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
			for _, proto := range []string{"2", "3"} {
				c := connect(t, addr)
				c.send("HELLO "+proto, "FLUSHALL", "SCRIPT FLUSH")
				c.want("", "+OK", "+OK")
				c.cmd("EVALSHA", sha(addScript), "1", "a", "1")
				c.want("-NOSCRIPT")
				c.cmd("EVAL", addScript, "1", "a", "1")
				c.want(":1")
				for i := range 30 { // on all nodes, also pipelined
					c.cmd("EVALSHA", strings.ToUpper(sha(addScript)), "1", fmt.Sprint("k", i), "2")
					c.cmd("GET", fmt.Sprint("k", i))
				}
				for range 30 {
					c.want(":2", "$1\r\n2")
				}
				c.cmd("SCRIPT", "LOAD", setScript)
				c.want("$40\r\n" + sha(setScript))
				c.cmd("SCRIPT", "EXISTS", sha(setScript), sha(addScript), sha("nothing"))
				c.want("*3\r\n:1\r\n:1\r\n:0\r\n")
				d := connect(t, addr) // perhaps on another loop
				d.cmd("MULTI")
				d.cmd("EVALSHA", sha(setScript), "1", "m", "x")
				d.cmd("GET", "m")
				d.cmd("EXEC")
				d.want("+OK", "+QUEUED", "+QUEUED", "*2\r\n$1\r\nx\r\n$1\r\nx\r\n")
				c.cmd("EVALSHA", sha(setScript), "2", "a", "b", "1")
				c.cmd("EVAL", "return 1", "x")
				c.cmd("EVAL", "return 1", "3", "a")
				c.cmd("EVAL", "return ARGV[1]", "0", "hi")
				c.cmd("EVAL_RO", "return redis.call('get', KEYS[1])", "1", "m")
				c.cmd("EVALSHA_RO", sha(setScript), "1", "m", "y")
				c.want("-CROSSSLOT", "-ERR value is not an integer", "-ERR Number of keys can't be greater", "$2\r\nhi", "$1\r\nx", "-ERR Write commands are not allowed")
				c.cmd("SCRIPT", "KILL")
				c.cmd("SCRIPT", "DEBUG", "YES")
				c.cmd("SCRIPT", "LOAD", "bad(")
				c.cmd("SCRIPT", "FLUSH", "ASYNC")
				c.cmd("SCRIPT", "EXISTS", sha(setScript), sha(addScript))
				c.cmd("EVALSHA", sha(addScript), "1", "a", "1")
				c.want("-NOTBUSY", "-PROXYUNSUPPORTED", "-ERR Error compiling", "+OK", "*2\r\n:0\r\n:0\r\n", "-NOSCRIPT")
				c.cmd("EVAL", addScript, "1", "a", "1")
				c.cmd("EVALSHA", sha(addScript), "1", "b", "1")
				c.want(":2", ":1")
				c.cmd("SCRIPT", "SHOW", sha(addScript))
				if v == "redis-7.0" {
					c.want("-ERR unknown subcommand 'SHOW'")
				} else {
					c.want(string(resp.AppendBulkString(nil, addScript)))
				}
			}
		})
	}
}

func TestAScriptWithoutKeysDoesNotOvertakeOneThatIsHeld(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	for i := range 100 {
		body, tag := fmt.Sprintf("return %d", i), fmt.Sprintf("{%d}", i) // on all nodes
		var b []byte
		b = resp.AppendCommandStrings(b, "EVALSHA", sha("nobody's"), "2", tag+"1", tag+"2") // its reply is waited for
		b = resp.AppendCommandStrings(b, "EVALSHA", sha(body), "2", tag+"1", tag+"2")
		b = resp.AppendCommandStrings(b, "EVAL", body, "0")
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		c.want("-NOSCRIPT", "-NOSCRIPT", fmt.Sprint(":", i))
	}
}

func TestFunctionsAreOnEveryNodeAsOnOneServer(t *testing.T) {
	for _, v := range testcluster.Versions() {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c := connect(t, addr)
			c.cmd("FCALL", "add", "1", "a", "2")
			c.cmd("FUNCTION", "LOAD", library)
			c.cmd("FUNCTION", "LOAD", library)
			c.cmd("FUNCTION", "LOAD", "REPLACE", library)
			c.want("-ERR Function not found", "$3\r\nlib", "-ERR Library 'lib' already exists\r\n", "$3\r\nlib")
			for i := range 20 {
				c.cmd("FCALL", "add", "1", fmt.Sprint("k", i), "2")
				c.cmd("FCALL_RO", "read", "1", fmt.Sprint("k", i))
			}
			for range 20 {
				c.want(":2", "$1\r\n2")
			}
			c.cmd("FCALL", "add", "2", "a", "b", "2")
			c.cmd("FCALL_RO", "add", "1", "a", "2")
			c.cmd("FUNCTION", "STATS")
			c.cmd("FUNCTION", "KILL")
			c.cmd("FUNCTION", "LIST")
			c.want("-CROSSSLOT", "-ERR Can not execute a script with write flag", "*4\r\n$14\r\nrunning_script\r\n$-1", "-NOTBUSY", "*1\r\n*6\r\n$12\r\nlibrary_name\r\n$3\r\nlib")
			c.cmd("FUNCTION", "DUMP")
			dump, err := readReply(c.r)
			if err != nil || dump[0] != '$' {
				t.Fatalf("FUNCTION DUMP: %q, %v", dump, err)
			}
			c.cmd("FUNCTION", "DELETE", "lib")
			c.cmd("FUNCTION", "DELETE", "lib")
			c.cmd("FUNCTION", "RESTORE", string(scalar([]byte(dump))))
			c.cmd("FCALL", "add", "1", "k1", "2")
			c.cmd("FUNCTION", "FLUSH")
			c.cmd("FCALL", "add", "1", "k1", "2")
			c.want("+OK", "-ERR Library not found", "+OK", ":4", "+OK", "-ERR Function not found")
			// A node that has it already makes LOAD fail there only, and the client has to know.
			if _, err := cl.Do(cl.Nodes[1], "FUNCTION", "LOAD", library); err != nil {
				t.Fatal(err)
			}
			c.cmd("FUNCTION", "LOAD", library)
			c.want("-ERR Library 'lib' already exists (so says a node; 2 of 3 primaries have done it)\r\n")
		})
	}
}

func TestAScriptThatANodeHasLostIsLoadedAgain(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	c.cmd("SCRIPT", "LOAD", addScript)
	c.want("$40")
	for round := range 3 {
		for i := range 12 {
			c.cmd("EVALSHA", sha(addScript), "1", fmt.Sprint("k", i), "1")
			c.want(fmt.Sprintf(":%d\r\n", round+1))
		}
		for _, n := range cl.Nodes { // behind the proxy's back
			if _, err := cl.Do(n, "SCRIPT", "FLUSH"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, n := range cl.Nodes {
		if err := cl.Kill(n); err != nil {
			t.Fatal(err)
		}
		if err := cl.Restart(n); err != nil {
			t.Fatal(err)
		}
		_ = i
	}
	if err := cl.WaitOK(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.cmd("EVALSHA", sha(addScript), "1", "new", "1")
	c.cmd("MULTI")
	c.cmd("EVALSHA", sha(addScript), "1", "other", "1")
	c.cmd("EXEC")
	c.want(":1", "+OK", "+QUEUED", "*1\r\n:1\r\n")
}

func TestAScriptIsKilledAlthoughItsConnectionIsBusy(t *testing.T) {
	for _, v := range []testcluster.Version{"valkey-9.1", "redis-7.0"} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			for _, n := range cl.Nodes {
				if _, err := cl.Do(n, "CONFIG", "SET", "busy-reply-threshold", "20"); err != nil {
					t.Fatal(err)
				}
			}
			_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c, d := connect(t, addr), connect(t, addr)
			c.cmd("EVAL", "while true do end", "0")
			endScript(d, "SCRIPT")
			c.want("-ERR Script killed by user with SCRIPT KILL")
			c.cmd("FUNCTION", "LOAD", "#!lua name=spin\nredis.register_function('spin', function() while true do end end)")
			c.want("$4")
			c.cmd("FCALL", "spin", "0")
			for range 400 {
				d.cmd("FUNCTION", "STATS")
				if got, err := readReply(d.r); err != nil || strings.Contains(got, "\r\nspin\r\n") {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			endScript(d, "FUNCTION")
			c.want("-ERR Script killed by user")
		})
	}
}

// endScript kills as soon as something runs.
func endScript(d *client, family string) {
	d.t.Helper()
	for range 400 {
		d.cmd(family, "KILL")
		got, err := readReply(d.r)
		if err != nil {
			d.t.Fatal(err)
		}
		if got == "+OK\r\n" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	d.t.Fatalf("%s KILL found nothing to kill", family)
}

func TestTheErrorsOfAScriptDoNotSteerTheProxy(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	script := "redis.call('incr', KEYS[1]) return redis.error_reply(ARGV[1])"
	c.cmd("SCRIPT", "LOAD", script)
	c.want("$40")
	runs := 0
	texts := []string{
		"MOVED 1 127.0.0.1:1", "MOVED 8371 " + cl.Addrs()[0], "ASK 8371 " + cl.Addrs()[1], "TRYAGAIN Multiple keys request during rehashing of slot",
		"CLUSTERDOWN The cluster is down", "LOADING x", "MASTERDOWN x", "READONLY x", "NOSCRIPT x", "BUSY x", "ERR x",
	}
	for i, text := range append(texts, texts...) {
		if i == len(texts) { // and when scripts are sent as transactions
			p.ask(time.Second, func(l *loop) { l.restless = forever })
		}
		runs += 2
		c.cmd("EVAL", script, "1", "a", text)
		c.cmd("EVALSHA", sha(script), "1", "a", text)
		c.cmd("GET", "a")
		c.want("-"+text, "-"+text, fmt.Sprintf("$%d\r\n%d\r\n", len(fmt.Sprint(runs)), runs))
		c.cmd("EVAL", "return redis.error_reply(ARGV[1])", "0", text)
		c.want("-" + text)
	}
}

func TestAScriptsErrorIsNotBelievedWhenSlotsBeginToMoveWhileItRuns(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	const slow = "redis.call('incr', KEYS[1]) for i = 1, 2e7 do end return redis.error_reply(ARGV[1])" // a few tenths of a second
	own := fmt.Sprint(router.Slot([]byte("a")))
	for i, text := range []string{"ASK 5 127.0.0.1:1", "MOVED 5 127.0.0.1:1", "MOVED x", "ASK " + own + " " + cl.Addrs()[1], "TRYAGAIN x", "CLUSTERDOWN x"} {
		p.ask(time.Second, func(l *loop) { l.restless = 0 })
		c.cmd("EVAL", slow, "1", "a", text)
		until(t, func() bool {
			under := false
			p.ask(time.Second, func(l *loop) {
				if under = l.slots[router.Slot([]byte("a"))].inFlight > 0; under {
					l.restless = forever
				}
			})
			return under
		})
		c.cmd("GET", "a")
		c.want("-"+text, fmt.Sprintf("$1\r\n%d\r\n", i+1))
	}
}

func TestScriptsAreAnsweredTheSameWhileSlotsMove(t *testing.T) {
	for _, v := range []testcluster.Version{"valkey-9.1", "redis-7.0"} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			for _, proto := range []string{"2", "3"} { // what their users may do is known as long as there are some
				b := connect(t, addr)
				b.send("HELLO " + proto)
				b.want("")
			}
			c := connect(t, addr)
			long := "return string.rep('x', 200000)"
			for range 2 {
				for _, proto := range []string{"2", "3"} {
					c.send("HELLO "+proto, "DEL n")
					c.cmd("EVAL", addScript, "1", "n", "1")
					c.cmd("EVALSHA", sha(addScript), "1", "n", "1")
					c.cmd("EVAL", long, "1", "n")
					c.cmd("EVAL", "return {1, 'a', {err='ERR x'}}", "1", "n")
					c.cmd("EVAL", "return nil", "1", "n")
					c.cmd("EVAL", "return #KEYS", "x")
					c.cmd("EVAL", "error('no')", "1", "n")
					c.cmd("EVALSHA", sha("unknown"), "1", "n")
					c.cmd("EVAL", "bad(", "1", "n")
					null := map[string]string{"2": "$-1", "3": "_"}[proto]
					c.want("", ":", ":1\r\n", ":2\r\n", "$200000\r\nxxx", "*3\r\n:1\r\n$1\r\na\r\n-ERR x\r\n", null, "-ERR value is not an integer",
						"-", "-NOSCRIPT", "-ERR Error compiling")
					c.cmd("SCRIPT", "EXISTS", sha("bad("), sha(addScript))
					c.want("*2\r\n:0\r\n:1\r\n")
				}
				p.ask(time.Second, func(l *loop) { l.restless = forever })
			}
			runs := 0
			for _, n := range cl.Nodes {
				got, err := cl.Do(n, "INFO", "commandstats")
				if err != nil {
					t.Fatal(err)
				}
				if m := regexp.MustCompile(`cmdstat_exec:calls=(\d+)`).FindStringSubmatch(fmt.Sprint(got)); m != nil {
					calls, _ := strconv.Atoi(m[1])
					runs += calls
				}
			}
			if runs < 2*7 { // of each protocol; and those that only ask whether they are allowed
				t.Errorf("%d transactions, so scripts were not sent as such", runs)
			}
		})
	}
}

func TestAUserWithFewRightsRunsScripts(t *testing.T) {
	for _, v := range []testcluster.Version{"valkey-9.1", "redis-7.0"} {
		t.Run(string(v), func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Version: v})
			for _, n := range cl.Nodes {
				if _, err := cl.Do(n, "ACL", "SETUSER", "few", "on", ">p", "~*", "+eval", "+incr", "+get"); err != nil {
					t.Fatal(err)
				}
			}
			p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
			c, d := connect(t, addr), connect(t, addr)
			for _, x := range []*client{c, d} {
				x.send("AUTH few p")
				x.want("+OK")
			}
			for i := range 50 {
				c.cmd("EVAL", "return redis.call('incr', KEYS[1])", "1", "n")
				d.cmd("GET", "n")
				c.want(fmt.Sprintf(":%d\r\n", i+1))
				d.want("$")
			}
			if n := p.Snapshot().Desyncs; n != 0 {
				t.Errorf("%d desyncs, want none", n)
			}
		})
	}
}

func TestAScriptThatUpsetsTheCountOfRepliesHurtsOnlyItsClient(t *testing.T) {
	const script = "EVAL s 1 {t}a"
	for _, tc := range []struct {
		name  string
		reply testnode.Action
		cut   bool // the client of the script
	}{
		{"as many replies as are due", testnode.Raw("-ERR a\r\n"), false},
		{"a second reply", testnode.Raw("-ERR a\r\n$6\r\nforged\r\n"), true},
		{"a second reply that is an error", testnode.Raw("-ERR a\r\n-MOVED 1 127.0.0.1:1\r\n"), true},
		{"a second reply in pieces", testnode.Pieces("-ERR a\r\n$6\r\nfo", "rged\r", "\n"), true},
		{"many replies", testnode.Raw("-ERR a\r\n" + strings.Repeat("+forged\r\n", 100)), true},
		{"a large second reply", testnode.Raw("-ERR a\r\n$100000\r\n" + strings.Repeat("x", 100000) + "\r\n"), true},
		{"a guessed nonce", testnode.Raw("-ERR a\r\n$16\r\n0123456789abcdef\r\n"), true},
	} {
		for _, echo := range []string{"may ECHO", "may not ECHO"} {
			t.Run(tc.name+", "+echo, func(t *testing.T) {
				s, other := scriptUpset(t, echo)
				hold := make(chan struct{})
				s.owner.On(script, testnode.Until(hold), tc.reply)
				s.send(script)
				s.owner.Wait(t, "EVAL ...", 1)
				s.pipelineGets(other)
				close(hold)
				wantGets(other)
				_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
				if tc.cut {
					s.until("the client of the script is cut off", func(l *loop) bool { return len(l.sessions) == 1 })
				} else {
					s.want("-ERR a")
				}
				if n := s.proxy.Snapshot().Desyncs; (n > 0) != tc.cut {
					t.Errorf("%d desyncs", n)
				}
			})
		}
	}
}

func TestAScriptWithoutAReplyGivesNobodyAWrongOne(t *testing.T) {
	for _, echo := range []string{"may ECHO", "may not ECHO"} {
		t.Run(echo, func(t *testing.T) {
			s, other := scriptUpset(t, echo)
			hold := make(chan struct{})
			s.owner.On("EVAL s 1 {t}a", testnode.Until(hold), testnode.Silence())
			s.send("EVAL s 1 {t}a")
			s.owner.Wait(t, "EVAL ...", 1)
			s.pipelineGets(other)
			close(hold)
			wantGets(other)
			s.want("-PROXYUNKNOWN")
		})
	}
}

// scriptUpset is a scripted cluster whose first script is through, and a second client.
func scriptUpset(t *testing.T, echo string) (*scripted, *client) {
	t.Helper()
	s := script(t, Config{Loops: 1})
	if echo == "may ECHO" {
		s.owner.Every("ECHO *", testnode.Answer(func(c testnode.Command) string { return string(resp.AppendBulkString(nil, c.Args[1])) }))
	} else {
		s.owner.Every("ECHO *", testnode.Error("NOPERM User x has no permissions to run the 'echo' command"))
	}
	s.owner.Every("HELLO 2 *", testnode.Answer(func(c testnode.Command) string {
		return "-ERR Syntax error in HELLO option '" + c.Args[2] + "'\r\n"
	}))
	s.owner.Every("GET *", testnode.Answer(func(c testnode.Command) string { return string(resp.AppendBulkString(nil, c.Args[1])) }))
	s.owner.On("EVAL first 1 {t}a", testnode.Raw("+OK\r\n"))
	s.send("EVAL first 1 {t}a", "GET {t}own")
	s.want("+OK", "$6\r\n{t}own")
	s.until("the proxy knows whether it may ECHO", func(l *loop) bool { return l.plain.asked && l.plain.echo == (echo == "may ECHO") })
	return s, connect(t, s.proxy.Addrs()[0].String())
}

// pipelineGets sends reads of another client, and returns when all of them are on their way behind the script.
func (s *scripted) pipelineGets(c *client) {
	s.t.Helper()
	for i := range 20 {
		c.send(fmt.Sprintf("GET {t}%02d", i))
	}
	s.until("the reads are queued behind the script", func(l *loop) bool {
		return l.nodes[s.owner.Addr()].conns[0].queue.n >= 1+1+20
	})
}

func wantGets(c *client) {
	c.t.Helper()
	for i := range 20 {
		c.want(fmt.Sprintf("$5\r\n{t}%02d\r\n", i))
	}
}
