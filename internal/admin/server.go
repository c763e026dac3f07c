package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tidwall/redcon"

	"slotproxy/resp"
)

const (
	// defaultConns is some people, a monitoring system and a CLI that waits for jobs.
	defaultConns = 64

	// defaultMode lets the group of the proxy's user administrate it.
	defaultMode fs.FileMode = 0o660

	// loginTime is what a stranger may take to log in: strangers hold a place.
	loginTime = 10 * time.Second

	// idleTime frees the place of a forgotten terminal; clients reconnect by themselves.
	idleTime = 15 * time.Minute

	// writeTime bounds the wait for a peer that does not read.
	writeTime = 10 * time.Second

	// goodbyeTime bounds the error to a connection too many, written by the accepting
	// goroutine. A new socket has room for it.
	goodbyeTime = 100 * time.Millisecond

	// acceptPause and acceptPauseMax bound the retries when descriptors have run
	// out, as net/http does it.
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = time.Second

	unixPrefix = "unix:"
)

// Config is what a Server needs.
type Config struct {
	Address    string      // host:port or unix:/path
	SocketMode fs.FileMode // of the file at unix:/path; 0 for 0660
	Password   string      // of the user admin; "" for none
	Operator   string      // password of the user operator; "" for no such user
	Viewer     string      // password of the user viewer; "" for no such user
	MaxConns   int         // connections at one time; 0 for 64
	Version    string      // said by HELLO
	Backend    Backend
	Cluster    Cluster      // nil for none: commands that need it answer NoCluster
	NoCluster  string       // why there is none
	Log        *slog.Logger // nil for slog.Default()

	loginTime time.Duration // for tests; 0 for the constant
}

// Server is the admin listener.
type Server struct {
	cfg        Config // immutable
	log        *slog.Logger
	console    console
	forClients console // what clients of the data port may run
	users      users
	failures   *failures

	ids      atomic.Int64
	open     atomic.Int64    // sessions now
	sessions sync.WaitGroup  // one for each session's goroutine
	stop     chan struct{}   // closed by Close; read by the accepting goroutine
	life     context.Context // ends with Close, and with it the commands that wait for nodes
	end      context.CancelFunc

	mu      sync.Mutex
	ln      net.Listener // nil before Listen
	closed  bool
	serving sync.WaitGroup // Serve; only added to under mu while not closed
}

// New returns a server that does not listen yet.
func New(cfg Config) *Server {
	if cfg.SocketMode == 0 {
		cfg.SocketMode = defaultMode
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultConns
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.loginTime == 0 {
		cfg.loginTime = loginTime
	}
	s := &Server{cfg: cfg, log: cfg.Log, failures: newFailures(time.Now), stop: make(chan struct{})}
	s.life, s.end = context.WithCancel(context.Background())
	s.console = console{
		commands: commands, backend: cfg.Backend, cluster: cfg.Cluster, none: cfg.NoCluster,
		log: cfg.Log, slow: make(chan struct{}, maxSlow), refused: new(atomic.Int64),
	}
	s.forClients = consoleForClients(s.console)
	s.users.set(cfg.Password, cfg.Operator, cfg.Viewer)
	return s
}

// SetPasswords changes the passwords for logins from now on, as in Config. Sessions
// stay as they are.
func (s *Server) SetPasswords(admin, operator, viewer string) { s.users.set(admin, operator, viewer) }

// Listen binds the address. It is an error to call it twice.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ln != nil {
		return errors.New("admin: already listening or closed")
	}
	ln, err := bind(s.cfg.Address, s.cfg.SocketMode)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	s.ln = ln
	return nil
}

func bind(address string, mode fs.FileMode) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, unixPrefix)
	if !unix {
		return net.Listen("tcp", address)
	}
	// A socket that nobody listens on is what a crash leaves behind.
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) && isSocket(path) {
		_ = os.Remove(path) // when it fails, Listen tells
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// isSocket keeps an ordinary file, which also refuses a connection, from being removed.
func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// Addr is where the server listens, nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return nil
	}
	return s.ln.Addr()
}

// Serve answers sessions until Close; then it returns nil. Listen comes first.
func (s *Server) Serve() error {
	s.mu.Lock()
	ln, closed := s.ln, s.closed
	if ln == nil || closed {
		s.mu.Unlock()
		return errors.New("admin: not listening")
	}
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	return redcon.Serve(&listener{Listener: ln, server: s}, s.handle, nil, s.ended)
}

// Close stops listening, cuts all sessions and waits for their goroutines. A
// command that is running is told to stop, and waited for; its reply is lost.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	var err error
	if first {
		close(s.stop)
		s.end()
		if s.ln != nil {
			err = s.ln.Close()
		}
	}
	s.mu.Unlock()
	s.serving.Wait() // redcon cuts the sessions when its listener has ended
	s.sessions.Wait()
	return err
}

// listener hands redcon sessions instead of connections. Its Accept fails only
// when the server closes: redcon spins on any other error.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	s := l.server
	for pause := acceptPause; ; {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil && s.open.Load() < int64(s.cfg.MaxConns):
			s.open.Add(1)
			s.sessions.Add(1)
			return newSession(s, nc, s.ids.Add(1)), nil
		case err == nil:
			refuse(nc)
		case errors.Is(err, net.ErrClosed) || !s.wait(pause):
			return nil, net.ErrClosed
		default:
			s.log.Warn("admin accept failed", "err", err)
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// Close leaves the listener to Server.Close: redcon closes it once more.
func (l *listener) Close() error { return nil }

// wait reports false when the server closes meanwhile.
func (s *Server) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// refuse turns a connection too many away. Whether it hears why does not matter.
func refuse(nc net.Conn) {
	_ = nc.SetWriteDeadline(time.Now().Add(goodbyeTime))
	_, _ = nc.Write(resp.AppendError(nil, errTextMaxClients))
	_ = nc.Close()
}
