package proxy

import (
	"math/rand/v2"

	"slotproxy/resp"
)

// A script can make a node answer two replies where one is due: older servers write the text of a script's error as it
// is, line ends included (CVE-2025-67733). On a shared connection the next client would get the second one. So where a
// command of another client follows a script, a PING with a random number goes between them: what comes before its
// reply belongs to the client of the script, and is dropped; that client is cut off. The number is not known to the
// script when it runs, so its reply cannot be forged.

// maxStray bounds the replies that are dropped while the answer to a nonce is awaited; behind it the connection is
// given up.
const maxStray = 1024

const nonceDigits = 16

// watchScripts puts a nonce before r when another client's script went before it, and remembers the client of a script.
func (c *nodeConn) watchScripts(r *request) {
	from := r.sender()
	if c.suspect != 0 && c.suspect != from {
		c.sendNonce()
		c.suspect = 0
	}
	if r.script {
		c.suspect = from
	}
}

// sender is the id of the client that r is for, 0 for none.
func (r *request) sender() uint64 {
	if s := r.root().sess; s != nil {
		return s.id
	}
	return 0
}

func (c *nodeConn) sendNonce() {
	l := c.l
	r := l.newRequest()
	r.nonce, r.write = true, false
	var digits [nonceDigits]byte
	n := rand.Uint64() // ChaCha8 with a random seed
	for i := range digits {
		digits[i] = "0123456789abcdef"[n>>(4*i)&15]
	}
	r.buf = resp.AppendCommand(r.buf[:0], pingName, digits[:])
	r.start = int64(c.suspect) // whom it watches; it has no client of its own
	r.state = stateDone        // nobody waits for it
	r.conn, r.sentAt = c, l.now
	c.put(r.buf)
	r.end = c.queued()
	r.refs++
	c.queue.push(r)
	l.stats.InFlight++
}

var pingName = []byte("PING")

// fits says whether the reply, of which piece is the last part, is the one to the nonce r.
func (c *nodeConn) fits(r *request, piece []byte) bool {
	if r.reply != nil {
		c.l.keepReply(r, piece)
		piece = r.reply
	}
	want := r.buf[len(r.buf)-len("$16\r\n\r\n")-nonceDigits:]
	if string(piece) == string(want) {
		c.l.dropReply(r)
		return true
	}
	return false
}

// strayed drops a reply that nobody asked for, and cuts off the client whose script is to blame.
func (c *nodeConn) strayed() error {
	r := c.queue.first()
	c.l.stats.Desyncs++
	if resp.Classify(r.reply) == resp.NoPerm || r.cursor >= maxStray {
		c.profile.lonely = true // the user may not PING: his scripts get connections of their own
		return errUnasked
	}
	r.cursor++
	c.l.dropReply(r)
	for _, s := range c.l.sessions {
		if s.id == uint64(r.start) {
			s.conn.close(errStray)
			break
		}
	}
	return nil
}
