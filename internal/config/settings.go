package config

import (
	"strings"
	"time"
)

// setting is one row of the table.
type setting struct {
	key  string // YAML key; the flag and the variable follow from it
	def  string // as it would be written in the file; items of lists and maps are separated by commas
	live bool   // taken over by SIGHUP
	help string // what it is: one line, shown by --help
	why  string // the reason of the default, and when to change it
	at   func(*Config) value
}

func (s *setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }
func (s *setting) env() string  { return envPrefix + strings.ToUpper(s.key) }

const envPrefix = "SLOTPROXY_"

// group is a part of the table under a heading.
type group struct {
	title    string
	settings []setting
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// table is every setting, in the order of the documentation.
var table = []group{
	{"The cluster", clusterSettings}, {"Clients", listenSettings}, {"Data path", pathSettings},
	{"Limits of clients", limitSettings}, {"Moving slots", migrateSettings}, {"Operation", operationSettings},
}

var clusterSettings = []setting{
	{"cluster", "", false, "Nodes of the cluster to ask first, host:port. One is enough, two or three survive its loss.",
		"There is no default: a proxy that guesses its cluster serves the wrong one.",
		func(c *Config) value { return listValue{&c.Cluster.Seeds, "host:port", checkAddr} }},
	{"cluster_user", "", false, "User that the proxy itself logs in as, to read the topology; empty for the default user.",
		"Clients log in as themselves. This user needs CLUSTER NODES, COMMAND, INFO and PING, and no key; to move slots, all commands on all keys: nodes present it to each other.",
		func(c *Config) value { return stringValue{p: &c.Cluster.User, kind: "text"} }},
	{"cluster_password", "", false, "Password of cluster_user.",
		"Better in cluster_password_file: variables and flags are visible to others.",
		func(c *Config) value { return secretValue{p: &c.Cluster.Password} }},
	{"cluster_password_file", "", false, "File that holds the password of cluster_user.",
		"One trailing line end is ignored.",
		func(c *Config) value { return stringValue{p: &c.Cluster.passwordFile, kind: "file"} }},
	{"cluster_tls", "false", false, "Speak TLS to the nodes.", "As the nodes' tls-port wants it.",
		func(c *Config) value { return boolValue{p: &c.Cluster.TLS.On} }},
	{"cluster_tls_ca", "", false, "File with the certificates of authorities that sign the nodes' certificates; empty for the system's.",
		"", func(c *Config) value { return stringValue{p: &c.Cluster.TLS.CA, kind: "file"} }},
	{"cluster_tls_cert", "", false, "Certificate that the proxy shows to the nodes (tls-auth-clients). SIGHUP reads the file again.",
		"", func(c *Config) value { return stringValue{p: &c.Cluster.TLS.Cert, kind: "file"} }},
	{"cluster_tls_key", "", false, "Key of cluster_tls_cert. SIGHUP reads the file again.",
		"", func(c *Config) value { return stringValue{p: &c.Cluster.TLS.Key, kind: "file"} }},
	{"cluster_tls_server_name", "", false, "Name that the nodes' certificates must have; empty for the host of each node's address.",
		"Set it when nodes are known by IP address and their certificates by one name.",
		func(c *Config) value { return stringValue{p: &c.Cluster.TLS.ServerName, kind: "host name"} }},
	{"cluster_tls_insecure_skip_verify", "false", false, "Accept any certificate of a node.",
		"Whoever can answer in place of a node then reads passwords and data. For tests.",
		func(c *Config) value { return boolValue{p: &c.Cluster.TLS.InsecureSkipVerify} }},
	{"cluster_refresh", "1s", false, "How often the topology is read when nothing is wrong.",
		"One small question to a few nodes. Doubts (MOVED, lost connections) refresh at once, at most every 100 ms.",
		func(c *Config) value {
			return durationValue{p: &c.Cluster.Refresh, min: 100 * time.Millisecond, max: hour}
		}},
	{"cluster_timeout", "1s", false, "How long one node may take to answer a question about the topology.",
		"Another node is asked meanwhile, so a frozen one does not delay the rest.",
		func(c *Config) value {
			return durationValue{p: &c.Cluster.Timeout, min: 50 * time.Millisecond, max: minute}
		}},
	{"node_map", "", true, "Addresses to dial in place of announced ones, announced=dialled.",
		"For port forwards and NAT, when the nodes announce addresses that the proxy cannot reach.",
		func(c *Config) value { return mapValue{&c.Cluster.NodeMap} }},
	{"allow_cidrs", "", true, "Networks to which redirects are followed even when the address is not a node of the table.",
		"Nodes of the table are always followed. Empty, so that a broken or hostile node cannot make the proxy connect elsewhere.",
		func(c *Config) value { return prefixesValue{&c.Cluster.AllowCIDRs} }},
}

var listenSettings = []setting{
	{"listen", "127.0.0.1:6479", false, "Addresses where clients connect.",
		"Loopback, because a cache open to a network is found within minutes. 6479: near 6379, and free.",
		func(c *Config) value { return listValue{&c.Listen.TCP, "host:port", checkListen} }},
	{"listen_tls", "", false, "Addresses where clients connect with TLS.",
		"A port of its own: a switch from plain to TLS on one port can be tricked.",
		func(c *Config) value { return listValue{&c.Listen.TLS, "host:port", checkListen} }},
	{"tls_cert", "", true, "Certificate chain for listen_tls. SIGHUP reads the file again.",
		"", func(c *Config) value { return stringValue{p: &c.Listen.Cert, kind: "file"} }},
	{"tls_key", "", true, "Key of tls_cert. SIGHUP reads the file again.",
		"", func(c *Config) value { return stringValue{p: &c.Listen.Key, kind: "file"} }},
	{"tls_client_ca", "", true, "Authorities that sign clients' certificates. SIGHUP reads the file again.",
		"", func(c *Config) value { return stringValue{p: &c.Listen.ClientCA, kind: "file"} }},
	{"tls_client_auth", AuthNone, true, "Whether clients on listen_tls must show a certificate.",
		"require needs tls_client_ca; optional checks a certificate that is shown.",
		func(c *Config) value {
			return enumValue{p: &c.Listen.ClientAuth, allowed: []string{AuthNone, AuthOptional, AuthRequire}}
		}},
	{"unix_socket", "", false, "Unix socket where clients on this machine connect; empty for none.",
		"", func(c *Config) value { return stringValue{p: &c.Listen.Unix, kind: "path", check: checkPath} }},
	{"unix_socket_mode", "0770", false, "File mode of unix_socket.",
		"The user and the group that run the proxy.",
		func(c *Config) value { return modeValue{p: &c.Listen.UnixMode} }},
	{"protected_mode", "true", false, "Refuse to listen beyond this machine without a password or client certificates.",
		"As Valkey's protected mode. false is right in a container or a network that is closed by other means.",
		func(c *Config) value { return boolValue{p: &c.Listen.ProtectedMode} }},
}

var pathSettings = []setting{
	{"loops", "0", false, "Event loops, each with its own connections to each node; 0 for one for each two processors, at most 8.",
		"On two cores that it shares with servers and clients one loop carries some 50 000 commands a second one by one and 400 000 in pipelines, on a core of its own more. More loops mean smaller batches and more connections.",
		func(c *Config) value { return intValue{p: &c.Loops.Count, min: 0, max: 256} }},
	{"lanes", "1", false, "Connections from a loop to a node for each user, database and protocol.",
		"A slot always uses one lane, so order holds. More help only where one connection is the limit, as with TLS and large values.",
		func(c *Config) value { return intValue{p: &c.Loops.Lanes, min: 1, max: 64} }},
	{"connect_timeout", "2s", false, "How long connecting to a node may take, TLS and login included.",
		"One lost SYN is sent again after a second.",
		func(c *Config) value {
			return durationValue{p: &c.Upstream.ConnectTimeout, min: 50 * time.Millisecond, max: minute}
		}},
	{"upstream_timeout", "5s", false, "How long a node may take for one reply before the client gets an error.",
		"Longer than a garbage collection of a script or a slow KEYS, shorter than most clients' own patience.",
		func(c *Config) value {
			return durationValue{p: &c.Upstream.Timeout, min: 50 * time.Millisecond, max: day}
		}},
	{"redirect_budget", "5s", false, "How long a command may be redirected and retried before the client gets an error.",
		"A failover with the usual cluster-node-timeout of a few seconds fits. Slots that move are held back for half of it at most; below 500ms that is too little.",
		func(c *Config) value {
			return durationValue{p: &c.Upstream.RedirectBudget, min: time.Millisecond, max: hour}
		}},
	{"debug_sleep", "false", false, "Whether clients may stop a node for a while with DEBUG SLEEP, for tests of applications.",
		"The node must allow it, too: enable-debug-command.",
		func(c *Config) value { return boolValue{p: &c.Upstream.DebugSleep} }},
	{"max_leases", "2000", false, "Connections to one node for blocking commands (BLPOP ...) and WATCH, for all loops together.",
		"Each blocked client needs one; more wait in line. The node's maxclients is 10000 by default.",
		func(c *Config) value { return intValue{p: &c.Upstream.MaxLeases, min: 1, max: 1 << 20} }},
	{"cross_slot", CrossSlotStrict, false, "What becomes of a command whose keys lie in several slots: strict, or emulate.",
		"strict answers CROSSSLOT as a cluster does; emulate carries it out in steps, which others may see: docs/commands.md says how for each.",
		func(c *Config) value {
			return enumValue{p: &c.Upstream.CrossSlot, allowed: []string{CrossSlotStrict, CrossSlotEmulate}}
		}},
	{"emulate_max_bytes", "64MiB", false, "Bytes that one such command may fetch or send; above it gets PROXYLIMIT.",
		"As output_hard. Combining takes up to three times as much memory for a moment, and the other clients of the loop wait meanwhile.",
		func(c *Config) value { return sizeValue{p: &c.Upstream.EmulateBytes, min: 64 * kib, max: 4 * gib} }},
	{"max_redirects", "64", false, "How often one command follows MOVED or ASK.",
		"A slot that moves on while its command is redirected needs two or three; later ones wait a little longer each, so 64 fill the budget.",
		func(c *Config) value { return intValue{p: &c.Upstream.MaxRedirects, min: 5, max: 1024} }},
	{"node_queue", "4MiB", false, "Bytes queued for one node at which its clients are no longer read.",
		"More than a socket takes at once, and a bound on what a frozen node costs.",
		func(c *Config) value { return sizeValue{p: &c.Upstream.NodeQueue, min: 64 * kib, max: 4 * gib} }},
	{"buffer_budget", "0", false, "Memory for all buffers; above it the client that holds most is cut. 0 for a quarter of the memory limit.",
		"The limit is GOMEMLIMIT, the container's, or the machine's memory, whichever is least.",
		func(c *Config) value { return sizeValue{p: &c.Limits.BufferBudget, min: 0, max: 1 << 40} }},
}

var limitSettings = []setting{
	{"max_clients", "10000", false, "Clients at one time.",
		"Valkey's maxclients. Each needs a file descriptor: the limit is raised to the hard one at start.",
		func(c *Config) value { return intValue{p: &c.Limits.MaxClients, min: 1, max: 1_000_000} }},
	{"idle_timeout", "0", false, "Close clients that are silent for this long; 0 for never.",
		"Valkey's timeout, which is off as well: pools keep connections for hours.",
		func(c *Config) value { return durationValue{p: &c.Limits.Idle, max: 365 * day} }},
	{"first_command_timeout", "10s", false, "How long the first command of a client may take once it has begun.",
		"Against connections that trickle.",
		func(c *Config) value { return durationValue{p: &c.Limits.FirstCommand, min: time.Second, max: hour} }},
	{"read_stall_timeout", "30s", false, "How long a client may pause in the middle of a command.",
		"Its part of a command holds memory.",
		func(c *Config) value { return durationValue{p: &c.Limits.FrameStall, min: time.Second, max: hour} }},
	{"write_stall_timeout", "30s", false, "How long a client above output_low may take nothing before it is cut.",
		"A client that reads a large reply slowly makes progress and is not cut.",
		func(c *Config) value { return durationValue{p: &c.Limits.WriteStall, min: time.Second, max: hour} }},
	{"client_in_flight", "1024", false, "Commands of one client without a reply at which it is no longer read.",
		"More than any usual pipeline; a longer one only waits in the kernel.",
		func(c *Config) value { return intValue{p: &c.Limits.InFlight, min: 1, max: 1 << 20} }},
	{"output_low", "8MiB", false, "Unread output of a client at which it is no longer read.",
		"", func(c *Config) value { return sizeValue{p: &c.Limits.OutLow, min: 64 * kib, max: 4 * gib} }},
	{"output_hard", "64MiB", false, "Unread output of a client above which it is cut; the reply that is under way may be larger.",
		"One large reply may be longer: it is passed on as it comes.",
		func(c *Config) value { return sizeValue{p: &c.Limits.OutHard, min: 64 * kib, max: 16 * gib} }},
	{"output_before_auth", "1KiB", false, "The same for a client that still has to log in.",
		"A few error lines; a stranger gets no more memory.",
		func(c *Config) value { return sizeValue{p: &c.Limits.OutBeforeAuth, min: 256, max: mib} }},
	{"auth_failures", "5", false, "Failed logins after which a client is cut.",
		"Guessing then costs a connection for each handful of guesses.",
		func(c *Config) value { return intValue{p: &c.Limits.AuthFailures, min: 1, max: 1000} }},
	{"max_args", "1048576", false, "Arguments of one command.",
		"The bound that Redis documents.",
		func(c *Config) value { return intValue{p: &c.Limits.AfterAuth.Args, min: 16, max: 1<<31 - 1} }},
	{"max_bulk", "512MiB", false, "Bytes of one argument.",
		"Valkey's proto-max-bulk-len.",
		func(c *Config) value { return sizeValue{p: &c.Limits.AfterAuth.Bulk, min: mib, max: 512 * mib} }},
	{"max_inline", "64KiB", false, "Bytes of an inline command.",
		"Valkey's limit.",
		func(c *Config) value { return sizeValue{p: &c.Limits.AfterAuth.Inline, min: kib, max: mib} }},
	{"max_query", "1GiB", false, "Bytes of one whole command.",
		"Valkey's client-query-buffer-limit.",
		func(c *Config) value { return sizeValue{p: &c.Limits.AfterAuth.Query, min: mib, max: 16 * gib} }},
	{"max_args_before_auth", "10", false, "Arguments of one command of a client that still has to log in.",
		"Valkey's limit; HELLO with AUTH and SETNAME has seven.",
		func(c *Config) value { return intValue{p: &c.Limits.BeforeAuth.Args, min: 7, max: 1024} }},
	{"max_bulk_before_auth", "16KiB", false, "Bytes of one argument of such a client.",
		"Valkey's limit.",
		func(c *Config) value { return sizeValue{p: &c.Limits.BeforeAuth.Bulk, min: 256, max: mib} }},
	{"max_inline_before_auth", "1KiB", false, "Bytes of an inline command of such a client.",
		"A login by hand.",
		func(c *Config) value { return sizeValue{p: &c.Limits.BeforeAuth.Inline, min: 256, max: 64 * kib} }},
	{"max_query_before_auth", "64KiB", false, "Bytes of one whole command of such a client.",
		"A login has less than 1 KiB.",
		func(c *Config) value { return sizeValue{p: &c.Limits.BeforeAuth.Query, min: kib, max: mib} }},
}

var migrateSettings = []setting{
	{"state_dir", "", false, "Folder for the journal of the coordinator, which moves slots; none for no coordinator.",
		"By default $STATE_DIRECTORY (systemd), else a folder of the listening address in $XDG_STATE_HOME/slotproxy or ~/.local/state/slotproxy. A proxy that listens on a port 0 has no such address, and no coordinator unless a folder is given.",
		func(c *Config) value {
			return stringValue{p: &c.Migrate.StateDir, kind: "path or none", check: checkState}
		}},
	{"migrate_engine", MigrateAuto, true, "How slots move: auto, atomic (CLUSTER MIGRATESLOTS, Valkey 9.0 and later) or legacy (key by key).",
		"auto takes what both nodes of a pair can do best, and falls back. A job may say otherwise.",
		func(c *Config) value {
			return enumValue{p: &c.Migrate.Engine, allowed: []string{MigrateAuto, MigrateAtomic, MigrateLegacy}}
		}},
	{"migrate_hold_budget", "25ms", true, "How long commands for slots in hand may be held back, as planned for a slot that moves key by key.",
		"Below what users notice. A slot with more keys than move in this time moves while its commands go on, which takes longer.",
		func(c *Config) value {
			return durationValue{p: &c.Migrate.HoldBudget, min: time.Millisecond, max: time.Second}
		}},
	{"migrate_parallel", "4", true, "Groups of slots that move at one time.",
		"One for each source and three for each target at most, whatever this says.",
		func(c *Config) value { return intValue{p: &c.Migrate.Parallel, min: 1, max: 16} }},
	{"migrate_max_keys_per_second", "0", true, "Most keys that a job moves in a second; 0 for as many as do not disturb clients.",
		"The pace follows migrate_latency_limit by itself. This is for a network or replicas that must not be loaded.",
		func(c *Config) value { return intValue{p: &c.Migrate.MaxKeys, min: 0, max: 1e9} }},
	{"migrate_max_bytes_per_second", "0", true, "Most bytes that a job moves in a second; 0 for as many as do not disturb clients.",
		"As migrate_max_keys_per_second.",
		func(c *Config) value { return sizeValue{p: &c.Migrate.MaxBytes, min: 0, max: 1 << 40} }},
	{"migrate_latency_limit", "0", false, "Time that the slowest of a hundred commands may take while slots move, before moving slows down; 0 for twice what it was before, and 1 ms.",
		"Measured by the proxy on the nodes that are involved.",
		func(c *Config) value { return durationValue{p: &c.Migrate.LatencyLimit, max: minute} }},
}

var operationSettings = []setting{
	{"admin", "127.0.0.1:6481", false, "Address of the admin port, host:port or unix:/path; empty for none.",
		"Loopback: it shows the whole cluster. Try: valkey-cli -p 6481 PROXY HELP",
		func(c *Config) value {
			return stringValue{p: &c.Admin.Address, kind: "host:port or unix:/path", check: checkAdmin}
		}},
	{"admin_socket_mode", "0660", false, "File mode of the admin socket, if admin is unix:/path.",
		"", func(c *Config) value { return modeValue{p: &c.Admin.SocketMode} }},
	{"admin_password", "", true, "Password of the user admin of the admin port, who may do everything; empty for none.",
		"Needed beyond this machine, see protected_mode. Without it who comes from this machine is admin, who comes from elsewhere may only look. Better in admin_password_file.",
		func(c *Config) value { return secretValue{p: &c.Admin.Password} }},
	{"admin_password_file", "", true, "File that holds the password of the user admin.",
		"One trailing line end is ignored.",
		func(c *Config) value { return stringValue{p: &c.Admin.passwordFile, kind: "file"} }},
	{"admin_operator_password", "", true, "Password of the user operator of the admin port, who may move slots; empty for no such user.",
		"Creating and repairing clusters and removing nodes is for the user admin. Needs admin_password.",
		func(c *Config) value { return secretValue{p: &c.Admin.OperatorPassword} }},
	{"admin_operator_password_file", "", true, "File that holds the password of the user operator.",
		"One trailing line end is ignored.",
		func(c *Config) value { return stringValue{p: &c.Admin.operatorFile, kind: "file"} }},
	{"admin_viewer_password", "", true, "Password of the user viewer of the admin port, who may look; empty for no such user.",
		"For monitoring. Needs admin_password.",
		func(c *Config) value { return secretValue{p: &c.Admin.ViewerPassword} }},
	{"admin_viewer_password_file", "", true, "File that holds the password of the user viewer.",
		"One trailing line end is ignored.",
		func(c *Config) value { return stringValue{p: &c.Admin.viewerFile, kind: "file"} }},
	{"proxy_commands", ProxyCommandsOff, true, "Which commands of the admin port clients may send to listen as well: off for none, or read for those that only look, like PROXY JOBS.",
		"Every client that may log in gets them, whatever the cluster lets its user do, and they show all nodes, clients and settings but secrets.",
		func(c *Config) value {
			return enumValue{p: &c.Admin.FromClients, allowed: []string{ProxyCommandsOff, ProxyCommandsRead}}
		}},
	{"http", "127.0.0.1:9490", false, "Address of /metrics, /livez, /readyz, /startupz and /version; empty for none.",
		"Loopback; Prometheus on another machine and Kubernetes' probes need 0.0.0.0:9490.",
		func(c *Config) value { return stringValue{p: &c.HTTP.Address, kind: "host:port", check: checkListen} }},
	{"pprof", "false", false, "Serve Go's profiles at /debug/pprof/ of the HTTP port.",
		"Profiles can hold data of clients and cost time to take.",
		func(c *Config) value { return boolValue{p: &c.HTTP.PProf} }},
	{"ready_min_slots", "16384", true, "Slots that a live node must serve for /readyz to say yes.",
		"Lower it for a cluster that runs with cluster-require-full-coverage no.",
		func(c *Config) value { return intValue{p: &c.HTTP.MinSlots, min: 0, max: 16384} }},
	{"drain_delay", "5s", true, "After SIGTERM, how long new clients are still accepted while /readyz says no.",
		"Time for load balancers to notice.",
		func(c *Config) value { return durationValue{p: &c.Drain.Delay, max: hour} }},
	{"drain_spread", "10s", false, "Over how long idle clients are closed while draining.",
		"So that they do not all reconnect in one instant.",
		func(c *Config) value { return durationValue{p: &c.Drain.Spread, max: hour} }},
	{"drain_timeout", "30s", true, "After drain_delay, how long clients may finish before they are cut.",
		"With the delay it stays below the 90 s of systemd; Kubernetes' terminationGracePeriodSeconds has to be larger.",
		func(c *Config) value { return durationValue{p: &c.Drain.Timeout, max: hour} }},
	{"log_level", "info", true, "Least level that is logged.",
		"info is a few lines for each change of the cluster; debug has lines for each client.",
		func(c *Config) value {
			return enumValue{p: &c.Log.Level, allowed: []string{"debug", "info", "warn", "error"}}
		}},
	{"log_format", "auto", false, "How log lines look; auto is text on a terminal, logfmt under systemd, else json.",
		"", func(c *Config) value {
			return enumValue{p: &c.Log.Format, allowed: []string{"auto", "text", "logfmt", "json"}}
		}},
}
