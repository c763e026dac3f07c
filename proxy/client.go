package proxy

import (
	"bytes"
	"strings"
	"time"

	"slotproxy/resp"
)

// ClientInfo describes one client for lists.
type ClientInfo struct {
	ID          uint64
	Addr, Local string
	FD          int
	Name        string
	LibName     string
	LibVer      string
	Capa        string // letters, as CLIENT LIST has them
	User        string
	DB, Proto   int
	Age, Idle   time.Duration
	Command     string // the last one, lower case
	Queued      int    // commands without a reply
	In, InFree  int    // bytes buffered, and room in that buffer
	Out         int    // bytes buffered
	Writing     bool   // its socket is full
	NetIn       uint64 // bytes ever received
	NetOut      uint64 // bytes ever sent
	Commands    uint64 // ever received

	clientMode
}

// clientMode is the part of a client's state that features bring about, see session.mode.
type clientMode struct {
	Flags            string // letters, as CLIENT LIST has them; "N" for none
	Pubsub           bool   // has subscriptions, so CLIENT LIST TYPE pubsub shows it
	Sub, PSub, SSub  int    // its subscriptions
	Multi, MultiSize int    // commands queued by MULTI and their bytes; -1 outside of a transaction
	Watch            int    // watched keys
	Redirect         int64  // the client that gets its invalidation messages; -1: it does not track, 0: itself
}

// mode is what the client is in the middle of. Whoever owns such a feature adds its letters and numbers here.
func (s *session) mode() clientMode {
	m := clientMode{Multi: -1, Redirect: s.redirectsTo()}
	if s.tx != nil {
		m.Multi, m.MultiSize = int(s.tx.n), len(s.tx.r.buf)
	}
	if s.watch != nil {
		m.Watch = 1 // at least
	}
	flag := func(set bool, letter string) {
		if set {
			m.Flags += letter
		}
	}
	m.Sub, m.PSub, m.SSub = s.subscriptions()
	m.Pubsub = s.subs != nil
	flag(m.Pubsub, "P")
	flag(s.monitors, "O")
	flag(s.tx != nil, "x")
	flag(s.blocked != nil, "b")
	flag(s.tracking != nil, "t")
	flag(s.tracking != nil && s.tracking.broken, "R")
	flag(s.tracking != nil && s.tracking.bcast, "B")
	flag(s.watch != nil && s.watch.gone(s), "d")
	flag(s.ending, "c")
	flag(s.listener.cfg.Network == "unix", "U")
	flag(s.noEvict, "e")
	flag(s.noTouch, "T")
	if m.Flags == "" {
		m.Flags = "N"
	}
	return m
}

// cleanName is the server's rule for names that appear in CLIENT LIST.
func cleanName(name string) bool {
	for i := range len(name) {
		if name[i] < '!' || name[i] > '~' {
			return false
		}
	}
	return true
}

// maxName bounds what clients call themselves: 10000 clients with names and libraries of this length fill 120 MB. Names
// that people and libraries choose have less than 100 bytes.
const maxName = 4096

// badName says what is wrong with a client's name; empty: nothing.
func badName(name string) string {
	switch {
	case len(name) > maxName:
		return errTextLongName
	case !cleanName(name):
		return errTextBadName
	}
	return ""
}

func clientGetName(s *session, _ [][]byte) {
	if s.name == "" {
		s.say(resp.AppendNull(nil, s.profile.key.proto))
		return
	}
	s.say(resp.AppendBulkString(nil, s.name))
}

func clientSetName(s *session, args [][]byte) {
	name := string(args[2])
	if text := badName(name); text != "" {
		s.ownError(text)
		return
	}
	s.name = name
	s.sayOK()
}

func clientSetInfo(s *session, args [][]byte) {
	option, value := string(args[2]), string(args[3])
	var field *string
	switch {
	case strings.EqualFold(option, "lib-name"):
		field = &s.libName
	case strings.EqualFold(option, "lib-ver"):
		field = &s.libVer
	default:
		s.ownError(unknownOption(option))
		return
	}
	switch {
	case len(value) > maxName:
		s.ownError(errTextLongName)
		return
	case !cleanName(value):
		s.ownError(badOption(option))
		return
	}
	*field = value
	s.sayOK()
}

func clientID(s *session, _ [][]byte) { s.say(resp.AppendInt(nil, int64(s.id))) }

// onOff reads a switch; the setting concerns one server's memory policy, so it has no effect but in CLIENT LIST.
func onOff(s *session, arg []byte, field *bool) {
	switch {
	case bytes.EqualFold(arg, []byte("on")):
		*field = true
	case bytes.EqualFold(arg, []byte("off")):
		*field = false
	default:
		s.ownError(errTextSyntax)
		return
	}
	s.sayOK()
}

func clientNoEvict(s *session, args [][]byte) { onOff(s, args[2], &s.noEvict) }
func clientNoTouch(s *session, args [][]byte) { onOff(s, args[2], &s.noTouch) }

// clientCapa notes what the client says it can do. The proxy never sends it elsewhere.
func clientCapa(s *session, args [][]byte) {
	for _, a := range args[2:] {
		if bytes.EqualFold(a, []byte("redirect")) {
			s.capa = "r"
		}
	}
	s.sayOK()
}

func clientInfo(s *session, _ [][]byte) {
	s.say(resp.AppendVerbatim(nil, s.info().line(s.l.p.release()), s.profile.key.proto))
}

func (s *session) info() ClientInfo {
	k := &s.profile.key
	user := k.user
	if user == "" {
		user = "default"
	}
	last := "NULL"
	switch {
	case s.capturing:
		last = "exec" // which carries out the command at hand
	case s.rule != nil:
		last = s.rule.Name
	}
	return ClientInfo{
		ID: s.id, Addr: s.addr, Local: s.local, FD: s.fd, Name: s.name, LibName: s.libName, LibVer: s.libVer, Capa: s.capa,
		User: user, DB: k.db, Proto: k.proto, Age: time.Duration(s.l.now - s.born), Idle: time.Duration(s.l.now - s.progress),
		Command: last, Queued: s.queued, In: len(s.in), InFree: cap(s.in) - len(s.in), Out: s.out.size + s.held,
		Writing: s.wantWrite, NetIn: s.received, NetOut: s.sent, Commands: s.commands, clientMode: s.mode(),
	}
}

// line is the client in the form in which CLIENT LIST of such servers has it.
func (c ClientInfo) line(r release) string {
	var b strings.Builder
	put := func(key, value string) { b.WriteString(key + "=" + value + " ") }
	num := func(key string, n int64) { put(key, decimal(n)) }
	num("id", int64(c.ID))
	put("addr", c.Addr)
	put("laddr", c.Local)
	num("fd", int64(c.FD))
	put("name", c.Name)
	num("age", int64(c.Age/time.Second))
	num("idle", int64(c.Idle/time.Second))
	put("flags", c.Flags)
	if r.valkey(8, 1) {
		put("capa", c.Capa)
	}
	num("db", int64(c.DB))
	num("sub", int64(c.Sub))
	num("psub", int64(c.PSub))
	num("ssub", int64(c.SSub))
	num("multi", int64(c.Multi))
	if r.since(7, 4) {
		num("watch", int64(c.Watch))
	}
	num("qbuf", int64(c.In))
	num("qbuf-free", int64(c.InFree))
	put("argv-mem", "0")
	num("multi-mem", int64(c.MultiSize))
	put("rbs", "0")
	put("rbp", "0")
	num("obl", int64(c.Out))
	num("oll", int64(c.Queued))
	num("omem", int64(c.Out))
	num("tot-mem", int64(c.In+c.InFree+c.Out+c.MultiSize))
	put("events", map[bool]string{false: "r", true: "rw"}[c.Writing])
	put("cmd", c.Command)
	put("user", c.User)
	num("redir", c.Redirect)
	num("resp", int64(c.Proto))
	if r.since(7, 2) {
		put("lib-name", c.LibName)
		put("lib-ver", c.LibVer)
	}
	if r.since(8, 0) {
		num("tot-net-in", int64(c.NetIn))
		num("tot-net-out", int64(c.NetOut))
		num("tot-cmds", int64(c.Commands))
	}
	return strings.TrimSuffix(b.String(), " ") + "\n"
}

// Clients lists all clients, waiting at most a second for busy loops.
func (p *Proxy) Clients() []ClientInfo {
	lists := make([][]ClientInfo, len(p.loops))
	if !p.ask(time.Second, func(l *loop) { lists[l.id] = l.clients() }) {
		return nil
	}
	var all []ClientInfo
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func (l *loop) clients() []ClientInfo {
	list := make([]ClientInfo, 0, len(l.sessions))
	for _, s := range l.sessions {
		list = append(list, s.info())
	}
	return list
}
