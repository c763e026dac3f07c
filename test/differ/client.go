package differ

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/test/wire"
)

// client is one connection of one side.
type client struct {
	conn *wire.Conn
	in   chan []byte   // from read to the run: replies and pushes, in order; closed when the connection ends
	quit chan struct{} // closed by close: nobody takes from in any more
	done chan struct{} // closed by read
	dump string        // what the last DUMP was answered with
	// invalid are the keys of all invalidation messages: when these come, and how many keys they have, is the server's own affair.
	invalid map[string]bool

	// Valid at the side that leads.
	multi   bool // between MULTI and EXEC
	listens bool // may get what nobody asked for
	waits   bool // its last step blocks
	closed  bool
	anew    bool // has said RESET

	// Of the step that blocks.
	marker string
	sofar  heard
}

// queuedReplies bounds what read takes before the run does: more than a step has.
const queuedReplies = 1024

// idleLimit is longer than any client of a sequence is silent.
const idleLimit = time.Minute

func dial(addr string) (*client, error) {
	conn, err := wire.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.Timeout = idleLimit
	// Thousands of short connections a minute would use up the ports.
	if tcp, ok := conn.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the test still works, for a while
	}
	c := &client{conn: conn, in: make(chan []byte, queuedReplies), quit: make(chan struct{}), done: make(chan struct{}), invalid: map[string]bool{}}
	go c.read() // ends with the connection; close waits for it
	return c, nil
}

func (c *client) read() {
	defer close(c.done)
	defer close(c.in)
	for {
		b, err := c.conn.ReadRaw()
		if err != nil {
			return
		}
		select {
		case c.in <- b:
		case <-c.quit:
			return
		}
	}
}

func (c *client) close() {
	close(c.quit)
	_ = c.conn.Close() // nothing is lost with it
	<-c.done
}

// heard is what a client got in a step.
type heard struct {
	replies  [][]byte
	messages [][]byte // published by others, or about keys
	ended    bool     // the connection was closed
	missing  bool     // the end of the step did not come in time
}

// until says what ends a step.
type until struct {
	marker   string // the reply to a PING that was sent behind the step; "" counts replies
	replies  int
	messages int  // at least so many, they may come later than the replies
	closed   bool // the connection ends
}

func (u until) reached(h *heard, marked bool) bool {
	if u.closed {
		return false // listen sees it
	}
	if u.marker != "" {
		return marked && len(h.messages) >= u.messages
	}
	return len(h.replies) >= u.replies && len(h.messages) >= u.messages
}

// listen takes what comes until u is reached, or the time is over.
func (c *client) listen(u until, patience time.Duration, h *heard) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for marked := false; !u.reached(h, marked); {
		select {
		case b, ok := <-c.in:
			if !ok {
				h.ended = true
				return
			}
			marked = c.sort(b, u.marker, h) || marked
		case <-timer.C:
			h.missing = true
			return
		}
	}
}

// take takes what is there already and tells whether the marker was among it.
func (c *client) take(marker string, h *heard) (marked bool) {
	for {
		select {
		case b, ok := <-c.in:
			if !ok {
				h.ended = true
				return marked
			}
			if c.sort(b, marker, h) {
				return true
			}
		default:
			return marked
		}
	}
}

// sort puts b where it belongs, and tells whether it is the marker.
func (c *client) sort(b []byte, marker string, h *heard) bool {
	switch {
	case marker != "" && isMarker(b, marker):
		return true
	case c.listens && kindOf(b) == "invalidate":
		c.invalidated(b)
	case c.listens && slices.Contains(messageKinds, kindOf(b)):
		h.messages = append(h.messages, b)
	default:
		h.replies = append(h.replies, b)
	}
	return false
}

func isMarker(b []byte, marker string) bool {
	bulk := "$" + strconv.Itoa(len(marker)) + "\r\n" + marker + "\r\n"
	return string(b) == bulk || string(b) == "*2\r\n$4\r\npong\r\n"+bulk
}

var messageKinds = []string{"message", "pmessage", "smessage"}

// kindOf is the first element of an array or a push.
func kindOf(b []byte) string {
	if b[0] != '>' && b[0] != '*' {
		return ""
	}
	parts := bytes.SplitN(b, []byte("\r\n"), 4)
	if len(parts) < 4 {
		return ""
	}
	return string(parts[2])
}

// invalidated remembers the keys of a message; one without keys is about all.
func (c *client) invalidated(b []byte) {
	v, err := wire.Parse(string(b))
	if err != nil || len(v.Elems) != 2 {
		c.invalid["not understood: "+string(b)] = true
		return
	}
	if v.Elems[1].Null {
		c.invalid["everything"] = true
	}
	for _, key := range v.Elems[1].Strings() {
		c.invalid[key] = true
	}
}

// send writes a step, and behind it a PING if there is a marker.
func (c *client) send(s Step, marker string) error {
	var out []byte
	for _, args := range s.Commands {
		out = wire.AppendCommand(out, c.filled(args)...)
	}
	if marker != "" {
		out = wire.AppendCommand(out, "PING", marker)
	}
	chunk := len(out)
	if s.Chunk > 0 && len(out) <= s.Chunk*maxChunks {
		chunk = s.Chunk
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(idleLimit)); err != nil {
		return err
	}
	for piece := range slices.Chunk(out, chunk) {
		if _, err := c.conn.Conn.Write(piece); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// maxChunks bounds the writes of one step; a step that would need more is written whole.
const maxChunks = 100

// filled puts the last DUMP in its place.
func (c *client) filled(args []string) []string {
	if !slices.Contains(args, lastDump) {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if a == lastDump {
			args[i] = c.dump
		}
	}
	return args
}

// keepDump remembers the payload of a DUMP.
func (c *client) keepDump(args []string, reply []byte) {
	if !strings.EqualFold(args[0], "DUMP") {
		return
	}
	if v, err := wire.Parse(string(reply)); err == nil && v.Kind == '$' && !v.Null {
		c.dump = v.Text
	}
}
