package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"slotproxy/migrate/engine"
)

var _ engine.Nodes = (*Source)(nil)

// Login implements engine.Nodes.
func (s *Source) Login() (user, password string) { return s.cfg.User, s.cfg.Password }

// Do implements engine.Nodes. It takes no longer than Config.Timeout, whatever ctx says: others wait behind it.
func (s *Source) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	c, err := s.client(addr)
	if err != nil {
		return nil, err
	}
	return replies(addr, c.DoMulti(ctx, build(c, commands)...))
}

// sessionLife is how long valkey-go may wait for a reply on a session: in effect for ever. ctx ends it before.
const sessionLife = 24 * time.Hour

// Session implements engine.Nodes.
func (s *Source) Session(ctx context.Context, addr string) (engine.Session, error) {
	out := &session{addr: addr}
	o := s.options(addr)
	o.ConnWriteTimeout = sessionLife
	o.BlockingPipeline = -1 // no second connection for long pipelines
	o.Dialer.KeepAlive = -1 // no PING of its own: MIGRATE keeps the connection busy for longer
	o.DialCtxFn = out.dialOnce(ctx, s)
	c, err := valkey.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	out.client = c
	return out, nil
}

// session is a connection of one's own. valkey-go would dial again after an error, and then speak on a connection without
// the SELECT of the first: so it may dial once only.
type session struct {
	addr   string
	client valkey.Client
	failed bool

	mu   sync.Mutex
	conn net.Conn // guarded by mu: valkey-go dials in a goroutine of its own
}

type dialFunc = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

var errSpent = errors.New("this connection has failed before")

func (c *session) dialOnce(ctx context.Context, s *Source) dialFunc {
	return func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conn != nil {
			return nil, errSpent
		}
		nc, err := s.dial(ctx, c.addr)
		if err != nil {
			return nil, err
		}
		c.conn = &checked{Conn: nc}
		return c.conn, nil
	}
}

// Do implements engine.Session.
func (c *session) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	switch {
	case c.failed:
		return nil, fmt.Errorf("on %s: %w", c.addr, errSpent)
	case len(commands) == 0:
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	// Without a deadline valkey-go works in this goroutine, and does not look at ctx: closing the connection is how it ends.
	stop := context.AfterFunc(ctx, c.hangUp)
	out, err := replies(c.addr, c.client.DoMulti(context.Background(), build(c.client, commands)...))
	if !stop() && err != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	c.failed = err != nil || ctx.Err() != nil
	return out, err
}

func (c *session) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.Close()
}

// Close implements engine.Session.
func (c *session) Close() {
	c.hangUp() // a QUIT would wait for a node that hangs
	c.client.Close()
}

func build(c valkey.Client, commands [][]string) valkey.Commands {
	out := make(valkey.Commands, len(commands))
	for i, args := range commands {
		out[i] = c.B().Arbitrary(args...).Build()
	}
	return out
}

// replies takes results apart. An error that is not a node's answer ends it: then none of the replies count.
func replies(addr string, results []valkey.ValkeyResult) ([]any, error) {
	out := make([]any, len(results))
	for i, r := range results {
		if err := r.NonValkeyError(); err != nil {
			return nil, fmt.Errorf("on %s: %w", addr, err)
		}
		m, _ := r.ToMessage()
		v, err := value(&m)
		if err != nil {
			return nil, fmt.Errorf("on %s: %w", addr, err)
		}
		out[i] = v
	}
	return out, nil
}

// value is a reply as engine.Nodes has it.
func value(m *valkey.ValkeyMessage) (any, error) {
	switch {
	case m.IsNil():
		return nil, nil
	case m.IsInt64():
		return m.ToInt64()
	case m.IsString():
		return m.ToString()
	case m.IsArray():
		parts, err := m.ToArray()
		if err != nil {
			return nil, err
		}
		out := make([]any, len(parts))
		for i := range parts {
			if out[i], err = value(&parts[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	text, err := m.ToString() // Error would cut the code ERR off
	if _, answered := valkey.IsValkeyErr(err); answered {
		return engine.ServerError(text), nil
	}
	return text, err
}
