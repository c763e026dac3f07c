// Package storm is a load whose every reply is checked. It knows one endpoint that behaves as one standalone server and tries to
// catch it at a lie: a reply that belongs to another command or client, a command that overtook an earlier one, a write that
// was lost or done twice, an error that a standalone server would not have given.
//
//	Run -- class x clients --> client: ring of commands in flight --> endpoint
//	                           each reply is compared with what the class expected when it sent the command
//
// A class (counter, pair, slot, spread, big, list, shared) yields commands with their checks; a client keeps a window of them
// in flight without ever draining it, because order faults show where commands meet a change half-way. Keys lie mostly in the
// hot slots, which somebody else moves meanwhile. Storm itself moves nothing and knows no cluster; against a bare standalone
// server it must pass.
//
// Each client owns its connection, its classes' state and its statistics; they are joined after the last client returned.
package storm
