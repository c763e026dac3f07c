package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
)

// Listener says where clients connect.
type Listener struct {
	Network string      // "tcp" or "unix"
	Address string      // host:port, or a path
	TLS     *tls.Config // nil: plain
	Mode    os.FileMode // of a unix socket; 0 leaves it to the umask
}

// listener is a Listener that is bound. Its goroutine accepts and deals the clients out to the loops.
type listener struct {
	cfg Listener
	ln  net.Listener
	p   *Proxy
}

func (p *Proxy) listen(cfg Listener) (*listener, error) {
	if cfg.Network == "unix" {
		// A socket file that nobody listens on is what a crash leaves behind. Dialing an ordinary file is refused, too.
		if info, err := os.Lstat(cfg.Address); err != nil || info.Mode().Type() != os.ModeSocket {
			// Nothing there, or nothing of ours: net.Listen has the right words.
		} else if c, err := net.DialTimeout("unix", cfg.Address, time.Second); err == nil {
			_ = c.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(cfg.Address)
		}
	}
	ln, err := net.Listen(cfg.Network, cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.Network == "unix" && cfg.Mode != 0 {
		if err := os.Chmod(cfg.Address, cfg.Mode); err != nil {
			_ = ln.Close()
			return nil, err
		}
	}
	return &listener{cfg: cfg, ln: ln, p: p}, nil
}

// accept runs until the listener is closed. When descriptors run out it waits, from 5 ms to a second, as net/http
// does, instead of spinning.
func (ln *listener) accept() {
	defer ln.p.acceptors.Done()
	var delay time.Duration
	for {
		nc, err := ln.ln.Accept()
		if err == nil {
			delay = 0
			ln.p.welcome(nc, ln)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		ln.p.log.Warn("accept failed", "err", err, "delay", delay)
		ln.p.rejected(metrics.RejectFDLimit)
		select {
		case <-time.After(delay):
		case <-ln.p.stop:
			return
		}
	}
}

// welcome deals a client to the loop with the fewest, or turns it away when there are too many.
func (p *Proxy) welcome(nc net.Conn, ln *listener) {
	if int(p.clients.Add(1)) > p.cfg.Limits.MaxClients {
		p.clients.Add(-1)
		p.rejected(metrics.RejectMaxClients)
		_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		if ln.cfg.TLS == nil {
			_, _ = nc.Write(resp.AppendError(nil, errTextMaxClients))
		}
		_ = nc.Close()
		return
	}
	if ln.cfg.TLS != nil {
		nc = tls.Server(nc, ln.cfg.TLS)
	}
	best := p.loops[0]
	for _, l := range p.loops[1:] {
		if l.load.Load() < best.load.Load() {
			best = l
		}
	}
	best.load.Add(1)
	if !best.post(message{kind: msgAccept, nc: nc, from: ln}) {
		best.load.Add(-1)
		p.clients.Add(-1)
	}
}

// rejected counts a refused client on the first loop, since an acceptor has no counters of its own.
func (p *Proxy) rejected(why metrics.RejectReason) {
	p.loops[0].post(message{kind: msgCall, call: func(l *loop) { l.stats.Rejections[why]++ }})
}

// accepted makes a session of a new client.
func (l *loop) accepted(nc net.Conn, from *listener) {
	s := &session{
		id: l.p.lastClient.Add(1), addr: nc.RemoteAddr().String(), local: nc.LocalAddr().String(),
		listener: from, born: l.now, index: len(l.sessions), profile: l.plain,
		authed: !l.p.cfg.AuthRequired(), window: min(firstWindow, l.limits.InFlight),
	}
	if from.cfg.Network == "unix" {
		s.addr, s.local = from.cfg.Address+":0", from.cfg.Address+":0"
	}
	s.conn = conn{l: l, owner: s, fd: -1, side: metrics.SideClient}
	l.sessions = append(l.sessions, s)
	l.plain.sessions++
	l.stats.SessionsAccepted++
	l.stats.SessionsOpen++
	if err := l.attach(&s.conn, nc); err != nil {
		s.conn.close(err)
	}
}

func (l *loop) removeSession(s *session) {
	last := l.sessions[len(l.sessions)-1]
	l.sessions[s.index], last.index = last, s.index
	l.sessions[len(l.sessions)-1] = nil
	l.sessions = l.sessions[:len(l.sessions)-1]
	l.stats.SessionsOpen--
	l.load.Add(-1)
	l.p.clients.Add(-1)
}

// plainFd takes the descriptor out of a plain connection, so that the loop's epoll serves it. It reports false for
// TLS, and on systems without epoll.
func plainFd(nc net.Conn) (int, bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok || !haveEpoll {
		return -1, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, false
	}
	fd := -1
	err = raw.Control(func(orig uintptr) { fd = dupFd(int(orig)) })
	if err != nil || fd < 0 {
		return -1, false
	}
	_ = nc.Close() // ours is the copy; the runtime's poller lets go of the original
	return fd, true
}

// checkSessions ends clients that are idle, trickle a command, or do not read what they asked for.
func (l *loop) checkSessions() {
	for i := len(l.sessions) - 1; i >= 0; i-- {
		s := l.sessions[i]
		why, err := s.overdue()
		if err != nil {
			s.reason = why
			s.conn.close(err)
		}
	}
}

func (s *session) overdue() (metrics.DisconnectReason, error) {
	lim, now := s.l.limits, s.l.now
	quiet := now - s.progress
	switch {
	case s.l.draining && s.mayLeave():
		return metrics.DisconnectDrain, errDrained
	case s.outSince > 0 && now-s.outSince > lim.WriteStall.Nanoseconds() && s.out.size > lim.OutLow:
		return metrics.DisconnectSlowConsumer, errSlowConsumer
	case !s.authed && s.out.size > lim.OutBeforeAuth:
		return metrics.DisconnectSlowConsumer, errSlowConsumer
	case s.commands == 0 && now-s.born > lim.FirstCommand.Nanoseconds() && len(s.in) > 0:
		return metrics.DisconnectProtocol, errStalled
	case len(s.in) > 0 && s.stops == 0 && quiet > lim.FrameStall.Nanoseconds():
		return metrics.DisconnectProtocol, errStalled
	case lim.Idle > 0 && s.head == nil && s.subs == nil && s.stops&stopPaused == 0 && quiet > lim.Idle.Nanoseconds():
		return metrics.DisconnectIdle, errIdle
	}
	return 0, nil
}

// mayLeave says that a drain may close the client: it is between commands, and its moment within the spread has come.
// All clients at once would reconnect at once, to whatever takes over.
func (s *session) mayLeave() bool {
	if s.head != nil && s.blocked == nil || len(s.in) > 0 || !s.out.empty() {
		return false
	}
	spread := s.l.p.cfg.DrainSpread.Nanoseconds()
	return spread == 0 || s.l.now-s.l.drainSince >= int64(s.id*2654435761%uint64(spread))
}

// shedLargest frees memory when the loop's buffers exceed their budget: the client that holds most is cut off.
func (l *loop) shedLargest() {
	var worst *session
	most := 0
	for _, s := range l.sessions {
		if n := s.holding(); n > most {
			worst, most = s, n
		}
	}
	if worst == nil {
		return
	}
	worst.reason = metrics.DisconnectSlowConsumer
	worst.conn.close(errBudget)
}
