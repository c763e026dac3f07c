// Package variants keeps designs of the proxy that were not taken, to be measured beside the one that was. It has tests only:
//
//	go test -run '^$' -bench . -benchtime 1s ./bench/variants
//
//	loops        slotproxy: each loop has its clients and its connections to nodes, and reads, decides and writes without a hand-off
//	goroutines   rejected: every read wakes a goroutine, and every reply crosses two locks, so that a command costs more than twice the
//	             processor time; what is batched is up to the scheduler
//	redcon       rejected: each command is handed over three times, by channels that park and wake goroutines, for twice the processor
//	             time; a front that waits for its replies before it reads on has no place for blocked commands and for pushes
//
// All three parse with package resp or redcon, go to the same real cluster with one connection to each node, and know GET only. Each is a
// process of its own, whose processor time the kernel counts; the figure is proxy-us/command. ns/op is shared with the load and the servers,
// and what is allocated is the load's. slotproxy is built without its profile for the compiler, as the others are.
package variants
