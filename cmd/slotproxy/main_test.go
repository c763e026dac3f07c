package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/config"
	"slotproxy/internal/testcluster"
	"slotproxy/proxy"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

func TestExitCodesSayWhatKindOfMistakeItWas(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	busy := taken.Addr().String()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("lisen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serveOn := func(args ...string) []string {
		return append([]string{"serve", "--cluster", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "", "--http", ""}, args...)
	}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitOK, "playground"},
		{[]string{"--help"}, exitOK, "Exit codes"},
		{[]string{"--version"}, exitOK, "slotproxy dev"},
		{[]string{"version"}, exitOK, "slotproxy dev"},
		{[]string{"nosuch"}, exitUsage, `unknown command "nosuch"`},
		{[]string{"serve", "--nosuch"}, exitUsage, "unknown flag: --nosuch"},
		{[]string{"serve", "extra"}, exitUsage, "extra"},
		{[]string{"config", "check"}, exitUsage, "1 arg"},
		{[]string{"config", "check", bad}, exitConfig, bad + `:1:1: unknown key "lisen" (did you mean listen?)`},
		{[]string{"config", "print", "--defaults", "--effective"}, exitUsage, "defaults"},
		{[]string{"serve"}, exitConfig, "no cluster is given"},
		{serveOn("--loops", "x"), exitConfig, `--loops: loops: want a whole number from 0 to 256, got "x"`},
		{serveOn("--config", bad), exitConfig, "lisen"},
		{serveOn("--listen", busy), exitBind, busy},
		{serveOn("--admin", busy), exitBind, busy},
		{serveOn("--http", busy), exitBind, busy},
		{serveOn("--listen-tls", "127.0.0.1:0", "--tls-cert", bad, "--tls-key", bad), exitConfig, "tls_cert"},
		{[]string{"playground", "--loops", "x"}, exitConfig, "loops"},
		{[]string{"playground", "--cluster", "a:1"}, exitUsage, "unknown flag"},
		{[]string{"completion", "bash"}, exitOK, "slotproxy"},
	} {
		code, stdout, stderr := run(tt.args...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
			t.Errorf("%v: code %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.says, stdout, stderr)
		}
	}
}

func TestConfigPrintsWhatConfigCheckTakes(t *testing.T) {
	for _, args := range [][]string{
		{"config", "print", "--defaults"},
		{"config", "print", "--cluster", "a:1,b:2", "--cluster-password", "canary", "--node-map", "a:1=b:2", "--pprof"},
	} {
		code, out, errs := run(args...)
		if code != 0 || strings.Contains(out, "canary") {
			t.Fatalf("%v: code %d, or it shows a password: %s%s", args, code, out, errs)
		}
		file := filepath.Join(t.TempDir(), "printed.yaml")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := run("config", "check", file); code != 0 || !strings.Contains(out, "is fine") {
			t.Errorf("%v: what it prints is refused: %s", args, errs)
		}
	}
	_, out, _ := run("config", "print", "--max-clients", "5", "--max-clients", "7")
	if !strings.Contains(out, "max_clients: 7 # --max-clients\n") || !strings.Contains(out, "lanes: 1 # default\n") {
		t.Errorf("values do not tell where they come from:\n%s", out)
	}
}

func TestConfigCheckTellsWhatIsProbablyNotMeant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("redirect_budget: 100ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := run("config", "check", file); code != 0 || !strings.HasPrefix(out, "warning: "+file+":1:18: redirect_budget") || !strings.Contains(out, "is fine") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
}

func TestTheFileIsNamedByFlagOrVariable(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"flag": "lanes: 2\n", "variable": "lanes: 3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(fileVariable, filepath.Join(dir, "variable"))
	if _, out, _ := run("config", "print"); !strings.Contains(out, "lanes: 3 #") {
		t.Errorf("the variable's file is not read:\n%s", out)
	}
	if _, out, _ := run("config", "print", "-c", filepath.Join(dir, "flag")); !strings.Contains(out, "lanes: 2 #") {
		t.Errorf("the flag does not win:\n%s", out)
	}
}

func TestEverySettingHasAFlagInHelp(t *testing.T) {
	_, out, _ := run("serve", "--help")
	for _, s := range config.Settings() {
		if !strings.Contains(out, "--"+s.Flag+" ") || !strings.Contains(out, s.Help) {
			t.Errorf("serve --help does not tell of --%s", s.Flag)
		}
	}
}

func TestVersionIsJSONWhenAskedFor(t *testing.T) {
	_, out, _ := run("version", "--json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Version != "dev" || !strings.HasPrefix(b.GoVersion, "go") {
		t.Errorf("%s gives %+v, %v", out, b, err)
	}
}

func TestLogLinesHaveTheFormatAskedFor(t *testing.T) {
	for _, tt := range []struct{ format, begin, want string }{
		{"json", `{"ts":"`, `"level":"WARN","msg":"node lost","node":"a:1","err":"x y"`},
		{"logfmt", `ts=`, `level=WARN msg="node lost" node=a:1 err="x y"`},
		{"text", "", `warn  node lost node=a:1 err="x y"` + "\n"},
		{"auto", `{"ts":"`, `"msg":"node lost"`}, // a buffer is no terminal
	} {
		t.Setenv("JOURNAL_STREAM", "")
		var out bytes.Buffer
		level := new(slog.LevelVar)
		log := newLogger(&out, config.Log{Level: "info", Format: tt.format}, level)
		log.With("node", "a:1").Warn("node lost", "err", "x y")
		log.Debug("hidden")
		if got := out.String(); !strings.HasPrefix(got, tt.begin) || !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %q, want %q ... %q in one line", tt.format, got, tt.begin, tt.want)
		}
		setLevel(level, "debug")
		log.WithGroup("g").Debug("shown", "a", 1)
		if got := out.String(); !strings.Contains(got, "shown") || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: the level did not change: %q", tt.format, got)
		}
	}
	t.Setenv("JOURNAL_STREAM", "8:1")
	if got := format("auto", &bytes.Buffer{}); got != "logfmt" {
		t.Errorf("under systemd auto is %s, want logfmt", got)
	}
}

// A setting that is not handed over would look as if it worked.
func TestEveryLimitReachesTheDataPath(t *testing.T) {
	cfg := config.Default()
	defaults := limits(cfg)
	if want := proxy.DefaultLimits(); defaults.MaxRedirects != want.MaxRedirects || defaults.BeforeAuth != want.BeforeAuth ||
		defaults.AfterAuth != want.AfterAuth || defaults.OutHard != want.OutHard || defaults.NodeQueue != want.NodeQueue {
		t.Errorf("the setting table's defaults are not the data path's:\n%+v\n%+v", defaults, want)
	}
	increase(reflect.ValueOf(&cfg.Limits).Elem())
	increase(reflect.ValueOf(&cfg.Upstream).Elem())
	before, after := reflect.ValueOf(defaults), reflect.ValueOf(limits(cfg))
	for i := range before.NumField() {
		if reflect.DeepEqual(before.Field(i).Interface(), after.Field(i).Interface()) {
			t.Errorf("no setting reaches proxy.Limits.%s", before.Type().Field(i).Name)
		}
	}
}

// increase adds one to every number.
func increase(v reflect.Value) {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Struct:
		for i := range v.NumField() {
			increase(v.Field(i))
		}
	}
}

func TestCertificatesAreCheckedBeforeTheyAreUsed(t *testing.T) {
	files, err := testcluster.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		edit func(*config.Config)
		says string
	}{
		{"none", func(*config.Config) {}, ""},
		{"good ones", func(c *config.Config) {
			c.Listen.Cert, c.Listen.Key, c.Listen.ClientCA, c.Listen.ClientAuth = files.Cert, files.Key, files.CA, config.AuthRequire
			c.Cluster.TLS = config.NodeTLS{On: true, CA: files.CA, Cert: files.ClientCert, Key: files.ClientKey}
		}, ""},
		{"a key of another certificate", func(c *config.Config) { c.Listen.Cert, c.Listen.Key = files.Cert, files.ClientKey }, "tls_cert"},
		{"an authority that is none", func(c *config.Config) {
			c.Listen.Cert, c.Listen.Key, c.Listen.ClientCA = files.Cert, files.Key, none
		}, "tls_client_ca: " + none + " holds no certificate"},
		{"a node certificate that is none", func(c *config.Config) { c.Cluster.TLS.Cert, c.Cluster.TLS.Key = none, none }, "cluster_tls_cert"},
		{"a node authority that is missing", func(c *config.Config) { c.Cluster.TLS.CA = none + "x" }, "cluster_tls_ca"},
	} {
		cfg := config.Default()
		tt.edit(cfg)
		got, err := loadTLS(cfg)
		if tt.says != "" {
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var c certificates
		c.files.Store(got)
		if want := map[string]int{"none": 0, "good ones": 2}[tt.name]; len(c.expiries()) != want {
			t.Errorf("%s: expiries %v, want %d", tt.name, c.expiries(), want)
		}
	}
}

func TestAPlaygroundLeavesNothingBehind(t *testing.T) {
	testcluster.NeedNewest(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	signals := make(chan os.Signal, 2)
	out := &safeBuffer{}
	flags := &settingFlags{given: map[string][]string{"listen": {"127.0.0.1:0"}, "admin": {"127.0.0.1:0"}, "http": {"127.0.0.1:0"}}}
	ended := make(chan error, 1)
	go func() { ended <- playground(flags, signals, out, out) }()
	deadline := time.After(60 * time.Second)
	for !strings.Contains(out.String(), "Ctrl-C ends all of it") {
		select {
		case err := <-ended:
			t.Fatalf("it ended by itself: %v\n%s", err, out)
		case <-deadline:
			t.Fatalf("it does not serve:\n%s", out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	var nodes []string
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) == 2 && (f[0] == "primary" || f[0] == "empty") {
			nodes = append(nodes, f[1])
		}
		if f := strings.Fields(line); len(f) == 2 && f[0] == "clients" {
			if got := ask(t, f[1], "SET greeting hello"); got != "+OK" {
				t.Errorf("SET gives %s", got)
			}
		}
	}
	if len(nodes) != 4 || !strings.Contains(out.String(), " cluster rebalance --use-empty-primaries") {
		t.Errorf("the welcome is not complete:\n%s", out)
	}
	signals <- os.Interrupt
	if err := <-ended; err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	for _, addr := range nodes {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			t.Errorf("node %s still runs", addr)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAPlaygroundCanBeInterruptedWhileItStarts(t *testing.T) {
	testcluster.NeedNewest(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	signals := make(chan os.Signal, 2)
	signals <- os.Interrupt
	if err := playground(&settingFlags{given: map[string][]string{}}, signals, &safeBuffer{}, &safeBuffer{}); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAPlaygroundIsQuietAndQuickUnlessToldOtherwise(t *testing.T) {
	got := playSettings([]string{"SLOTPROXY_LOG_LEVEL=debug", "SLOTPROXY_DRAIN_DELAYS=1s"})
	if _, there := got["log_level"]; there || got["drain_delay"] != "0" {
		t.Errorf("got %v, want the variable to win and the rest to stay", got)
	}
	flags := &settingFlags{given: map[string][]string{"drain_delay": {"3s"}}}
	if got := flags.sources(got).Flags["drain_delay"]; len(got) != 1 || got[0] != "3s" {
		t.Errorf("the flag does not win: %v", got)
	}
}

func TestShellWordsAreQuoted(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c": "/a/b-c", "/a b": "'/a b'", "a'b": `'a'\''b'`} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"127.0.0.1:6479": "-p 6479", "[::]:1": "-p 1", "10.0.0.1:2": "-h 10.0.0.1 -p 2"} {
		if got := target(in); got != want {
			t.Errorf("target(%q) = %s, want %s", in, got, want)
		}
	}
}
