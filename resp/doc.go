// Package resp is the bytes on the wire, RESP2 and RESP3, and nothing else. It
// knows no slot, no node, no socket but the one a Guard is wrapped around, and
// starts no goroutine.
//
//	client bytes -> Parser -> Args (views)          what a command says
//	node bytes   -> Framer -> n, done               where a reply ends
//	error line   -> Classify, ParseRedirect         what an error asks of a proxy
//	Append...    -> bytes                           what the proxy itself says
//	Guard        : net.Conn -> Parser -> AppendCommand -> a server that trusts its input (redcon)
//
// What it is not for: it decodes no replies into values (they are forwarded as
// they came, see the Framer) and reads no RESP3 requests (servers refuse them).
//
// # What is accepted
//
// A request gets the verdict and the error text of Valkey 9.1. Accepted array
// requests are byte for byte what AppendCommand gives for their arguments, so
// they may be forwarded as they came: a node cannot see another boundary in them
// than we did. Older servers do not look at the two bytes that follow a payload; the
// strict reading is used for all. Inline requests must be re-encoded.
//
// # Ownership
//
// Parser, Framer and Guard belong to one connection and one goroutine at a time.
// Arguments are views into the caller's buffer (or, for quoted inline arguments,
// into the parser's) and are valid until the next call of Next. Nothing here
// keeps a reference to the caller's bytes between two calls, so the buffer may be
// moved, copied or reused in between. Nothing here writes to them either.
//
// # Limits
//
// Every length is checked before memory is taken for it and every integer before
// arithmetic is done with it, see Limits and the constants of the framer.
package resp
