package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Reshard moves slots from one node to another as people do it, with the version's own command line client, and returns
// how many slots really changed from the one to the other. None is an error, whatever the client said. Further flags of
// the client go into extra. The client is killed when ctx ends; then slots may stay open.
func (c *Cluster) Reshard(ctx context.Context, from, to *Node, slots int, extra ...string) (int, error) {
	// The client refuses a cluster whose nodes do not agree, as they may not right after the last reshard.
	if err := c.WaitOK(ctx); err != nil {
		return 0, err
	}
	before, err := c.Owners()
	if err != nil {
		return 0, err
	}
	out, runErr := c.clusterCLI(ctx, append([]string{"reshard", from.Addr,
		"--cluster-from", from.ID, "--cluster-to", to.ID,
		"--cluster-slots", strconv.Itoa(slots), "--cluster-yes"}, extra...)...)
	after, err := c.Owners()
	if err != nil {
		return 0, errors.Join(runErr, err)
	}
	moved := 0
	for slot := range before {
		if before[slot] == from && after[slot] == to {
			moved++
		}
	}
	if runErr != nil {
		return moved, runErr
	}
	if moved == 0 {
		return 0, fmt.Errorf("reshard %s to %s: no slot moved: %s", from.Addr, to.Addr, tail(out))
	}
	c.logf("moved %d slots from %s to %s", moved, from.Addr, to.Addr)
	return moved, nil
}

// clusterCLI runs the client's --cluster commands and returns what it printed.
func (c *Cluster) clusterCLI(ctx context.Context, args ...string) (string, error) {
	plain := c.CLI(append([]string{"--cluster"}, append(args, c.tlsFlags()...)...)...)
	cmd := exec.CommandContext(ctx, plain.Path, plain.Args[1:]...)
	c.authenticate(cmd)
	cmd.WaitDelay = time.Second // a killed client closes its output at once; this is for what it may have left
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s --cluster %s: %w: %s", plain.Path, args[0], err, tail(string(out)))
	}
	return string(out), nil
}

// tail is the end of a program's output, enough to show its error.
func tail(out string) string {
	const enough = 600
	return strings.TrimSpace(out[max(0, len(out)-enough):])
}
