package proxy

import (
	"bytes"
	"math/rand/v2"

	"slotproxy/resp"
	"slotproxy/router"
)

// A script can make a node answer two replies where one is due: older servers write the text of a script's error as it
// is, line ends included (CVE-2025-67733). On a shared connection the next client would get the second one. So where a
// command of another client follows a script, a nonce goes between them: a command whose reply repeats a random number.
// What comes before that reply belongs to the client of the script, and is dropped; that client is cut off. The number
// is not known to the script when it runs, so the reply cannot be forged. When it comes where the reply to an earlier
// command should be, replies are missing, and the connection is given up.
//
// The nonce is an ECHO if the user may say that. Every user may say HELLO, in every state of the node, and the error
// that an unknown option gives repeats the option; but errors count in the node's statistics.

const (
	// maxStray bounds the replies that are dropped while the answer to a nonce is awaited; behind it the connection is
	// given up.
	maxStray = 1024
	// maxNonceReply is longer than a reply to a nonce.
	maxNonceReply = 256
	nonceDigits   = 16
)

// watchScripts puts a nonce before r when another client's script went before it, remembers the client of a script, and
// sees that the node has the scripts that r names.
func (c *nodeConn) watchScripts(r *request) {
	from := r.sender()
	if c.suspect != 0 && c.suspect != from {
		c.sendNonce()
		c.suspect = 0
	}
	if !r.script {
		return
	}
	for _, x := range r.uses {
		c.load(x)
	}
	if !c.profile.asked {
		c.askEcho()
		if !c.leased { // it would end a WATCH
			c.askMulti()
		}
	}
	r.wrapped = false
	if c.l.now < c.l.restless && r.hasSlot && r.rule.Policy == router.Script {
		r.wrapped = c.profile.mayMulti(c.l.now)
		c.askMulti()
	}
	c.suspect = from
}

// sender is the id of the client that r is for, 0 for none.
func (r *request) sender() uint64 {
	if s := r.root().sess; s != nil {
		return s.id
	}
	return 0
}

// askEcho finds out whether the user may ECHO.
func (c *nodeConn) askEcho() {
	p := c.profile
	p.asked = true
	c.l.ask(c, resp.AppendCommandStrings(nil, "ECHO", "x"), func(_ *loop, _ *request, reply []byte) {
		p.echo = len(reply) > 0 && reply[0] != '-'
		p.asked = p.echo || resp.Classify(reply) == resp.NoPerm // else another time
	})
}

// multiAgain is how soon a node is asked again by askMulti.
const multiAgain = int64(1e9)

// askMulti finds out whether the user may use transactions, if that is not known.
func (c *nodeConn) askMulti() {
	p, now := c.profile, c.l.now
	if p.mayMulti(now) || now < p.askAgain {
		return
	}
	p.askAgain = now + multiAgain
	c.l.askBehind(c, 1, multiProbe, func(l *loop, r *request, reply []byte) {
		if reply != nil && r.early == nil && !r.ownError {
			p.multiUntil = l.now + multiTrust
		}
	})
}

var (
	echoPrefix  = []byte("*2\r\n$4\r\nECHO\r\n")
	helloPrefix = []byte("*3\r\n$5\r\nHELLO\r\n$1\r\n2\r\n")
)

func (c *nodeConn) sendNonce() {
	l := c.l
	r := l.newRequest()
	r.nonce = true
	var digits [nonceDigits]byte
	n := rand.Uint64() // ChaCha8 with a random seed
	for i := range digits {
		digits[i] = "0123456789abcdef"[n>>(4*i)&15]
	}
	prefix := helloPrefix
	if c.profile.echo {
		prefix = echoPrefix
	}
	l.setBuf(r, prefix)
	r.buf = resp.AppendBulk(r.buf, digits[:])
	r.start = int64(c.suspect) // whom it watches; it has no client of its own
	r.state = stateDone        // nobody waits for it
	r.conn, r.sentAt = c, l.now
	c.put(r.buf)
	r.end = c.queued()
	r.refs++
	c.queue.push(r)
	c.nonces.push(r)
	l.stats.InFlight++
}

// putAside collects a reply that comes in pieces where nobody waits for it, but a nonce's may come. Of one that is too
// long for that the beginning is enough. The request has no place for it: it may still hold a reply of its own.
func (c *nodeConn) putAside(piece []byte) {
	if room := maxNonceReply - len(c.aside); room > 0 {
		c.aside = append(c.aside, piece[:min(len(piece), room)]...)
	}
}

// collected is the reply that ends with piece, with what was put aside of it. It is valid until the next one.
func (c *nodeConn) collected(piece []byte) []byte {
	if len(c.aside) == 0 {
		return piece
	}
	c.putAside(piece)
	whole := c.aside
	c.aside = c.aside[:0]
	return whole
}

// repeats says that a reply is the one to the nonce r.
func (r *request) repeats(reply []byte) bool {
	bulk := r.buf[len(r.buf)-len("$16\r\n\r\n")-nonceDigits:]
	if len(reply) > 0 && reply[0] == '-' { // to HELLO
		return len(reply) < maxNonceReply && bytes.Contains(reply, bulk[len("$16\r\n"):len(bulk)-len("\r\n")])
	}
	return bytes.Equal(reply, bulk)
}

// early says that the reply to a nonce comes where the one to r is due, which is sent before it: one is missing.
func (c *nodeConn) early(r *request, piece []byte) bool {
	var kept []byte // its earlier pieces, while somebody waits for it
	if r.state != stateDone {
		kept = r.reply
	}
	if len(kept)+len(piece) >= maxNonceReply {
		return false
	}
	if kept != nil {
		piece = append(append([]byte(nil), kept...), piece...)
	}
	return c.nonces.first().repeats(piece)
}

// strayed drops a reply that comes before the one to the nonce r, and cuts off the client whose script is to blame.
func (c *nodeConn) strayed(r *request, piece []byte) error {
	l := c.l
	if c.profile.echo && refusesEcho(piece) {
		// That may have been the reply, or a script says so, once: HELLO is never refused.
		c.profile.echo = false
		return errUnasked
	}
	l.stats.Desyncs++
	if r.cursor++; r.cursor > maxStray {
		return errUnasked
	}
	for _, s := range l.sessions {
		if s.id == uint64(r.start) {
			s.conn.close(errStray)
			break
		}
	}
	return nil
}

// refusesEcho says that a line is what a node may answer to ECHO instead.
func refusesEcho(line []byte) bool {
	kind := resp.Classify(line)
	return kind == resp.NoPerm || kind == resp.Busy || kind == resp.NoAuth
}
