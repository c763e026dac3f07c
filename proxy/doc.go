// Package proxy is the data path: bytes of clients in, bytes of nodes out, and back, in order.
//
//	clients                       one event loop of several, sharing nothing                        nodes
//	         +------------------------------------------------------------------------------+
//	socket --> conn --> session --parse--> command --route--> request --> nodeConn --> conn --> socket
//	         |            ^                                      |           |                |
//	         |            |                     order.go: may it go now?     FIFO of requests  |
//	         |            |                                      |           |                |
//	socket <-- conn <-- reply queue <--- finish <--- redirect.go: whose reply is it? <-- conn <-- socket
//	         +------------------------------------------------------------------------------+
//
// To follow a byte, open the files in this order:
//
//	accept.go      a client arrives and is dealt to a loop
//	loop.go        one iteration: wait, read all, flush all; poller_linux.go is what it waits with
//	conn.go        one socket: reading, writing, pausing; stream.go is the second transport (TLS, other systems)
//	session.go     one client: its commands, its queue of replies; window.go its limits
//	               together.go which replies wait for each other
//	dispatch.go    one command: known? allowed? where to?     unusual.go, users.go: what is refused
//	local.go       commands answered here                     client.go, clientlist.go, clientfilter.go, debug.go: some of them
//	console.go     PROXY: what clients may ask of the admin port, off the loops
//	census.go      what concerns the clients of all loops     pause.go: CLIENT PAUSE   quiet.go: CLIENT REPLY
//	order.go       may it go now, or does an earlier command stand before it?
//	redirect.go    send it; and what its reply means: the client's, or "go elsewhere"
//	node.go        one server; nodeconn.go one connection to it; fifo.go what is in flight there
//	slots.go       who serves a slot, what is in flight for it, and whether it is in trouble
//	verdict.go     errors that are not what they seem; suspect.go scripts that upset the count of replies
//	retry.go       requests that go again later
//	gate.go        holds the commands of slots back that are being handed over; handover.go what follows a slot at once
//	pulse.go       which slots clients use, and how fast nodes answer
//	fan.go         commands with parts: split over slots, or for every primary; merge.go, info.go (infofields.go) join the replies
//	value.go       a reply taken apart, for slowlog.go, latency.go, config.go   release.go: whose words we use
//	emulate.go     keys in several slots, in steps (cross_slot: emulate); emulate_read.go, emulate_store.go, emulate_move.go
//	combine.go     what reading commands do with several sets, pure; lcs.go, hyperloglog.go for texts and counts
//	scan.go        SCAN and KEYS walk over the slots; probe.go proves each step, older.go walks on servers before 7.4;
//	               cursor.go cursors, of HSCAN too; glob.go MATCH; keyspace.go what else asks the whole keyspace
//	multi.go       MULTI to EXEC: collected here, sent in one piece; watch.go WATCH
//	blocking.go    commands that wait in a node; lease.go connections of one client; giveback.go what nobody took;
//	               tails.go where the streams end that XREAD waits for
//	pubsub.go      SUBSCRIBE, PUBLISH and what a client is subscribed to; glob.go what a pattern matches
//	pubsubhub.go   what a loop's clients of one user listen to, and where; pubsubchange.go their commands on the way;
//	               pubsubfeed.go one node connection with messages; pubsubshard.go channels that follow their slot;
//	               pubsubcount.go how many listen, over all loops
//	script.go      scripts and functions; scripts.go what is known of them; scriptall.go SCRIPT and FUNCTION
//	ask.go         commands of the proxy's own
//	request.go     the one state machine that all of this moves
//
// What it is not for: it knows no configuration file, no metrics library, no coordinator and no topology protocol. A
// router.Table comes in, counters and lists go out.
//
// Ownership: everything that hangs on a loop belongs to the loop's goroutine and has no lock. The only way in is the
// loop's inbox (inbox.go). Proxy itself is safe for concurrent use.
package proxy
