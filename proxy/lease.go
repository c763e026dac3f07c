package proxy

// A lease is a node connection that one client has for itself: while a blocking command waits in the node, or from WATCH
// to EXEC. Leases of a node are bounded; who finds none stands in line, and the longest waiting is served first.

// maxIdleLeases is how many connections that nobody has are kept for the next one, for each node: more than workers
// that ask again within a second usually are, little memory for a node.
const maxIdleLeases = 64

// leaseIdle is how long an unused one is kept.
const leaseIdle = int64(30e9)

var clientIDCommand = []byte("*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n")

// maxLeases is this loop's share of the connections that a node may have to spend.
func (l *loop) maxLeases() int { return max(1, l.limits.Leases/len(l.p.loops)) }

// lease returns a connection that nobody else uses until it is given back, which happens when its last request is
// answered, unless the client keeps it. It returns nil when the node cannot be reached, or, with r in the state of waiting,
// when r stands in line for one.
func (n *node) lease(s *session, r *request) *nodeConn {
	p := s.profileOf(r)
	if c := r.grant; c != nil {
		r.grant = nil
		if c.node == n && c.profile == p && !c.closed {
			return c
		}
		c.node.returned(c)
	}
	if n.info.Failed || n.l.now < n.retryAt || n.l.closing {
		return nil
	}
	if len(n.line) > 0 || !n.hasLease() {
		n.standInLine(r)
		return nil
	}
	return n.takeLease(p)
}

// hasLease says that takeLease finds one.
func (n *node) hasLease() bool { return len(n.idle) > 0 || len(n.leases) < n.l.maxLeases() }

// takeLease gives out an idle connection of the profile, or a new one, in the place of another user's if need be.
func (n *node) takeLease(p *profile) *nodeConn {
	l := n.l
	l.stats.LeasesBusy++
	for i := len(n.idle) - 1; i >= 0; i-- {
		if c := n.idle[i]; c.profile == p {
			n.idle = append(n.idle[:i], n.idle[i+1:]...)
			c.busy = true
			return c
		}
	}
	if len(n.leases) >= l.maxLeases() {
		n.taking = true
		n.idle[0].close(nil)
		n.taking = false
	}
	c := n.newConn(p)
	c.leased, c.busy = true, true
	n.leases = append(n.leases, c)
	l.p.dial(c)
	return c
}

// standInLine lets r wait until a lease is given back, or until its time is up: then it is sent again, and answered as
// one that has waited in the node for so long.
func (n *node) standInLine(r *request) {
	l := n.l
	if l.now >= r.deadline {
		if r.block != nil && r.parent == nil {
			l.finish(r, l.nullArray(r)) // it has waited as long as it would have in the node
		} else {
			l.fail(r, causeLease.giveUp(l, r))
		}
		return
	}
	r.enter(stateWaiting)
	if r.inLine != n {
		l.stats.LeaseWaits++
		r.inLine = n
		r.refs++
		n.line = append(n.line, r)
	}
	l.waitUntil(r, min(r.deadline, l.now+lineCheck))
}

// lineCheck is how often a request in line looks whether it has waited long enough.
const lineCheck = int64(1e9)

// forever is a deadline that never comes.
const forever = int64(1) << 62

// returned takes a lease back whose client needs it no more.
func (n *node) returned(c *nodeConn) {
	if c.closed || !c.busy || c.cancels > 0 {
		return
	}
	c.busy, c.kept = false, false
	c.idleFrom = n.l.now
	n.l.stats.LeasesBusy--
	if len(n.idle) >= maxIdleLeases {
		c.close(nil)
	} else {
		n.idle = append(n.idle, c)
	}
	n.serveLine()
}

// serveLine lets those go on for whom there is a lease now.
func (n *node) serveLine() {
	for len(n.line) > 0 && n.hasLease() && !n.l.closing && !n.taking {
		r := n.leaveLine()
		if s := r.root().sess; s != nil && r.state == stateWaiting && r.inLine == nil {
			r.grant = n.takeLease(s.profileOf(r))
		}
		n.l.goAgain(r)
	}
}

// emptyLine sends everybody in line on: this node has gone.
func (n *node) emptyLine() {
	for line := n.line; len(line) > 0; line = line[1:] {
		n.l.goAgain(n.leaveLine())
	}
}

// leaveLine takes the first out of the line; the reference to it is the caller's.
func (n *node) leaveLine() *request {
	r := n.line[0]
	n.line = append(n.line[:0], n.line[1:]...)
	if r.inLine == n {
		r.inLine = nil
	}
	return r
}

// removeLease forgets a connection that is closed.
func (n *node) removeLease(c *nodeConn) {
	n.leases = without(n.leases, c)
	c.profile.conns--
	if c.busy {
		c.busy = false
		n.l.stats.LeasesBusy--
	} else {
		n.idle = without(n.idle, c)
	}
}

func without(list []*nodeConn, c *nodeConn) []*nodeConn {
	for i, x := range list {
		if x == c {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// dropIdleLeases closes the ones that nobody has wanted for a while.
func (l *loop) dropIdleLeases() {
	for _, n := range l.nodes {
		for len(n.idle) > 0 && l.now-n.idle[0].idleFrom > leaseIdle {
			n.idle[0].close(nil) // the first has been idle longest
		}
	}
}
