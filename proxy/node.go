package proxy

import (
	"errors"
	"net"

	"slotproxy/internal/metrics"
	"slotproxy/router"
)

var (
	errNodeGone    = errors.New("the node has left the cluster or failed")
	errUnasked     = errors.New("a reply that nobody asked for")
	errMissing     = errors.New("a reply too few")
	errNodeFull    = errors.New("the node has too many clients")
	errEarlyReply  = errors.New("a reply before the command was written")
	errNodeLocked  = errors.New("the node refused the handshake")
	errMultiOpen   = errors.New("a transaction that could not be discarded")
	errUpstreamOff = errors.New("the proxy is closing")
)

// node is one server as one loop sees it. Owned by the loop.
type node struct {
	l      *loop
	addr   string // immutable; what to dial, and its key in loop.nodes
	host   string // immutable; the host part, for redirects that leave it out
	info   *router.Node
	seen   uint64 // version of the last table that names it
	number uint16 // in loop.owners, 0 while it has no slot

	conns   []*nodeConn // one for each profile and lane in use
	leases  []*nodeConn // of one client each, or of nobody for now, see lease.go
	idle    []*nodeConn // of these, the ones that nobody has, longest first
	ears    map[*profile]*ear
	taking  bool       // a lease is being exchanged for another user's
	line    []*request // wait for a lease, longest first
	retryAt int64      // loop time before which it is not dialed again
	fails   uint8      // dials that failed in a row
	took    times      // from written to answered, of all but blocking commands
	known   bool       // it has told its version, or will not; then older says how it keeps its keys
	older   bool       // keeps the keys of all slots in one table, see older.go
}

// nodeAt finds or makes the node with this address.
func (l *loop) nodeAt(addr string) *node {
	if n := l.nodes[addr]; n != nil {
		return n
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	n := &node{l: l, addr: addr, host: host, info: &router.Node{Addr: addr}}
	l.nodes[addr], l.homeAddr = n, nil
	return n
}

// conn returns the connection for a profile and slot, dialing when there is none. It returns nil while the node is
// left alone after failed dials.
func (n *node) conn(p *profile, slot uint16) *nodeConn {
	lane := uint8(int(slot) % n.l.lanes)
	for _, c := range n.conns {
		if c.profile == p && c.lane == lane && c.feed == nil {
			return c
		}
	}
	// A node that the cluster calls failed may still accept connections, frozen as it is: what is sent there is lost.
	if n.info.Failed || n.l.now < n.retryAt || n.l.closing {
		return nil
	}
	c := n.newConn(p)
	c.lane = lane
	n.conns = append(n.conns, c)
	n.l.p.dial(c)
	return c
}

// newConn makes a connection that has not been dialed.
func (n *node) newConn(p *profile) *nodeConn {
	c := &nodeConn{node: n, profile: p, born: n.l.now}
	c.conn = conn{l: n.l, owner: c, fd: -1, side: metrics.SideUpstream}
	p.conns++
	return c
}

// private dials a connection that f speaks on alone. It returns nil while the node is left alone after failed dials.
func (n *node) private(p *profile, f feeder) *nodeConn {
	if n.info.Failed || n.l.now < n.retryAt || n.l.closing {
		return nil
	}
	c := n.newConn(p)
	c.feed = f
	n.conns = append(n.conns, c)
	n.l.p.dial(c)
	return c
}

func (n *node) remove(c *nodeConn) {
	for i, x := range n.conns {
		if x == c {
			n.conns = append(n.conns[:i], n.conns[i+1:]...)
			c.profile.conns--
			return
		}
	}
}

func (n *node) closeAll(err error) {
	for len(n.conns) > 0 {
		n.conns[0].close(err)
	}
	for len(n.leases) > 0 {
		n.leases[0].close(err)
	}
	n.emptyLine()
}

// backOff remembers a failed dial: 50 ms, then doubling to 1 s, so that a dead node costs little and a restarted one
// is found soon.
func (n *node) backOff() {
	n.retryAt = n.l.now + min(int64(50e6)<<min(n.fails, 5), 1e9)
	if n.fails < 255 {
		n.fails++
	}
}

// profile is the identity that node connections are shared by: commands of clients with another user, database or
// protocol never travel on the same connection. Owned by the loop.
type profile struct {
	key      profileKey
	conns    int // node connections
	sessions int // clients that use it

	pushTo     func(push []byte) // of a client's own profile: takes what nodes send unasked; nil: nobody
	owner      *session          // the only client that uses it; nil: any
	cut        func()            // of a client's own profile: hears that one of its connections has broken
	multiUntil int64             // loop time until which the user may use transactions, as a node has said
	echo       bool              // the user may ECHO: a node has said so, see suspect.go
	askAgain   int64             // loop time from which a node may be asked about transactions again, see suspect.go
	asked      bool              // a node has been asked about ECHO
	noTails    int64             // loop time until which the user is not asked for to XINFO, see tails.go
	permits    permissions       // of commands that the proxy answers
}

type profileKey struct {
	user, password string
	login          bool // AUTH was given; user and password may be empty strings then
	db             int
	proto          int
	client         uint64 // the only client that may use it, 0 for all: its node connections have a state of their own
	tracking       string // commands of CLIENT TRACKING as they go on the wire at the end of the handshake; empty: none
	trackings      int    // their number
}

// profileFor finds or makes a profile.
func (l *loop) profileFor(k profileKey) *profile {
	if p := l.profiles[k]; p != nil {
		return p
	}
	p := &profile{key: k}
	l.profiles[k] = p
	return p
}

// left tells that a client uses the profile no more. What its user may do is asked anew for the next one.
func (p *profile) left() {
	p.sessions--
	if p.sessions == 0 {
		p.forgetPermissions()
	}
}

// dropProfile forgets a profile that nobody uses and closes its connections. The plain ones stay: they will be wanted.
func (l *loop) dropProfile(p *profile) {
	if p.sessions > 0 || p == l.plain {
		return
	}
	for _, n := range l.nodes {
		if e := n.ears[p]; e != nil {
			delete(n.ears, p)
			e.conn.close(nil)
		}
		closeOf(p, &n.conns)
		closeOf(p, &n.leases)
	}
	delete(l.profiles, p.key)
}

// closeOf closes the connections of a profile; each takes itself out of the list.
func closeOf(p *profile, list *[]*nodeConn) {
	for i := 0; i < len(*list); {
		if c := (*list)[i]; c.profile == p {
			c.close(nil)
			continue
		}
		i++
	}
}
