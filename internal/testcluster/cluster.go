package testcluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cluster is a running cluster of real servers. Stop must be called.
type Cluster struct {
	// Immutable once Start has returned.
	Version Version
	Nodes   []*Node // the primaries with slots, then the empty ones, then the replicas

	options   Options
	programs  programs
	clustered bool
	dir       string
	tls       *tls.Config // nil: plain TCP
	stopped   sync.Once

	logMu sync.Mutex // serialises writes to options.Log
}

// Addrs are the nodes' addresses, host:port, in the order of Nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr
	}
	return addrs
}

// Node finds a node by id or address; nil when there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.ID == name || n.Addr == name {
			return n
		}
	}
	return nil
}

// Stop kills all servers, waits for their end, and removes the temporary folder if there is one. It may be called twice.
func (c *Cluster) Stop() { c.stopped.Do(c.stop) }

func (c *Cluster) stop() {
	var kills sync.WaitGroup
	for _, n := range c.Nodes {
		if n != nil {
			kills.Go(n.kill)
		}
	}
	kills.Wait()
	for _, n := range c.Nodes {
		if n != nil {
			ports.release(n.Port)
		}
	}
	if c.options.Dir != "" {
		return
	}
	if err := os.RemoveAll(c.dir); err != nil {
		c.logf("remove %s: %v", c.dir, err)
	}
}

// Kill ends a node with SIGKILL and waits for its end.
func (c *Cluster) Kill(n *Node) error {
	if n.Pid() == 0 {
		return fmt.Errorf("node %s was never started", n.Addr)
	}
	n.kill()
	c.logf("killed %s", n.Addr)
	return nil
}

// Freeze stops a node with SIGSTOP: its connections stay open and nothing answers.
func (c *Cluster) Freeze(n *Node) error { return n.signal(syscall.SIGSTOP, true) }

// Thaw lets a frozen node go on.
func (c *Cluster) Thaw(n *Node) error { return n.signal(syscall.SIGCONT, false) }

// Restart starts a node again on its old port with its old identity, after killing it if it still runs. Its keys are
// gone, as nothing is persisted, until it has a primary to copy from. It returns when the node answers, which is before
// the cluster has taken it in again: WaitOK.
func (c *Cluster) Restart(n *Node) error {
	n.kill()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for i, m := range c.Nodes {
		if m == n {
			return n.launch(ctx, i)
		}
	}
	return fmt.Errorf("node %s is not of this cluster", n.Addr)
}

// Do runs one command on one node; see Node.Do.
func (c *Cluster) Do(n *Node, args ...string) (any, error) { return n.Do(args...) }

// CLI is the version's own command line client with these arguments only; Node.CLI also points it at a node.
func (c *Cluster) CLI(args ...string) *exec.Cmd { return c.command(c.programs.cli, "cli", args) }

// Benchmark is the version's own benchmark with these arguments only; Node.Benchmark also points it at a node.
func (c *Cluster) Benchmark(args ...string) *exec.Cmd {
	return c.command(c.programs.benchmark, "benchmark", args)
}

// command makes a missing program an error of Run that names it.
func (c *Cluster) command(program, kind string, args []string) *exec.Cmd {
	if program == "" {
		maker, _ := c.Version.parts()
		program = maker + "-" + kind
	}
	return exec.Command(program, args...)
}

// authenticate gives a client the password by its environment, where process lists do not show it. Valkey's client
// reads this name too.
func (c *Cluster) authenticate(cmd *exec.Cmd) {
	if c.options.Password != "" {
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+c.options.Password)
	}
}

func (c *Cluster) tlsFlags() []string {
	f := c.options.TLS
	if f == nil {
		return nil
	}
	return []string{"--tls", "--cacert", f.CA, "--cert", f.ClientCert, "--key", f.ClientKey}
}

func (c *Cluster) logf(format string, args ...any) {
	if c.options.Log == nil {
		return
	}
	c.logMu.Lock()
	defer c.logMu.Unlock()
	fmt.Fprintf(c.options.Log, format+"\n", args...)
}

// launchAll starts size nodes at the same time.
func (c *Cluster) launchAll(ctx context.Context, size int) error {
	c.Nodes = make([]*Node, size)
	errs := make([]error, size)
	var launches sync.WaitGroup
	for i := range size {
		launches.Go(func() { c.Nodes[i], errs[i] = c.launchNew(ctx, i) })
	}
	launches.Wait()
	return errors.Join(errs...)
}

// final is an error that ends a poll at once.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// The servers' own cron runs ten times a second; asking more often than this learns nothing new.
const pollInterval = 20 * time.Millisecond

// poll repeats try until it succeeds, ends with final, or ctx ends; then the last error tells what was missing.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || errors.As(err, new(final)) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// infoField is the value of "name:value" in an INFO reply, or empty.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func joinHostPort(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}
