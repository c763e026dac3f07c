// Package wire is the client side of RESP as the black-box tests speak it: exact bytes out, exact bytes in.
//
// It is written from the protocol's description and shares no line with package resp: a test that used the parser it tests
// would agree with every mistake of it. It is not a client library: no pool, no retry, no reconnect, one goroutine per Conn.
//
//	test --Append/Flush--> socket --ReadRaw/Read--> test
//
// A Conn is owned by the goroutine that uses it; Close may come from any goroutine.
package wire
