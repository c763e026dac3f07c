//go:build !unix

package main

import (
	"log/slog"

	"slotproxy/internal/config"
)

// warnDescriptors has nothing to warn of: there is no such limit.
func warnDescriptors(*slog.Logger, *config.Config) {}
