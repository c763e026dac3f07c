package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/test/wire"
)

// slotproxy runs a command of the binary that ends by itself.
func slotproxy(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func TestExitCodesTellWhatWentWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	seed := testnode.NewSet(t, 1).Addrs()[0]
	ports := freePorts(t, 2)
	serve := []string{"serve", "--cluster", seed, "--admin", ports[0], "--http", ports[1]}
	file := filepath.Join(t.TempDir(), "slotproxy.yaml")
	write(t, file, []byte("cluster: [127.0.0.1:7000]\nlisen: 127.0.0.1:0\n"))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such flag":             {append(serve, "--nosuch"), 2, "--nosuch"},
		"no such command":          {[]string{"nosuch"}, 2, "nosuch"},
		"a value that is none":     {append(serve, "--redirect-budget", "soon"), 3, "redirect"},
		"no cluster":               {[]string{"serve"}, 3, "cluster"},
		"an unknown key in a file": {append(serve, "--config", file), 3, "slotproxy.yaml:2:1"},
		"a port that is taken":     {append(serve, "--listen", taken.Addr().String()), 4, taken.Addr().String()},
		"a file that is not there": {append(serve, "--config", file+".none"), 3, file + ".none"},
		"a check of a bad file":    {[]string{"config", "check", file}, 3, "listen"},
		"help":                     {[]string{"--help"}, 0, "serve"},
		"version":                  {[]string{"version"}, 0, "slotproxy"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := slotproxy(t, c.args...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("got code %d, want %d; it must say %q:\n%s", code, c.code, c.says, out)
			}
			if strings.Contains(out, "goroutine ") {
				t.Errorf("it shows a stack:\n%s", out)
			}
		})
	}
}

func TestAPrintedConfigurationIsAValidOne(t *testing.T) {
	code, out := slotproxy(t, "config", "print", "--cluster", "127.0.0.1:7000", "--cluster-password", "canary-secret")
	if code != 0 || strings.Contains(out, "canary-secret") {
		t.Fatalf("config print: code %d, or it shows a password:\n%s", code, out)
	}
	file := filepath.Join(t.TempDir(), "printed.yaml")
	write(t, file, []byte(out))
	if code, out := slotproxy(t, "config", "check", file); code != 0 {
		t.Errorf("config check of what config print wrote: code %d\n%s", code, out)
	}
	if code, out := slotproxy(t, "config", "check", "../configs/slotproxy.yaml"); code != 0 {
		t.Errorf("config check of configs/slotproxy.yaml: code %d\n%s", code, out)
	}
}

func TestAFileTheEnvironmentAndAFlagWinInThisOrder(t *testing.T) {
	set := testnode.NewSet(t, 1)
	file := filepath.Join(t.TempDir(), "slotproxy.yaml")
	write(t, file, []byte("max_clients: 1\n"))
	for name, c := range map[string]struct {
		env, args []string
		most      int
	}{
		"file":        {nil, nil, 1},
		"environment": {[]string{"SLOTPROXY_MAX_CLIENTS=2"}, nil, 2},
		"flag":        {[]string{"SLOTPROXY_MAX_CLIENTS=2"}, []string{"--max-clients", "3"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxyWith(t, proxyOptions{Seeds: set.Addrs(), Env: c.env, Args: append(c.args, "--config", file)})
			for range c.most {
				want(t, p.dial(t), "+PONG", "PING")
			}
			over := p.dial(t)
			if v, err := over.Do("PING"); err == nil && v.String() != "-ERR max number of clients reached" {
				t.Errorf("client %d: got %v, want to be refused", c.most+1, v)
			}
		})
	}
}

func TestADeadClusterIsLiveButNotReadyUntilItComesBack(t *testing.T) {
	set := testnode.NewSet(t, 3)
	for i := range 3 {
		set.Node(i).Every("GET *", testnode.Bulk("v"))
		set.Node(i).Stop()
	}
	p := startProxyWith(t, proxyOptions{Seeds: set.Addrs(), NoReady: true, Args: []string{"--redirect-budget", "300ms"}})
	eventually(t, readyLimit, func() error {
		if code, _, err := p.get("/livez"); err != nil || code != http.StatusOK {
			return fmt.Errorf("/livez: %d %v", code, err)
		}
		return nil
	})
	if code, _, err := p.get("/readyz"); err != nil || code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %v, want 503", code, err)
	}
	c := p.dial(t)
	want(t, c, "+PONG", "PING")
	if v := do(t, c, "GET", "a"); !v.IsError() {
		t.Errorf("GET without a cluster: got %s, want an error", v)
	}
	for i := range 3 {
		set.Node(i).Start(t)
	}
	p.waitReady(t)
	want(t, c, `"v"`, "GET", "a")
}

func TestMetricsCountWhatHappened(t *testing.T) {
	set, p := fake(t)
	set.Node(0).Every("GET *", testnode.Bulk("v"))
	set.Node(0).On("SET *", testnode.Error("TRYAGAIN later"))
	set.Node(0).Every("SET ...", testnode.Raw("+OK\r\n"))
	c := p.dial(t)
	k := keyIn(slot0, "canary-key")
	for range 7 {
		want(t, c, `"v"`, "GET", k)
	}
	want(t, c, "+OK", "SET", k, "canary-value")
	code, text, err := p.get("/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatalf("/metrics: %d %v", code, err)
	}
	for name, least := range map[string]float64{
		`slotproxy_commands_total\{[^}]*command="get"[^}]*result="ok"[^}]*\}`: 7,
		`slotproxy_commands_total\{[^}]*command="set"[^}]*\}`:                 1,
		`slotproxy_client_connections`:                                        1,
		`slotproxy_client_connections_total`:                                  1,
		`slotproxy_upstream_connections(\{[^}]*\})?`:                          1,
		`slotproxy_build_info\{[^}]*\}`:                                       1,
		`slotproxy_draining`:                                                  0,
		`slotproxy_topology_age_seconds`:                                      0,
		`slotproxy_command_duration_seconds_count\{[^}]*\}`:                   7,
	} {
		if got, ok := metric(text, name); !ok || got < least {
			t.Errorf("%s is %v (found: %v), want at least %v", name, got, ok, least)
		}
	}
	if strings.Contains(text+p.log.String(), "canary") {
		t.Error("metrics or logs show a key or a value")
	}
	eventually(t, 3*time.Second, func() error { // counted per loop, joined when scraped
		_, text, _ := p.get("/metrics")
		if desync, ok := metric(text, `slotproxy_upstream_desyncs_total(\{[^}]*\})?`); ok && desync != 0 {
			return fmt.Errorf("desyncs: %v", desync)
		}
		return nil
	})
}

// metric sums the samples whose name and labels match.
func metric(text, pattern string) (sum float64, found bool) {
	line := regexp.MustCompile(`(?m)^` + pattern + ` (?P<value>\S+)$`)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[line.SubexpIndex("value")], 64)
		if err == nil {
			sum, found = sum+v, true
		}
	}
	return sum, found
}

func TestSIGTERMDrainsWithoutCuttingAReply(t *testing.T) {
	cluster := sharedCluster(t, testcluster.NeedNewest(t))
	p := startProxy(t, cluster.Addrs(), "--drain-delay", "500ms", "--drain-spread", "500ms", "--drain-timeout", "5s")
	idle := p.dial(t)
	want(t, idle, "+OK", "SET", "drain", strings.Repeat("d", 10000))
	var wg sync.WaitGroup
	for range 8 {
		c := p.dial(t)
		wg.Go(func() { workUntilClosed(t, c) })
	}
	time.Sleep(200 * time.Millisecond)
	p.signal(t, syscall.SIGTERM)
	eventually(t, 400*time.Millisecond, func() error {
		if code, _, err := p.get("/readyz"); err != nil || code != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz while draining: %d %v, want 503", code, err)
		}
		return nil
	})
	want(t, p.dial(t), "+PONG", "PING") // load balancers have not noticed yet
	start := time.Now()
	if code := p.wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code %d, want 0\n%s", code, p.log.tail())
	}
	wg.Wait()
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("the drain took %v", took)
	}
	if _, err := idle.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle client saw %v, want the orderly end of its connection", err)
	}
}

// workUntilClosed sends one command after the other; the connection may end between replies only.
func workUntilClosed(t *testing.T, c *wire.Conn) {
	for {
		c.Append("GET", "drain")
		if err := c.Flush(); err != nil {
			return
		}
		b, err := c.ReadRaw()
		if err != nil {
			if len(b) > 0 {
				t.Errorf("a reply was cut after %d bytes: %v", len(b), err)
			}
			return
		}
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	set := testnode.NewSet(t, 1)
	for signal, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
		p := startProxy(t, set.Addrs(), "--drain-delay", "30s")
		want(t, p.dial(t), "+PONG", "PING")
		p.signal(t, signal)
		time.Sleep(100 * time.Millisecond)
		p.signal(t, signal)
		if got := p.wait(t, 5*time.Second); got != code {
			t.Errorf("%v twice: exit code %d, want %d", signal, got, code)
		}
	}
}

func TestTenThousandIdleClientsFitIn60MiB(t *testing.T) {
	const clients, most = 10_000, 60 << 20
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < clients+1000 {
		t.Fatalf("needs %d file descriptors, the hard limit is %d (%v)", clients+1000, limit.Max, err)
	}
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), "--max-clients", strconv.Itoa(clients+100))
	want(t, p.dial(t), "+OK", "SET", "idle", strings.Repeat("i", 64))
	conns := make([]net.Conn, 0, clients)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	request, reply := wire.AppendCommand(wire.AppendCommand(nil, "PING"), "GET", "idle"), make([]byte, len("+PONG\r\n$64\r\n\r\n")+64)
	for range clients {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatalf("client %d: %v", len(conns), err)
		}
		conns = append(conns, c)
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, reply); err != nil || !strings.HasPrefix(string(reply), "+PONG\r\n$64\r\niii") {
			t.Fatalf("client %d: %q %v", len(conns), reply, err)
		}
	}
	var rss int
	eventually(t, 10*time.Second, func() error { // the collector has to run once
		if rss = memory(t, p).rss; rss > most {
			return fmt.Errorf("%d clients take %d MiB, want at most %d", clients, rss>>20, most>>20)
		}
		return nil
	})
	t.Logf("%d clients: %.1f MiB", clients, float64(rss)/(1<<20))
	before := cpuTime(t, p)
	time.Sleep(2 * time.Second)
	if used := cpuTime(t, p) - before; used > 40*time.Millisecond {
		t.Errorf("%d idle clients cost %v of processor time in two seconds", clients, used)
	}
	if _, err := conns[0].Write(request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conns[0], reply); err != nil {
		t.Errorf("the first client is not served any more: %v", err)
	}
}

func TestMoreClientsThanAllowedAreToldAndNobodyElseNotices(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs(), "--max-clients", "50")
	bystander := watchBystander(t, p.addr)
	var open []*wire.Conn
	for range 49 {
		c := p.dial(t)
		want(t, c, "+PONG", "PING")
		open = append(open, c)
	}
	for range 100 {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, _ := io.ReadAll(c) // it is closed
		if string(got) != "-ERR max number of clients reached\r\n" {
			t.Errorf("got %q, want the server's words", got)
		}
		_ = c.Close()
	}
	_ = open[0].Close()
	eventually(t, 5*time.Second, func() error {
		c, err := wire.Dial("tcp", p.addr)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if v, err := c.Do("PING"); err != nil || v.String() != "+PONG" {
			return fmt.Errorf("after one left: %v %v", v, err)
		}
		return nil
	})
	bystander.check(t)
}

func TestTheLogIsJSONWithTheFieldsOfTheStyleGuide(t *testing.T) {
	set, p := fake(t, "--log-format", "json")
	set.Node(0).Stop()
	time.Sleep(300 * time.Millisecond)
	lines := 0
	for line := range strings.Lines(p.log.String()) {
		lines++
		if !strings.HasPrefix(line, "{") || !strings.Contains(line, `"level"`) || !strings.Contains(line, `"msg"`) {
			t.Errorf("not a log line: %s", line)
		}
	}
	if lines == 0 || lines > 100 {
		t.Errorf("%d lines for a start and a lost node, want some and not many", lines)
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		checkIdle(t, p)
	}
}
