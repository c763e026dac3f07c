package proxy

import (
	"bytes"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// With cross_slot: emulate, a command whose keys lie in several slots is carried out here, in steps: each step sends
// parts to the slots of their keys, every part follows redirects by itself, and the next step begins when all are
// answered. The whole is not atomic. The command stands alone among those of its client, so that their order holds.
//
//	session.emulate --> begin: first parts --> stage: the step takes the replies --> more parts, or the reply
//
// What reads is combined by combine.go, lcs.go and hyperloglog.go, whose functions know nothing of requests. What
// stores is carried out by the node of the destination, see emulate_store.go; what moves a key or an element is in
// emulate_move.go.

// emulation is a command that is being carried out in steps. It belongs to the fan-out of its request.
type emulation struct {
	l    *loop
	r    *request
	args [][]byte // the client's command; a copy, because the buffer it came in is used again
	keys []int    // positions of the keys in args
	// place says which reply of the first step is that of each key: a key that is named twice is fetched once.
	place   []int
	first   int  // index of the first part of the step under way
	probing bool // that part asks whether the user may use MULTI
	next    step // takes the replies of the step under way
	reply   []byte
	// must: something has been changed, and stopping here would lose a value. The steps go on without their client.
	must bool

	// What single commands remember between their steps.
	at              int    // a number: LMPOP's key, whether SMOVE has added the member ...
	sum             uint64 // of the value that RENAME has copied
	value           []byte // LMOVE's element, MSETNX's reply
	pop, push, back []byte // LMOVE's commands: take the element, put it there, put it back
	scores          []scores
}

// step takes the replies of the parts that the step before has sent, errors among them. It sends further parts or
// gives the reply.
type step func(e *emulation, got [][]byte)

// emulators is the table: how each command begins. The entries of router/policy.go with emulated() are the same.
var emulators = map[string]func(e *emulation){
	"sunion": beginSets, "sinter": beginSets, "sdiff": beginSets, "sintercard": beginSets,
	"zunion": beginScores, "zinter": beginScores, "zdiff": beginScores, "zintercard": beginScores,
	"pfcount": beginPFCount, "lcs": beginLCS, "xread": beginXRead,
	"lmpop": beginPop, "zmpop": beginPop,

	"sunionstore": beginStore, "sinterstore": beginStore, "sdiffstore": beginStore,
	"zunionstore": beginStore, "zinterstore": beginStore, "zdiffstore": beginStore,
	"zrangestore": beginStore, "geosearchstore": beginStore, "bitop": beginStore, "pfmerge": beginStore,
	"sort": beginStoreLast, "georadius": beginStoreLast, "georadiusbymember": beginStoreLast,

	"rename": beginRename, "renamenx": beginRename, "copy": beginCopy,
	"smove": beginSMove, "lmove": beginLMove, "rpoplpush": beginLMove, "msetnx": beginMSetNX,
}

// emulates says that a command with keys in several slots is to be carried out in steps.
func (s *session) emulates(rule *router.Rule) bool {
	return rule.Emulated != "" && s.l.p.cfg.EmulateCrossSlot
}

// emulate begins a command whose keys lie in several slots. It reports false when it has to be offered again.
func (s *session) emulate(rule *router.Rule) bool {
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	size := 0
	for _, a := range s.parser.Args {
		size += len(a)
	}
	if size > s.l.limits.EmulateBytes {
		return s.refuse(rule, errTextEmulateBytes)
	}
	r := s.request(rule, nil)
	r.class = metrics.ClassMultiKey
	e := &emulation{l: s.l, r: r, keys: append([]int(nil), s.l.keys...)}
	flat := make([]byte, 0, size)
	for _, a := range s.parser.Args {
		flat = append(flat, a...)
		e.args = append(e.args, flat[len(flat)-len(a):])
	}
	r.fan = s.l.newFanout()
	r.fan.raw, r.fan.merge, r.fan.stage, r.fan.emulation = true, mergeEmulated, stageEmulated, e
	s.stop(stopBarrier)
	emulators[rule.Name](e)
	if e.reply != nil { // refused before anything was sent
		l := s.l
		r.ownError = e.reply[0] == '-'
		l.finish(r, e.reply)
		return true
	}
	s.goParts(r)
	return true
}

// stageEmulated hands the replies of a step to the next one.
func stageEmulated(l *loop, r *request) bool {
	e := r.fan.emulation
	answered := r.fan.parts[e.first:]
	e.first = len(r.fan.parts)
	if e.probing {
		e.probing = false
		p := answered[0]
		answered = answered[1:]
		if refusal := r.sess.probed(p); refusal != nil {
			e.reply = clone(refusal)
			return false
		}
	}
	got := make([][]byte, len(answered))
	for i, p := range answered {
		got[i] = p.reply
	}
	r.deadline = l.now + l.limits.RedirectBudget.Nanoseconds() // a later step is not to fail for want of time
	if e.next(e, got); e.reply != nil {
		return false
	}
	r.sess.goParts(r)
	return true
}

// mergeEmulated gives the reply that the last step has made.
func mergeEmulated(r *request, dst []byte) ([]byte, bool) {
	s, e := r.sess, r.fan.emulation
	if s.ghost {
		s.profile.sessions--
		s.l.p.unfinished.Add(-1)
	}
	if len(e.reply)+s.out.size > s.l.limits.OutHard {
		r.ownError = true
		return resp.AppendError(dst, errTextEmulateBytes), true
	}
	return append(dst, e.reply...), true
}

// overfull says that n further bytes for r would be more than a command in several slots may fetch.
func (l *loop) overfull(r *request, n int) bool {
	if r.write || r.parent == nil || r.parent.fan == nil || r.parent.fan.emulation == nil || r.parent.sess == nil {
		return false
	}
	s := r.parent.sess
	return s.held+n > l.limits.EmulateBytes || s.held+s.out.size+n > l.limits.OutHard
}

// carryOn keeps an emulation going whose client has left in the middle of a change. A session that has no connection
// takes the client's place until the last step is answered.
func (l *loop) carryOn(r *request) {
	g := &session{id: r.sess.id, profile: r.sess.profile, window: r.sess.window, ghost: true}
	g.conn = conn{l: l, owner: g, fd: -1, closed: true}
	g.profile.sessions++
	l.p.unfinished.Add(1)
	r.sess = nil
	g.enqueue(r)
	for _, p := range r.fan.parts {
		g.unsent += unsentIn(p.state)
		g.held += len(p.reply)
	}
	if g.unsent > 0 {
		g.advance() // nobody else may be about to: an order pass that was put off was the client's
	}
}

// carriesOn says that r must be finished although its client has left.
func (r *request) carriesOn() bool {
	return r.fan != nil && r.fan.emulation != nil && r.fan.emulation.must && r.state != stateDone
}

// read adds a part that changes nothing to the step.
func (e *emulation) read(key []byte, args ...[]byte) { e.part(key, false, 0, args) }

// write adds a part that changes what key holds.
func (e *emulation) write(key []byte, args ...[]byte) { e.part(key, true, 0, args) }

// block adds a part that carries out several commands on the slot of key at once.
func (e *emulation) block(key []byte, write bool, commands ...[][]byte) {
	all := make([][][]byte, 0, len(commands)+2)
	all = append(append(append(all, words("MULTI")), commands...), words("EXEC"))
	e.part(key, write, len(commands)+1, all...)
}

func (e *emulation) part(key []byte, write bool, pre int, commands ...[][]byte) {
	p := e.l.newPart(e.r)
	p.slot, p.hasSlot = router.Slot(key), true
	p.write, p.once, p.pre, p.multi = write, write, uint32(pre), write && pre > 0
	size := 0
	for _, args := range commands {
		size += headerRoom
		for _, a := range args {
			size += len(a) + headerRoom
		}
	}
	e.l.roomFor(p, size)
	for _, args := range commands {
		p.buf = resp.AppendCommand(p.buf, args...)
	}
}

// probe makes the next part ask whether the user may use MULTI, unless that is known: one who may not would run the
// commands of a block one by one.
func (e *emulation) probe() {
	if e.r.sess.trusted() {
		return
	}
	e.probing = true
	p := e.l.newPart(e.r)
	p.pre, p.write, p.once = 1, false, false
	p.slot, p.hasSlot = router.Slot(e.key(0)), true
	e.l.setBuf(p, multiProbe)
}

// fetch asks for every key once. before and after are the words around the key.
func (e *emulation) fetch(next step, name string, after ...string) {
	seen := make(map[string]int, len(e.keys))
	for i := range e.keys {
		key := e.key(i)
		at, known := seen[string(key)]
		if !known {
			at = len(seen)
			seen[string(key)] = at
			e.read(key, append([][]byte{[]byte(name), key}, words(after...)...)...)
		}
		e.place = append(e.place, at)
	}
	e.next = next
}

// values are the replies to fetch, one for each key of the command.
func (e *emulation) values(got [][]byte) [][]byte {
	all := make([][]byte, len(e.place))
	for i, at := range e.place {
		all[i] = got[at]
	}
	return all
}

func (e *emulation) key(i int) []byte { return e.args[e.keys[i]] }

func (e *emulation) proto() int { return e.r.sess.profile.key.proto }

// rest are the arguments behind the last key.
func (e *emulation) rest() [][]byte { return e.args[e.keys[len(e.keys)-1]+1:] }

// say gives the reply, which is no longer changed by the caller.
func (e *emulation) say(reply []byte) { e.reply = reply }

// fail gives an error of the proxy's own.
func (e *emulation) fail(text string) {
	e.r.ownError = true
	e.say(resp.AppendError(nil, text))
}

// failed passes on the first error among replies, if there is one.
func (e *emulation) failed(got [][]byte) bool {
	for _, g := range got {
		if g[0] == '-' {
			e.say(clone(g))
			return true
		}
	}
	return false
}

// partly tells the client how far a command has come that neither was carried out nor left everything as it was.
func (e *emulation) partly(done string, line []byte) { e.fail(partlyDone(e.r.rule, done, line)) }

// isUnknown says that a reply is the proxy's own, about a part whose outcome nobody knows.
func isUnknown(reply []byte) bool {
	return bytes.HasPrefix(reply, []byte("-PROXYUNKNOWN")) || bytes.HasPrefix(reply, []byte("-PROXYTIMEOUT"))
}

// forget drops the replies of the steps so far, whose memory is needed no more.
func (e *emulation) forget() {
	for _, p := range e.r.fan.parts[:e.first] {
		e.l.dropReply(p)
	}
}

// blockReplies are the replies to the commands of a block; the error of the whole block, as the server says it of one
// command, when it was not carried out.
func blockReplies(reply []byte) (each [][]byte, failure []byte) {
	if reply[0] == '-' {
		if cause, ok := bytes.CutPrefix(reply, execAbortedBecause); ok {
			return nil, append([]byte{'-'}, cause...)
		}
		return nil, clone(reply)
	}
	return pieces(reply), nil
}

// execAbortedBecause stands before the reason for which a server, or abortedBecause, discards a transaction.
var execAbortedBecause = []byte("-EXECABORT Transaction discarded because of: ")

// pieces are the elements of an array as they are; nil for another reply.
func pieces(reply []byte) [][]byte {
	_, count, at, ok := resp.AggHeader(reply)
	if !ok {
		return nil
	}
	var all [][]byte
	for range count {
		n, err := resp.Skip(reply[at:])
		if err != nil || n == 0 {
			return nil
		}
		all = append(all, reply[at:at+n])
		at += n
	}
	return all
}

// isNull says that a reply is the null of RESP2 or RESP3.
func isNull(reply []byte) bool {
	return reply[0] == '_' || len(reply) > 2 && (reply[0] == '$' || reply[0] == '*') && reply[1] == '-'
}

func words(text ...string) [][]byte {
	all := make([][]byte, len(text))
	for i, t := range text {
		all[i] = []byte(t)
	}
	return all
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
