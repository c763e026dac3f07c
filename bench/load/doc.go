// Package load is the engine of slotproxy bench: clients that send commands to a cluster or to one server, and what came back when.
// It knows nothing of command lines and prints nothing.
//
//	Start(Config) --> threads: one goroutine on epoll each, with its share of the clients
//	                     |
//	                  pace: when a client sends its next operation     (closed: when it has its replies; open: by the clock)
//	                     v
//	                  client --> operation --> parts, one a node ----> link: one socket
//	                                             ^                       |
//	                                             +--- MOVED, ASK <-------+ replies, in order
//	                     |
//	                  recorder of the phase in which the operation was due
//	                     v
//	Run.Stop --------> Result: counts, histograms, errors by text, processor time of the processes named
//
// Both targets take the same way through this code, so that the generator costs the same: one server is a cluster in which one node
// owns all slots.
//
// An open load is due by the clock and measured from when it was due, also when it could not be sent because the target was slow: a
// client of a closed load that waits for a reply sends nothing, and a stall of a second is one slow command among thousands.
//
// Ownership: everything below a thread is touched by its goroutine alone. Run.Enter and Run.Stop belong to whoever called Start. The
// table of slots is published whole by the scout, a goroutine that asks the nodes when a thread has met something unexpected.
//
// Not for sixteen load generators on one network: one process, one machine. Linux only: other systems have no epoll and no /proc.
package load
