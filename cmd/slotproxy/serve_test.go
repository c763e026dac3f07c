package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/config"
	"slotproxy/internal/metrics"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// safeBuffer takes logs from many goroutines.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// running is a proxy inside of the test.
type running struct {
	s       *server
	signals chan os.Signal
	log     *safeBuffer
	file    string     // its configuration file
	ended   chan error // what serve returned
}

// start serves the seeds with the settings of a YAML text, on free ports, and returns when it serves.
func start(t *testing.T, seeds []string, yaml string) *running {
	t.Helper()
	r := &running{
		signals: make(chan os.Signal, 8), log: &safeBuffer{}, ended: make(chan error, 1),
		file: filepath.Join(t.TempDir(), "slotproxy.yaml"),
	}
	r.configure(t, yaml)
	sources := config.Sources{File: r.file, Flags: map[string][]string{
		"cluster": seeds, "listen": {"127.0.0.1:0"}, "admin": {"127.0.0.1:0"}, "http": {"127.0.0.1:0"},
	}}
	ready := make(chan *server, 1)
	go r.serve(sources, ready)
	select {
	case r.s = <-ready:
	case err := <-r.ended:
		t.Fatalf("it ended at once: %v\n%s", err, r.log)
	case <-time.After(10 * time.Second):
		t.Fatalf("it does not serve\n%s", r.log)
	}
	t.Cleanup(r.stop)
	eventually(t, func() bool { return r.s.proxy.Alive(liveWithin) }, "loops that turn")
	return r
}

func (r *running) serve(sources config.Sources, ready chan<- *server) {
	r.ended <- serve(sources, r.signals, r.log, func(s *server) { ready <- s })
}

// configure writes the file. Draining is quick unless the text says otherwise.
func (r *running) configure(t *testing.T, yaml string) {
	t.Helper()
	if !strings.Contains(yaml, "drain_delay") {
		yaml += "\ndrain_delay: 0\n"
	}
	if err := os.WriteFile(r.file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stop ends what a test has left running.
func (r *running) stop() {
	for range 2 {
		select {
		case r.signals <- syscall.SIGTERM:
		case err := <-r.ended:
			r.ended <- err
			return
		}
	}
	r.ended <- <-r.ended
}

func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("it does not end\n%s", r.log)
		return nil
	}
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + r.s.http.ln.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// ask sends one inline command and returns the first line of the reply.
func ask(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %q, %v", command, reply, err)
	}
	return strings.TrimSpace(reply)
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(5 * time.Millisecond) // the state of another process's or goroutine's making has no event to wait for
	}
}

func TestAServedClusterIsSeenFromEveryPort(t *testing.T) {
	set := testnode.NewSet(t, 3)
	r := start(t, set.Addrs(), "")
	if got := ask(t, r.s.addresses()[0], "PING"); got != "+PONG" {
		t.Errorf("data port: PING gives %s", got)
	}
	if got := ask(t, r.s.admin.Addr().String(), "PROXY READY"); got != "+READY" {
		t.Errorf("admin port: PROXY READY gives %s", got)
	}
	for _, tt := range []struct{ path, want string }{
		{"/livez", `{"live":true}`}, {"/startupz", `{"started":true}`}, {"/readyz", `{"ready":true,`},
		{"/version", `"version":"dev"`}, {"/", "/metrics\n"}, {"/metrics", `slotproxy_slots{state="ok"} 16384`},
		{"/metrics", `slotproxy_nodes{role="primary",state="ok"} 3`}, {"/metrics", `slotproxy_commands_total{command="ping",result="ok"} 1`},
		{"/metrics", "slotproxy_config_last_reload_successful 1"}, {"/metrics", `slotproxy_build_info{goversion="go`},
	} {
		if code, body := r.get(t, tt.path); code != 200 || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d, without %s:\n%.2000s", tt.path, code, tt.want, body)
		}
	}
	if code, _ := r.get(t, "/debug/pprof/"); code != 404 {
		t.Errorf("profiles are served without being asked for: %d", code)
	}
	for _, sec := range sections {
		if text := (&console{r.s}).Info(strings.ToLower(sec.name)); !strings.HasPrefix(text, "# "+sec.name+"\r\n") || strings.Count(text, "#") != 1 {
			t.Errorf("PROXY INFO %s gives %q", sec.name, text)
		}
	}
	if text := (&console{r.s}).Info(""); strings.Count(text, "# ") != len(sections) || !strings.Contains(text, "slots_ok:16384\r\n") {
		t.Errorf("PROXY INFO gives %q", text)
	}
	r.signals <- syscall.SIGTERM
	if err := r.end(t); err != nil {
		t.Errorf("SIGTERM: %v, want no error", err)
	}
	if _, err := net.Dial("tcp", r.s.http.ln.Addr().String()); err == nil {
		t.Error("the HTTP port is open after the end")
	}
}

func TestClientsOfTheDataPortMayLookWhereASettingLetsThem(t *testing.T) {
	r := start(t, testnode.NewSet(t, 1).Addrs(), "")
	data, forAdmin := r.s.addresses()[0], "is for the admin port, "+r.s.admin.Addr().String()
	if got := ask(t, data, "PROXY READY"); got != "-PROXYUNSUPPORTED PROXY READY "+forAdmin+"; proxy_commands: read allows it here" {
		t.Errorf("as it is by default: %s", got)
	}
	r.configure(t, "proxy_commands: read\n")
	r.signals <- syscall.SIGHUP
	eventually(t, func() bool { return ask(t, data, "PROXY READY") == "+READY" }, "an answer after the reload")
	if got := ask(t, data, "PROXY FIX"); got != "-PROXYUNSUPPORTED PROXY FIX "+forAdmin {
		t.Errorf("what changes the cluster: %s", got)
	}
}

func TestProfilesAreServedWhenAskedFor(t *testing.T) {
	r := start(t, testnode.NewSet(t, 1).Addrs(), "pprof: true")
	if code, body := r.get(t, "/debug/pprof/"); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("/debug/pprof/: %d", code)
	}
}

func TestReadinessFollowsTheClusterAndLivenessDoesNot(t *testing.T) {
	set := testnode.NewSet(t, 2)
	r := start(t, set.Addrs(), "cluster_refresh: 100ms\ncluster_timeout: 100ms\n")
	ready := func(want int) func() bool {
		return func() bool { code, _ := r.get(t, "/readyz"); return code == want }
	}
	eventually(t, ready(200), "ready with a cluster")
	set.Fail(1, "fail", "disconnected")
	eventually(t, ready(503), "not ready when a node has failed")
	if _, body := r.get(t, "/readyz"); !strings.Contains(body, "8192 of 16384 slots have a live node") {
		t.Errorf("the reason is not told: %s", body)
	}
	set.Fail(1, "", "connected")
	eventually(t, ready(200), "ready when it is back")
	for i := range 2 {
		set.Node(i).Stop()
	}
	eventually(t, ready(503), "not ready when nobody answers")
	if code, body := r.get(t, "/livez"); code != 200 {
		t.Errorf("/livez: %d %s, want 200 whatever the cluster does", code, body)
	}
	if _, why := (&console{r.s}).Ready(); !strings.HasPrefix(why, "topology: a node last answered") {
		t.Errorf("PROXY READY says %q", why)
	}
}

func TestADrainSaysNotReadyAtOnceAndStillServes(t *testing.T) {
	r := start(t, testnode.NewSet(t, 1).Addrs(), "drain_delay: 1m\n")
	r.signals <- syscall.SIGTERM
	eventually(t, r.s.draining.Load, "draining")
	if code, body := r.get(t, "/readyz"); code != 503 || !strings.Contains(body, `{"name":"not draining","ok":false`) {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, "slotproxy_draining 1") {
		t.Error("the metric does not show the drain")
	}
	if got := ask(t, r.s.addresses()[0], "PING"); got != "+PONG" {
		t.Errorf("a new client in the delay gets %s", got)
	}
	r.signals <- syscall.SIGHUP // means nothing now
	r.signals <- syscall.SIGTERM
	var exit *exitError
	if err := r.end(t); !errors.As(err, &exit) || exit.code != exitTerminate {
		t.Errorf("a second SIGTERM: %v, want code %d", err, exitTerminate)
	}
}

func TestADrainThatCutsCommandsHasItsOwnCode(t *testing.T) {
	set := testnode.NewSet(t, 1)
	set.Node(0).Every("GET *", testnode.Silence())
	r := start(t, set.Addrs(), "drain_timeout: 50ms\n")
	c, err := net.Dial("tcp", r.s.addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET a\r\n"); err != nil {
		t.Fatal(err)
	}
	set.Node(0).Wait(t, "GET a", 1)
	r.signals <- syscall.SIGINT
	var exit *exitError
	if err := r.end(t); !errors.As(err, &exit) || exit.code != exitDrainCut {
		t.Errorf("got %v, want code %d", err, exitDrainCut)
	}
}

func TestAReloadTakesOverWhatItCanAndRefusesMistakes(t *testing.T) {
	set := testnode.NewSet(t, 1)
	r := start(t, set.Addrs(), "log_level: info\n")
	last := func(text string) func() bool { return func() bool { return strings.Contains(r.log.String(), text) } }

	r.configure(t, "log_level: debug\nallow_cidrs: [10.0.0.0/8]\nnode_map: {'a:1': 'b:2'}\nadmin_password: secret\nmax_clients: 5\n")
	r.signals <- syscall.SIGHUP
	eventually(t, last(`"msg":"these settings need a restart and stay as they are"`), "the reload")
	if !strings.Contains(r.log.String(), `"settings":["max_clients"]`) {
		t.Errorf("the log does not name max_clients:\n%s", r.log)
	}
	if !r.s.allowed("10.1.2.3:1") || r.s.allowed("11.1.2.3:1") || r.s.dialled("a:1") != "b:2" {
		t.Error("live settings are not in effect")
	}
	if got := r.s.cfg.Load().Limits.MaxClients; got != 10000 {
		t.Errorf("max_clients shows %d, want what is in effect", got)
	}
	if got := ask(t, r.s.admin.Addr().String(), "PROXY READY"); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("the admin port without its new password: %s", got)
	}

	r.configure(t, "log_level: loud\n")
	r.signals <- syscall.SIGHUP
	eventually(t, last(`"msg":"not reloaded, the old configuration stays"`), "the refusal")
	if !strings.Contains(r.log.String(), "want one of debug, info, warn, error") || strings.Contains(r.log.String(), "secret") {
		t.Errorf("the log does not say why, or shows a password:\n%s", r.log)
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, "slotproxy_config_last_reload_successful 0") {
		t.Error("the metric does not show the failure")
	}
	if !r.s.allowed("10.1.2.3:1") {
		t.Error("a refused reload changed something")
	}
	r.configure(t, "log_level: info\n")
	r.signals <- syscall.SIGHUP
	eventually(t, func() bool { return r.s.reloads.Load().ok }, "the next good reload")
}

func TestWithoutAClusterItServesAndIsNotReady(t *testing.T) {
	set := testnode.NewSet(t, 1)
	set.Node(0).Stop()
	r := start(t, set.Addrs(), "")
	if code, body := r.get(t, "/readyz"); code != 503 || !strings.Contains(body, "no slot table yet: no node of "+set.Addrs()[0]) {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := r.get(t, "/startupz"); code != 503 {
		t.Errorf("/startupz: %d", code)
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, `slotproxy_slots{state="unassigned"} 16384`) {
		t.Error("the metrics do not show that there are no slots")
	}
	if got := ask(t, r.s.addresses()[0], "PING"); got != "+PONG" {
		t.Errorf("PING gives %s", got)
	}
	set.Node(0).Start(t)
	eventually(t, func() bool { code, _ := r.get(t, "/readyz"); return code == 200 }, "ready once the cluster is there")
}

func TestASignalBeforeTheClusterAnswersEndsTheStart(t *testing.T) {
	set := testnode.NewSet(t, 1)
	set.Node(0).Stop()
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGHUP
	signals <- syscall.SIGTERM
	err := serve(config.Sources{Flags: map[string][]string{
		"cluster": set.Addrs(), "listen": {"127.0.0.1:0"}, "admin": {""}, "http": {""},
	}}, signals, io.Discard, func(*server) { t.Error("it serves") })
	if err != nil {
		t.Errorf("got %v, want an orderly end", err)
	}
}

func TestProtectedModeMakesStrangersLogIn(t *testing.T) {
	set := testnode.NewSet(t, 1)
	for _, tt := range []struct {
		yaml string
		want string
	}{
		{"", "+PONG"},
		// The cluster lets anyone in although the proxy was told a password.
		{"listen: [0.0.0.0:0]\ncluster_password: x\n", "-NOAUTH Authentication required."},
		{"listen: [0.0.0.0:0]\nprotected_mode: false\n", "+PONG"},
	} {
		r := startListening(t, set.Addrs(), tt.yaml)
		_, port, err := net.SplitHostPort(r.s.addresses()[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, "127.0.0.1:"+port, "PING"); got != tt.want {
			t.Errorf("%q: PING gives %s, want %s", tt.yaml, got, tt.want)
		}
	}
}

// startListening is start with the listeners of the text.
func startListening(t *testing.T, seeds []string, yaml string) *running {
	t.Helper()
	if !strings.Contains(yaml, "listen:") {
		yaml += "listen: 127.0.0.1:0\n"
	}
	r := &running{signals: make(chan os.Signal, 8), log: &safeBuffer{}, ended: make(chan error, 1), file: filepath.Join(t.TempDir(), "c.yaml")}
	r.configure(t, yaml)
	ready := make(chan *server, 1)
	go r.serve(config.Sources{File: r.file, Flags: map[string][]string{"cluster": seeds, "admin": {""}, "http": {""}}}, ready)
	select {
	case r.s = <-ready:
	case err := <-r.ended:
		t.Fatalf("it ended at once: %v\n%s", err, r.log)
	}
	t.Cleanup(r.stop)
	return r
}

func TestRedirectsOutOfTheTableAreFollowedIntoAllowedNetworksOnly(t *testing.T) {
	cfg, err := config.Load(config.Sources{Flags: map[string][]string{"allow_cidrs": {"10.0.0.0/8,fd00::/8"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	s.cfg.Store(cfg)
	for addr, want := range map[string]bool{
		"10.1.2.3:1": true, "11.0.0.1:1": false, "[fd00::1]:1": true, "[fe80::1]:1": false, "[::ffff:10.0.0.1]:1": true,
		"localhost:1": false, "10.1.2.3": false, "": false, ":1": false,
	} {
		if got := s.allowed(addr); got != want {
			t.Errorf("allowed(%q) = %v, want %v", addr, got, want)
		}
	}
	s.cfg.Store(config.Default())
	if s.allowed("127.0.0.1:6379") {
		t.Error("something is allowed by default")
	}
}

func TestSlotsAreCountedByState(t *testing.T) {
	if got := slotStates(nil); got[metrics.SlotUnassigned] != router.Slots {
		t.Errorf("without a table: %v", got)
	}
	table := &router.Table{Nodes: []router.Node{{Primary: true}, {Primary: true, Failed: true}}, Open: map[uint16]router.Open{3: {}, 5: {}}}
	for slot := range table.Owner {
		table.Owner[slot] = int16(slot%3) - 1 // nobody, node 0, node 1 and again
	}
	got := slotStates(table)
	// Slot 3 belongs to nobody and slot 5 to the failed node: both count as that and not as open.
	want := metrics.SlotStates{metrics.SlotOK: 5461, metrics.SlotFailed: 5461, metrics.SlotUnassigned: 5462}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	table.Open[4] = router.Open{}
	if got := slotStates(table); got[metrics.SlotOpen] != 1 || got[metrics.SlotOK] != 5460 {
		t.Errorf("with slot 4 open: %v", got)
	}
}

func TestTheServiceManagerIsToldOfEachPhase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	heard := func(want string) {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 1024)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	r := start(t, testnode.NewSet(t, 1).Addrs(), "")
	heard("READY=1")
	heard("WATCHDOG=1")
	r.signals <- syscall.SIGHUP
	heard("RELOADING=1\nMONOTONIC_USEC=")
	heard("READY=1")
	r.signals <- syscall.SIGTERM
	heard("STOPPING=1")
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestReadyzIsJSON(t *testing.T) {
	r := start(t, testnode.NewSet(t, 1).Addrs(), "")
	_, body := r.get(t, "/readyz")
	var got struct {
		Ready  bool
		Checks []check
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || !got.Ready || len(got.Checks) != 4 {
		t.Errorf("%s gives %+v, %v", body, got, err)
	}
}
