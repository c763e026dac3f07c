//go:build !linux

package test

import "os/exec"

// startTied starts a process; other systems have no signal for a parent's death.
func startTied(cmd *exec.Cmd) error { return cmd.Start() }
