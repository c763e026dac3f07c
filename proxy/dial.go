package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

var errDialsBusy = errors.New("too many connection attempts under way")

// dial connects c in the background and posts the outcome to its loop.
func (p *Proxy) dial(c *nodeConn) {
	l, addr := c.l, c.node.addr
	err := p.dialers.Submit(func() {
		nc, err := p.connect(addr)
		l.post(message{kind: msgDialed, node: c, nc: nc, err: err})
	})
	if err != nil {
		l.post(message{kind: msgDialed, node: c, err: errDialsBusy})
	}
}

// connect opens a connection to a node, TLS handshake included.
func (p *Proxy) connect(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Node.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil || p.cfg.Node.TLS == nil {
		return nc, err
	}
	cfg := p.cfg.Node.TLS
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			_ = nc.Close()
			return nil, err
		}
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}
