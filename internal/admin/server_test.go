package admin

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

func TestHostileInputIsRefusedAsValkeyDoes(t *testing.T) {
	tests := []struct {
		name, password, send, want string
	}{
		{"a length that panics redcon", "", "*1\r\n$9223372036854775800\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"a length that wraps", "", "*1\r\n$18446744073709551617\r\nA\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"a count that never ends", "", "*9223372036854775807\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"a count that burns a core", "", "*20000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"no length", "", "*1\r\n$\r\n\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"a type that requests do not have", "", "*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"},
		{"half a quote", "", "PING \"\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
		{"a line without an end", "", strings.Repeat("a", 64<<10), "-ERR Protocol error: too big inline request\r\n"},
		{"a browser", "", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"many arguments of a stranger", "x", "*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"},
		{"a long argument of a stranger", "x", "*2\r\n$4\r\nAUTH\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"},
		{"good commands before are answered", "", "PING\r\n*1\r\n$-5\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"},
		{"line ends in a name", "", "*1\r\n$7\r\na\r\n+OK\n\r\nQUIT\r\n", "-ERR unknown command 'a  +OK ', with args beginning with: \r\n+OK\r\n"},
		{"an empty name", "", "*1\r\n$0\r\n\r\nQUIT\r\n", "-ERR unknown command '', with args beginning with: \r\n+OK\r\n"},
		{"commands behind QUIT are not run", "", "QUIT\r\nPING\r\n", "+OK\r\n"},
		{"empty requests are no commands", "", "\r\n*0\r\n*-1\r\nQUIT\r\n", "+OK\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Config{Password: tt.password})
			c := dial(t, s)
			other := dial(t, s)
			_, _ = c.conn.Write([]byte(tt.send)) // the server may close before it has read all
			if got := c.rest(); got != tt.want && !(got == "" && len(tt.send) > 32<<10) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			other.do("AUTH x")
			if got := other.do("PING"); got != "+PONG\r\n" {
				t.Errorf("another session: got %q, want a PONG", got)
			}
		})
	}
}

func TestCommandsThatComeByteByByteAreAnswered(t *testing.T) {
	c := dial(t, start(t, Config{}))
	for _, b := range []byte("*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n$4\r\nPING\r\n") {
		c.send(string(b))
	}
	if got := c.reply() + c.reply(); got != "$2\r\nhi\r\n+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestALongPipelineIsAnsweredInOrder(t *testing.T) {
	c := dial(t, start(t, Config{}))
	const rounds = 2000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.conn.Write([]byte(strings.Repeat("PING\r\nECHO x\r\nPROXY READY\r\n", rounds)))
	}()
	for i := range rounds {
		if got := c.reply() + c.reply() + c.reply(); got != "+PONG\r\n$1\r\nx\r\n+READY\r\n" {
			t.Fatalf("round %d: got %q", i, got)
		}
	}
	<-sent
}

func TestOneConnectionTooManyIsTurnedAway(t *testing.T) {
	s := start(t, Config{MaxConns: 2})
	first, second := dial(t, s), dial(t, s)
	first.do("PING")
	second.do("PING")
	if got, want := dial(t, s).rest(), "-"+errTextMaxClients+"\r\n"; got != want {
		t.Fatalf("the third: got %q, want %q", got, want)
	}
	first.send("QUIT\r\n")
	first.rest()
	// The place is free a moment after the client has seen the end.
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		c := dial(t, s)
		c.send("QUIT\r\n")
		if c.rest() == "+OK\r\n" {
			return
		}
	}
	t.Fatal("a place that was left is not given again")
}

func TestAStrangerWhoDoesNotLogInIsCut(t *testing.T) {
	s := start(t, Config{Password: "x", loginTime: time.Millisecond})
	c := dial(t, s)
	if got := c.rest(); got != "" {
		t.Errorf("got %q, want an end without words", got)
	}
}

func TestCloseEndsSessionsAndTheirGoroutines(t *testing.T) {
	s := New(Config{Address: "127.0.0.1:0", Backend: newFake()})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	idle, half := dial(t, s), dial(t, s)
	idle.do("PING")
	half.do("PING")
	half.send("*2\r\n$4\r\nEC")
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	idle.rest()
	half.rest()
	if err := s.Close(); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if err := s.Serve(); err == nil {
		t.Error("Serve after Close does not fail")
	}
	var stacks bytes.Buffer
	deadline := time.Now().Add(patience) // a goroutine that said it is done still has to return
	for time.Now().Before(deadline) {
		stacks.Reset()
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		if !strings.Contains(stacks.String(), "redcon.handle") && !strings.Contains(stacks.String(), "redcon.serve") {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", stacks.String())
}

func TestCloseBeforeServe(t *testing.T) {
	s := New(Config{Address: "127.0.0.1:0", Backend: newFake()})
	if err := s.Serve(); err == nil {
		t.Error("Serve without Listen does not fail")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil {
		t.Error("Listen twice does not fail")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Serve(); err == nil {
		t.Error("Serve after Close does not fail")
	}
}

func TestAUnixSocketIsForTheGroup(t *testing.T) {
	for _, tt := range []struct {
		name       string
		mode, want fs.FileMode
	}{{"by default", 0, 0o660}, {"as configured", 0o600, 0o600}} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := start(t, Config{Address: "unix:" + path, SocketMode: tt.mode})
			if got := dial(t, s).do("PING"); got != "+PONG\r\n" {
				t.Errorf("got %q", got)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != tt.want {
				t.Errorf("mode: got %v, %v, want %v", info.Mode().Perm(), err, tt.want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("the socket stays behind: %v", err)
			}
		})
	}
}

func TestWhatLiesAtTheSocketsPath(t *testing.T) {
	tests := []struct {
		name    string
		put     func(t *testing.T, path string)
		wantErr bool
	}{
		{"a socket that a crash left is replaced", func(t *testing.T, path string) {
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			ln.SetUnlinkOnClose(false)
			_ = ln.Close()
		}, false},
		{"a socket in use is left alone", func(t *testing.T, path string) {
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
		}, true},
		{"an ordinary file is left alone", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.put(t, path)
			s := New(Config{Address: "unix:" + path, Backend: newFake()})
			if err := s.Listen(); (err != nil) != tt.wantErr {
				t.Errorf("Listen: got %v, want an error: %v", err, tt.wantErr)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("the path is gone: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
