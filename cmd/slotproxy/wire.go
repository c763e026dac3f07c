package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/cluster"
	"slotproxy/internal/config"
	"slotproxy/internal/metrics"
	"slotproxy/proxy"
	"slotproxy/router"
)

// server is one running proxy: the packages, joined.
//
//	cluster.Source <-- topology <-- router.Keeper --OnTable--> proxy.Proxy <-- clients
//	      ^                                                        ^
//	      +--------- identity --commands, version, auth------------+
//	      +--------- functions of new primaries                    |
//	                                                               |
//	admin.Server, HTTP port --> console, health, metrics ----------+
//	      |                                                        |
//	      +--> migrate.Coordinator --Gate, Load--------------------+
//	                  +--------- Nodes: cluster.Source
//
// Owner: the goroutine that calls run. Fields without a note are immutable after newServer.
type server struct {
	sources config.Sources
	log     *slog.Logger
	level   *slog.LevelVar
	started time.Time

	certs     *certificates
	source    *cluster.Source
	topology  *topology
	identity  *identity
	keeper    *router.Keeper
	functions *cluster.Functions
	proxy     *proxy.Proxy
	moves     *coordinator  // nil for none
	noMoves   string        // why there is none
	admin     *admin.Server // nil for none
	http      *httpPort     // nil for none

	cfg      atomic.Pointer[config.Config] // in effect; replaced by reloads
	reloads  atomic.Pointer[reloadState]
	draining atomic.Bool

	running sync.WaitGroup // every goroutine that run has started
	broken  chan error     // from a part that has ended by itself to run

	moving    sync.WaitGroup     // the coordinator, which ends before the others
	stopMoves context.CancelFunc // nil before it runs
}

// reloadState is the outcome of the last reload, and when a configuration was last taken over.
type reloadState struct {
	ok bool
	at time.Time
}

// newServer joins the packages. It opens nothing but files.
func newServer(cfg *config.Config, sources config.Sources, log *slog.Logger, level *slog.LevelVar) (*server, error) {
	tuneRuntime(cfg.Loops.Count)
	files, err := loadTLS(cfg)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	s := &server{
		sources: sources, log: log, level: level, started: time.Now(),
		certs:  &certificates{},
		broken: make(chan error, parts),
	}
	s.cfg.Store(cfg)
	s.reloads.Store(&reloadState{ok: true, at: s.started})
	s.certs.files.Store(files)
	nodeTLS := s.certs.nodes(cfg.Cluster.TLS)
	s.source = cluster.NewSource(cluster.Config{
		User: cfg.Cluster.User, Password: string(cfg.Cluster.Password), TLS: nodeTLS, Timeout: cfg.Cluster.Timeout,
	})
	s.topology = &topology{Source: s.source, first: make(chan struct{})}
	s.keeper = router.NewKeeper(s.topology, router.KeeperConfig{
		Seeds: cfg.Cluster.Seeds, Interval: cfg.Cluster.Refresh, Timeout: cfg.Cluster.Timeout,
		Map: s.dialled, Log: log, OnTable: s.publish,
	})
	s.functions = cluster.NewFunctions(s.source, log)
	s.identity = newIdentity(s.source, s.candidates, cfg, log)
	s.proxy, err = proxy.New(proxy.Config{
		Loops: cfg.Loops.Count, Lanes: cfg.Loops.Lanes,
		Listeners: s.listeners(cfg),
		Node:      proxy.NodeDial{TLS: nodeTLS, ConnectTimeout: cfg.Upstream.ConnectTimeout},
		Limits:    limits(cfg), DrainSpread: cfg.Drain.Spread, Keeper: s.keeper, Log: log,
		Commands: s.identity.commandTable, AuthRequired: s.identity.authRequired, Info: s.identity.face,
		AllowRedirect: s.allowed, DebugSleep: cfg.Upstream.DebugSleep, EmulateCrossSlot: cfg.Upstream.CrossSlot == config.CrossSlotEmulate,
		Console: dataConsole{s},
	})
	if err != nil {
		return nil, fail(exitFailure, "start the data path: %w", err)
	}
	s.identity.changed = s.proxy.Reload
	if s.moves, s.noMoves, err = s.newCoordinator(cfg); err != nil {
		return nil, err
	}
	if cfg.Admin.Address != "" {
		s.admin = s.newAdmin(cfg)
	}
	if cfg.HTTP.Address != "" {
		s.http = newHTTPPort(s, cfg)
	}
	return s, nil
}

// parts is the number of parts that can end by themselves: data path, admin port, HTTP port, keeper, coordinator.
const parts = 5

func (s *server) newAdmin(cfg *config.Config) *admin.Server {
	a := &cfg.Admin
	c := admin.Config{
		Address: a.Address, SocketMode: a.SocketMode,
		Password: string(a.Password), Operator: string(a.OperatorPassword), Viewer: string(a.ViewerPassword),
		Version: version, Backend: &console{s}, NoCluster: s.noMoves, Log: s.log,
	}
	if s.moves != nil { // an interface that holds a nil would not be nil
		c.Cluster = s.moves
	}
	return admin.New(c)
}

func (s *server) listeners(cfg *config.Config) []proxy.Listener {
	var list []proxy.Listener
	for _, addr := range cfg.Listen.TCP {
		list = append(list, proxy.Listener{Network: "tcp", Address: addr})
	}
	for _, addr := range cfg.Listen.TLS {
		list = append(list, proxy.Listener{Network: "tcp", Address: addr, TLS: s.certs.listener()})
	}
	if cfg.Listen.Unix != "" {
		list = append(list, proxy.Listener{Network: "unix", Address: cfg.Listen.Unix, Mode: cfg.Listen.UnixMode})
	}
	return list
}

func limits(cfg *config.Config) proxy.Limits {
	l, u := &cfg.Limits, &cfg.Upstream
	lim := proxy.DefaultLimits()
	lim.MaxClients, lim.InFlight, lim.AuthFailures = l.MaxClients, l.InFlight, l.AuthFailures
	lim.OutLow, lim.OutHard, lim.OutBeforeAuth = l.OutLow, l.OutHard, l.OutBeforeAuth
	lim.NodeQueue, lim.BufferBudget = u.NodeQueue, l.BufferBudget
	lim.Idle, lim.FirstCommand, lim.FrameStall, lim.WriteStall = l.Idle, l.FirstCommand, l.FrameStall, l.WriteStall
	lim.RedirectBudget, lim.UpstreamTimeout, lim.MaxRedirects = u.RedirectBudget, u.Timeout, u.MaxRedirects
	lim.Leases, lim.EmulateBytes = u.MaxLeases, u.EmulateBytes
	before, after := &lim.BeforeAuth, &lim.AfterAuth
	before.Args, before.Bulk, before.Inline, before.Query = l.BeforeAuth.Args, l.BeforeAuth.Bulk, l.BeforeAuth.Inline, l.BeforeAuth.Query
	after.Args, after.Bulk, after.Inline, after.Query = l.AfterAuth.Args, l.AfterAuth.Bulk, l.AfterAuth.Inline, l.AfterAuth.Query
	return lim
}

// publish hands a new table to the loops. Called by the keeper's goroutine.
func (s *server) publish(t *router.Table) {
	s.proxy.SetTable(t)
	s.functions.Adopt(t)
	s.topology.seen.Do(s.topology.arrived)
}

// dialled applies node_map to an announced address.
func (s *server) dialled(addr string) string {
	if to, ok := s.cfg.Load().Cluster.NodeMap[addr]; ok {
		return to
	}
	return addr
}

// allowed applies allow_cidrs to a redirect that leads out of the table. A name is never allowed: what it stands for is
// not ours to say.
func (s *server) allowed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	for _, network := range s.cfg.Load().Cluster.AllowCIDRs {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// candidates are the nodes worth asking who they are, best first.
func (s *server) candidates() []string {
	var addrs []string
	if t := s.keeper.Table(); t != nil {
		for _, i := range t.Primaries() {
			addrs = append(addrs, t.Nodes[i].Addr)
		}
	}
	return append(addrs, s.cfg.Load().Cluster.Seeds...)
}

// snapshot is what a scrape shows.
func (s *server) snapshot() (*metrics.Counters, metrics.Extra) {
	cfg, b, reload := s.cfg.Load(), buildInfo(), s.reloads.Load()
	e := metrics.Extra{
		Version: b.Version, Revision: b.Revision, GoVersion: b.GoVersion,
		Loops: cfg.Loops.Count, Draining: s.draining.Load(),
		MaxClients: cfg.Limits.MaxClients, BufferBudget: int64(cfg.Limits.BufferBudget),
		Asked:    metrics.Questions{Answered: s.topology.answered.Load(), Failed: s.topology.failed.Load()},
		ReloadOK: reload.ok, ReloadedAt: reload.at, Certificate: s.certs.expiries(),
	}
	if s.moves != nil {
		e.Moves = s.moves.Counters()
	}
	t := s.keeper.Table()
	e.Slots = slotStates(t)
	if t != nil {
		e.HasTable, e.TableAge, e.TableEpoch, e.Published = true, s.topology.age(), t.Epoch, t.Version
		for i := range t.Nodes {
			n := &t.Nodes[i]
			e.Nodes = append(e.Nodes, metrics.NodeInfo{Addr: n.Addr, Primary: n.Primary, Failed: n.Failed, Slots: n.Slots})
		}
	}
	return s.proxy.Snapshot(), e
}

// commandName is the label of a rule. Only the command table's own names are labels.
func (s *server) commandName(id int) string {
	rules := s.identity.commandTable().Rules()
	if id >= len(rules) {
		return ""
	}
	return strings.ToLower(rules[id].Name)
}

// slotStates counts the slots of a table by state; all are unassigned without one.
func slotStates(t *router.Table) (n metrics.SlotStates) {
	if t == nil {
		n[metrics.SlotUnassigned] = router.Slots
		return n
	}
	for slot := range router.Slots {
		owner := t.Node(uint16(slot))
		_, open := t.Open[uint16(slot)]
		switch {
		case owner == nil:
			n[metrics.SlotUnassigned]++
		case owner.Failed:
			n[metrics.SlotFailed]++
		case open:
			n[metrics.SlotOpen]++
		default:
			n[metrics.SlotOK]++
		}
	}
	return n
}
