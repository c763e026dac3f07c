//go:build !linux

package testcluster

import (
	"os/exec"
	"syscall"
)

// StartProcess starts a server in a process group of its own. Systems other than Linux have no signal for a parent's
// death: a server outlives this process when that is killed by SIGKILL.
func StartProcess(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
