// Command peers measures what a proxy costs: processor microseconds of its process per command, for slotproxy, haproxy and
// twemproxy in one run on one machine, and the latency that one client sees.
//
//	load (this process: epoll, 50 connections) --> proxy --> servers
//	                                                 |
//	                                     /proc/PID/task/*/schedstat before and after
//
// slotproxy stands before a cluster of three primaries, twemproxy before three servers that are no cluster, haproxy before one of
// them (it copies bytes and cannot choose). Every round measures all of them in another order, so that a busy moment of a shared
// machine hits each of them in turn; only medians and ratios of one run mean anything.
//
// It is not a test of throughput or of tail latency, and its load is closed: the next command waits for the reply.
package main
