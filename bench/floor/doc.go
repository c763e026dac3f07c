// Command floor is what a proxy in Go cannot be cheaper than: one epoll loop without a parser, a router or a single check. It is
// the yardstick of bench/compare, and serves nothing else.
//
//	floor -listen ADDR -request N -value N     answers each N bytes at once, with a string of N bytes: the client's side alone
//	floor -listen ADDR -forward ADDR           copies bytes to one server and back: what haproxy does in TCP mode
//	floor -awake                               serves nothing, and keeps the processors from sleeping
//
// It waits, reads and writes exactly as the loops of package proxy do: all ready sockets are read, then each is written to once.
package main
