// Package router knows where a command belongs: what kind of command it is, which of its arguments are keys, in which slot
// they lie, and which node owns that slot now. It does no I/O but through Source, and knows nothing of clients,
// connections, retries or RESP beyond the reply to COMMAND.
//
//	a command's arguments
//	    |  Commands.Lookup        what the servers say (COMMAND) + what we say (policy.go)
//	    v
//	  Rule ---- Policy: Shard, Split, AllPrimaries, AnyNode, Local, ...
//	    |  Decide                 key specifications, CRC16, hash tags
//	    v
//	  Decision: slot -----> Table.Owner[slot] -----> Node
//	                          ^ published whole, never changed
//	                       Keeper <---- Hint: MOVED, ASK, lost connections, ...
//	                          | CLUSTER NODES of a few nodes: ParseNodes -> View, Build -> Table, credible
//	                          v
//	                       Source (the cluster)
//
// Ownership: rules, Commands and published tables are immutable and may be read from any goroutine. The Keeper is the one
// writer of tables; its Run is one goroutine, and the short-lived ones that ask nodes hand their answers to it and end
// before it does.
//
// Where things are: policy.go is the table of commands, one entry a line (docs/commands.md is made from it: go generate
// ./router); builder.go joins it with a COMMAND reply, which commandreply.go reads; keyspec.go finds keys; nodes.go reads
// one node's CLUSTER NODES; build.go decides between several; credible.go compares with what was known; keeper.go, ask.go
// and hints.go are the Keeper.
//
// data/command-valkey-9.1.resp is the reply of a Valkey 9.1 without modules to COMMAND, byte for byte, and
// testdata/commands-*.txt the names in the replies of the servers we support.
package router

//go:generate go test -run TestCommandsDocumentSaysWhatTheTableSays . -update
