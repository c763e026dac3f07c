package proxy

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"

	"slotproxy/resp"
	"slotproxy/router"
)

// CLIENT TRACKING: a node remembers which keys a connection has read and tells it when they change. So a client that
// tracks has node connections of its own, whose handshake ends with its CLIENT TRACKING, and gets what the nodes push
// there. What no node can tell, the proxy does: a key of a slot that went to another node, or whose connection broke, may
// have changed unseen, so the client is told to forget all.

// tracking is the state of a client that has it on.
type tracking struct {
	command  []byte // CLIENT TRACKING as nodes get it, every one that is in force
	commands int
	bcast    bool
	optin    bool
	optout   bool
	noloop   bool
	redirect uint64 // id of the client that is told instead, 0 none
	named    bool   // the command has REDIRECT
	off      bool   // the command says OFF
	broken   bool   // that client was gone when it should have been told
	prefixes []string
	read     [router.Slots / 64]uint64 // slots that the client has read since it was last told to forget all
	any      bool                      // there is one
	flushed  int64                     // loop time at which it was told that
}

// maxTracking bounds the clients that track, in one loop: each has a connection to every node.
const maxTracking = 1000

// forgetAll tells a client that everything it has cached is stale.
var forgetAll = []byte(">2\r\n$10\r\ninvalidate\r\n_\r\n")

// clientTracking takes CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX p ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]. The client of REDIRECT has
// to be there, in whichever loop: the server says so before it looks at what stands behind, with OFF too.
func clientTracking(s *session, args [][]byte) {
	t, text := parseTracking(args[2:])
	if t.named {
		seek := &census[bool]{s: s, part: func(l *loop) bool { return l.byID(t.redirect) != nil }}
		seek.reply = func(s *session, parts []bool) []byte {
			if !slices.Contains(parts, true) {
				text = errTextNoRedirect
			}
			switch failure, later := s.track(t, text, seek.r); {
			case failure != "":
				s.l.fail(seek.r, failure)
				return nil
			case later:
				return nil
			}
			return okReply
		}
		seek.start()
		return
	}
	switch failure, later := s.track(t, text, nil); {
	case failure != "":
		s.ownError(failure)
	case !later:
		s.sayOK()
	}
}

// track does what CLIENT TRACKING says, for the request r if there is one already. It returns what is wrong with it, or that the answer
// comes later.
func (s *session) track(t *tracking, text string, r *request) (failure string, later bool) {
	switch {
	case text != "":
		return text, false
	case t.off:
		s.endTracking()
	case s.tracking == nil && s.l.trackers >= maxTracking:
		return errTextTooManyTracking, false
	case !s.tracking.covers(t):
		s.beginTracking(t, r)
		return "", true
	}
	return "", false
}

// covers says that a further CLIENT TRACKING changes nothing.
func (t *tracking) covers(further *tracking) bool {
	return t != nil && !t.broken && !t.bcast && !further.bcast && len(further.prefixes) == 0 && t.redirect == further.redirect &&
		t.optin == further.optin && t.optout == further.optout && t.noloop == further.noloop
}

// parseTracking reads the options, up to the one that the text complains of. What does not fit together a node will say.
func parseTracking(args [][]byte) (t *tracking, text string) {
	t = &tracking{}
	on := bytes.EqualFold(args[0], []byte("on"))
	keep := [][]byte{[]byte("CLIENT"), []byte("TRACKING"), args[0]}
	for i := 1; i < len(args); i++ {
		more := i+1 < len(args)
		switch word := strings.ToLower(string(args[i])); {
		case word == "redirect" && more:
			if t.named {
				return t, errTextOneRedirect
			}
			n, ok := resp.ParseInt(args[i+1])
			if !ok {
				return t, errTextNotInteger
			}
			t.redirect, t.named = uint64(n), true // nobody has 0 or what becomes of a negative one
			i++
			continue
		case word == "prefix" && more:
			t.prefixes = append(t.prefixes, string(args[i+1]))
			keep = append(keep, args[i])
			i++
		case word == "bcast":
			t.bcast = true
		case word == "optin":
			t.optin = true
		case word == "optout":
			t.optout = true
		case word == "noloop":
			t.noloop = true
		default:
			return t, errTextSyntax
		}
		keep = append(keep, args[i])
	}
	if t.off = bytes.EqualFold(args[0], []byte("off")); !on && !t.off {
		return t, errTextSyntax
	}
	t.command, t.commands = resp.AppendCommand(nil, keep...), 1
	return t, ""
}

// beginTracking gives the client node connections of its own, on which a node has agreed to its options. r is its request, nil for none yet.
func (s *session) beginTracking(t *tracking, r *request) {
	if t.redirect != 0 && s.profile.key.proto < 3 {
		t.command = redirected(t.command)
	}
	if old := s.tracking; old != nil && old.redirect == 0 && t.redirect == 0 {
		s.retrack(t)
		return
	}
	if old := s.tracking; old != nil {
		t.command = append(append([]byte(nil), old.command...), t.command...)
		t.commands += old.commands
		t.prefixes = append(append([]string(nil), old.prefixes...), t.prefixes...)
	}
	k := s.profile.key
	k.client, k.tracking, k.trackings = s.id, string(t.command), t.commands
	reply := func(s *session) []byte {
		if s.tracking == nil {
			s.l.trackers++
		}
		s.forget() // what it has read is watched on connections that go now
		s.tracking = t
		s.reachAll()
		return okReply
	}
	s.l.profileFor(k).owner = s
	s.tryProfile(k, pingCommand, login{reply: reply, request: r})
	if !t.bcast || s.login == nil {
		return
	}
	// The answer waits until every node pushes.
	r = s.login.request
	r.fan.stage = func(l *loop, r *request) bool {
		s := r.sess
		r.fan.stage = nil
		if s.tracking != t {
			return false
		}
		for _, n := range l.primaries {
			p := l.newPart(r)
			p.to, p.once, p.raw = n, false, true
			l.setBuf(p, pingCommand)
		}
		s.goParts(r)
		return true
	}
}

// retrack adds options on the connections that the client has, so that what is watched there stays so. One node judges
// them for all.
func (s *session) retrack(t *tracking) {
	r := s.request(s.rule, nil)
	r.fan = s.l.newFanout()
	r.fan.raw = true
	r.fan.merge = func(r *request, dst []byte) ([]byte, bool) {
		p := r.fan.parts[0]
		if string(p.reply) == string(okReply) {
			r.sess.retracked(t, p.conn)
		}
		return append(dst, p.reply...), true
	}
	p := s.l.newPart(r)
	p.once = false
	s.l.setBuf(p, t.command)
	s.stop(stopBarrier)
	s.goParts(r)
}

// retracked gives the options to the other connections, and to those to come.
func (s *session) retracked(t *tracking, first *nodeConn) {
	l, old, p := s.l, s.tracking, s.profile
	for _, n := range l.nodes {
		for _, c := range n.conns {
			if c.profile == p && c != first && c.attached {
				l.ask(c, t.command, nil)
			}
		}
	}
	delete(l.profiles, p.key)
	p.key.tracking += string(t.command)
	p.key.trackings++
	l.profiles[p.key] = p
	old.bcast, old.optin, old.optout, old.noloop = t.bcast, t.optin, t.optout, t.noloop
	old.command, old.commands = append(old.command, t.command...), old.commands+1
	old.prefixes = append(old.prefixes, t.prefixes...)
}

// redirected adds REDIRECT to a CLIENT TRACKING, with a token where the name belongs.
func redirected(command []byte) []byte {
	var p resp.Parser
	if n, err := p.Next(command, &resp.AfterAuth); err != nil || n == 0 {
		return command // cannot happen: it is our own
	}
	return resp.AppendCommand(nil, append(p.Args, []byte("REDIRECT"), redirectToken)...)
}

// endTracking returns the client to shared connections.
func (s *session) endTracking() {
	if s.tracking == nil {
		return
	}
	s.tracking = nil
	s.caching = ""
	s.l.trackers--
	k := s.profile.key
	k.client, k.tracking, k.trackings = 0, "", 0
	s.use(s.l.profileFor(k))
}

// reachAll sees to it that a client with BCAST hears of every node.
func (s *session) reachAll() {
	if t := s.tracking; t == nil || !t.bcast {
		return
	}
	for _, n := range s.l.primaries {
		n.conn(s.profile, 0)
	}
}

func (l *loop) reachAll() {
	if l.trackers == 0 {
		return
	}
	for _, s := range l.sessions {
		s.reachAll()
	}
}

// reads notes what a client with tracking may cache.
func (t *tracking) reads(slot uint16) {
	t.read[slot/64] |= 1 << (slot % 64)
	t.any = true
}

func (t *tracking) hasRead(slot uint16) bool { return t.read[slot/64]&(1<<(slot%64)) != 0 }

// slotLeft tells the clients that have read keys of a slot to forget all: its new node will not tell of changes.
func (l *loop) slotLeft(slot uint16) {
	if l.trackers == 0 {
		return
	}
	for _, s := range l.sessions {
		if t := s.tracking; t != nil && (t.bcast || t.hasRead(slot)) {
			s.forget()
		}
	}
}

// forget tells the client that all it has cached is stale.
func (s *session) forget() {
	t := s.tracking
	if t == nil || !t.any && !t.bcast {
		return
	}
	s.invalidated(forgetAll)
}

// flushEcho is the time in which the nodes tell, one after the other, that all was flushed.
const flushEcho = int64(100e6)

// invalidated passes on what a node has pushed to the client's own connections.
func (s *session) invalidated(push []byte) {
	t := s.tracking
	if t == nil {
		return
	}
	own := t.redirect == 0 || t.redirect == s.id
	if own && s.profile.key.proto != 3 {
		return // it cannot be told, and what it has read stays noted: with HELLO 3 it will be told to forget it
	}
	if string(push) == string(forgetAll) {
		if !t.any && s.l.now-t.flushed < flushEcho {
			return // another node says the same
		}
		t.read, t.any, t.flushed = [router.Slots / 64]uint64{}, false, max(s.l.now, 1)
	}
	if own {
		s.push(push)
		return
	}
	r := &redirection{from: s.id, to: t.redirect, home: s.l, push: append([]byte(nil), push...)}
	for _, l := range s.l.p.loops {
		l.post(message{kind: msgCall, call: r.visit})
	}
}

// redirection brings a push to another client, in whichever loop that is.
type redirection struct {
	from, to uint64 // ids of clients
	home     *loop  // of from
	push     []byte
	missed   atomic.Int32 // loops that do not have the client
}

// visit tells the client if it is one of l. The last loop that does not have it lets the one know that asked for it.
func (r *redirection) visit(l *loop) {
	if to := l.byID(r.to); to != nil {
		to.pushRedirected(r.push)
	} else if int(r.missed.Add(1)) == len(l.p.loops) {
		r.home.post(message{kind: msgCall, call: r.broken})
	}
}

// broken tells a client that the one that should have been told for it has gone.
func (r *redirection) broken(l *loop) {
	s := l.byID(r.from)
	if s == nil || s.tracking == nil || s.tracking.redirect != r.to {
		return
	}
	s.tracking.broken = true
	if s.profile.key.proto == 3 {
		s.push(resp.AppendInt(resp.AppendBulkString(resp.AppendPush(nil, 2, 3), "tracking-redir-broken"), int64(r.to)))
	}
}

// pushRedirected hands the client a push for another one, in the form that its protocol has for it.
func (s *session) pushRedirected(push []byte) {
	if s.profile.key.proto == 3 {
		s.push(push)
		return
	}
	head := []byte(">2\r\n$10\r\ninvalidate\r\n")
	if rest, ok := bytes.CutPrefix(push, head); ok && s.hears("__redis__:invalidate") {
		if string(rest) == "_\r\n" {
			rest = []byte("*-1\r\n")
		}
		s.push(append([]byte("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"), rest...))
	}
}

// hears says whether the client is subscribed to a channel.
func (s *session) hears(channel string) bool {
	return s.subs != nil && s.subs.of[plainTopic][channel] != nil
}

func clientCaching(s *session, args [][]byte) {
	yes, no := bytes.EqualFold(args[2], []byte("yes")), bytes.EqualFold(args[2], []byte("no"))
	t := s.tracking
	switch {
	case t == nil:
		s.ownError(errTextNoTracking)
	case !yes && !no:
		s.ownError(errTextSyntax)
	case yes && !t.optin:
		s.ownError(errTextNoOptin)
	case no && !t.optout:
		s.ownError(errTextNoOptout)
	default:
		s.caching = string(resp.AppendCommandStrings(nil, "CLIENT", "CACHING", strings.ToUpper(string(args[2]))))
		s.sayOK()
	}
}

func clientGetRedir(s *session, _ [][]byte) {
	s.say(resp.AppendInt(nil, s.redirectsTo()))
}

// redirectsTo is -1 without tracking, 0 without redirection.
func (s *session) redirectsTo() int64 {
	if s.tracking == nil {
		return -1
	}
	return int64(s.tracking.redirect)
}

func clientTrackingInfo(s *session, _ [][]byte) {
	proto := s.profile.key.proto
	flags, prefixes := []string{"off"}, []string(nil)
	if t := s.tracking; t != nil {
		flags, prefixes = []string{"on"}, t.prefixes
		for _, f := range []struct {
			set  bool
			name string
		}{{t.bcast, "bcast"}, {t.optin, "optin"}, {t.optin && s.caching != "", "caching-yes"}, {t.optout, "optout"},
			{t.optout && s.caching != "", "caching-no"}, {t.noloop, "noloop"}, {t.broken, "broken_redirect"}} {
			if f.set {
				flags = append(flags, f.name)
			}
		}
	}
	b := resp.AppendMap(nil, 3, proto)
	b = resp.AppendBulkString(b, "flags")
	b = resp.AppendSet(b, len(flags), proto)
	for _, f := range flags {
		b = resp.AppendBulkString(b, f)
	}
	b = resp.AppendBulkString(b, "redirect")
	b = resp.AppendInt(b, s.redirectsTo())
	b = resp.AppendBulkString(b, "prefixes")
	b = resp.AppendArray(b, len(prefixes))
	for _, p := range prefixes {
		b = resp.AppendBulkString(b, p)
	}
	s.say(b)
}
