// Package testnode is a cluster node made of a script: it answers exactly the bytes a test tells it to, at the moment the test
// tells it to, or not at all.
//
//	set := testnode.NewSet(t, 3)                          // slots split evenly, a proxy can start against it
//	set.Node(0).On("GET a", testnode.Ask(7, addr))        // once, before the defaults
//	set.Node(0).Every("GET b", testnode.Raw("$1\r\nx\r\n"))
//	...
//	set.Node(1).Wait(t, "GET a", 1)                       // what came, on which connection, with ASKING or not
//
// Without a script a node answers what a proxy asks when it starts: HELLO, AUTH, CLIENT, CLUSTER NODES (made from the set's slot
// map, which a test may change at any time), COMMAND, INFO, PING and a few more; any other command is an error reply.
//
// It is a plain net.Listener and not redcon, because a test of framing needs every byte, half replies included. It keeps no data
// and is no server.
//
// Ownership: a Set owns its nodes, a node its connections; all end with the test. Every method may be called from any
// goroutine. Actions run on the goroutine of the connection that received the command, one command at a time, as in a server.
package testnode
