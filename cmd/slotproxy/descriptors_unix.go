//go:build unix

package main

import (
	"log/slog"
	"syscall"

	"slotproxy/internal/config"
)

// spareDescriptors are those that are no clients: listeners, epoll, logs, and the connections to the nodes of a cluster
// of a hundred nodes with a few loops.
const spareDescriptors = 1000

// warnDescriptors tells when the process cannot open as many files as it may have clients. The Go runtime has raised the
// soft limit to the hard one before main began.
func warnDescriptors(log *slog.Logger, cfg *config.Config) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if need := uint64(cfg.Limits.MaxClients) + spareDescriptors; uint64(limit.Cur) < need {
		log.Warn("fewer file descriptors than max_clients needs: raise the hard limit (ulimit -Hn, LimitNOFILE=)",
			"count", uint64(limit.Cur), "want", need)
	}
}
