package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/config"
	"slotproxy/proxy"
	"slotproxy/router"
)

// topology is the keeper's source with an eye on it: whether and when nodes answer. Safe for concurrent use.
type topology struct {
	router.Source

	answered, failed atomic.Uint64
	last             atomic.Int64          // when a node last answered, Unix nanoseconds; 0 for never
	refusal          atomic.Pointer[error] // why one last did not, nil for never

	seen  sync.Once     // the first table has been published
	first chan struct{} // closed then
}

// Nodes asks, and notes the outcome.
func (t *topology) Nodes(ctx context.Context, addr string) ([]byte, error) {
	raw, err := t.Source.Nodes(ctx, addr)
	if err != nil {
		t.failed.Add(1)
		t.refusal.Store(&err)
		return nil, err
	}
	t.answered.Add(1)
	t.last.Store(time.Now().UnixNano())
	return raw, nil
}

func (t *topology) arrived() { close(t.first) }

// age is the time since a node last answered.
func (t *topology) age() time.Duration { return time.Since(time.Unix(0, t.last.Load())) }

// silence says why no node has answered yet.
func (t *topology) silence() string {
	if err := t.refusal.Load(); err != nil {
		return (*err).Error()
	}
	return "nothing has come back"
}

const (
	// askEvery is how soon a changed password or a new version of the servers is noticed. It costs three small questions
	// to one node.
	askEvery = 30 * time.Second
	// askAgain is the pause while nobody has answered yet.
	askAgain = 250 * time.Millisecond
	// askMost bounds the nodes asked in one round.
	askMost = 4
)

// identity keeps what the servers say of themselves: version, command table, whether strangers are let in. Its goroutine
// is run; the methods that the data path calls read an atomic pointer.
type identity struct {
	source     *cluster.Source
	candidates func() []string
	log        *slog.Logger
	guarded    bool          // protected mode is on and other machines reach a listener
	guess      bool          // whether a password is needed, before a node has said
	known      chan struct{} // closed when a node has answered
	changed    func()        // called when the command table is another; set before run

	now atomic.Pointer[servers]
}

// servers is what one node said. Immutable.
type servers struct {
	cluster.Server
	commands *router.Commands
	asked    bool // false before a node has answered
}

func newIdentity(source *cluster.Source, candidates func() []string, cfg *config.Config, log *slog.Logger) *identity {
	i := &identity{
		source: source, candidates: candidates, log: log,
		guarded: cfg.Exposed(), guess: cfg.Cluster.Password != "", known: make(chan struct{}),
	}
	i.now.Store(&servers{commands: router.Builtin()})
	return i
}

func (i *identity) commandTable() *router.Commands { return i.now.Load().commands }

// authRequired says whether a client must log in before it is served. In protected mode clients of other machines are
// strangers even when the cluster lets them in; as loopback and others share the data path, then all must log in.
func (i *identity) authRequired() bool {
	now := i.now.Load()
	if !now.asked {
		return i.guess
	}
	return now.AuthRequired || i.guarded
}

// face is what clients are told. Before a node has answered it is the server that the built-in command table is of.
func (i *identity) face() proxy.ServerFace {
	now := i.now.Load()
	if !now.asked {
		return proxy.ServerFace{Name: "valkey", Version: "9.1.0", Guess: true}
	}
	return proxy.ServerFace{Name: now.Name, Version: now.Version}
}

// run asks until ctx ends.
func (i *identity) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		i.ask(ctx)
		pause := askAgain
		if i.now.Load().asked {
			pause = askEvery
		}
		timer.Reset(pause)
	}
}

// ask takes over what the first node that answers says.
func (i *identity) ask(ctx context.Context) {
	addrs := i.candidates()
	for _, addr := range addrs[:min(len(addrs), askMost)] {
		said, err := i.source.Server(ctx, addr)
		if err != nil {
			i.log.Debug("server not identified", "node", addr, "err", err)
			continue
		}
		i.adopt(ctx, addr, said)
		return
	}
}

func (i *identity) adopt(ctx context.Context, addr string, said cluster.Server) {
	old := i.now.Load()
	if old.asked && old.Server == said {
		return
	}
	next := &servers{Server: said, commands: old.commands, asked: true}
	fresh := !old.asked || old.Name != said.Name || old.Version != said.Version
	if fresh {
		next.commands = i.commands(ctx, addr, old.commands)
	}
	i.now.Store(next)
	i.log.Info("servers identified", "node", addr, "server", said.Name, "version", said.Version, "auth", said.AuthRequired)
	if i.guarded && !said.AuthRequired {
		i.log.Error("the cluster asks for no password and a listener is reachable from other machines: clients must log in (protected_mode)")
	}
	if next.commands != old.commands {
		i.changed()
	}
	if !old.asked {
		close(i.known)
	}
}

// commands merges the node's command table into ours, or keeps the old one when the node does not tell.
func (i *identity) commands(ctx context.Context, addr string, old *router.Commands) *router.Commands {
	raw, err := i.source.Commands(ctx, addr)
	if err == nil {
		var next *router.Commands
		if next, err = router.Builtin().With(raw); err == nil {
			return next
		}
	}
	i.log.Warn("command table not read, the known one is used", "node", addr, "err", err)
	return old
}
