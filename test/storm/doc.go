// Package storm is a load whose every reply is checked. It knows one endpoint that behaves as one standalone server and tries to
// catch it at a lie: a reply that belongs to another command or client, a command that overtook an earlier one, a write that
// was lost or done twice, an error that a standalone server would not have given.
//
//	Run -- class x clients --> client: a window of commands in flight ----> endpoint
//	   |                       each reply is compared with what the class expected when it sent the command
//	   +-- talk x parties ---> talker: one command, one reply, one thought -> endpoint
//	                           a talk waits for others: who pops for who pushes, subscribers for a publisher
//
// A class (counter, pair, slot, spread, big, list, shared, multi, evalsha) yields commands with their checks; a client keeps a window
// of them in flight without ever draining it, because order faults show where commands meet a change half-way. A talk (watch, queue,
// pubsub, shardpubsub, scan) has to see one reply before it knows the next command. Keys and channels lie mostly in the hot slots, which
// somebody else moves meanwhile. Storm itself moves nothing and knows no cluster; against a bare standalone server it must pass.
//
// Each party owns its connection, its state and its statistics, which are joined after the last one returned. What several share is
// atomic (shared, channel) or guarded (belt).
package storm
