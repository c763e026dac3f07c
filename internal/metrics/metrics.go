package metrics

// prefix begins the name of every metric of the proxy.
const prefix = "slotproxy_"

// Kinds of metrics.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// metric is one row of the table. Name has no prefix; help becomes the # HELP line; read tells a person what to make
// of it. emit gets the sum of the loops and the extra, and hands each series to the sink.
type metric struct {
	name   string
	kind   string
	unit   string // as in the name, or empty for plain counts
	labels []string
	help   string
	read   string
	emit   func(out *sink, s *Counters, e *Extra)
}

// table is every metric of the proxy, in the order of the documentation.
var table = []metric{
	// Clients.
	{"client_connections", gauge, "", nil, "Client connections that are open.",
		"Compare with client_connections_limit; a saw-tooth means clients that reconnect.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.SessionsOpen)) }},
	{"client_connections_limit", gauge, "", nil, "Largest number of client connections (max_clients).",
		"Alert at 80 % of it.",
		func(out *sink, _ *Counters, e *Extra) { out.value(float64(e.MaxClients)) }},
	{"client_connections_total", counter, "", nil, "Client connections accepted.",
		"A high rate with few open connections: clients without a connection pool.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.SessionsAccepted) }},
	{"client_rejections_total", counter, "", []string{"reason"}, "New connections that were refused.",
		"Should stay 0. fd_limit: raise LimitNOFILE; max_clients: raise the setting or find the leak.",
		func(out *sink, s *Counters, _ *Extra) { counts(out, s.Rejections[:], rejectNames[:]) }},
	{"client_disconnects_total", counter, "", []string{"reason"}, "Client connections that ended.",
		"slow_consumer and limit are clients cut by a bound; upstream is a node that broke a reply half-way.",
		func(out *sink, s *Counters, _ *Extra) { counts(out, s.SessionsClosed[:], disconnectNames[:]) }},
	{"client_reads_paused_total", counter, "", nil, "Times a client was not read for back-pressure.",
		"Grows when clients send faster than they read, or than their node answers.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.ReadsPaused) }},

	// Commands.
	{"commands_total", counter, "", []string{"command", "result"}, "Commands answered.",
		"result proxy_error is an error that the proxy made itself: should be near 0. server_error is passed on from a node.",
		emitCommands},
	{"command_duration_seconds", histogram, "seconds", []string{"class"}, "Time from a command read to its reply queued for the client.",
		"Includes the node. local has no node in it and so shows the proxy's own share.",
		func(out *sink, s *Counters, _ *Extra) {
			for c := range numClasses {
				out.histogram(&s.CommandSeconds[c], c.String())
			}
		}},
	{"commands_held", gauge, "", nil, "Commands that wait for their slot right now.",
		"Above 0 while a slot moves or its node is away; for long only when slots are failed or unassigned.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.HeldNow)) }},
	{"commands_held_total", counter, "", nil, "Commands that had to wait for their slot.",
		"How many commands felt a move or a failover.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.HeldTotal) }},
	{"gates_closed", gauge, "", nil, "Groups of slots whose commands are held back right now while the slots are handed over.",
		"At most one for each source of a move; each for some milliseconds.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.GatesClosed)) }},
	{"gate_holds_total", counter, "", nil, "Times that commands of a group of slots were held back.",
		"One for each group that the coordinator moves key by key.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.GateHolds) }},
	{"gate_held_commands_total", counter, "", nil, "Commands that a gate held back.",
		"How many commands felt a move by this proxy; gate_hold_seconds says how much.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.GateHeld) }},
	{"gate_hold_seconds", histogram, "seconds", nil, "Time that a gate held a command back.",
		"Compare with the hold budget; longer ones mean a slow node or slots with large keys.",
		func(out *sink, s *Counters, _ *Extra) { out.histogram(&s.GateSeconds) }},
	{"ambiguous_commands_total", counter, "", nil, "Commands written to a node whose connection then broke: outcome unknown.",
		"Each one was answered PROXYUNKNOWN and was perhaps executed. Expect some at a failover, none otherwise.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.Ambiguous) }},
	{"command_timeouts_total", counter, "", nil, "Commands that a node did not answer in time.",
		"A node that is frozen or overloaded; the slow commands are in its SLOWLOG.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.Timeouts) }},
	{"retries_total", counter, "", []string{"reason"}, "Commands sent again.",
		"unsent and read follow lost connections; cluster_state is waiting out a transient state.",
		func(out *sink, s *Counters, _ *Extra) { counts(out, s.Retries[:], retryNames[:]) }},
	{"redirects_total", counter, "", []string{"type"}, "Answers of nodes about the cluster, hidden from clients.",
		"moved and ask come with moving slots. A steady rate of moved with no move: something is wrong with node addresses.",
		func(out *sink, s *Counters, _ *Extra) { counts(out, s.Redirects[:], redirectNames[:]) }},
	{"redirects_refused_total", counter, "", []string{"reason"}, "Redirects that were not followed.",
		"not_allowed: a node named an address outside of the cluster. See allow_cidrs and node_map.",
		func(out *sink, s *Counters, _ *Extra) { counts(out, s.RedirectsRefused[:], refusedNames[:]) }},

	// Nodes.
	{"upstream_connections", gauge, "", nil, "Connections to nodes that are open.",
		"About loops x lanes x nodes for each user, database and protocol in use.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.UpstreamOpen)) }},
	{"upstream_connects_total", counter, "", nil, "Connections to nodes that were opened.",
		"A steady rate means that connections do not live.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.UpstreamConnects) }},
	{"upstream_connect_failures_total", counter, "", nil, "Connections to nodes that could not be opened.",
		"A node is away, or refuses user, password or certificate.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.UpstreamConnectFailures) }},
	{"upstream_inflight_commands", gauge, "", nil, "Commands given to nodes and not yet answered.",
		"Rises when nodes are slower than clients.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.InFlight)) }},
	{"upstream_leases", gauge, "", nil, "Node connections that one client has for itself: blocked, or between WATCH and EXEC.",
		"About the number of blocked clients. At max_leases for each node further ones wait.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.LeasesBusy)) }},
	{"upstream_lease_waits_total", counter, "", nil, "Commands that had to stand in line for such a connection.",
		"Above 0: raise max_leases, or the clients block more than they should.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.LeaseWaits) }},
	{"subscribers", gauge, "", nil, "Clients that are subscribed to something.",
		"Each needs the memory of what it has not read yet; see subscribers_cut_total.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.Subscribers)) }},
	{"subscriptions", gauge, "", nil, "Channels and patterns of all clients, each client's counted.",
		"Grows for ever when clients forget to unsubscribe.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.Subscriptions)) }},
	{"pubsub_messages_received_total", counter, "", nil, "Messages that nodes sent.",
		"One a loop and user for each message somebody there listens to. Patterns like * get each from every primary.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.MessagesIn) }},
	{"pubsub_messages_delivered_total", counter, "", nil, "Messages handed to clients.",
		"Divided by the received ones: how many clients share a subscription.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.MessagesOut) }},
	{"subscribers_cut_total", counter, "", nil, "Subscribers closed because they did not read.",
		"Messages come faster than such a client takes them.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.SubscribersCut) }},
	{"upstream_desyncs_total", counter, "", nil, "Node connections closed because their replies did not match the requests.",
		"Must stay 0. Page on more: a node or something in between breaks the protocol.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.Desyncs) }},

	// The picture of the cluster.
	{"slots", gauge, "", []string{"state"}, "Slots by state.",
		"ok + open should be 16384. failed and unassigned slots make their commands wait and then fail.",
		func(out *sink, _ *Counters, e *Extra) {
			for st := range numSlotStates {
				out.value(float64(e.Slots[st]), st.String())
			}
		}},
	{"nodes", gauge, "", []string{"role", "state"}, "Nodes of the cluster.",
		"state failed is what the cluster says, not a guess of the proxy.", emitNodes},
	{"node_slots", gauge, "", []string{"node"}, "Slots that a primary owns.",
		"How evenly slots are spread.", emitNodeSlots},
	{"topology_age_seconds", gauge, "seconds", nil, "Time since the topology was last read from the cluster.",
		"Above three refresh intervals: no node answers the control connection. Absent before the first table.",
		func(out *sink, _ *Counters, e *Extra) {
			if e.HasTable {
				out.value(e.TableAge.Seconds())
			}
		}},
	{"topology_epoch", gauge, "", nil, "Highest configuration epoch of the slot table.",
		"Steps up with each slot move or failover.",
		func(out *sink, _ *Counters, e *Extra) { out.value(float64(e.TableEpoch)) }},
	{"topology_tables_total", counter, "", nil, "Slot tables published to the loops.",
		"How often the picture changed or was confirmed after a doubt.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Published) }},
	{"topology_questions_total", counter, "", []string{"result"}, "Questions to nodes about the topology.",
		"failed: the node is away, frozen, or refuses the user. The log says which.",
		func(out *sink, _ *Counters, e *Extra) {
			out.count(e.Asked.Answered, "answered")
			out.count(e.Asked.Failed, "failed")
		}},

	// Moving slots.
	{"migration_running", gauge, "", nil, "1 while a job of the coordinator is under way, a paused one too.",
		"For longer than the job's estimate: PROXY JOBS says what it waits for.",
		func(out *sink, _ *Counters, e *Extra) { out.flag(e.Moves.Running) }},
	{"migration_paused", gauge, "", nil, "1 while the job that is under way is paused.",
		"It goes on with PROXY RESUME.",
		func(out *sink, _ *Counters, e *Extra) { out.flag(e.Moves.Paused) }},
	{"migration_slots_left", gauge, "", nil, "Slots that the job under way has not moved yet; 0 when there is none.",
		"Does not fall while the job is not paused: PROXY JOB says what it waits for, and which slots it cannot move.",
		func(out *sink, _ *Counters, e *Extra) { out.count(uint64(e.Moves.SlotsLeft)) }},
	{"migration_jobs_total", counter, "", []string{"state"}, "Jobs that have ended.",
		"partial: PROXY JOB names the slots that have stayed and why. failed: its reason in PROXY JOBS says whether slots are open, PROXY CHECK and PROXY FIX what to do.",
		func(out *sink, _ *Counters, e *Extra) {
			out.count(e.Moves.Succeeded, "success")
			out.count(e.Moves.Partial, "partial")
			out.count(e.Moves.Failed, "failed")
			out.count(e.Moves.Cancelled, "cancelled")
		}},
	{"migration_slots_total", counter, "", nil, "Slots that the coordinator has moved.",
		"rate() is the speed of a job where slots are empty.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Moves.Slots) }},
	{"migration_keys_total", counter, "", nil, "Keys that the coordinator has moved.",
		"rate() is the speed of a job; the job's pace says what slows it down.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Moves.Keys) }},
	{"migration_bytes_total", counter, "bytes", nil, "Bytes that the coordinator has moved, estimated.",
		"Compare with what the network between the nodes can carry.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Moves.Bytes) }},
	{"migration_holds_total", counter, "", nil, "Times that clients' commands for slots were held for a move.",
		"Each is within the hold budget; commands_held_total says how many commands felt them.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Moves.Holds) }},
	{"migration_retries_total", counter, "", nil, "Steps of moves that were not done at the first attempt.",
		"Some are normal, like nodes that do not agree yet. Many: PROXY JOB shows the step and its attempts.",
		func(out *sink, _ *Counters, e *Extra) { out.count(e.Moves.Retries) }},

	// The process.
	{"network_bytes_total", counter, "bytes", []string{"side", "direction"}, "Bytes received and sent.",
		"client in is about upstream out; a gap is replies or requests that the proxy merges or answers itself.",
		func(out *sink, s *Counters, _ *Extra) { perSide(out, s.BytesIn, "in"); perSide(out, s.BytesOut, "out") }},
	{"network_calls_total", counter, "", []string{"side", "direction"}, "Read and write system calls.",
		"commands_total / network_calls_total tells how well commands are batched.",
		func(out *sink, s *Counters, _ *Extra) { perSide(out, s.Reads, "in"); perSide(out, s.Writes, "out") }},
	{"buffer_bytes", gauge, "bytes", nil, "Memory in input and output buffers.",
		"Compare with buffer_budget_bytes.",
		func(out *sink, s *Counters, _ *Extra) { out.value(float64(s.BufferBytes)) }},
	{"buffer_budget_bytes", gauge, "bytes", nil, "Largest memory in buffers (buffer_budget).",
		"At the budget the largest clients are cut.",
		func(out *sink, _ *Counters, e *Extra) { out.value(float64(e.BufferBudget)) }},
	{"loops", gauge, "", nil, "Event loops.", "Divide loop_busy_seconds_total by it.",
		func(out *sink, _ *Counters, e *Extra) { out.value(float64(e.Loops)) }},
	{"loop_iterations_total", counter, "", nil, "Iterations of the event loops.",
		"commands_total / loop_iterations_total is the batch size.",
		func(out *sink, s *Counters, _ *Extra) { out.count(s.Iterations) }},
	{"loop_busy_seconds_total", counter, "seconds", nil, "Time that the event loops were not waiting.",
		"rate() / loops near 1: the proxy is at its limit, add loops or proxies.",
		func(out *sink, s *Counters, _ *Extra) { out.value(s.LoopBusy.Seconds()) }},
	{"draining", gauge, "", nil, "1 while the proxy goes away.", "Expected at a restart only.",
		func(out *sink, _ *Counters, e *Extra) { out.flag(e.Draining) }},
	{"config_last_reload_successful", gauge, "", nil, "1 when the last (re)load of the configuration succeeded.",
		"0: the old configuration is still in use; the log says why.",
		func(out *sink, _ *Counters, e *Extra) { out.flag(e.ReloadOK) }},
	{"config_last_reload_success_timestamp_seconds", gauge, "seconds", nil, "When the configuration in use was loaded.",
		"Seconds since 1970.",
		func(out *sink, _ *Counters, e *Extra) { out.time(e.ReloadedAt) }},
	{"tls_certificate_not_after_timestamp_seconds", gauge, "seconds", []string{"where"}, "When a TLS certificate in use expires.",
		"Alert two weeks before. Absent without TLS.",
		func(out *sink, _ *Counters, e *Extra) {
			for _, c := range e.Certificate {
				out.time(c.NotAfter, c.Where)
			}
		}},
	{"build_info", gauge, "", []string{"version", "revision", "goversion"}, "1; the labels say what is running.",
		"Join with it to see versions side by side.",
		func(out *sink, _ *Counters, e *Extra) { out.value(1, e.Version, e.Revision, e.GoVersion) }},
}

func counts(out *sink, values []uint64, names []string) {
	for i, v := range values {
		out.count(v, names[i])
	}
}

func perSide(out *sink, values [NumSides]uint64, direction string) {
	for side := range NumSides {
		out.count(values[side], side.String(), direction)
	}
}

// emitCommands shows the commands that were ever used, so that the number of series follows the use and not the size
// of the command table. Rules of one name (a table may know a command twice after a module came) are one series.
func emitCommands(out *sink, s *Counters, _ *Extra) {
	byName := make(map[string]CommandCount)
	for id, n := range s.Commands {
		if n == (CommandCount{}) {
			continue
		}
		name := out.command(id)
		sum := byName[name]
		sum.OK += n.OK
		sum.ServerError += n.ServerError
		sum.ProxyError += n.ProxyError
		byName[name] = sum
	}
	for name, n := range byName {
		out.count(n.OK, name, "ok")
		out.count(n.ServerError, name, "server_error")
		out.count(n.ProxyError, name, "proxy_error")
	}
}

func emitNodes(out *sink, _ *Counters, e *Extra) {
	var n [2][2]int
	for _, node := range e.Nodes {
		n[index(node.Primary)][index(node.Failed)]++
	}
	for primary, role := range [2]string{"replica", "primary"} {
		for failed, state := range [2]string{"ok", "failed"} {
			out.value(float64(n[primary][failed]), role, state)
		}
	}
}

func emitNodeSlots(out *sink, _ *Counters, e *Extra) {
	seen := make(map[string]bool, len(e.Nodes))
	for _, node := range e.Nodes {
		// Two entries of one address are possible while a node is replaced; a scrape must not fail over it.
		if node.Primary && !seen[node.Addr] {
			seen[node.Addr] = true
			out.value(float64(node.Slots), node.Addr)
		}
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}
