package load

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server answers every command with what answer says, +OK by default. While its gate is held it answers nothing.
type server struct {
	addr     string
	gate     sync.RWMutex
	answer   func(words []string) string
	commands atomic.Int64
	ln       net.Listener
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func newServer(t *testing.T, answer func(words []string) string) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serverOn(t, ln, answer)
}

func serverOn(t *testing.T, ln net.Listener, answer func(words []string) string) *server {
	t.Helper()
	s := &server{addr: ln.Addr().String(), ln: ln, answer: answer}
	s.work.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	_ = s.ln.Close()
	s.drop()
	s.work.Wait()
}

// drop closes all connections.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.work.Go(func() { s.serve(c) })
	}
}

func (s *server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		s.gate.RLock()
		reply := "+OK\r\n"
		if words[0] == "PING" {
			reply = "+PONG\r\n"
		} else if s.commands.Add(1); s.answer != nil {
			reply = s.answer(words)
		}
		s.gate.RUnlock()
		_, _ = out.WriteString(reply)
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	count, err := readHead(in, "*")
	if err != nil {
		return nil, err
	}
	var words []string
	for range count {
		n, err := readHead(in, "$")
		if err != nil {
			return nil, err
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		words = append(words, string(b[:n]))
	}
	return words, nil
}

func readHead(in *bufio.Reader, kind string) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), kind))
}

// stall holds all answers back for a while.
func (s *server) stall(d time.Duration) {
	s.gate.Lock()
	time.Sleep(d)
	s.gate.Unlock()
}
