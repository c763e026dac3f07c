package proxy

import (
	"bytes"
	"strconv"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// localFn answers a command that the proxy handles itself, for a session whose parser holds its arguments.
type localFn func(s *session, args [][]byte)

// localCommand is one entry of the table of commands that the proxy answers.
type localCommand struct {
	run localFn
	// The command changes what later commands of the client run as, so it waits until the earlier ones are done.
	alone bool
	// No server has it, so no node can be asked whether the user may run it.
	ours bool
}

// locals is the table, by rule name. Commands with a fixed answer have it in the policy table instead.
var locals = map[string]localCommand{
	"ping":    {run: localPing},
	"monitor": {run: localMonitor},
	"echo":    {run: localEcho},
	"quit":    {run: localQuit},
	"role":    {run: localRole},
	"auth":    {run: localAuth, alone: true},
	"hello":   {run: localHello, alone: true},
	"reset":   {run: localReset, alone: true},
	"select":  {run: localSelect, alone: true},

	"client|caching":      {run: clientCaching},
	"client|capa":         {run: clientCapa},
	"client|getname":      {run: clientGetName},
	"client|getredir":     {run: clientGetRedir},
	"client|id":           {run: clientID},
	"client|info":         {run: clientInfo},
	"client|kill":         {run: clientKill, alone: true},
	"client|list":         {run: clientList, alone: true},
	"client|no-evict":     {run: clientNoEvict},
	"client|no-touch":     {run: clientNoTouch},
	"client|pause":        {run: clientPause, alone: true},
	"client|reply":        {run: clientReply},
	"client|setinfo":      {run: clientSetInfo},
	"client|setname":      {run: clientSetName},
	"client|tracking":     {run: clientTracking, alone: true},
	"client|trackinginfo": {run: clientTrackingInfo},
	"client|unblock":      {run: clientUnblock, alone: true},
	"client|unpause":      {run: clientUnpause, alone: true},

	"cluster|keyslot": {run: localKeySlot},
	"debug":           {run: localDebug, alone: true},
	"proxy":           {run: localProxy, ours: true},
}

// commandSet is the command table with our answers beside it. Immutable.
type commandSet struct {
	*router.Commands
	local []localCommand // by rule ID
}

func newCommandSet(c *router.Commands) *commandSet {
	set := &commandSet{Commands: c, local: make([]localCommand, len(c.Rules()))}
	for _, r := range c.Rules() {
		set.local[r.ID] = locals[r.Name]
	}
	return set
}

// answer runs a local command. It reports false when the command has to wait for the client's earlier ones.
func (s *session) answer(rule *router.Rule) bool {
	cmd := s.l.cmds.local[rule.ID]
	if cmd.alone && s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	if !cmd.ours {
		if ok, known := s.permitted(rule); !ok {
			return known
		}
	}
	switch {
	case cmd.run != nil:
		s.wrong, s.asked = false, false
		cmd.run(s, s.parser.Args)
		if s.wrong {
			s.l.stats.Commands[rule.ID].ProxyError++
		} else if !s.asked {
			s.l.stats.Commands[rule.ID].OK++
		}
	case rule.Answer != "":
		s.l.stats.Commands[rule.ID].OK++
		s.say([]byte(rule.Answer + "\r\n"))
	default:
		s.refuse(rule, unsupported(rule))
	}
	return true
}

// ask makes the request of a local command whose answer has to be waited for.
func (s *session) ask() *request {
	s.asked = true
	r := s.request(s.rule, nil)
	r.class = metrics.ClassLocal
	return r
}

var okReply = []byte("+OK\r\n")

func (s *session) sayOK() { s.say(okReply) }

var pong = []byte("+PONG\r\n")

func localPing(s *session, args [][]byte) {
	if s.listening() && len(args) <= 2 {
		s.say(listenedPing(args))
		return
	}
	switch len(args) {
	case 1:
		s.say(pong)
	case 2:
		localEcho(s, args)
	default:
		s.ownError(wrongArity(s.rule))
	}
}

// listenedPing is PONG in the form of a message, for a client that takes every reply for one.
func listenedPing(args [][]byte) []byte {
	b := resp.AppendBulkString(resp.AppendArray(nil, 2), "pong")
	if len(args) == 2 {
		return resp.AppendBulk(b, args[1])
	}
	return resp.AppendBulk(b, nil)
}

func localEcho(s *session, args [][]byte) {
	if len(args[1]) > bigPayload { // the scratch buffer would keep it
		s.say(resp.AppendBulk(nil, args[1]))
		return
	}
	s.l.scratch = resp.AppendBulk(s.l.scratch[:0], args[1])
	s.say(s.l.scratch)
}

func localQuit(s *session, _ [][]byte) {
	s.sayOK()
	s.end()
}

// localRole answers as a primary without replicas, which is what one server would be.
func localRole(s *session, _ [][]byte) {
	b := resp.AppendArray(nil, 3)
	b = resp.AppendBulkString(b, "master")
	b = resp.AppendInt(b, 0)
	s.say(resp.AppendArray(b, 0))
}

// localKeySlot computes a slot, which newer servers do without a cluster, too.
func localKeySlot(s *session, args [][]byte) {
	if !s.l.p.release().valkey(9, 1) {
		s.ownError(errTextClusterOff)
		return
	}
	s.say(resp.AppendInt(nil, int64(router.Slot(args[2]))))
}

// resetters are what RESET undoes. The name of the client's library stays, as in the server.
var resetters = []func(*session){(*session).dropTransaction, (*session).unwatch, (*session).endTracking, (*session).unsubscribeAll, (*session).endMonitor, resetIdentity, resetClient}

func resetIdentity(s *session) {
	s.use(s.l.plain)
	s.authed = !s.l.p.cfg.AuthRequired()
}

func resetClient(s *session) {
	s.name, s.hearing = "", hearing{}
	s.noTouch = false
	if s.l.p.release().valkey(8, 0) {
		s.noEvict = false
	}
}

// localReset returns the connection to the state of a new one. Who is subscribed is answered when the nodes have let go: what
// other clients ask next must not count him.
func localReset(s *session, _ [][]byte) {
	if s.subs == nil {
		s.say(s.reset())
		return
	}
	r := s.pubsubRequest(s.rule)
	r.muted = false // CLIENT REPLY is among what it ends
	s.leaveNext(r)
	s.l.release(r)
}

// reset undoes what the client has set up, and returns what it is told.
func (s *session) reset() []byte {
	for _, undo := range resetters {
		undo(s)
	}
	return resp.AppendSimple(nil, "RESET")
}

// use changes the profile of the client's later commands.
func (s *session) use(p *profile) {
	old := s.profile
	p.sessions++
	old.left()
	s.profile = p
	if old.key.client == s.id && old != p { // nobody else has it, and it still tells of changes
		old.pushTo, old.cut = nil, nil
		s.l.dropProfile(old)
	}
	if p.key.client == s.id && s.tracking != nil && old != p && !s.closed {
		s.forget() // what it has read is watched on connections that are gone
	}
	if p.key.client == s.id {
		p.pushTo, p.cut = s.invalidated, s.forget
	}
}

// profileOf is the profile that r runs under: the client's, or the one that it tries to log in to.
func (s *session) profileOf(r *request) *profile {
	if s.login != nil && r.root() == s.login.request {
		return s.login.profile
	}
	return s.profile
}

// login is a change of profile that a node has to confirm.
type login struct {
	request *request
	profile *profile
	reply   func(s *session) []byte // what the client is told when it worked
	failed  string                  // what it is told when not; empty: the node's words
	auth    bool                    // the change is one of identity
}

// tryProfile sends the command to a node under profile k; when the node agrees, the session uses it from then on.
// Nothing else of this client is under way meanwhile.
func (s *session) tryProfile(k profileKey, command []byte, lg login) {
	lg.profile = s.l.profileFor(k)
	lg.profile.sessions++ // held for the time of the attempt
	if lg.request == nil {
		lg.request = s.ask()
	}
	r := lg.request
	s.login = &lg
	r.fan = s.l.newFanout()
	r.fan.merge = mergeFirst
	part := s.l.newPart(r)
	part.once = false // it changes nothing but the connection that it is lost with
	s.l.setBuf(part, command)
	s.stop(stopBarrier)
	s.goParts(r)
}

// loggedIn takes the outcome of a login from the reply of its part and returns what to tell the client. undecided: no
// node has judged it.
func (s *session) loggedIn(reply []byte, undecided bool) []byte {
	lg := s.login
	s.login = nil
	defer lg.profile.left()
	if undecided {
		return reply
	}
	if reply[0] == '-' {
		if !lg.auth && lg.failed != "" {
			return resp.AppendError(nil, lg.failed)
		}
		if !lg.auth {
			return reply
		}
		s.failures++
		if s.failures >= s.l.limits.AuthFailures {
			s.end()
		}
		return reply
	}
	s.use(lg.profile)
	if lg.auth {
		s.authed, s.failures = true, 0
	}
	return lg.reply(s)
}

func replyOK(*session) []byte { return okReply }

func localAuth(s *session, args [][]byte) {
	k := s.profile.key
	k.login = true
	switch len(args) {
	case 2:
		k.user, k.password = "", string(args[1])
	case 3:
		k.user, k.password = string(args[1]), string(args[2])
	default:
		s.ownError(errTextSyntax)
		return
	}
	s.tryProfile(k, resp.AppendCommand(nil, args...), login{reply: replyOK, auth: true})
}

func localSelect(s *session, args [][]byte) {
	n, ok := resp.ParseInt(args[1])
	switch {
	case !ok:
		s.ownError(errTextNotInteger)
	case n != int64(int32(n)):
		s.ownError(errTextNotInt32)
	case n < 0:
		s.ownError(errTextDBIndex)
	case int(n) == s.profile.key.db:
		s.sayOK()
	default:
		k := s.profile.key
		k.db = int(n)
		if n == 0 { // every server has it
			s.use(s.l.profileFor(k))
			s.sayOK()
			return
		}
		// A cluster without numbered databases is, to its clients, a server with one.
		s.tryProfile(k, resp.AppendCommand(nil, args...), login{reply: replyOK, failed: errTextDBIndex})
	}
}

// helloOptions is what HELLO's arguments ask for.
type helloOptions struct {
	proto          int
	auth           bool
	user, password string
	name           *string
}

// parseHello reads HELLO's arguments; a non-empty text is the error.
func parseHello(args [][]byte, proto int) (o helloOptions, text string) {
	o.proto = proto
	if len(args) == 1 {
		return o, ""
	}
	n, ok := resp.ParseInt(args[1])
	if !ok {
		return o, errTextProtoInt
	}
	if n != 2 && n != 3 {
		return o, errTextNoProto
	}
	o.proto = int(n)
	for i := 2; i < len(args); {
		switch left := len(args) - i - 1; {
		case bytes.EqualFold(args[i], []byte("auth")) && left >= 2:
			o.auth, o.user, o.password = true, string(args[i+1]), string(args[i+2])
			i += 3
		case bytes.EqualFold(args[i], []byte("setname")) && left >= 1:
			name := string(args[i+1])
			if text := badName(name); text != "" {
				return o, text
			}
			o.name = &name
			i += 2
		default:
			return o, badHelloOption(args[i])
		}
	}
	return o, ""
}

func localHello(s *session, args [][]byte) {
	o, text := parseHello(args, s.profile.key.proto)
	if text != "" {
		s.ownError(text)
		return
	}
	k := s.profile.key
	k.proto = o.proto
	greet := func(s *session) []byte {
		if o.name != nil {
			s.name = *o.name
		}
		return s.hello()
	}
	if o.auth {
		k.login, k.user, k.password = true, o.user, o.password
		s.tryProfile(k, resp.AppendCommandStrings(nil, "AUTH", o.user, o.password), login{reply: greet, auth: true})
		return
	}
	if !s.authed {
		s.ownError(helloNeedsAuth(s.l.p.release()))
		return
	}
	s.use(s.l.profileFor(k))
	s.say(greet(s))
}

// hello describes the one server that we look like.
func (s *session) hello() []byte {
	proto := s.profile.key.proto
	face := s.l.p.cfg.Info()
	b := resp.AppendMap(nil, 7, proto)
	b = resp.AppendBulkString(b, "server")
	b = resp.AppendBulkString(b, face.Name)
	b = resp.AppendBulkString(b, "version")
	b = resp.AppendBulkString(b, face.Version)
	b = resp.AppendBulkString(b, "proto")
	b = resp.AppendInt(b, int64(proto))
	b = resp.AppendBulkString(b, "id")
	b = resp.AppendInt(b, int64(s.id))
	b = resp.AppendBulkString(b, "mode")
	b = resp.AppendBulkString(b, "standalone")
	b = resp.AppendBulkString(b, "role")
	b = resp.AppendBulkString(b, "master")
	b = resp.AppendBulkString(b, "modules")
	return resp.AppendArray(b, 0)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
