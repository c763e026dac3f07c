package proxy

// ask sends a command of the proxy's own on a connection, behind what is queued there. then is told the whole reply, or
// nil when the connection is lost before; nothing is followed or tried again. then may be nil.
func (l *loop) ask(c *nodeConn, command []byte, then func(l *loop, r *request, reply []byte)) {
	l.askBehind(c, 0, command, then)
}

// askBehind is ask with several commands: pre replies come before the one that counts, and of errors among them the first
// is kept in the request.
func (l *loop) askBehind(c *nodeConn, pre uint32, command []byte, then func(l *loop, r *request, reply []byte)) {
	c.send(l.newAsk(pre, command, then))
}

// askAbout is askBehind for a command on keys of a slot, so that whoever waits until nothing of the slot is in flight waits
// for this, too.
func (l *loop) askAbout(c *nodeConn, slot uint16, pre uint32, command []byte, then func(l *loop, r *request, reply []byte)) {
	r := l.newAsk(pre, command, then)
	r.slot, r.hasSlot = slot, true
	c.send(r)
}

// newAsk makes a request of the proxy's own.
func (l *loop) newAsk(pre uint32, command []byte, then func(l *loop, r *request, reply []byte)) *request {
	r := l.newRequest()
	r.then = then
	if then == nil {
		r.then = func(*loop, *request, []byte) {}
	}
	r.raw, r.pre = true, pre
	r.start, r.deadline = l.now, l.now+l.limits.UpstreamTimeout.Nanoseconds()
	l.setBuf(r, command)
	return r
}

// tell ends a request of the proxy's own.
func (l *loop) tell(r *request, reply []byte) {
	then := r.then
	r.enter(stateDone)
	then(l, r, reply)
	l.dropReply(r)
}
