package proxy

import (
	"bytes"
	"math"

	"slotproxy/resp"
	"slotproxy/router"
)

// pause is a CLIENT PAUSE that is in effect. Every loop has its own copy.
type pause struct {
	until int64 // loop time; 0: none
	all   bool  // else only what may write
}

// mayReplicate are the commands that a server holds back with the writes although they are not called so: their effects
// reach replicas.
var mayReplicate = map[string]bool{
	"eval": true, "evalsha": true, "fcall": true, "pfcount": true, "publish": true, "spublish": true,
}

// pausing says that a command has to wait for the end of a pause.
func (s *session) pausing(rule *router.Rule) bool {
	if s.tx != nil && s.tx.write && rule.Name == "exec" {
		return true
	}
	return s.l.pause.all || rule.Flags&router.FlagWrite != 0 || mayReplicate[rule.Name]
}

func clientPause(s *session, args [][]byte) {
	ms, ok := resp.ParseInt(args[2])
	all, version := true, s.l.p.release()
	switch {
	case len(args) > 4 && !version.valkey(8, 1):
		s.ownError(wrongSubArity(s.rule))
		return
	case len(args) == 3 || bytes.EqualFold(args[3], []byte("all")):
	case bytes.EqualFold(args[3], []byte("write")):
		all = false
	default:
		s.ownError(errTextPauseMode)
		return
	}
	switch {
	case !ok:
		s.ownError(notInteger("timeout"))
		return
	case ms < 0:
		s.ownError(errTextNegativePause)
		return
	case ms > maxPause && !version.valkey(8, 0): // it overflows there
		s.sayOK()
		return
	case ms > maxPause:
		s.ownError(errTextLongPause)
		return
	}
	until := monotonic() + ms*1e6
	s.pauseAll(func(l *loop) int {
		l.pause = pause{until: max(until, l.pause.until), all: all}
		return 0
	})
}

// maxPause is the longest pause in milliseconds; behind it loop times overflow.
const maxPause = math.MaxInt64 / 2 / 1_000_000

func clientUnpause(s *session, _ [][]byte) {
	s.pauseAll(func(l *loop) int {
		l.endPause()
		return 0
	})
}

// pauseAll changes the pause of every loop, and answers when all have.
func (s *session) pauseAll(change func(l *loop) int) {
	c := &census[int]{s: s, part: change}
	c.reply = func(*session, []int) []byte { return okReply }
	c.start()
}

// checkPause ends a pause whose time is up.
func (l *loop) checkPause() {
	if l.pause.until != 0 && l.now >= l.pause.until {
		l.endPause()
	}
}

// endPause lets the clients go on that have been held back.
func (l *loop) endPause() {
	l.pause = pause{}
	for _, s := range l.sessions {
		s.resume(stopPaused)
	}
}
