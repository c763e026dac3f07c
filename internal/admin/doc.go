// Package admin is the console of the proxy: one table of PROXY commands and the
// listener that serves it to any Valkey client.
//
//	TCP or unix socket -> listener (bound on sessions) -> session (deadlines)
//	   -> resp.Guard (checked commands only) -> redcon -> Server.handle
//	        login, PING, HELLO ...  basics.go
//	        PROXY ...               commands.go, the table; console.go finds the entry
//	                                    |                 \
//	                                 Backend             Cluster      (both wired in cmd)
//	                                 the proxy           the coordinator: move.go, jobs.go, repair.go; parse.go
//
// Clients of the data port that say PROXY get the part of the table that only looks, if
// a setting lets them: clients.go.
//
// It knows nothing of how the data is got or the cluster is changed. It serves no client
// data and is not on the data path. A new PROXY command is one entry in
// commands.go; HELP, arity and permission follow from it.
//
// # Ownership
//
// redcon runs one goroutine for each session; it owns the session. The listener's
// goroutine is the one that called Serve. Close ends all of them and waits. A
// Server's own fields are immutable but for those under mu.
//
// # Limits
//
// Requests: resp.BeforeAuth until the login, resp.Admin after it. Sessions, time
// without a login, silence, slow readers and failed logins: see the constants in
// server.go and auth.go; commands that wait for nodes: those in console.go. A reply is written before the next command is looked at,
// so a pipeline cannot pile replies up.
package admin
