package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// scratch is a folder for the whole run, removed by TestMain.
var scratch string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "slotproxy-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	defer stopShared()
	return m.Run()
}

// binary is the slotproxy under test: SLOTPROXY_BIN, or one built here.
var binary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("SLOTPROXY_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	return build("slotproxy")
})

func build(name string, flags ...string) (string, error) {
	out := filepath.Join(scratch, name)
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "slotproxy/cmd/slotproxy")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %v: %w\n%s", flags, err, text)
	}
	return out, nil
}

// seconds reads a duration in whole seconds from the environment.
func seconds(t testing.TB, name string, otherwise int) time.Duration {
	t.Helper()
	return time.Duration(number(t, name, otherwise)) * time.Second
}

// number reads an environment variable.
func number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return n
}

// shared are servers that several tests use, one a version; started when first needed, stopped by TestMain.
var shared struct {
	mu       sync.Mutex
	clusters map[testcluster.Version]*testcluster.Cluster
	bare     map[testcluster.Version]*testcluster.Node
}

func stopShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, c := range shared.clusters {
		c.Stop()
	}
	for _, n := range shared.bare {
		n.Stop()
	}
}

// sharedCluster is three primaries of a version. A test that uses it flushes its keys, and leaves slots and nodes as they are.
func sharedCluster(t testing.TB, v testcluster.Version) *testcluster.Cluster {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c := shared.clusters[v]; c != nil {
		return c
	}
	c, err := testcluster.Start(context.Background(), testcluster.Options{Version: v})
	if err != nil {
		t.Fatal(err)
	}
	if shared.clusters == nil {
		shared.clusters = map[testcluster.Version]*testcluster.Cluster{}
	}
	shared.clusters[v] = c
	return c
}

// sharedServer is one bare server of a version, not in cluster mode: what the proxy pretends to be.
func sharedServer(t testing.TB, v testcluster.Version) *testcluster.Node {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if n := shared.bare[v]; n != nil {
		return n
	}
	n, err := testcluster.Standalone(context.Background(), testcluster.Options{Version: v})
	if err != nil {
		t.Fatal(err)
	}
	if shared.bare == nil {
		shared.bare = map[testcluster.Version]*testcluster.Node{}
	}
	shared.bare[v] = n
	return n
}

// eachVersion runs a test once per server version, the newest first.
func eachVersion(t *testing.T, f func(t *testing.T, v testcluster.Version)) {
	t.Helper()
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) { f(t, v) })
	}
}

// proxyOptions say how to start a slotproxy; only Seeds is needed.
type proxyOptions struct {
	Seeds   []string
	Args    []string // further flags of serve
	Env     []string
	Bin     string // another binary than the one under test
	Listen  string // "" is a free port
	NoReady bool   // do not wait for /readyz
}

// proxy is one running slotproxy.
type proxy struct {
	addr, admin, http string
	log               *logBuffer
	cmd               *exec.Cmd
	ended             chan struct{} // closed when the process has ended
	meant             atomic.Bool   // its end was asked for
}

// startProxy serves a cluster and returns when the proxy is ready. The process is killed at the end of the test, which fails if it
// had ended before by itself.
func startProxy(t testing.TB, seeds []string, args ...string) *proxy {
	t.Helper()
	return startProxyWith(t, proxyOptions{Seeds: seeds, Args: args})
}

func startProxyWith(t testing.TB, o proxyOptions) *proxy {
	t.Helper()
	p := launchProxy(t, o)
	t.Cleanup(func() {
		select {
		case <-p.ended:
			if !p.meant.Load() {
				t.Errorf("slotproxy ended by itself: %v\n%s", p.cmd.ProcessState, p.log.tail())
			}
		default:
			p.kill()
		}
		if text := p.log.String(); strings.Contains(text, "panic:") || strings.Contains(text, "DATA RACE") {
			t.Errorf("slotproxy panicked:\n%s", p.log.tail())
		}
		if t.Failed() {
			t.Logf("slotproxy's last words:\n%s", p.log.tail())
		}
	})
	if !o.NoReady {
		p.waitReady(t)
	}
	return p
}

func launchProxy(t testing.TB, o proxyOptions) *proxy {
	t.Helper()
	bin, err := o.Bin, error(nil)
	if bin == "" {
		bin, err = binary()
	}
	if err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 3)
	p := &proxy{addr: o.Listen, admin: ports[1], http: ports[2], log: &logBuffer{}, ended: make(chan struct{})}
	if p.addr == "" {
		p.addr = ports[0]
	}
	args := []string{"serve", "--cluster", strings.Join(o.Seeds, ","), "--listen", p.addr, "--admin", p.admin, "--http", p.http}
	p.cmd = exec.Command(bin, append(args, o.Args...)...)
	state, err := os.MkdirTemp(scratch, "state-") // a later proxy on the same port must not find its jobs
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env = append(append(os.Environ(), "XDG_STATE_HOME="+state), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := testcluster.StartProcess(p.cmd); err != nil {
		t.Fatalf("start %s: %v", bin, err)
	}
	go p.reap()
	return p
}

func (p *proxy) reap() {
	_ = p.cmd.Wait() // how it ended is in ProcessState
	close(p.ended)
}

// signal sends a signal; after one that ends the proxy its end is no failure.
func (p *proxy) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGKILL {
		p.meant.Store(true)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

func (p *proxy) kill() {
	p.meant.Store(true)
	_ = p.cmd.Process.Kill() // the one error is that it has ended
	<-p.ended
}

// wait returns the exit code.
func (p *proxy) wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("slotproxy did not end within %v\n%s", limit, p.log.tail())
	}
	return -1
}

// readyLimit covers a start on a busy machine; a ready proxy needs a tenth of a second.
const readyLimit = 20 * time.Second

func (p *proxy) waitReady(t testing.TB) {
	t.Helper()
	eventually(t, readyLimit, func() error {
		select {
		case <-p.ended:
			t.Fatalf("slotproxy ended while starting: %v\n%s", p.cmd.ProcessState, p.log.tail())
		default:
		}
		code, body, err := p.get("/readyz")
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %v %s", code, err, body)
		}
		return nil
	})
}

// get fetches a path of the HTTP listener.
func (p *proxy) get(path string) (int, string, error) {
	c := http.Client{Timeout: 5 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://" + p.http + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// dial opens a client connection that ends with the test.
func (p *proxy) dial(t testing.TB) *wire.Conn {
	t.Helper()
	return dialAddr(t, p.addr)
}

func dialAddr(t testing.TB, addr string) *wire.Conn {
	t.Helper()
	c, err := wire.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// do sends one command; an error of the connection fails the test, an error reply is a value.
func do(t testing.TB, c *wire.Conn, args ...string) wire.Value {
	t.Helper()
	v, err := c.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return v
}

// want sends one command and compares its reply, as Value.String shows it.
func want(t testing.TB, c *wire.Conn, reply string, args ...string) {
	t.Helper()
	if got := do(t, c, args...).String(); got != reply {
		t.Errorf("%s: got %s, want %s", strings.Join(args, " "), got, reply)
	}
}

// wantPrefix is want for replies of which only the beginning is fixed.
func wantPrefix(t testing.TB, c *wire.Conn, prefix string, args ...string) {
	t.Helper()
	if got := do(t, c, args...).String(); !strings.HasPrefix(got, prefix) {
		t.Errorf("%s: got %s, want %s...", strings.Join(args, " "), got, prefix)
	}
}

// eventually repeats f until it returns nil; the test fails with its last error after the limit.
func eventually(t testing.TB, limit time.Duration, f func() error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Since(start) > limit {
			t.Fatalf("after %v: %v", limit, err)
		}
	}
}

// freePorts are loopback addresses that nobody listens on now.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	list, err := testcluster.FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// logBuffer keeps what a proxy wrote, bounded.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// maxLog is more than any test needs and less than a proxy that logs without end would write.
const maxLog = 4 << 20

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len()+len(b) > maxLog {
		return 0, errors.New("the proxy logs too much")
	}
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// tail leaves out what every moved slot makes the proxy say.
func (l *logBuffer) tail() string {
	var b strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"table changed"`) {
			b.WriteString(line)
		}
	}
	s := b.String()
	return s[max(0, len(s)-4000):]
}
