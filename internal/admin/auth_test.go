package admin

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestAStrangerLogsInFirst(t *testing.T) {
	s := start(t, Config{Password: "secret", Version: "1"})
	tests := []struct {
		name  string
		lines []string
		want  string // beginning of the last reply
	}{
		{"nothing before", []string{"PING"}, "-" + errTextNoAuth},
		{"no data before", []string{"PROXY NODES"}, "-" + errTextNoAuth},
		{"unknown commands tell nothing before", []string{"FOO"}, "-" + errTextNoAuth},
		{"no version before", []string{"HELLO 3"}, "-" + errTextHelloAuth},
		{"a password", []string{"AUTH secret"}, "+OK"},
		{"a user and a password", []string{"AUTH default secret", "PING"}, "+PONG"},
		{"a wrong password", []string{"AUTH wrong", "PING"}, "-" + errTextNoAuth},
		{"a beginning of the password", []string{"AUTH secre"}, "-" + errTextWrongPass},
		{"an unknown user", []string{"AUTH root secret"}, "-" + errTextWrongPass},
		{"HELLO logs in", []string{"HELLO 2 AUTH default secret SETNAME me", "PING"}, "+PONG"},
		{"HELLO with a wrong password", []string{"HELLO 3 AUTH default x"}, "-" + errTextWrongPass},
		{"HELLO with a mistake behind the password", []string{"HELLO 2 AUTH default secret FOO", "PING"}, "-" + errTextNoAuth},
		{"a failure does not log out", []string{"AUTH secret", "AUTH x", "PING"}, "+PONG"},
		{"quit needs no login", []string{"QUIT"}, "+OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, got := dial(t, s), ""
			for _, line := range tt.lines {
				got = c.do(line)
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.lines, got, tt.want)
			}
		})
	}
}

func TestAfterFiveWrongPasswordsTheSessionEnds(t *testing.T) {
	c := dial(t, start(t, Config{Password: "secret"}))
	c.send(strings.Repeat("AUTH x\r\n", maxFailures) + "AUTH secret\r\n")
	if got, want := c.rest(), strings.Repeat("-"+errTextWrongPass+"\r\n", maxFailures); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAHostThatGuessesIsNotHeardForAWhile(t *testing.T) {
	s := New(Config{Address: "127.0.0.1:0", Password: "secret", Backend: newFake(), Log: slog.New(slog.DiscardHandler)})
	clock := time.Unix(1e9, 0)
	s.failures.now = func() time.Time { return clock }
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	for range failureRate / maxFailures {
		c := dial(t, s)
		c.send(strings.Repeat("AUTH x\r\n", maxFailures))
		c.rest()
	}
	c := dial(t, s)
	c.send("AUTH secret\r\n")
	if got, want := c.rest(), "-"+errTextAuthRate+"\r\n"; got != want {
		t.Errorf("the right password after %d failures: got %q, want %q", failureRate, got, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestFailuresAreForgivenWithTime(t *testing.T) {
	clock := time.Unix(1e9, 0)
	f := newFailures(func() time.Time { return clock })
	for range failureRate {
		if !f.allowed("a") {
			t.Fatal("refused before the limit")
		}
		f.add("a")
	}
	if f.allowed("a") {
		t.Error("allowed over the limit")
	}
	if !f.allowed("b") {
		t.Error("another host is refused")
	}
	clock = clock.Add(time.Second / failureRate)
	if !f.allowed("a") {
		t.Error("refused when one failure is forgiven")
	}
}

func TestTheRecordOfFailuresIsBounded(t *testing.T) {
	clock := time.Unix(1e9, 0)
	f := newFailures(func() time.Time { return clock })
	for i := range 3 * maxHosts {
		f.add(fmt.Sprint("host", i))
	}
	if len(f.hosts) > maxHosts+1 {
		t.Errorf("%d hosts are remembered, want at most %d and one for the rest", len(f.hosts), maxHosts)
	}
	if f.allowed("another") {
		t.Error("hosts beyond the bound do not share a record")
	}
	clock = clock.Add(time.Second)
	f.add("another")
	if len(f.hosts) != 1 {
		t.Errorf("%d hosts are remembered after a second, want 1", len(f.hosts))
	}
}

func TestAPasswordCanBeChanged(t *testing.T) {
	s := start(t, Config{Password: "old"})
	before := dial(t, s)
	before.do("AUTH old")
	s.SetPasswords("new", "", "")
	if got := before.do("PING"); got != "+PONG\r\n" {
		t.Errorf("a session from before: got %q", got)
	}
	c := dial(t, s)
	for _, tt := range [][2]string{{"AUTH old", "-" + errTextWrongPass}, {"AUTH new", "+OK"}} {
		if got := c.do(tt[0]); got != tt[1]+"\r\n" {
			t.Errorf("%s: got %q, want %q", tt[0], got, tt[1])
		}
	}
	s.SetPasswords("", "", "")
	if got := dial(t, s).do("PING"); got != "+PONG\r\n" {
		t.Errorf("without a password: got %q", got)
	}
}

func TestEachUserHasItsPasswordAndItsRole(t *testing.T) {
	s := start(t, Config{Password: "a", Operator: "o", Viewer: "v"})
	const looks, moves, creates = "PROXY JOBS", "PROXY PAUSE 1", "PROXY CREATE a:1"
	tests := []struct {
		login string
		may   []string
		not   []string
	}{
		{"AUTH a", []string{looks, moves, creates}, nil},
		{"AUTH default a", []string{looks, moves, creates}, nil},
		{"AUTH admin a", []string{looks, moves, creates}, nil},
		{"HELLO 2 AUTH operator o", []string{looks, moves}, []string{creates}},
		{"AUTH viewer v", []string{looks}, []string{moves, creates}},
	}
	for _, tt := range tests {
		t.Run(tt.login, func(t *testing.T) {
			c := dial(t, s)
			if got := c.do(tt.login); got[0] == '-' {
				t.Fatal(got)
			}
			for _, line := range tt.may {
				if got := c.do(line); strings.HasPrefix(got, "-NOPERM") {
					t.Errorf("%s: %s", line, got)
				}
			}
			for _, line := range tt.not {
				if got := c.do(line); !strings.HasPrefix(got, "-NOPERM") {
					t.Errorf("%s: got %q, want a NOPERM", line, got)
				}
			}
		})
	}
	for _, login := range []string{"AUTH o", "AUTH v", "AUTH operator a", "AUTH viewer o", "AUTH admin v"} {
		if got := dial(t, s).do(login); !strings.HasPrefix(got, "-WRONGPASS") {
			t.Errorf("%s: got %q, want a WRONGPASS", login, got)
		}
	}
}

func TestAUserWithoutAPasswordDoesNotExist(t *testing.T) {
	for _, password := range []string{"", "a"} {
		s := start(t, Config{Password: password})
		for _, login := range []string{"AUTH operator x", "AUTH viewer x"} {
			if got := dial(t, s).do(login); !strings.HasPrefix(got, "-WRONGPASS") {
				t.Errorf("%s with the admin's password %q: got %q, want a WRONGPASS", login, password, got)
			}
		}
	}
}

func TestWithoutPasswordsWhoIsOnThisMachineIsAdmin(t *testing.T) {
	addr := func(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }
	tests := []struct {
		name string
		from net.Addr
		want role
	}{
		{"loopback", addr("127.0.0.1:5"), admin},
		{"loopback of IPv6", addr("[::1]:5"), admin},
		{"a unix socket", &net.UnixAddr{Name: "/x", Net: "unix"}, admin},
		{"another machine", addr("10.0.0.1:5"), viewer},
		{"another machine of IPv6", addr("[2001:db8::1]:5"), viewer},
		{"loopback written as IPv6", addr("[::ffff:127.0.0.1]:5"), admin},
	}
	for _, tt := range tests {
		if got := guestRole(tt.from); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		var u users
		if got, ok := u.check(userDefault, "x", guestRole(tt.from)); !ok || got != tt.want {
			t.Errorf("%s, after AUTH default x: got %v, want %v: a login without a password gives no more than coming", tt.name, got, tt.want)
		}
	}
}
