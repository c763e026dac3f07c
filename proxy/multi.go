package proxy

import (
	"bytes"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// A transaction is collected here, and each command answered +QUEUED as the server would answer it. EXEC sends the whole
// of it in one piece on a shared connection: nothing of another client can come between. A node that refuses one of its
// commands, or all of it, has run none of it, so it goes again as a whole.

// transaction is what a client has queued since MULTI.
type transaction struct {
	r       *request // the one to be sent: its buffer takes MULTI and the commands as they go on the wire
	n       uint32   // commands
	failed  bool     // one was refused: EXEC will do nothing
	slot    uint16
	hasSlot bool
	write   bool
	once    bool // must not run twice
	key     []byte
	multi   bool // there is another key than that
	script  bool
	bodies  []brought // scripts that its commands bring
	uses    []*code   // scripts that its commands name
	names   [][]byte  // of scripts that nobody knew when they were queued: somebody may have brought them before EXEC
	kept    int       // bytes of copies beside the buffer of r; the pool counts them as used
	other   bool      // has chosen another database
	db      int       // the database that the client is in behind it
	own     []ownReply
}

// brought is a script that a command of a transaction brings.
type brought struct {
	at   int
	body []byte
}

// ownReply is a command of a transaction that the proxy answers: its place holds a PING on the wire.
type ownReply struct {
	at   int
	rule *router.Rule
	args [][]byte
	db   int    // with no rule: a SELECT that the node carries out
	page bool   // with no rule: HSCAN or its like, whose cursor is marked
	tag  uint16 // of these: whose cursor came, see cursor.go
}

const (
	// maxQueuedCommands and maxQueuedBytes bound a transaction: as large as a pipeline of a large batch job, small enough
	// that a node is not held up for seconds.
	maxQueuedCommands = 1 << 20
	maxQueuedBytes    = 512 << 20
)

var (
	multiCommand  = []byte("*1\r\n$5\r\nMULTI\r\n")
	execCommand   = []byte("*1\r\n$4\r\nEXEC\r\n")
	pingCommand   = []byte("*1\r\n$4\r\nPING\r\n")
	queuedReply   = []byte("+QUEUED\r\n")
	multiProbe    = []byte("*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n")
	unwatchBytes  = []byte("*1\r\n$7\r\nUNWATCH\r\n")
	emptyArray    = []byte("*0\r\n")
	execAbortLine = []byte("-EXECABORT Transaction discarded because of previous errors.\r\n")
)

// transact takes the commands of the transaction family. It reports false when the command has to be offered again.
func (s *session) transact(rule *router.Rule) bool {
	if s.tx != nil && rule.Flags&router.FlagNoMulti != 0 && rule.Name != "exec" && rule.Name != "discard" {
		return s.refuse(rule, s.l.notInMulti(rule))
	}
	switch rule.Name {
	case "multi":
		return s.multi(rule)
	case "exec":
		return s.exec(rule)
	case "discard":
		return s.discard(rule)
	case "watch":
		return s.watchKeys(rule)
	default:
		return s.unwatchAll(rule)
	}
}

// multi begins a transaction. The first of a user asks a node whether he may: one who may not would run the commands
// one by one.
func (s *session) multi(rule *router.Rule) bool {
	switch {
	case s.tx != nil:
		s.l.stats.Commands[rule.ID].ProxyError++
		s.ownError(errTextNestedMulti)
		return true
	case s.trusted():
		s.beginTransaction()
		s.answered(rule, okReply)
		return true
	case s.head != nil:
		s.stop(stopBarrier)
		return false
	}
	caching := s.caching
	s.caching = "" // it is meant for the transaction
	r := s.request(rule, nil)
	s.caching = caching
	r.class = metrics.ClassKeyspace
	r.fan = s.l.newFanout()
	r.fan.raw, r.fan.merge = true, mergeProbe
	p := s.l.newPart(r)
	p.pre, p.once = 1, false
	s.l.setBuf(p, multiProbe)
	s.stop(stopBarrier)
	s.goParts(r)
	return true
}

// mergeProbe begins the transaction when a node has agreed to MULTI. A refused EXEC ends a transaction, too.
func mergeProbe(r *request, dst []byte) ([]byte, bool) {
	p, s := r.fan.parts[0], r.sess
	if refusal := s.probed(p); refusal != nil {
		return append(dst, refusal...), true
	}
	s.beginTransaction()
	return append(dst, okReply...), true
}

// probed takes the answer to multiProbe. It returns the error of a user who may not use transactions, or the proxy's own
// when no node could be asked.
func (s *session) probed(p *request) (refusal []byte) {
	switch {
	case p.early != nil:
		return p.early
	case p.ownError:
		return p.reply
	}
	s.profile.multiUntil = s.l.now + multiTrust
	return nil
}

// trusted says that a node has lately agreed to transactions of this user.
func (s *session) trusted() bool {
	return s.profile.mayMulti(s.l.now)
}

// multiTrust is how long a node's word counts that a user may use transactions: his permissions may change. The user of
// those who have not logged in is asked once.
const multiTrust = int64(10e9)

// mayMulti says that a node has agreed to transactions of this user.
func (p *profile) mayMulti(now int64) bool {
	return now < p.multiUntil || p.multiUntil > 0 && !p.key.login
}

// forgetPermissions makes the loops ask again what users may do: somebody changes it.
func (p *Proxy) forgetPermissions() {
	for _, l := range p.loops {
		l.post(message{kind: msgCall, call: func(l *loop) {
			for _, p := range l.profiles {
				p.forgetPermissions()
			}
		}})
	}
}

func (s *session) beginTransaction() {
	t := s.spare
	if t == nil {
		t = &transaction{}
	}
	s.spare = nil
	t.r = s.l.newRequest()
	s.l.setBuf(t.r, multiCommand)
	t.db = s.profile.key.db
	s.tx = t
}

// dropTransaction forgets what is queued.
func (s *session) dropTransaction() {
	t := s.tx
	if t == nil {
		return
	}
	t.r.refs++
	s.l.release(t.r)
	s.l.blank(t)
	s.spare, s.tx = t, nil
}

// whisper puts what a command of a transaction is answered into the output. A client that sends the whole of it in one piece
// gets these replies with that of EXEC, in one write instead of two.
func (s *session) whisper(reply []byte) {
	if !s.closed {
		s.out.write(&s.l.pool, reply)
		s.whispered = true
	}
}

// speakUp flushes what has been whispered, unless EXEC is on its way: then its reply does.
func (s *session) speakUp() {
	s.whispered = false
	if !s.closed && (s.head == nil || s.head.pre == 0 || s.head.state != stateSent) {
		s.touch()
	}
}

// answered counts a command that the proxy has answered itself, and answers it.
func (s *session) answered(rule *router.Rule, reply []byte) {
	s.l.stats.Commands[rule.ID].OK++
	s.say(reply)
}

// enlist queues a command, or refuses it as the server would; then EXEC will do nothing.
func (s *session) enlist(rule *router.Rule, raw []byte) bool {
	t, args := s.tx, s.parser.Args
	if rule.Flags&router.FlagNoMulti != 0 {
		return s.refuse(rule, s.l.notInMulti(rule))
	}
	if rule.Apart {
		return s.refuse(rule, notInTransaction(rule))
	}
	if s.overfills(raw) {
		return s.refuse(rule, errTextBigTransaction)
	}
	switch rule.Policy {
	case router.Shard, router.Split, router.Script, router.Lease, router.Iterate, router.Publish:
		d, keys := router.Decide(rule, args, s.l.keys)
		s.l.keys = keys
		if d.Cross || d.HasSlot && t.hasSlot && d.Slot != t.slot {
			return s.refuse(rule, errTextCrossSlot)
		}
		if d.HasSlot {
			s.l.sees(t, d, args[keys[0]])
		}
	case router.AnyNode:
	case router.Local:
		return s.enlistLocal(rule, raw)
	default:
		return s.refuse(rule, unsupported(rule))
	}
	if rule.Policy == router.Publish && len(args) > 1 {
		s.l.answers(t, ownReply{rule: rule}, args[1])
	}
	if rule.Policy == router.Iterate {
		if tag, ok := s.untag(2); ok {
			s.l.answers(t, ownReply{page: true, tag: tag})
		}
	}
	return s.enlistBytes(rule, raw)
}

// sees notes the keys of a command.
func (l *loop) sees(t *transaction, d router.Decision, first []byte) {
	if !t.hasSlot {
		t.key = append(t.key[:0], first...)
		l.keeps(t, len(first))
	}
	t.multi = t.multi || d.Multi || !bytes.Equal(t.key, first)
	t.slot, t.hasSlot = d.Slot, true
}

// notes keeps the script that a command names, or brings: that one is known once it has run.
func (t *transaction) notes(l *loop, rule *router.Rule, args [][]byte) {
	if body := bodyOf(rule, args); body != nil {
		t.bodies = append(t.bodies, brought{int(t.n), bytes.Clone(body)})
		l.keeps(t, len(body)+copyRoom)
		return
	}
	known := l.codeOf(rule, args)
	if known == nil && (rule.Name == "evalsha" || rule.Name == "evalsha_ro") {
		t.names = append(t.names, bytes.Clone(args[1]))
		l.keeps(t, len(args[1])+copyRoom)
	}
	t.uses = append(t.uses, known...)
}

// enlistBytes queues a command that the node will run.
func (s *session) enlistBytes(rule *router.Rule, raw []byte) bool {
	t := s.tx
	t.write = t.write || mayWrite(rule)
	t.once = t.once || !rule.Repeatable
	if rule.Policy == router.Script {
		t.script = true
		t.notes(s.l, rule, s.parser.Args)
	}
	if s.parser.Canonical {
		s.l.extend(t.r, raw)
	} else {
		s.l.scratch = resp.AppendCommand(s.l.scratch[:0], s.parser.Args...)
		s.l.extend(t.r, s.l.scratch)
	}
	t.n++
	s.answered(rule, queuedReply)
	return true
}

// enlistLocal queues a command that the proxy answers at its place in the reply of EXEC.
func (s *session) enlistLocal(rule *router.Rule, raw []byte) bool {
	cmd := s.l.cmds.local[rule.ID]
	switch {
	case rule.Name == "ping" || rule.Name == "echo":
		return s.enlistBytes(rule, raw)
	case rule.Name == "select":
		return s.enlistSelect(rule, raw)
	case rule.Name == "quit" || rule.Name == "reset":
		return s.answer(rule) // the two that a server carries out at once
	case cmd.run == nil && rule.Answer == "":
		return s.refuse(rule, notInTransaction(rule))
	}
	return s.enlistOwn(rule, ownReply{rule: rule}, s.parser.Args...)
}

// enlistSelect queues SELECT. Another database than the client's makes the connection its own: it has to be closed
// afterwards.
func (s *session) enlistSelect(rule *router.Rule, raw []byte) bool {
	n, ok := resp.ParseInt(s.parser.Args[1])
	if ok && int(n) == s.tx.db && !s.tx.other {
		return s.enlistOwn(rule, ownReply{rule: okRule})
	}
	if ok {
		s.tx.other = true
		s.l.answers(s.tx, ownReply{db: int(n)})
	}
	return s.enlistBytes(rule, raw)
}

// okRule answers SELECT of the database that the client is in.
var okRule = &router.Rule{Name: "select", Answer: "+OK"}

func (s *session) discard(rule *router.Rule) bool {
	if s.tx == nil {
		return s.refuse(rule, errTextNoMultiDiscard)
	}
	s.dropTransaction()
	s.unwatch()
	s.answered(rule, okReply)
	return true
}

// exec sends what has been queued.
func (s *session) exec(rule *router.Rule) bool {
	t := s.tx
	switch {
	case t == nil:
		return s.refuse(rule, errTextNoMultiExec)
	case s.watch != nil && s.head != nil || t.other && s.head != nil:
		s.stop(stopBarrier)
		return false
	case t.failed:
		s.dropTransaction()
		s.unwatch()
		s.l.stats.Commands[rule.ID].ProxyError++
		s.say(execAbortLine)
		return true
	case s.watch != nil && t.hasSlot && t.slot != s.watch.slot:
		s.dropTransaction()
		s.unwatch()
		return s.refuse(rule, errTextCrossSlot)
	case t.n == 0 && s.watch == nil:
		s.dropTransaction()
		s.answered(rule, emptyArray)
		return true
	}
	s.l.extend(t.r, execCommand)
	// Before its own scripts are learned: a command that names one is not to find it before another one has brought it.
	t.uses = s.l.current(t.uses)
	for _, name := range t.names {
		if x := s.l.find(name); x != nil {
			t.uses = append(t.uses, x)
		}
	}
	for _, b := range t.bodies {
		s.l.learn(b.body)
	}
	r := t.r
	t.r = nil
	s.label(r, rule)
	s.enqueue(r)
	r.slot, r.hasSlot, r.multi = t.slot, t.hasSlot, t.multi
	r.write, r.once, r.script, r.uses = t.write, t.once, t.script, t.uses
	r.pre = t.n + 1
	r.sticky = t.other // in a database that is not its profile's
	r.class = metrics.ClassWrite
	if len(t.own)+len(t.bodies) > 0 || t.other {
		r.tx, s.spare = t, nil // the reply needs it
	} else {
		s.l.blank(t)
		s.spare = t
	}
	s.tx = nil
	switch {
	case s.watch != nil:
		s.execWatched(r)
	case t.other:
		r.own = true
		s.stop(stopBarrier)
		s.sendInOrder(r)
	default:
		s.sendInOrder(r)
	}
	return true
}

// settled takes the array that EXEC has answered, puts the proxy's own answers to their places, follows a SELECT, and forgets
// scripts that the node could not compile.
func (l *loop) settled(r *request, reply []byte) []byte {
	t, s := r.tx, r.sess
	r.tx = nil
	defer l.blank(t)
	if t.other && r.conn != nil {
		r.conn.close(nil) // it is in another database than its profile
	}
	if s == nil {
		return reply
	}
	_, count, at, ok := resp.AggHeader(reply)
	if !ok || count < 0 {
		return reply
	}
	l.unlearn(t.bodies, reply[at:])
	if len(t.own) == 0 {
		return reply
	}
	out := append([]byte(nil), reply[:at]...)
	own := t.own
	t.r = r // it is what CLIENT INFO measures
	for i := range count {
		n, err := resp.Skip(reply[at:])
		if err != nil || n == 0 {
			return reply
		}
		if len(own) > 0 && own[0].at == i {
			out = s.place(out, t, own[0], r.conn.node, reply[at:at+n])
			own = own[1:]
		} else {
			out = append(out, reply[at:at+n]...)
		}
		at += n
	}
	return out
}

// unlearn forgets the scripts that a node could not compile. replies are those to the commands of their transaction.
func (l *loop) unlearn(bodies []brought, replies []byte) {
	for i := 0; len(bodies) > 0; i++ {
		n, err := resp.Skip(replies)
		if err != nil || n == 0 {
			return
		}
		if bodies[0].at == i {
			if bytes.HasPrefix(replies, notCompiled) {
				l.p.scripts.remove(bodies[0].body)
			}
			bodies = bodies[1:]
		}
		replies = replies[n:]
	}
}

// place appends the reply to a command of t that the proxy answers, or follows. by is the node that ran the transaction.
func (s *session) place(dst []byte, t *transaction, o ownReply, by *node, reply []byte) []byte {
	if o.page {
		return tagPage(dst, reply, o.tag, by.tag())
	}
	if o.rule == nil && reply[0] == '-' {
		return resp.AppendError(dst, errTextDBIndex)
	}
	if o.rule == nil {
		k := s.profile.key
		k.db = o.db
		s.use(s.l.profileFor(k))
		return append(dst, reply...)
	}
	if o.rule.Policy == router.Publish {
		return s.l.p.audience.published(dst, reply, o.args[0], o.rule.Name == "spublish", by.addr, 0)
	}
	if o.rule.Answer != "" {
		return append(dst, o.rule.Answer+"\r\n"...)
	}
	latest, queueing := s.rule, s.tx
	s.captured, s.capturing, s.rule, s.tx = dst, true, o.rule, t // which is over when EXEC has been answered
	s.l.cmds.local[o.rule.ID].run(s, o.args)
	s.capturing, s.rule, s.tx = false, latest, queueing
	dst, s.captured = s.captured, nil
	return dst
}
