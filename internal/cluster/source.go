package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"slotproxy/resp"
)

// Config says how the control plane reaches nodes and as whom.
type Config struct {
	User, Password string      // of the control plane; empty: the default user without a password
	TLS            *tls.Config // nil: plain
	Timeout        time.Duration
	Name           string // of the connections, for CLIENT LIST; empty: slotproxy-control
}

// Source asks nodes. Safe for concurrent use.
type Source struct {
	cfg Config

	mu      sync.Mutex
	clients map[string]*entry // by address; guarded by mu
	closed  bool              // guarded by mu
}

// entry is one node's client and when it was last wanted.
type entry struct {
	client valkey.Client
	used   time.Time
}

// idleAfter is how long a node's client outlives its last use: nodes leave, and the keeper asks every second.
const idleAfter = time.Minute

// NewSource returns a source without connections; they are made when a node is asked.
func NewSource(cfg Config) *Source {
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Name == "" {
		cfg.Name = "slotproxy-control"
	}
	return &Source{cfg: cfg, clients: map[string]*entry{}}
}

// Close ends all connections.
func (s *Source) Close() {
	s.mu.Lock()
	all := s.clients
	s.clients, s.closed = map[string]*entry{}, true
	s.mu.Unlock()
	for _, e := range all {
		e.client.Close()
	}
}

// Nodes returns the text of CLUSTER NODES as that node gives it. It implements router.Source.
func (s *Source) Nodes(ctx context.Context, addr string) ([]byte, error) {
	m, err := s.do(ctx, addr, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	return m.AsBytes()
}

// Commands returns the node's COMMAND reply in RESP2, for router.Commands.With.
func (s *Source) Commands(ctx context.Context, addr string) ([]byte, error) {
	m, err := s.do(ctx, addr, "COMMAND")
	if err != nil {
		return nil, err
	}
	v, err := m.ToAny()
	if err != nil {
		return nil, err
	}
	return encode(nil, v)
}

// Server is what a node says of itself.
type Server struct {
	Name    string // "valkey" or "redis"
	Version string // as HELLO reports it
	// AuthRequired: the default user needs a password.
	AuthRequired bool
}

// Server asks a node who it is, and, over a connection without AUTH, whether strangers may speak to it.
func (s *Source) Server(ctx context.Context, addr string) (Server, error) {
	m, err := s.do(ctx, addr, "INFO", "server")
	if err != nil {
		return Server{}, err
	}
	text, err := m.ToString()
	if err != nil {
		return Server{}, err
	}
	info := fields(text)
	out := Server{Name: "redis", Version: info["redis_version"]}
	if v := info["valkey_version"]; v != "" {
		out.Name, out.Version = "valkey", v
	}
	out.AuthRequired, err = s.authRequired(ctx, addr)
	return out, err
}

func fields(info string) map[string]string {
	m := map[string]string{}
	for line := range strings.SplitSeq(info, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			m[name] = value
		}
	}
	return m
}

// authRequired sends a PING without AUTH.
func (s *Source) authRequired(ctx context.Context, addr string) (bool, error) {
	nc, err := s.dial(ctx, addr)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(s.cfg.Timeout))
	if _, err := nc.Write(resp.AppendCommandStrings(nil, "PING")); err != nil {
		return false, err
	}
	buf := make([]byte, 256)
	n, err := nc.Read(buf)
	if err != nil {
		return false, err
	}
	return strings.HasPrefix(string(buf[:n]), "-NOAUTH"), nil
}

// do runs one command on one node, following nothing and repeating nothing.
func (s *Source) do(ctx context.Context, addr string, args ...string) (valkey.ValkeyMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	c, err := s.client(addr)
	if err != nil {
		return valkey.ValkeyMessage{}, err
	}
	m, err := c.Do(ctx, c.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil {
		return m, fmt.Errorf("%s on %s: %w", args[0], addr, err)
	}
	return m, nil
}

// client returns the node's client, making it when there is none, and lets go of those that nobody has wanted.
func (s *Source) client(addr string) (valkey.Client, error) {
	s.mu.Lock()
	stale := s.staleLocked()
	e := s.clients[addr]
	if e != nil {
		e.used = time.Now()
	}
	closed := s.closed
	s.mu.Unlock()
	for _, c := range stale {
		c.Close()
	}
	if closed {
		return nil, net.ErrClosed
	}
	if e != nil {
		return e.client, nil
	}
	// Dials, so not under the lock. Two at once are harmless: the second is closed.
	c, err := valkey.NewClient(s.options(addr))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.clients[addr]; old != nil || s.closed {
		go c.Close()
		if old == nil {
			return nil, net.ErrClosed
		}
		return old.client, nil
	}
	s.clients[addr] = &entry{client: c, used: time.Now()}
	return c, nil
}

func (s *Source) staleLocked() []valkey.Client {
	var stale []valkey.Client
	for addr, e := range s.clients {
		if time.Since(e.used) > idleAfter {
			stale = append(stale, e.client)
			delete(s.clients, addr)
		}
	}
	return stale
}

func (s *Source) options(addr string) valkey.ClientOption {
	return valkey.ClientOption{
		InitAddress: []string{addr}, ForceSingleClient: true,
		Username: s.cfg.User, Password: s.cfg.Password, TLSConfig: s.cfg.TLS,
		AlwaysRESP2: true, DisableCache: true, DisableRetry: true, ClientSetInfo: valkey.DisableClientSetInfo,
		ClientName:        s.cfg.Name,
		RingScaleEachConn: 4, ReadBufferEachConn: 16 << 10, WriteBufferEachConn: 4 << 10,
		BlockingPoolSize: 1, PipelineMultiplex: -1, ConnWriteTimeout: s.cfg.Timeout,
		Dialer: net.Dialer{Timeout: s.cfg.Timeout},
		DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			nc, err := s.dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			return &checked{Conn: nc}, nil
		},
	}
}

// dial opens a connection to a node, TLS handshake included.
func (s *Source) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if s.cfg.TLS == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	cfg := s.cfg.TLS
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
}

// encode writes what valkey-go decoded as RESP2 again.
func encode(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return resp.AppendNull(dst, 2), nil
	case string:
		return resp.AppendBulkString(dst, v), nil
	case int64:
		return resp.AppendInt(dst, v), nil
	case []any:
		dst = resp.AppendArray(dst, len(v))
		for _, e := range v {
			var err error
			if dst, err = encode(dst, e); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, fmt.Errorf("a reply of type %T where RESP2 has none", v)
}
