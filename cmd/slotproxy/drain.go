package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"slotproxy/internal/config"
)

// hurry is a second signal: the drain is not waited for.
type hurry struct{ signal os.Signal }

func (h *hurry) Error() string {
	return fmt.Sprintf("stopped at once by a second signal (%v)", h.signal)
}

func (h *hurry) code() int {
	if h.signal == syscall.SIGINT {
		return exitInterrupt
	}
	return exitTerminate
}

// drain lets clients finish. From the first moment /readyz says no; for drain_delay new clients are still welcome, so
// that load balancers have time to notice; then no more are accepted, and whoever is between two commands is closed.
func (s *server) drain(first os.Signal, signals <-chan os.Signal) error {
	cfg := s.cfg.Load().Drain
	s.draining.Store(true)
	s.notify("STOPPING=1\nSTATUS=draining")
	s.log.Info("draining", "cause", first.String(), "delay", cfg.Delay, "timeout", cfg.Timeout)
	limit := time.Now().Add(cfg.Delay + cfg.Timeout)
	rested := make(chan time.Time, 1) // from runRest to here; nobody waits after a second signal
	s.running.Add(1)
	go s.runRest(cfg.Delay+cfg.Timeout/restShare, rested)
	delay := time.NewTimer(cfg.Delay)
	defer delay.Stop()
	for _, due := range []<-chan time.Time{delay.C, rested} {
		if sig := waitOrSignal(due, signals); sig != nil {
			return &hurry{sig}
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), limit)
	defer cancel()
	done := make(chan drained, 1) // from runDrain to here; nobody waits after a second signal
	s.running.Add(1)
	go s.runDrain(ctx, done)
	var result drained
	for result.at.IsZero() {
		select {
		case result = <-done:
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return &hurry{sig}
			}
		}
	}
	if result.cut > 0 {
		return fail(exitDrainCut, "drain: %d clients were cut with commands under way", result.cut)
	}
	s.log.Info("drained")
	return nil
}

// restShare is the part of drain_timeout that the slots in hand may take beyond drain_delay: clients need the rest of it, and
// no gate closes any more once they are sent away.
const restShare = 2

// runRest lets the coordinator finish the slots in hand, or cuts them short after the limit.
func (s *server) runRest(limit time.Duration, rested chan<- time.Time) {
	defer s.running.Done()
	if s.moves != nil {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.moves.Rest(ctx); err != nil {
			s.log.Warn("slots in hand are left as they are until the next start", "cause", "drain_timeout")
			s.stopMoves()
			s.moving.Wait()
		}
	}
	rested <- time.Now()
}

// drained is how a drain ended.
type drained struct {
	at  time.Time // never zero
	cut int
}

func (s *server) runDrain(ctx context.Context, done chan<- drained) {
	defer s.running.Done()
	cut, err := s.proxy.Drain(ctx)
	if err != nil {
		s.log.Warn("drain not finished", "count", cut, "err", err)
	}
	done <- drained{at: time.Now(), cut: cut}
}

// waitOrSignal returns nil after the time, or the signal that came before. SIGHUP means nothing to a proxy that ends.
func waitOrSignal(after <-chan time.Time, signals <-chan os.Signal) os.Signal {
	for {
		select {
		case <-after:
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return sig
			}
		}
	}
}

// reload takes over what can be taken over while serving. On any mistake all stays as it is.
func (s *server) reload() {
	s.notify("RELOADING=1\n" + monotonic())
	defer s.notify("READY=1\nSTATUS=serving")
	old := s.cfg.Load()
	next, err := config.Load(s.sources)
	if err == nil {
		err = next.CheckServe()
	}
	var files *tlsFiles
	if err == nil {
		files, err = loadTLS(config.Reloaded(old, next))
	}
	if err != nil {
		s.reloads.Store(&reloadState{ok: false, at: s.reloads.Load().at})
		s.log.Error("not reloaded, the old configuration stays", "err", err)
		return
	}
	live, restart := config.Changes(old, next)
	s.certs.files.Store(files)
	s.cfg.Store(config.Reloaded(old, next))
	setLevel(s.level, next.Log.Level)
	if s.admin != nil {
		a := &next.Admin
		s.admin.SetPasswords(string(a.Password), string(a.OperatorPassword), string(a.ViewerPassword))
	}
	s.reloads.Store(&reloadState{ok: true, at: time.Now()})
	s.log.Info("reloaded", "changed", live)
	if len(restart) > 0 {
		s.log.Warn("these settings need a restart and stay as they are", "settings", restart)
	}
}
