package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/internal/config"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a cluster",
		Long: "Serves a cluster until a signal comes. SIGTERM and SIGINT drain: /readyz says no at once, clients may finish,\n" +
			"a second signal stops at once. SIGHUP reads configuration and certificates again.\n\n" +
			"  slotproxy serve --cluster 127.0.0.1:7000\n" +
			"  valkey-cli -p 6479 SET greeting hello",
		Args: cobra.NoArgs,
	}
	flags := addSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		signals := watchSignals()
		defer signal.Stop(signals)
		return serve(flags.sources(nil), signals, cmd.ErrOrStderr(), nil)
	}
	return cmd
}

// watchSignals has room for a signal of each kind and some more; those beyond are repetitions.
func watchSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return signals
}

// serve runs a proxy from its configuration to its end. ready, when not nil, is called once it serves.
func serve(sources config.Sources, signals <-chan os.Signal, stderr io.Writer, ready func(*server)) error {
	cfg, err := config.Load(sources)
	if err == nil {
		err = cfg.CheckServe()
	}
	if err != nil {
		return &exitError{exitConfig, err}
	}
	level := new(slog.LevelVar)
	log := newLogger(stderr, cfg.Log, level)
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "cause", w)
	}
	warnDescriptors(log, cfg)
	s, err := newServer(cfg, sources, log, level)
	if err != nil {
		return err
	}
	defer s.source.Close()
	return s.run(signals, ready)
}

// firstLook is how long the first clients wait in the kernel for the first slot table, so that their first command does
// not. Without a cluster the proxy serves after it all the same: commands wait or fail, and /readyz says no.
const firstLook = 2 * time.Second

// run serves until a signal ends it or a part breaks, and returns when all that it started has ended. Only after a
// second signal it does not wait.
func (s *server) run(signals <-chan os.Signal, ready func(*server)) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := s.listen(); err != nil {
		s.close(cancel)
		return &exitError{exitBind, err}
	}
	s.start(ctx)
	if stop := s.await(signals); stop != nil {
		s.close(cancel)
		return nil
	}
	s.running.Add(1)
	go s.runProxy(ctx)
	s.notify("READY=1\nSTATUS=serving")
	s.log.Info("serving", "listen", s.addresses(), "loops", s.cfg.Load().Loops.Count, "version", version)
	if ready != nil {
		ready(s)
	}
	err := s.supervise(signals)
	var hurried *hurry
	if errors.As(err, &hurried) {
		s.proxy.Close()
		return &exitError{hurried.code(), hurried}
	}
	s.close(cancel)
	return err
}

// listen binds every address, or says which one it cannot.
func (s *server) listen() error {
	if err := s.proxy.Listen(); err != nil {
		return err
	}
	if s.admin != nil {
		if err := s.admin.Listen(); err != nil {
			return err
		}
	}
	if s.http != nil {
		return s.http.listen()
	}
	return nil
}

// start starts everything but the data path.
func (s *server) start(ctx context.Context) {
	s.running.Add(4)
	go s.runKeeper(ctx)
	go s.runFunctions(ctx)
	go s.runIdentity(ctx)
	go s.runWatchdog(ctx)
	if s.moves != nil {
		var life context.Context
		life, s.stopMoves = context.WithCancel(ctx)
		s.running.Add(1)
		s.moving.Add(1)
		go s.runMoves(life)
	}
	if s.admin != nil {
		s.running.Add(1)
		go s.runAdmin()
	}
	if s.http != nil {
		s.running.Add(1)
		go s.runHTTP()
	}
}

// await waits for the cluster, as long as firstLook. It returns the signal that ended the wait, if one did.
func (s *server) await(signals <-chan os.Signal) os.Signal {
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	table, known := s.topology.first, s.identity.known
	for table != nil || known != nil {
		select {
		case <-table:
			table = nil
		case <-known:
			known = nil
		case sig := <-signals:
			if sig != syscall.SIGHUP { // nothing to reload yet
				return sig
			}
		case <-timer.C:
			s.log.Warn("the cluster does not answer, serving without it", "seeds", s.cfg.Load().Cluster.Seeds, "err", s.topology.silence())
			return nil
		}
	}
	return nil
}

// supervise reacts to signals until one of them, or a part that broke, ends the proxy.
func (s *server) supervise(signals <-chan os.Signal) error {
	for {
		select {
		case err := <-s.broken:
			return &exitError{exitFailure, err}
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.reload()
				continue
			}
			return s.drain(sig, signals)
		}
	}
}

// close ends every part and waits for all of them. The coordinator comes first: it lets go of what it holds back while
// there is a data path to go on.
func (s *server) close(cancel context.CancelFunc) {
	if s.stopMoves != nil {
		s.stopMoves()
		s.moving.Wait()
	}
	s.proxy.Close()
	if s.admin != nil {
		if err := s.admin.Close(); err != nil {
			s.log.Debug("admin port closed", "err", err)
		}
	}
	if s.http != nil {
		s.http.close()
	}
	cancel()
	s.running.Wait()
}

// The goroutines of a server. Each has its Add before it starts.

func (s *server) runProxy(ctx context.Context) { s.part("data path", s.proxy.Run(ctx)) }
func (s *server) runKeeper(ctx context.Context) {
	s.part("keep table", s.keeper.Run(ctx))
}
func (s *server) runMoves(ctx context.Context) {
	defer s.moving.Done()
	s.part("coordinator", s.moves.Run(ctx))
}
func (s *server) runAdmin() { s.part("admin port", s.admin.Serve()) }
func (s *server) runHTTP()  { s.part("HTTP port", s.http.serve()) }

func (s *server) runIdentity(ctx context.Context) {
	defer s.running.Done()
	s.identity.run(ctx)
}

func (s *server) runFunctions(ctx context.Context) {
	defer s.running.Done()
	s.functions.Run(ctx)
}

// part reports how a part ended; its end without an error was asked for.
func (s *server) part(name string, err error) {
	defer s.running.Done()
	if err != nil {
		s.broken <- fmt.Errorf("%s: %w", name, err)
	}
}

func (s *server) addresses() []string {
	var list []string
	for _, a := range s.proxy.Addrs() {
		list = append(list, a.String())
	}
	return list
}

// adminAddress is the admin port as clients of it write it. There must be one, and it must listen.
func (s *server) adminAddress() string {
	if addr := s.admin.Addr(); addr.Network() == "tcp" {
		return addr.String()
	}
	return s.cfg.Load().Admin.Address
}
