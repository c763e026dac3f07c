package resp

import "errors"

// ProtocolError says that a client broke the protocol. The connection must be
// closed: where the next request begins is unknown.
type ProtocolError struct {
	Text string // the server's words, without the "ERR " in front

	// Silent errors get no reply, the connection is just closed, as the server
	// does it. Security errors are silent, and so is a request over Limits.Query.
	Silent bool

	// Security: the client looks like a browser that was tricked into talking to
	// us (POST or Host: as a command). Worth a line in the log.
	Security bool
}

func (e *ProtocolError) Error() string { return e.Text }

// What a server answers, word for word (Valkey 9.1).
var (
	errBigInline    = &ProtocolError{Text: "Protocol error: too big inline request"}
	errBigCount     = &ProtocolError{Text: "Protocol error: too big mbulk count string"}
	errBigBulkCount = &ProtocolError{Text: "Protocol error: too big bulk count string"}
	errCount        = &ProtocolError{Text: "Protocol error: invalid multibulk length"}
	errBulk         = &ProtocolError{Text: "Protocol error: invalid bulk length"}
	errCRLF         = &ProtocolError{Text: "Protocol error: invalid CRLF in request"}
	errQuotes       = &ProtocolError{Text: "Protocol error: unbalanced quotes in request"}
	errUnauthCount  = &ProtocolError{Text: "Protocol error: unauthenticated multibulk length"}
	errUnauthBulk   = &ProtocolError{Text: "Protocol error: unauthenticated bulk length"}

	// The server closes without a word in these cases; the texts are for our log.
	errQuery    = &ProtocolError{Text: "Protocol error: request over the query limit", Silent: true}
	errSecurity = &ProtocolError{Text: "Protocol error: POST or Host: as a command, possible cross protocol scripting", Silent: true, Security: true}
)

// errExpectedBulk is the answer to an argument that begins with c instead of '$'.
func errExpectedBulk(c byte) *ProtocolError {
	if c == '\r' || c == '\n' { // the server keeps line ends out of error lines
		c = ' '
	}
	return &ProtocolError{Text: string(append([]byte("Protocol error: expected '$', got '"), c, '\''))}
}

// Why a reply cannot be framed. The node's connection must be closed.
var (
	errReplyType  = errors.New("reply: unknown type byte")
	errReplyLine  = errors.New("reply: line does not end in CRLF")
	errReplyLong  = errors.New("reply: line too long")
	errReplySize  = errors.New("reply: invalid length")
	errReplyEnd   = errors.New("reply: payload does not end in CRLF")
	errReplyDepth = errors.New("reply: nested too deeply")
)
