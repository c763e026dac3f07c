package proxy

import (
	"context"
	"time"
)

// Console is the part of the admin port that clients of the data port may ask for, with PROXY. It is safe for concurrent use.
type Console interface {
	// Refuses says why a command is not for them, "" when it is. name are one or two words behind PROXY. It never waits.
	Refuses(name []string) string
	// Answer runs a command that was not refused and returns its reply in a protocol, 2 or 3. It may wait for nodes until ctx
	// ends. client is the address of who asks.
	Answer(ctx context.Context, args []string, client string, proto int) []byte
}

const (
	// maxConsole commands run at one time: some people and a monitoring system. Each client has one.
	maxConsole = 8
	// consoleTime is more than a look at every node of a large cluster takes.
	consoleTime = 10 * time.Second
	// consoleWords and consoleBytes are several times what commands have that only look: a name of two words and a pattern.
	consoleWords, consoleBytes = 16, 1 << 10
)

// consoleCall is a PROXY command under way. Immutable.
type consoleCall struct {
	home   *loop
	r      *request
	args   []string
	client string
	proto  int
}

// localProxy answers PROXY, off the loop. Later commands of the client wait, so that nobody has more than one under way.
func localProxy(s *session, args [][]byte) {
	p := s.l.p
	name, ok := consoleArgs(args[1:min(len(args), 3)])
	switch {
	case p.cfg.Console == nil:
		s.ownError(errTextNoConsole)
		return
	case !ok:
		s.ownError(errTextLongConsole)
		return
	}
	if text := p.cfg.Console.Refuses(name); text != "" {
		s.ownError(text)
		return
	}
	words, ok := consoleArgs(args[1:])
	if !ok {
		s.ownError(errTextLongConsole)
		return
	}
	select {
	case p.asides <- struct{}{}:
	default:
		s.ownError(errTextConsoleBusy)
		return
	}
	c := &consoleCall{home: s.l, r: s.ask(), args: words, client: s.addr, proto: s.profile.key.proto}
	c.r.enter(stateSent)
	c.r.refs++ // held by the call
	s.stop(stopBarrier)
	if err := p.dialers.Submit(c.run); err != nil { // all of its goroutines are busy
		<-p.asides
		s.l.fail(c.r, errTextConsoleBusy)
		s.l.release(c.r)
	}
}

// consoleArgs copies words, and reports false when they are too many or too long.
func consoleArgs(args [][]byte) (words []string, ok bool) {
	if len(args) > consoleWords {
		return nil, false
	}
	for _, a := range args {
		if len(a) > consoleBytes {
			return nil, false
		}
		words = append(words, string(a))
	}
	return words, true
}

// run asks the console, on a goroutine of the pool, and takes the reply home.
func (c *consoleCall) run() {
	p := c.home.p
	ctx, end := context.WithTimeout(p.life, consoleTime)
	reply := p.cfg.Console.Answer(ctx, c.args, c.client, c.proto)
	end()
	<-p.asides
	c.home.post(message{kind: msgCall, call: func(l *loop) {
		if c.r.state != stateDone {
			l.finish(c.r, reply)
		}
		l.release(c.r)
	}})
}
