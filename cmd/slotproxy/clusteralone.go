package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/cluster"
	"slotproxy/internal/config"
	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/proxy"
	"slotproxy/router"
)

// standalone is a coordinator without a proxy, for as long as one command runs. It is spoken to as one in a proxy is: by an
// admin port, here a socket that nobody else can reach.
//
//	operation --> adminClient --> admin.Server --> migrate.Coordinator --> cluster.Source --> nodes
//	                                                       router.Keeper --^
type standalone struct {
	source  *cluster.Source
	keeper  *router.Keeper
	moves   *migrate.Coordinator
	admin   *admin.Server
	log     *slog.Logger
	dir     string   // temporary: the socket, and the journal of a user without a home or of a cluster to come
	socket  string   // as dialAdmin wants it
	members []string // the nodes that are named
	use     purpose
	works   bool // coordinate has begun
	cut     bool // a person does not want to wait for what is in hand
	cancel  context.CancelFunc
	running sync.WaitGroup // every goroutine that start has started
	unguard func()         // ends guard; may be called again
}

// purpose is what a standalone is for.
type purpose struct {
	found bool // a cluster: there is none yet
	look  bool // nothing is changed, and no job goes on
}

func newStandalone(ctx context.Context, sources config.Sources, stderr io.Writer, use purpose) (s *standalone, err error) {
	sources.Flags["log_level"] = []string{"warn"}  // what the command says is for people already,
	sources.Flags["log_format"] = []string{"text"} // and so is the rest
	if len(sources.Flags["cluster_timeout"]) == 0 {
		sources.Flags["cluster_timeout"] = []string{"5s"} // no client waits for us, so a busy node may take its time
	}
	cfg, err := config.Load(sources)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	files, err := loadTLS(cfg)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	certs := &certificates{}
	certs.files.Store(files)
	s = &standalone{use: use, members: cfg.Cluster.Seeds, log: newLogger(stderr, cfg.Log, new(slog.LevelVar))}
	s.source = cluster.NewSource(cluster.Config{
		User: cfg.Cluster.User, Password: string(cfg.Cluster.Password), TLS: certs.nodes(cfg.Cluster.TLS), Timeout: cfg.Cluster.Timeout,
	})
	s.keeper = router.NewKeeper(s.source, router.KeeperConfig{
		Seeds: cfg.Cluster.Seeds, Interval: cfg.Cluster.Refresh, Timeout: cfg.Cluster.Timeout, Log: s.log,
	})
	if s.dir, err = os.MkdirTemp("", "slotproxy-cluster-"); err != nil {
		s.source.Close()
		return nil, failure(err)
	}
	s.guard()
	if err := s.join(ctx, cfg, sources.Env); err != nil {
		s.source.Close()
		_ = os.RemoveAll(s.dir)
		s.unguard()
		return nil, err
	}
	return s, nil
}

// guard makes a signal end the process without leaving the folder behind: a person who is asked whether to go on may
// answer with Ctrl-C. Who waits for signals otherwise calls unguard.
// What reads our output may go away (| head): what cannot be written then is not missed, and the work is finished.
func (s *standalone) guard() {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	idle := context.AfterFunc(ctx, s.leave)
	s.unguard = func() { idle(); stop() }
}

// leave is for signals only. A job that goes on is safe: its journal tells how far it is.
func (s *standalone) leave() {
	_ = os.RemoveAll(s.dir)
	os.Exit(exitInterrupt)
}

// join opens the journal and makes the admin port.
func (s *standalone) join(ctx context.Context, cfg *config.Config, env []string) (err error) {
	var ids []string
	if !s.use.found {
		if ids, err = s.ask(ctx); err != nil {
			return err
		}
	}
	state := cfg.Migrate.StateDir
	if cfg.Origin("state_dir") == "default" {
		state = stateFolderOf(ids, env)
	}
	if state == config.NoState {
		state = filepath.Join(s.dir, "state")
	}
	s.moves, err = migrate.New(migrate.Config{
		Dir: state, Nodes: s.source, Topology: s.keeper.Table, Refresh: s.doubt, Log: s.log,
	})
	if err != nil {
		return fail(exitBind, "state_dir: %w", err)
	}
	s.socket = "unix:" + filepath.Join(s.dir, "admin")
	s.admin = admin.New(admin.Config{
		Address: s.socket, SocketMode: 0o600, Version: version, Backend: s, Log: s.auditLog(),
		Cluster: &coordinator{s.moves, func() machine.Options { return moveOptions(&cfg.Migrate) }},
	})
	return nil
}

// auditLog is the log of the admin port. It tells each order, as that of a proxy does, so that who keeps standard error knows
// afterwards what was done to the cluster. What only looks orders nothing, though its plans are made by the words of orders.
func (s *standalone) auditLog() *slog.Logger {
	if text, ok := s.log.Handler().(*textHandler); ok && !s.use.look {
		return slog.New(text.from(slog.LevelInfo))
	}
	return s.log
}

// ask returns the ids of all nodes, that of the one that has answered first; none when it is in no cluster, which start will say. One
// member must answer: a person who has mistyped an address or a password wants to hear it at once.
func (s *standalone) ask(ctx context.Context) (ids []string, err error) {
	for _, addr := range s.members {
		var text []byte
		if text, err = s.source.Nodes(ctx, addr); err != nil {
			continue
		}
		if v, err := router.ParseNodes(text, addr); err == nil {
			ids = append(ids, v.Myself)
			for i := range v.Nodes {
				ids = append(ids, v.Nodes[i].ID)
			}
		}
		return ids, nil
	}
	return nil, fail(exitFailure, "the cluster is not known: %w", err)
}

// stateFolderOf is the usual folder of a cluster. It has the id of a node, which all nodes know, whatever address they know it by
// and whoever had that before. Without one yet it is that of the first id. Of several, as when clusters were joined, the one with
// an interrupted job goes first, which nobody could get at otherwise, then the one that was used last.
func stateFolderOf(ids, env []string) string {
	if len(ids) == 0 {
		return config.NoState
	}
	folder, used, owed := config.StateFolder(env, ids[0]), time.Time{}, false
	for _, id := range ids {
		candidate := config.StateFolder(env, id)
		info, err := os.Stat(candidate)
		if err != nil {
			continue
		}
		nodes := migrate.Unfinished(candidate)
		ours := slices.ContainsFunc(nodes, func(id string) bool { return slices.Contains(ids, id) })
		if len(nodes) > 0 && !ours {
			continue // the job of a cluster that the node was in before
		}
		if ours && !owed || ours == owed && info.ModTime().After(used) {
			folder, used, owed = candidate, info.ModTime(), ours
		}
	}
	return folder
}

func (s *standalone) doubt() { s.keeper.Hint(router.Hint{Cause: router.Moved}) }

// tableTime bounds the wait for the first slot table. A node that answers does so within cluster_timeout, 1 s.
const tableTime = 10 * time.Second

// lookAgain is short against what a node takes to answer.
const lookAgain = 5 * time.Millisecond

// start returns a client, once the cluster is known if there is one already.
func (s *standalone) start(ctx context.Context) (*adminClient, error) {
	ctx, s.cancel = context.WithCancel(ctx)
	if err := s.admin.Listen(); err != nil {
		return nil, failure(err)
	}
	s.running.Add(2)
	go s.keep(ctx)
	go s.answer()
	if s.works = !s.use.look; s.works {
		s.running.Add(1)
		go s.coordinate(ctx)
	}
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	c, err := dialAdmin(ctx, s.socket)
	if err != nil {
		return nil, failure(err)
	}
	if err := c.hello(ctx, "", ""); err != nil {
		c.close()
		return nil, failure(err)
	}
	return c, nil
}

// known waits for the coordinator and, if there is a cluster, for the first table.
func (s *standalone) known(ctx context.Context) error {
	deadline := time.Now().Add(tableTime)
	for !s.use.look && !s.moves.Ready() || !s.use.found && s.keeper.Table() == nil {
		if time.Now().Before(deadline) {
			time.Sleep(lookAgain)
			continue
		}
		if _, err := s.source.Nodes(ctx, s.members[0]); err != nil {
			return fail(exitFailure, "the cluster is not known: %w", err)
		}
		for _, j := range s.moves.Jobs() { // a cluster that works, and a job that may not go on
			if s.keeper.Table() != nil && j.Finished.IsZero() {
				return fail(exitFailure, "job %s does not go on: %s", j.ID, j.Reason)
			}
		}
		return fail(exitFailure, "%s is in no cluster that works", s.members[0])
	}
	return nil
}

// restTime is what an interrupted job gets that has begun to go on: slots in hand take seconds, or their nodes are in trouble.
const restTime = 10 * time.Second

// stop ends everything. What a job has in hand comes to one side first; the job goes on when a coordinator is started on the
// same journal again.
func (s *standalone) stop() {
	if s.cancel != nil {
		if s.works && !s.cut {
			ctx, done := context.WithTimeout(context.Background(), restTime)
			_ = s.moves.Rest(ctx) // else it is left as it is, and its journal tells how
			done()
		}
		s.cancel()
		_ = s.admin.Close()
		s.running.Wait()
	}
	if !s.works { // else its Run has done so
		_ = s.moves.Close()
	}
	s.source.Close()
	_ = os.RemoveAll(s.dir)
	s.unguard()
}

// The goroutines of a standalone. Each has its Add before it starts.

func (s *standalone) keep(ctx context.Context) {
	defer s.running.Done()
	_ = s.keeper.Run(ctx) // without a table every command says so
}

func (s *standalone) coordinate(ctx context.Context) {
	defer s.running.Done()
	if err := s.moves.Run(ctx); err != nil {
		s.log.Error("coordinator ended", "err", err)
	}
}

func (s *standalone) answer() {
	defer s.running.Done()
	if err := s.admin.Serve(); err != nil {
		s.log.Error("admin socket ended", "err", err)
	}
}

// What the admin port shows of a proxy, where there is none.

func (s *standalone) Info(string) string { return "" }
func (s *standalone) Nodes() []router.Node {
	if t := s.keeper.Table(); t != nil {
		return t.Nodes
	}
	return nil
}
func (s *standalone) Table() *router.Table        { return s.keeper.Table() }
func (s *standalone) Clients() []proxy.ClientInfo { return nil }
func (s *standalone) Config(string) [][2]string   { return nil }
func (s *standalone) Ready() (bool, string)       { return s.keeper.Table() != nil, "no table yet" }
