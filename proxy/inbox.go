package proxy

import (
	"io"
	"net"
	"sync"
)

// message is what other goroutines tell a loop. One struct for all kinds, so that posting does not allocate.
type message struct {
	kind msgKind
	c    *conn       // msgRead, msgWrote, msgLost
	data []byte      // msgRead: valid until the credit is paid
	err  error       // msgLost, msgDialed
	nc   net.Conn    // msgAccept, msgDialed
	from *listener   // msgAccept
	node *nodeConn   // msgDialed
	call func(*loop) // msgCall
}

type msgKind uint8

const (
	msgCall   msgKind = iota // run a function on the loop: tables, snapshots, drain
	msgAccept                // acceptor -> loop: a new client
	msgDialed                // dialer -> loop: a node connection stands, or does not
	msgRead                  // stream reader -> loop
	msgWrote                 // stream writer -> loop
	msgLost                  // stream reader or writer -> loop
)

// inbox is the only way into a loop from outside.
type inbox struct {
	mu     sync.Mutex
	queue  []message // guarded by mu
	closed bool      // guarded by mu; the loop has ended
}

// post hands m to the loop and wakes it. It reports false when the loop has ended.
func (l *loop) post(m message) bool {
	l.inbox.mu.Lock()
	if l.inbox.closed {
		l.inbox.mu.Unlock()
		if m.nc != nil {
			_ = m.nc.Close()
		}
		return false
	}
	first := len(l.inbox.queue) == 0
	l.inbox.queue = append(l.inbox.queue, m)
	if first {
		l.poll.wake() // under the lock: behind it the loop may end and close what it is woken by
	}
	l.inbox.mu.Unlock()
	return true
}

// receive handles what has been posted. The two queues alternate, so posting rarely allocates.
func (l *loop) receive() {
	l.inbox.mu.Lock()
	if len(l.inbox.queue) == 0 {
		l.inbox.mu.Unlock()
		return
	}
	got := l.inbox.queue
	l.inbox.queue = l.spare[:0]
	l.inbox.mu.Unlock()
	for i := range got {
		l.handle(&got[i])
		got[i] = message{}
	}
	l.spare = got
}

func (l *loop) handle(m *message) {
	switch m.kind {
	case msgCall:
		m.call(l)
	case msgAccept:
		l.accepted(m.nc, m.from)
	case msgDialed:
		m.node.dialed(m.nc, m.err)
	case msgRead:
		if !m.c.closed {
			m.c.stream.read(m.c, m.data)
		}
	case msgWrote:
		m.c.stream.wrote(m.c)
	case msgLost:
		if m.err == io.EOF && !m.c.closed {
			m.c.owner.eof() // the writer goes on
		} else {
			m.c.close(m.err)
		}
	}
}

// shutInbox refuses further messages and closes sockets that arrived too late.
func (l *loop) shutInbox() {
	l.inbox.mu.Lock()
	l.inbox.closed = true
	rest := l.inbox.queue
	l.inbox.queue = nil
	l.inbox.mu.Unlock()
	for _, m := range rest {
		if m.nc != nil {
			_ = m.nc.Close()
		}
	}
}
