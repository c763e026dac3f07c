package admin

import (
	"errors"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tidwall/redcon"

	"slotproxy/resp"
)

// session is one connection as redcon sees it: reading gives checked commands.
// After its creation it belongs to the goroutine that redcon runs for it.
type session struct {
	net.Conn // the guard
	server   *Server
	wire     *wire
	id       int64
	limits   resp.Limits // read by the guard
	authed   bool
	role     role // once authed
	proto    int
	failed   int  // logins
	over     bool // to be closed when the reply is out
}

func newSession(srv *Server, nc net.Conn, id int64) *session {
	s := &session{server: srv, id: id, proto: 2, limits: resp.BeforeAuth}
	s.wire = &wire{Conn: nc, loginBy: time.Now().Add(srv.cfg.loginTime)}
	s.Conn = resp.NewGuard(s.wire, &s.limits)
	if !srv.users.needed() {
		s.welcome(guestRole(nc.RemoteAddr()))
	}
	return s
}

// welcome makes a stranger a user.
func (s *session) welcome(as role) {
	s.authed, s.failed, s.role = true, 0, as
	s.limits = resp.Admin
	s.wire.loginBy = time.Time{}
}

// caller is who the session speaks for.
func (s *session) caller() caller {
	from := "unix"
	if addr := s.RemoteAddr(); addr.Network() != "unix" {
		from = addr.String()
	}
	return caller{role: s.role, name: s.role.String() + "@" + from, session: s.id}
}

// wire bounds how long a peer may keep a session waiting.
type wire struct {
	net.Conn
	loginBy time.Time // zero when logged in
}

func (w *wire) Read(p []byte) (int, error) {
	by := w.loginBy
	if by.IsZero() {
		by = time.Now().Add(idleTime)
	}
	if err := w.SetReadDeadline(by); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *wire) Write(p []byte) (int, error) {
	if len(p) == 0 { // redcon's own, always empty buffer
		return 0, nil
	}
	if err := w.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// handle answers one command. The reply is written at once: redcon would keep the
// replies to a whole pipeline in memory.
func (srv *Server) handle(c redcon.Conn, cmd redcon.Command) {
	s := c.NetConn().(*session)
	args := make([]string, len(cmd.Args))
	for i, a := range cmd.Args {
		args[i] = string(a)
	}
	_, err := s.Write(s.answer(args))
	if err != nil || s.over {
		c.ReadPipeline() // what came behind is not run
		_ = c.Close()
	}
}

// answer runs one command. A fault in it must not end the process, which serves
// clients of the data port.
func (s *session) answer(args []string) (out []byte) {
	defer s.server.survive(s.id, &out)
	r := &reply{proto: s.proto}
	name := strings.ToLower(args[0])
	cmd, known := basics[name]
	given := len(args) - 1
	switch {
	case !known && s.authed:
		r.fail(unknownCommand(args))
	case !s.authed && !cmd.open:
		r.fail(errTextNoAuth)
	case given < cmd.min || given > cmd.max:
		r.fail(wrongArity(name))
	default:
		cmd.run(s, args[1:], r)
	}
	return r.b
}

// survive is deferred around a command: it makes a fault an error in the reply.
func (srv *Server) survive(session int64, out *[]byte) {
	if fault := recover(); fault != nil {
		srv.log.Error("admin command failed", "session", session, "err", fault, "cause", string(debug.Stack()))
		*out = resp.AppendError(nil, errTextInternal)
	}
}

// ended is called by redcon as the last act of a session's goroutine.
func (srv *Server) ended(c redcon.Conn, err error) {
	s := c.NetConn().(*session)
	var broken *resp.ProtocolError
	if errors.As(err, &broken) && broken.Security {
		srv.log.Warn("admin session refused", "session", s.id, "cause", hostOf(s.RemoteAddr()), "err", err)
	} else {
		srv.log.Debug("admin session ended", "session", s.id, "err", err)
	}
	srv.open.Add(-1)
	srv.sessions.Done()
}
