package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	configName = "node.conf"
	logName    = "server.log"
	outputName = "output" // what the server prints before it opens its log: mistakes in the configuration
)

// Node is one server process of a Cluster, or a standalone server.
type Node struct {
	// Immutable once Start has returned.
	ID        string // as in CLUSTER MYID; empty for a standalone server
	Addr      string // host:port
	Host      string
	Port      int
	Dir       string
	Primary   bool   // the role it was started in; failovers change the role, not this field
	PrimaryID string // of the primary that it was made a replica of; else empty

	cluster *Cluster
	idle    chan *client // connections between two uses of Do

	mu      sync.Mutex
	process *process // the running or last server; nil before the first
	frozen  bool
}

// process is one life of a server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed by reap when the process has ended
}

func (p *process) reap() {
	_ = p.cmd.Wait() // how it ended does not matter, only that it did
	close(p.done)
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// idleConns bounds the kept connections: more tests than these do not ask one node at a time.
const idleConns = 8

func (c *Cluster) newNode(i, port int) *Node {
	host := c.options.Host
	return &Node{
		Addr:    joinHostPort(host, port),
		Host:    host,
		Port:    port,
		Dir:     filepath.Join(c.dir, fmt.Sprintf("node-%d", i+1)),
		cluster: c,
		idle:    make(chan *client, idleConns),
	}
}

// errEnded says that a server ended before it answered, as one does whose port was taken.
var errEnded = errors.New("the server ended at once")

// Ports race with strangers, so a server that ends at once gets another port. A wrong setting ends it each time.
const launchAttempts = 3

// launchNew starts the i-th node on a free port.
func (c *Cluster) launchNew(ctx context.Context, i int) (*Node, error) {
	var last error
	for range launchAttempts {
		port, err := ports.take(c.options.Host)
		if err != nil {
			return nil, err
		}
		n := c.newNode(i, port)
		if last = n.launch(ctx, i); last == nil {
			return n, nil
		}
		n.kill()
		ports.release(port)
		if !errors.Is(last, errEnded) {
			return nil, last
		}
	}
	return nil, last
}

// launch writes the configuration, starts the server and returns when it answers.
func (n *Node) launch(ctx context.Context, i int) error {
	c := n.cluster
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	text := c.config(n)
	if err := os.WriteFile(filepath.Join(n.Dir, configName), []byte(text), 0o600); err != nil {
		return err
	}
	args := append([]string{filepath.Join(n.Dir, configName)}, c.options.Args...)
	if c.options.NodeArgs != nil {
		args = append(args, c.options.NodeArgs(i, n.Port)...)
	}
	return n.run(ctx, args)
}

func (n *Node) run(ctx context.Context, args []string) error {
	output, err := os.Create(filepath.Join(n.Dir, outputName))
	if err != nil {
		return err
	}
	defer output.Close() // the server has its own copy
	p := &process{cmd: exec.Command(n.cluster.programs.server, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = n.Dir, output, output
	if err := StartProcess(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", n.cluster.programs.server, err)
	}
	go p.reap() // ends with the process; kill waits for it
	n.mu.Lock()
	n.process, n.frozen = p, false
	n.mu.Unlock()
	err = poll(ctx, func() error {
		if p.ended() {
			return final{fmt.Errorf("%w: %s", errEnded, n.lastWords())}
		}
		return n.identify()
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Addr, err)
	}
	n.cluster.logf("%s on %s, pid %d", n.cluster.Version, n.Addr, p.cmd.Process.Pid)
	return nil
}

// identify makes sure that what answers on the port is this node's own process and of the right version.
func (n *Node) identify() error {
	reply, err := n.ask(time.Second, "INFO", "server")
	if err != nil {
		return err
	}
	info, _ := reply.(string)
	if pid := infoField(info, "process_id"); pid != strconv.Itoa(n.Pid()) {
		return final{fmt.Errorf("process %s answers in the place of %d: %w", pid, n.Pid(), errEnded)}
	}
	full := infoField(info, "valkey_version")
	if full == "" {
		full = infoField(info, "redis_version")
	}
	_, release, _ := strings.Cut(string(n.cluster.Version), "-")
	if !strings.HasPrefix(full, release+".") {
		return final{fmt.Errorf("server says version %s, want %s", full, release)}
	}
	return nil
}

// lastWords is the end of what the server wrote, for errors.
func (n *Node) lastWords() string {
	var text []byte
	for _, name := range []string{outputName, logName} {
		part, err := os.ReadFile(filepath.Join(n.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err.Error()
		}
		text = append(text, part...)
	}
	const enough = 800 // the last three or four lines
	return strings.TrimSpace(string(text[max(0, len(text)-enough):]))
}

// Pid is the process id of the running or last server.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.cmd.Process.Pid
}

// Alive tells whether the server runs and is not frozen.
func (n *Node) Alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process != nil && !n.process.ended() && !n.frozen
}

// kill ends the server with SIGKILL, frozen or not, and waits for its end.
func (n *Node) kill() {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill() // the one error is that it has ended
		<-p.done
	}
	n.closeIdle()
}

func (n *Node) signal(s syscall.Signal, frozen bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || n.process.ended() {
		return fmt.Errorf("node %s does not run", n.Addr)
	}
	if err := n.process.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal node %s: %w", n.Addr, err)
	}
	n.frozen = frozen
	return nil
}

// Do runs one command on the node and returns its RESP2 reply: string, int64, nil or []any. An error that the server
// answered is an ErrorReply. A node that does not answer within 10 s is an error.
func (n *Node) Do(args ...string) (any, error) { return n.ask(commandTimeout, args...) }

func (n *Node) ask(timeout time.Duration, args ...string) (any, error) {
	conn, err := n.connect(timeout)
	if err != nil {
		return nil, err
	}
	reply, err := conn.do(timeout, args...)
	if err != nil && !errors.As(err, new(ErrorReply)) {
		conn.close()
		return nil, fmt.Errorf("%s at %s: %w", args[0], n.Addr, err)
	}
	select {
	case n.idle <- conn:
	default:
		conn.close()
	}
	return reply, err
}

func (n *Node) connect(timeout time.Duration) (*client, error) {
	select {
	case conn := <-n.idle:
		return conn, nil
	default:
		return dial(n.Addr, n.cluster.options.Password, n.cluster.tls, timeout)
	}
}

func (n *Node) closeIdle() {
	for {
		select {
		case conn := <-n.idle:
			conn.close()
		default:
			return
		}
	}
}

// CLI is the version's own command line client, pointed at this node.
func (n *Node) CLI(args ...string) *exec.Cmd {
	cmd := n.cluster.CLI(append(n.target(), args...)...)
	n.cluster.authenticate(cmd)
	return cmd
}

// Benchmark is the version's own benchmark, pointed at this node.
func (n *Node) Benchmark(args ...string) *exec.Cmd {
	target := n.target()
	if password := n.cluster.options.Password; password != "" {
		target = append(target, "-a", password)
	}
	return n.cluster.Benchmark(append(target, args...)...)
}

func (n *Node) target() []string {
	return append([]string{"-h", n.Host, "-p", strconv.Itoa(n.Port)}, n.cluster.tlsFlags()...)
}

// Stop ends a standalone server and removes its folder. In a cluster it does that with the whole cluster.
func (n *Node) Stop() { n.cluster.Stop() }
