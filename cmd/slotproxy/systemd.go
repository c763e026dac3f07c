package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if it started us with Type=notify; otherwise it does nothing.
func (s *server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Debug("service manager not notified", "err", err)
	}
}

// monotonic is the time stamp that belongs to RELOADING=1.
func monotonic() string { return daemon.SdNotifyMonotonicUsec() }

// runWatchdog says twice in each interval that the loops turn, if systemd wants to know (WatchdogSec=).
func (s *server) runWatchdog(ctx context.Context) {
	defer s.running.Done()
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	ticks := time.NewTicker(interval / 2)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			if s.proxy.Alive(liveWithin) {
				s.notify("WATCHDOG=1")
			}
		}
	}
}
