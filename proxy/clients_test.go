package proxy

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

// gone fails unless the connection is closed by the other side.
func (c *client) gone() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := c.r.ReadByte(); err != io.EOF && err == nil {
		c.t.Fatalf("got byte %q, want the end of the connection", b)
	} else if e, ok := err.(interface{ Timeout() bool }); ok && e.Timeout() {
		c.t.Fatal("the connection is open after 10 s")
	}
}

// silent fails if anything arrives within d.
func (c *client) silent(d time.Duration) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if b, err := c.r.Peek(1); err == nil {
		c.t.Fatalf("got %q, want silence", b)
	}
}

// crowd connects clients named c0, c1, ... to a proxy of several loops.
func crowd(t *testing.T, addr string, n int) []*client {
	t.Helper()
	var all []*client
	for i := range n {
		c := connect(t, addr)
		c.send(fmt.Sprintf("CLIENT SETNAME c%d", i))
		c.want("+OK")
		all = append(all, c)
	}
	return all
}

func TestCLIENTKILLEndsClientsOfAllLoops(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 3}, cl.Addrs()...)
	c := crowd(t, addr, 12)
	c[0].send("CLIENT KILL " + c[1].LocalAddr().String())
	c[0].want("+OK")
	c[1].gone()
	c[0].send("CLIENT KILL "+c[1].LocalAddr().String(), "CLIENT KILL NAME c2", "CLIENT KILL ADDR "+c[3].LocalAddr().String()+" LADDR "+addr)
	c[0].want("-ERR No such client", ":1", ":1")
	c[2].gone()
	c[3].gone()
	var ids []string
	for _, info := range p.Clients() {
		if info.Name == "c4" || info.Name == "c5" || info.Name == "c6" {
			ids = append(ids, fmt.Sprint(info.ID))
		}
	}
	c[0].send("CLIENT KILL ID "+strings.Join(ids, " ")+" NOT-NAME c6", "CLIENT LIST ID "+strings.Join(ids, " "))
	c[0].want(":2", "$")
	c[4].gone()
	c[5].gone()
	c[6].send("PING")
	c[6].want("+PONG")
	c[0].send("CLIENT KILL TYPE normal", "PING")
	c[0].want(":6", "+PONG")
	for _, other := range c[6:] {
		other.gone()
	}
	c[0].send("CLIENT KILL TYPE normal SKIPME no", "SET after kill")
	c[0].want(":1")
	c[0].gone()
	last := connect(t, addr)
	last.send("GET after")
	last.want("$-1")
}

func TestCLIENTREPLYSilencesEveryKindOfReply(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c := connect(t, addr)
	big := strings.Repeat("v", 1<<20)
	noisy := []string{"SET a 1", "SET big " + big, "GET big", "GET nothing", "LPUSH a x", "MSET x 1 y 2", "MGET x y z", "DBSIZE", "KEYS *", "PING",
		"FOO", "GET", "CLIENT LIST", "CLIENT NOSUCH", "CLIENT KILL ID 99999", "SELECT 0", "INFO", "EVAL x", "CONFIG GET maxmemory", "SINTER x y",
		"MULTI", "INCR n", "EXEC", "CLIENT REPLY SKIP", "CLIENT REPLY nonsense"}
	c.send("CLIENT REPLY OFF")
	for range 3 {
		c.send(noisy...)
	}
	c.send("CLIENT REPLY ON", "INCR n", "GET big")
	c.want("+OK\r\n", ":4\r\n", string(resp.AppendBulkString(nil, big)))
	for _, line := range noisy[:len(noisy)-2] {
		if line == "MULTI" || line == "EXEC" || line == "INCR n" {
			continue
		}
		c.send("CLIENT REPLY SKIP", line, "ECHO next")
		c.want("$4\r\nnext\r\n")
	}
	c.send("GET a", "CLIENT REPLY SKIP", "GET x", "GET a", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "CLIENT REPLY OFF", "PING", "RESET", "PING")
	c.want("$1\r\n1\r\n", "$1\r\n1\r\n", "+OK", "+RESET", "+PONG")
}

func TestCLIENTPAUSEHoldsTheClientsOfAllLoops(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 3}, cl.Addrs()...)
	c := crowd(t, addr, 9)
	for round, how := range []string{"WRITE", "ALL"} {
		c[0].send("CLIENT PAUSE 100000 " + how)
		c[0].want("+OK")
		for i, other := range c[1:] {
			other.send(fmt.Sprintf("GET k%d", i), fmt.Sprintf("INCR k%d", i), "PING")
		}
		for _, other := range c[1:] {
			if how == "WRITE" {
				other.want([]string{"$-1", "$1"}[round])
			}
			other.silent(10 * time.Millisecond)
		}
		if how == "ALL" {
			break
		}
		c[0].send("CLIENT PAUSE 10 WRITE", "PUBLISH ch held", "CLIENT UNPAUSE") // the longer one goes on
		c[0].want("+OK")
		c[0].silent(50 * time.Millisecond)
		c[8].send("CLIENT UNPAUSE") // it stands behind a held command
		c[8].silent(10 * time.Millisecond)
		free := connect(t, addr)
		free.send("CLIENT UNPAUSE")
		free.want("+OK")
		c[0].want(":0", "+OK")
		for _, other := range c[1:] {
			other.want(":1", "+PONG")
		}
		c[8].want("+OK")
	}
}

func TestAPauseEndsByItselfAndWhoLeavesMeanwhileIsForgotten(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 2, Limits: Limits{Idle: 50 * time.Millisecond}}, cl.Addrs()...)
	c := crowd(t, addr, 3)
	start := time.Now()
	c[0].send("CLIENT PAUSE 1300")
	c[0].want("+OK")
	c[1].send("SET held 1", "GET held")
	c[2].send("SET gone 1")
	c[2].silent(20 * time.Millisecond)
	c[2].Close()
	c[1].want("+OK", "$1\r\n1")
	if d := time.Since(start); d < 1300*time.Millisecond || d > 5*time.Second {
		t.Errorf("the pause of 1.3 s lasted %v", d)
	}
	c[1].send("GET gone")
	c[1].want("$-1")
	for deadline := time.Now().Add(5 * time.Second); len(p.Clients()) > 2; {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients are known, want 2 at most", len(p.Clients()))
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	fits, long := strings.Repeat("n", maxName), strings.Repeat("n", maxName+1)
	c.send("CLIENT SETNAME "+fits, "CLIENT GETNAME", "CLIENT SETNAME "+long, "CLIENT SETINFO LIB-NAME "+long, "CLIENT SETINFO LIB-VER "+fits,
		"HELLO 2 SETNAME "+long, "CLIENT GETNAME")
	c.want("+OK", string(resp.AppendBulkString(nil, fits)), "-PROXYLIMIT", "-PROXYLIMIT", "+OK", "-PROXYLIMIT", string(resp.AppendBulkString(nil, fits)))
}

func TestEveryCommandIsCountedOnceByItsOutcome(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Password: "secret"})
	p, addr := serveAs(t, Config{Loops: 2, AuthRequired: func() bool { return true }}, control("secret"), cl.Addrs()...)
	c := connect(t, addr)
	c.send("GET a", "AUTH", "AUTH a b c", "AUTH wrong", "AUTH secret", "HELLO 3", "HELLO 9", "SELECT 0", "SELECT 1", "SELECT x", "CLIENT LIST",
		"CLIENT LIST nonsense", "CLIENT KILL ID 9999", "PING", "PING a b", "CLIENT SETNAME x", "DEBUG JMAP", "CONFIG GET nope", "SLOWLOG LEN")
	for range 19 {
		if _, err := readReply(c.r); err != nil {
			t.Fatal(err)
		}
	}
	rules := p.commands.Load()
	stats := p.Snapshot().Commands
	for name, want := range map[string][3]uint64{ // ok, errors of servers, errors of the proxy
		"get": {0, 0, 1}, "auth": {1, 1, 2}, "hello": {1, 0, 1}, "select": {1, 1, 1}, "client|list": {1, 0, 1}, "client|kill": {1, 0, 0},
		"ping": {1, 0, 1}, "client|setname": {1, 0, 0}, "debug": {0, 0, 1}, "config|get": {1, 0, 0}, "slowlog|len": {1, 0, 0},
	} {
		var args [][]byte
		for _, word := range strings.Split(name, "|") {
			args = append(args, []byte(word))
		}
		n := stats[rules.Lookup(args).ID]
		if got := [3]uint64{n.OK, n.ServerError, n.ProxyError}; got != want {
			t.Errorf("%s: ok, server errors, proxy errors are %v, want %v", name, got, want)
		}
	}
}

func TestRESETForgetsWhatTheClientHasSet(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{}, cl.Addrs()...)
	c := connect(t, addr)
	c.send("HELLO 3 SETNAME me", "CLIENT SETINFO lib-name lib", "CLIENT NO-TOUCH on", "CLIENT NO-EVICT on", "MULTI", "SET a 1", "RESET", "EXEC",
		"CLIENT GETNAME", "CLIENT INFO")
	c.want("%7", "+OK", "+OK", "+OK", "+OK", "+QUEUED", "+RESET", "-ERR EXEC without MULTI", "$-1")
	info, err := readReply(c.r)
	if err != nil || !strings.Contains(info, " name= ") || !strings.Contains(info, " flags=N ") || !strings.Contains(info, " lib-name=lib ") ||
		!strings.Contains(info, " resp=2 ") {
		t.Errorf("after RESET the client is %q, %v", info, err)
	}
}

func TestClientsOfADeletedUserAreCutOff(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	c := crowd(t, addr, 4)
	c[0].send("ACL SETUSER alice on >pw +@all ~*", "ACL SETUSER bob on >pw +@all ~*")
	c[0].want("+OK", "+OK")
	for i, user := range []string{"alice", "alice", "bob"} {
		c[i+1].send("AUTH "+user+" pw", "ACL WHOAMI")
		c[i+1].want("+OK", "$")
	}
	c[0].send("CLIENT LIST USER nobody", "CLIENT KILL USER nobody", "CLIENT KILL USER bob", "ACL DELUSER alice nobody")
	c[0].want("-ERR No such user 'nobody'", "-ERR No such user 'nobody'", ":1", ":1")
	for _, cut := range c[1:] {
		cut.gone()
	}
	c[0].send("PING")
	c[0].want("+PONG")
}

func TestWhatTheProxyAnswersIsForUsersWhoMayAskForIt(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	admin, c := connect(t, addr), connect(t, addr)
	admin.send("ACL SETUSER alice on >pw ~* +get +echo +client|id")
	admin.want("+OK")
	pipeline := []string{"ECHO a", "GET x", "PING", "CLIENT ID", "CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 100000", "SELECT 0", "ROLE",
		"CLIENT SETNAME me", "ECHO b"}
	replies := []string{"$1\r\na", "$-1", "-NOPERM User alice has no permissions to run the 'ping' command", ":",
		"-NOPERM User alice has no permissions to run the 'client|list' command", "-NOPERM User alice has no permissions to run the 'client|kill' command",
		"-NOPERM User alice has no permissions to run the 'client|pause'", "-NOPERM User alice has no permissions to run the 'select'",
		"-NOPERM User alice has no permissions to run the 'role'", "-NOPERM User alice has no permissions to run the 'client|setname'", "$1\r\nb"}
	c.send("AUTH alice pw")
	c.want("+OK")
	for range 2 {
		c.send(pipeline...)
		c.want(replies...)
	}
	// A change through the proxy counts for the next command, on all loops.
	admin.send("ACL SETUSER alice +ping -echo")
	admin.want("+OK")
	c.send("PING", "ECHO a", "HELLO 3", "RESET", "PING")
	c.want("+PONG", "-NOPERM", "%7", "+RESET", "+PONG")
}

func TestCLIENTUNBLOCKFindsClientsOfAllLoops(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 3}, cl.Addrs()...)
	c := crowd(t, addr, 6)
	for i, other := range c[1:] {
		other.send(fmt.Sprintf("BLPOP list%d 0", i))
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		blocked := 0
		var ids []uint64
		for _, info := range p.Clients() {
			if info.Flags == "b" {
				blocked++
				ids = append(ids, info.ID)
			}
		}
		if blocked == 5 {
			for _, id := range ids {
				c[0].send(fmt.Sprintf("CLIENT UNBLOCK %d", id))
				c[0].want(":1")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d clients are blocked, want 5", blocked)
		}
	}
	for _, other := range c[1:] {
		other.want("*-1")
	}
	c[0].send("CLIENT UNBLOCK 1", "CLIENT UNBLOCK 99999")
	c[0].want(":0", ":0")
}

func TestCLIENTUNBLOCKEndsWAITOnAllNodes(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	c, other := connect(t, addr), connect(t, addr)
	id := strings.Trim(other.reply("CLIENT ID"), ":\r\n")
	for _, tt := range []struct{ how, want string }{{"TIMEOUT", ":0"}, {"ERROR", "-UNBLOCKED"}} {
		other.send("SET a 1", "SET b 2", "SET c 3", "WAIT 1 0") // on three nodes
		other.want("+OK", "+OK", "+OK")
		until(t, func() bool {
			return slices.ContainsFunc(p.Clients(), func(info ClientInfo) bool { return info.Flags == "b" })
		})
		c.send("CLIENT UNBLOCK " + id + " " + tt.how)
		c.want(":1")
		other.want(tt.want)
	}
	other.send("PING")
	other.want("+PONG")
}
