package admin

import (
	"strconv"
	"strings"
)

// basic is a command that clients expect of any server.
type basic struct {
	min, max int  // arguments behind the name
	open     bool // also for sessions that have not logged in
	run      func(s *session, args []string, r *reply)
}

// many stands for no upper bound of our own; resp.Admin has one.
const many = 1 << 20

// basics is the table, by lower-case name.
var basics = map[string]basic{
	"auth":    {1, many, true, (*session).auth},
	"client":  {1, many, false, (*session).client},
	"command": {0, many, false, (*session).command},
	"echo":    {1, 1, false, (*session).echo},
	"hello":   {0, many, true, (*session).hello},
	"info":    {0, 1, false, (*session).info},
	"ping":    {0, 1, false, (*session).ping},
	"proxy":   {0, many, false, (*session).proxy},
	"quit":    {0, many, true, (*session).quit},
}

func (s *session) ping(args []string, r *reply) {
	if len(args) == 1 {
		r.text(args[0])
		return
	}
	r.simple("PONG")
}

func (s *session) echo(args []string, r *reply) { r.text(args[0]) }

func (s *session) quit(_ []string, r *reply) {
	r.ok()
	s.over = true
}

func (s *session) proxy(args []string, r *reply) {
	s.server.console.run(s.server.life, args, s.caller(), r)
}

func (s *session) info(args []string, r *reply) { s.proxy(append([]string{"info"}, args...), r) }

// command answers what clients ask to complete names on a terminal: nothing to
// complete, PROXY HELP tells more.
func (s *session) command(_ []string, r *reply) { r.array(0) }

// client accepts what libraries say of themselves; nothing here shows it.
func (s *session) client(args []string, r *reply) {
	sub := strings.ToLower(args[0])
	want, known := map[string]int{"setname": 2, "setinfo": 3, "id": 1}[sub]
	switch {
	case !known:
		r.fail(unknownSub("client", args[0]))
	case len(args) != want:
		r.fail(wrongArity("client|" + sub))
	case sub == "id":
		r.number(s.id)
	default:
		r.ok()
	}
}

// auth is AUTH [user] password. Valkey calls more words a syntax error, not an arity.
func (s *session) auth(args []string, r *reply) {
	if len(args) > 2 {
		r.fail(errTextSyntax)
		return
	}
	if len(args) == 1 && !s.server.users.needed() {
		r.fail(errTextNoPassword)
		return
	}
	user := userDefault
	if len(args) == 2 {
		user = args[0]
	}
	if text := s.login(user, args[len(args)-1]); text != "" {
		r.fail(text)
		return
	}
	r.ok()
}

// login returns what went wrong, "" when the session is logged in.
func (s *session) login(user, password string) string {
	host, srv := hostOf(s.RemoteAddr()), s.server
	if !srv.failures.allowed(host) {
		s.over = true
		return errTextAuthRate
	}
	as, ok := srv.users.check(user, password, guestRole(s.RemoteAddr()))
	if !ok {
		srv.failures.add(host)
		s.failed++
		s.over = s.failed >= maxFailures
		srv.log.Warn("admin login failed", "session", s.id, "count", s.failed, "cause", host)
		return errTextWrongPass
	}
	s.welcome(as)
	return ""
}

// hello is HELLO [2|3 [AUTH user password] [SETNAME name]].
func (s *session) hello(args []string, r *reply) {
	proto := s.proto
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			r.fail(errTextProto)
			return
		}
		if n != 2 && n != 3 {
			r.fail(errTextNoProto)
			return
		}
		proto = n
		if text := s.helloOptions(args[1:]); text != "" {
			r.fail(text)
			return
		}
	}
	if !s.authed {
		r.fail(errTextHelloAuth)
		return
	}
	s.proto, r.proto = proto, proto
	r.dict(7)
	r.pair("server", "slotproxy")
	r.pair("version", s.server.cfg.Version)
	r.count("proto", proto)
	r.text("id")
	r.number(s.id)
	r.pair("mode", "standalone")
	r.pair("role", "master")
	r.text("modules")
	r.array(0)
}

// helloOptions acts on the options only when all of them are understood.
func (s *session) helloOptions(args []string) string {
	var credentials []string
	for i := 0; i < len(args); {
		switch option, left := strings.ToLower(args[i]), len(args)-i-1; {
		case option == "auth" && left >= 2:
			credentials = args[i+1 : i+3]
			i += 3
		case option == "setname" && left >= 1:
			i += 2
		default:
			return "ERR Syntax error in HELLO option '" + echo(args[i]) + "'"
		}
	}
	if credentials == nil {
		return ""
	}
	return s.login(credentials[0], credentials[1])
}
