package proxy

// ask sends a command of the proxy's own on a connection, behind what is queued there. then is told the whole reply, or
// nil when the connection is lost before; nothing is followed or tried again. then may be nil.
func (l *loop) ask(c *nodeConn, command []byte, then func(l *loop, r *request, reply []byte)) *request {
	return l.askAs(c, command, false, then)
}

// askAs is ask, behind ASKING or not.
func (l *loop) askAs(c *nodeConn, command []byte, asking bool, then func(l *loop, r *request, reply []byte)) *request {
	r := l.newRequest()
	r.then, r.asking = then, asking
	if then == nil {
		r.then = func(*loop, *request, []byte) {}
	}
	r.raw = true
	r.start, r.deadline = l.now, l.now+l.limits.UpstreamTimeout.Nanoseconds()
	l.setBuf(r, command)
	c.send(r)
	return r
}

// tell ends a request of the proxy's own.
func (l *loop) tell(r *request, reply []byte) {
	then := r.then
	r.enter(stateDone)
	then(l, r, reply)
	l.dropReply(r)
}
