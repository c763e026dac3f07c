package proxy

import (
	"bytes"
	"strings"
	"sync/atomic"
	"time"

	"slotproxy/resp"
)

// ClientInfo describes one client for lists.
type ClientInfo struct {
	ID          uint64
	Addr, Local string
	Name        string
	LibName     string
	LibVer      string
	User        string
	DB, Proto   int
	Age, Idle   time.Duration
	Command     string // the last one, lower case
	Queued      int    // commands without a reply
	In, Out     int    // bytes buffered
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

func clientGetName(s *session, _ [][]byte) {
	if s.name == "" {
		s.say(resp.AppendNull(nil, s.profile.key.proto))
		return
	}
	s.say(resp.AppendBulkString(nil, s.name))
}

func clientSetName(s *session, args [][]byte) {
	name := string(args[2])
	if !cleanName(name) {
		s.ownError(errTextBadName)
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
	if !cleanName(value) {
		s.ownError(badOption(option))
		return
	}
	*field = value
	s.sayOK()
}

func clientID(s *session, _ [][]byte) { s.say(resp.AppendInt(nil, int64(s.id))) }

// clientOnOff accepts a setting that concerns one server's memory policy; the proxy's clients share connections.
func clientOnOff(s *session, args [][]byte) {
	if !bytes.EqualFold(args[2], []byte("on")) && !bytes.EqualFold(args[2], []byte("off")) {
		s.ownError(errTextSyntax)
		return
	}
	s.sayOK()
}

func clientInfo(s *session, _ [][]byte) {
	s.say(resp.AppendVerbatim(nil, s.info().line(), s.profile.key.proto))
}

func (s *session) info() ClientInfo {
	k := &s.profile.key
	user := k.user
	if user == "" {
		user = "default"
	}
	last := ""
	if s.rule != nil {
		last = s.rule.Name
	}
	return ClientInfo{
		ID: s.id, Addr: s.addr, Local: s.local, Name: s.name, LibName: s.libName, LibVer: s.libVer, User: user,
		DB: k.db, Proto: k.proto, Age: time.Duration(s.l.now - s.born), Idle: time.Duration(s.l.now - s.progress),
		Command: last, Queued: s.queued, In: len(s.in), Out: s.out.size + s.held,
	}
}

// line is the client in the form of CLIENT LIST.
func (c ClientInfo) line() string {
	var b strings.Builder
	put := func(key, value string) { b.WriteString(key + "=" + value + " ") }
	num := func(key string, n int64) { put(key, decimal(n)) }
	num("id", int64(c.ID))
	put("addr", c.Addr)
	put("laddr", c.Local)
	put("fd", "0")
	put("name", c.Name)
	num("age", int64(c.Age/time.Second))
	num("idle", int64(c.Idle/time.Second))
	put("flags", "N")
	num("db", int64(c.DB))
	put("sub", "0")
	put("psub", "0")
	put("ssub", "0")
	put("multi", "-1")
	put("watch", "0")
	num("qbuf", int64(c.In))
	put("qbuf-free", "0")
	put("argv-mem", "0")
	put("multi-mem", "0")
	put("rbs", "0")
	put("rbp", "0")
	num("obl", int64(c.Out))
	num("oll", int64(c.Queued))
	num("omem", int64(c.Out))
	num("tot-mem", int64(c.In+c.Out))
	put("events", "r")
	put("cmd", c.Command)
	put("user", c.User)
	put("redir", "-1")
	num("resp", int64(c.Proto))
	put("lib-name", c.LibName)
	b.WriteString("lib-ver=" + c.LibVer + "\n")
	return b.String()
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

// census collects one list from all loops without any of them waiting: each adds its part and the last one reports.
type census struct {
	parts [][]ClientInfo // by loop; each written by its loop only
	left  atomic.Int32
}

// clientList answers CLIENT LIST [ID id...|TYPE normal] with the clients of all loops.
func clientList(s *session, args [][]byte) {
	keep, text := listFilter(args[2:])
	if text != "" {
		s.ownError(text)
		return
	}
	r := s.request(s.rule, nil)
	r.refs++ // held by the census
	r.enter(stateSent)
	c := &census{parts: make([][]ClientInfo, len(s.l.p.loops))}
	c.left.Store(int32(len(c.parts)))
	home := s.l
	for _, l := range home.p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) {
			c.parts[l.id] = l.clients()
			if c.left.Add(-1) == 0 {
				home.post(message{kind: msgCall, call: func(l *loop) { l.listed(r, c, keep) }})
			}
		}})
	}
}

func (l *loop) listed(r *request, c *census, keep func(ClientInfo) bool) {
	if r.state != stateDone {
		var b strings.Builder
		for _, part := range c.parts {
			for _, info := range part {
				if keep(info) {
					b.WriteString(info.line())
				}
			}
		}
		l.finish(r, resp.AppendVerbatim(nil, b.String(), r.sess.profile.key.proto))
	}
	l.release(r)
}

// listFilter reads the options of CLIENT LIST.
func listFilter(args [][]byte) (keep func(ClientInfo) bool, text string) {
	keep = func(ClientInfo) bool { return true }
	switch {
	case len(args) == 0:
	case len(args) == 2 && bytes.EqualFold(args[0], []byte("type")):
		kind := strings.ToLower(string(args[1]))
		switch kind {
		case "normal":
		case "master", "primary", "replica", "slave", "pubsub":
			keep = func(ClientInfo) bool { return false }
		default:
			return nil, unknownClientType(args[1])
		}
	case len(args) >= 2 && bytes.EqualFold(args[0], []byte("id")):
		ids := map[uint64]bool{}
		for _, a := range args[1:] {
			n, ok := resp.ParseInt(a)
			if !ok || n <= 0 {
				return nil, errTextClientID
			}
			ids[uint64(n)] = true
		}
		keep = func(c ClientInfo) bool { return ids[c.ID] }
	default:
		return nil, errTextSyntax
	}
	return keep, ""
}
