package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// ear is a connection on which a node pushes what changes, for a client that speaks RESP2 and tracks with REDIRECT: its own
// connections cannot take a push, so they redirect to this one. Owned by the loop of the client.
type ear struct {
	s       *session
	conn    *nodeConn
	id      int64       // the ear's name on the node, 0 until it is known
	waiting []*nodeConn // want to redirect to it
	heard   []byte      // the beginning of a message
}

// redirectToken stands in a CLIENT TRACKING for the ear's name.
var redirectToken = []byte("\x00ear")

// ear finds or opens the ear of a profile on this node; nil when the node cannot be reached.
func (n *node) ear(c *nodeConn) *ear {
	if e := n.ears[c.profile]; e != nil {
		return e
	}
	k := c.profile.key
	k.proto, k.tracking, k.trackings = 3, "", 0
	e := &ear{s: c.profile.owner}
	p := n.l.profileFor(k)
	if e.s == nil {
		return nil
	}
	if e.conn = n.private(p, e); e.conn == nil {
		return nil
	}
	p.sessions++ // or it would be dropped as one that no client has
	if n.ears == nil {
		n.ears = map[*profile]*ear{}
	}
	n.ears[c.profile] = e
	return e
}

// withEar is the handshake's CLIENT TRACKING with the name of the ear in it; false while the name is not known.
func (c *nodeConn) withEar(tracking string) (string, bool) {
	if !bytes.Contains([]byte(tracking), redirectToken) {
		return tracking, true
	}
	e := c.node.ear(c)
	if e == nil {
		return "", false
	}
	if e.id == 0 {
		e.waiting = append(e.waiting, c)
		return "", false
	}
	var out []byte
	for rest := []byte(tracking); len(rest) > 0; {
		var p resp.Parser
		n, err := p.Next(rest, &c.l.limits.AfterAuth)
		if err != nil || n == 0 {
			return "", false // cannot happen: it is our own
		}
		for i, a := range p.Args {
			if bytes.Equal(a, redirectToken) {
				p.Args[i] = []byte(decimal(e.id))
			}
		}
		out = resp.AppendCommand(out, p.Args...)
		rest = rest[n:]
	}
	return string(out), true
}

func (e *ear) opened(c *nodeConn) { c.write(clientIDCommand) }

// fed takes the ear's name, then what the node pushes.
func (e *ear) fed(c *nodeConn, piece []byte, done bool) error {
	if len(e.heard)+len(piece) > maxPush {
		return errUnasked
	}
	if !done || e.heard != nil {
		e.heard = append(e.heard, piece...)
		piece = e.heard
	}
	if !done || len(piece) == 0 {
		return nil
	}
	e.heard = nil
	if piece[0] == '>' {
		e.s.invalidated(piece)
		return nil
	}
	id, ok := integer(piece)
	if !ok || e.id != 0 {
		return errUnasked
	}
	e.id = id
	for _, w := range e.waiting {
		if !w.closed {
			w.greet()
		}
	}
	e.waiting = nil
	return nil
}

// cut closes the connections that redirect to the ear: what they read is no longer watched.
func (e *ear) cut(c *nodeConn, _ error) {
	n := c.node
	c.profile.sessions--
	for p, x := range n.ears {
		if x == e {
			delete(n.ears, p)
			closeOf(p, &n.conns)
			closeOf(p, &n.leases)
		}
	}
}
