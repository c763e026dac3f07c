// Package differ runs random command sequences at a bare server and at the endpoint under test, and looks for the first reply that
// differs.
//
//	seed --> generate --> Sequence: steps of several clients --> run --+--> bare server: replies --+--> normalise, compare
//	         grammar.go   (sequence.go)                        (run.go) +--> endpoint:    replies --+           |
//	         commands*.go                                                                            difference: shrink, report
//
// A sequence is legal in a cluster: the keys of one command share a hash tag, save for the commands that a proxy splits. It is also
// deterministic: a step begins when the replies of the one before are in, on both sides. A client that blocks is waited for until the
// server says so, and released by a step of another one. What no two servers answer alike is listed, with the reason, in normal.go.
//
// The bare server leads: how many replies a step has, who is released and how many messages a subscriber gets is what it says, and
// the endpoint has to do the same.
//
// What it is not for: concurrency (package storm) and bytes that are no commands.
//
// A run belongs to one goroutine. Each connection has another, which reads replies into a channel until the connection is closed.
package differ
