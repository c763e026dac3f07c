package proxy

import (
	"bytes"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// Scripts and functions go to the node of their keys like other commands. Three things are special: the node may not
// know the script (scripts.go), the script may upset the count of replies (suspect.go), and its errors may read like
// those that steer the proxy: the node is asked then what it really thinks of the keys. While slots move it may have
// changed its mind meanwhile, so each script is sent as a transaction of its own then: what the node thinks of the keys
// it says when it queues the script, and what the script says is inside the reply of EXEC.

// restlessFor is how long slots count as moving after the last sign of it: longer than the pauses of a move, short
// enough that two more commands for each script are no cost that lasts.
const restlessFor = int64(10e9)

// script takes a command that runs a script or a function. One without keys does not overtake those that are held: it would
// bring a script to a node that an earlier EVALSHA should not find there. It reports false when the command has to be offered
// again.
func (s *session) script(rule *router.Rule, raw []byte) bool {
	d, keys := router.Decide(rule, s.parser.Args, s.l.keys)
	s.l.keys = keys
	if d.Cross {
		return s.refuse(rule, errTextCrossSlot)
	}
	if !d.HasSlot && s.unsent > 0 {
		s.stop(stopBarrier)
		return false
	}
	uses := s.l.codeOf(rule, s.parser.Args)
	r := s.request(rule, raw)
	r.slot, r.hasSlot, r.multi = d.Slot, d.HasSlot, d.Multi
	r.script, r.uses, r.write = true, uses, mayWrite(rule)
	r.class = metrics.ClassRead
	if r.write {
		r.class = metrics.ClassWrite
	}
	s.sendInOrder(r)
	return true
}

// mayWrite says that a command may change data. Of one that runs a script a server does not say so; what is not meant
// for reading only may.
func mayWrite(rule *router.Rule) bool {
	return rule.Flags&router.FlagWrite != 0 || rule.Policy == router.Script && rule.Flags&router.FlagReadonly == 0
}

// codeOf learns the script that a command brings, or finds the one that it names.
func (l *loop) codeOf(rule *router.Rule, args [][]byte) []*code {
	switch rule.Name {
	case "eval", "eval_ro":
		if body := bodyOf(rule, args); body != nil {
			l.learn(body)
		}
	case "evalsha", "evalsha_ro":
		if x := l.find(args[1]); x != nil {
			return x.alone
		}
	}
	return nil
}

// current replaces scripts, in place, that have been forgotten since they were looked up by those that have their names now.
func (l *loop) current(codes []*code) []*code {
	still := codes[:0]
	for _, x := range codes {
		if x.gone.Load() {
			x = l.find([]byte(x.sha))
		}
		if x != nil {
			still = append(still, x)
		}
	}
	return still
}

// bodyOf is the script that an EVAL brings; nil when the server would not look at it.
func bodyOf(rule *router.Rule, args [][]byte) []byte {
	if rule.Name != "eval" && rule.Name != "eval_ro" {
		return nil
	}
	if n, ok := resp.ParseInt(args[2]); !ok || n < 0 || n > int64(len(args)-3) {
		return nil
	}
	return args[1]
}

// tryAgainLine is what a node says when it has some of the keys; no script is run then.
const tryAgainLine = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"

// examine decides about an error that a script may have made up. If it were believed, a script could be run again and
// again.
func (l *loop) examine(c *nodeConn, r *request, line []byte) {
	kind := resp.Classify(line)
	switch {
	case bytes.HasPrefix(line, notCompiled):
		if args := l.commandOf(r); len(args) > 1 {
			l.p.scripts.remove(args[1])
		}
		l.finish(r, line)
	case kind == resp.NoScript && len(r.uses) == 1 && !r.reloaded:
		l.question(c, r, line, r.uses[0].exists, (*loop).scriptGone)
	case !redirects(line), r.hasSlot && elsewhere(line, r.slot):
		l.finish(r, line)
	case r.asking && string(line) == tryAgainLine:
		// The rest of the keys may arrive before the node is asked; then it would deny what it has said.
		if !l.steered(c, r, line) {
			l.finish(r, line)
		}
	case r.hasSlot:
		l.question(c, r, line, l.existsCommand(r), (*loop).reallySteered)
	case kind == resp.ReadOnly:
		l.question(c, r, line, roleCommand, (*loop).isReplica)
	default:
		l.question(c, r, line, pingCommand, (*loop).reallySteered)
	}
}

// elsewhere says that a line redirects from another slot than the command's: no node says so.
func elsewhere(line []byte, slot uint16) bool {
	switch resp.Classify(line) {
	case resp.Moved, resp.Ask:
		to, ok := resp.ParseRedirect(line)
		return !ok || to.Slot != slot
	}
	return false
}

// notCompiled begins the error of a script that servers do not keep.
var notCompiled = []byte("-ERR Error compiling script")

var roleCommand = []byte("*1\r\n$4\r\nROLE\r\n")

// existsCommand asks for the keys of r, and runs no script.
func (l *loop) existsCommand(r *request) []byte {
	args := l.commandOf(r)
	keys, _ := r.rule.Keys(args, nil)
	command := resp.AppendArray(nil, 1+len(keys))
	command = resp.AppendBulkString(command, "EXISTS")
	for _, at := range keys {
		command = resp.AppendBulk(command, args[at])
	}
	return command
}

// commandOf reads the arguments of r again. They point into its buffer.
func (l *loop) commandOf(r *request) [][]byte {
	var p resp.Parser
	if n, err := p.Next(r.buf, &l.limits.AfterAuth); err != nil || n == 0 {
		return nil // not possible: it has been parsed before
	}
	return p.Args
}

// verdict decides by the node's answer whether it meant what it said about r; then it has dealt with r.
type verdict func(l *loop, c *nodeConn, r *request, line, answer []byte) bool

// question asks the node about r, which has got line, before anything is done about it. Meanwhile r waits, and the later
// commands of its client on its slot with it.
func (l *loop) question(c *nodeConn, r *request, line, command []byte, decide verdict) {
	l.keepReply(r, line)
	r.enter(stateWaiting)
	r.refs++
	behind := uint32(0)
	if r.asking {
		behind, command = 1, append(append([]byte(nil), askingCommand...), command...)
	}
	then := func(l *loop, q *request, answer []byte) {
		if r.state == stateWaiting { // or its client has gone
			l.answeredQuestion(c, r, q, answer, decide)
		}
		l.release(r)
	}
	if r.hasSlot {
		l.askAbout(c, r.slot, behind, command, then)
	} else {
		l.askBehind(c, behind, command, then)
	}
}

func (l *loop) answeredQuestion(c *nodeConn, r, q *request, answer []byte, decide verdict) {
	if answer == nil || q.ownError {
		l.dropReply(r)
		l.orphaned(r, true)
		return
	}
	line := append([]byte(nil), r.reply...)
	l.dropReply(r)
	if !decide(l, c, r, line, answer) {
		l.finish(r, line)
	}
}

// reallySteered believes an error when the node gives such a one without the script. If slots have begun to move since r
// was sent, the node may have refused it and served the keys again when it was asked. Nothing tells that from a script that
// has run, so what may have written does not go again.
func (l *loop) reallySteered(c *nodeConn, r *request, line, answer []byte) bool {
	if redirects(answer) {
		return l.steered(c, r, append([]byte(nil), answer...))
	}
	return r.hasSlot && !r.write && l.now < l.restless && c.profile.mayMulti(l.now) && l.steered(c, r, line)
}

// isReplica believes READONLY of a script without keys when the node is a replica: then it has written nothing.
func (l *loop) isReplica(c *nodeConn, r *request, line, answer []byte) bool {
	if role := elements(answer); len(role) == 0 || string(role[0]) != "slave" {
		return false
	}
	return l.steered(c, r, line)
}

// scriptGone sends r again, behind its script, when the node has lost that since it was loaded.
func (l *loop) scriptGone(c *nodeConn, r *request, _, answer []byte) bool {
	if string(answer) != "*1\r\n:0\r\n" {
		return false // the script itself says NOSCRIPT, or the user may not ask
	}
	c.unload(r.uses[0])
	r.reloaded = true
	l.hold(r)
	return true
}

// unwrap takes the reply to the EXEC around a script.
func (l *loop) unwrap(c *nodeConn, r *request, piece []byte) {
	early := r.early
	r.early = nil
	head := []byte("*1\r\n")
	inside := bytes.HasPrefix(piece, head)
	if inside && piece[len(head)] != '-' {
		if r.reply != nil {
			piece = r.reply[:copy(r.reply, r.reply[len(head):])]
			r.reply = piece
			r.root().sess.held -= len(head)
		} else {
			piece = piece[len(head):]
		}
		l.finish(r, piece)
		return
	}
	l.errorLine = append(l.errorLine[:0], piece...)
	line := l.errorLine
	l.dropReply(r)
	switch {
	case inside:
		line = line[len(head):]
		if resp.Classify(line) == resp.NoScript || bytes.HasPrefix(line, notCompiled) {
			l.examine(c, r, line)
			return
		}
	case r.asking && resp.Classify(early) == resp.NoPerm && bytes.Contains(early, []byte("'asking'")):
		l.awaitOneOwner(r)
		return
	case resp.Classify(early) == resp.NoPerm && bytes.Contains(early, []byte("'multi'")):
		c.profile.multiUntil = 0
		l.stats.Ambiguous++
		r.fault = true
		l.fail(r, errTextUnknown) // it has been run, but its reply was taken for +QUEUED
		return
	case early != nil:
		line = early
	}
	if inside || !l.steered(c, r, line) {
		l.finish(r, line)
	}
}
