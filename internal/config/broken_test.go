package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each row is a file with a mistake and the whole text that the user reads. Lines of several mistakes are all told.
var brokenFiles = []struct{ yaml, want string }{
	{"", "c.yaml:1:1: the document is empty; slotproxy config print --defaults shows a full one"},
	{"# only a comment\n", "c.yaml:1:1: the document is empty; slotproxy config print --defaults shows a full one"},
	{"---\n---\n", "c.yaml:1:1: the document is empty; slotproxy config print --defaults shows a full one"},
	{"hello", "c.yaml:1:1: want lines such as max_clients: 1000, got one value"},
	{"- a\n- b\n", "c.yaml:1:1: want lines such as max_clients: 1000, got a list"},
	{"max_clients: 1\n---\nmax_clients: 2\n", "c.yaml:3:12: a second document; only one is read"},
	{"max_client: 1", `c.yaml:1:1: unknown key "max_client" (did you mean max_clients?)`},
	{"lisetn: a:1", `c.yaml:1:1: unknown key "lisetn" (did you mean listen?)`},
	{"Loops: 1", `c.yaml:1:1: unknown key "Loops" (did you mean loops?)`},
	{"xyzzy: 1", `c.yaml:1:1: unknown key "xyzzy"`},
	{"1: 1", `c.yaml:1:1: unknown key "1"`},
	{"limits:\n  max_clients: 1\n", `c.yaml:1:1: unknown key "limits"`},
	{"loops: 1\nlanes: 1\nloops: 2\n", "c.yaml:3:1: loops is set twice; first at c.yaml:1:1"},
	{"loops: x", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "x"`},
	{"loops: 2.5", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "2.5"`},
	{"loops: 257", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "257"`},
	{"loops: -1", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "-1"`},
	{"loops: 99999999999999999999", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "99999999999999999999"`},
	{"loops:", `c.yaml:1:1: loops: has no value; leave the line out for the default, or write "" for none`},
	{"loops: ~", `c.yaml:1:1: loops: has no value; leave the line out for the default, or write "" for none`},
	{"loops: [1]", "c.yaml:1:8: loops: want one value, got a list"},
	{"loops: {a: 1}", "c.yaml:1:8: loops: want one value, got a mapping"},
	{"pprof: yes", `c.yaml:1:8: pprof: want true or false, got "yes"`},
	{"pprof: 1", `c.yaml:1:8: pprof: want true or false, got "1"`},
	{"upstream_timeout: 5", "c.yaml:1:19: upstream_timeout: needs a unit: write 5s or 5ms, not 5"},
	{"upstream_timeout: 5 sec", `c.yaml:1:19: upstream_timeout: want a duration such as 500ms, 5s or 1m30s, got "5 sec"`},
	{"upstream_timeout: -5s", "c.yaml:1:19: upstream_timeout: want a duration from 50ms to 24h, got -5s"},
	{"upstream_timeout: 0", "c.yaml:1:19: upstream_timeout: want a duration from 50ms to 24h, got 0"},
	{"output_low: 8", "c.yaml:1:13: output_low: needs a unit: write 8B, 8KiB or 8MiB, not 8"},
	{"output_low: 8MB", `c.yaml:1:13: output_low: unit "MB" is not known: use B, KiB, MiB or GiB`},
	{"output_low: 8mib", `c.yaml:1:13: output_low: unit "mib" is not known: use B, KiB, MiB or GiB`},
	{"output_low: 1.5MiB", `c.yaml:1:13: output_low: want a size such as 64KiB, 8MiB or 1GiB, got "1.5MiB"`},
	{"output_low: 9999999999999GiB", "c.yaml:1:13: output_low: 9999999999999GiB is too large"},
	{"output_low: 1KiB", "c.yaml:1:13: output_low: want a size from 64KiB to 4GiB, got 1KiB"},
	{"output_low: 128MiB", "c.yaml:1:13: output_low: 128MiB is more than output_hard, which is 64MiB"},
	{"admin: ''\nproxy_commands: read", "c.yaml:2:17: proxy_commands: needs the admin port, and admin is empty"},
	{"proxy_commands: write", "c.yaml:1:17: proxy_commands: want one of off, read, got \"write\""},
	{"redirect_budget: 1s\nmigrate_hold_budget: 251ms", "c.yaml:2:22: migrate_hold_budget: 251ms is more than a quarter of redirect_budget, which is 1s"},
	{"cluster: [a]", `c.yaml:1:10: cluster: want host:port, got "a"`},
	{"cluster: [a:0]", `c.yaml:1:10: cluster: want a port from 1 to 65535 in "a:0"`},
	{"cluster: [[a:1]]", "c.yaml:1:11: cluster: want one value in each line of the list, got a list"},
	{"cluster: {a: 1}", "c.yaml:1:10: cluster: want a list, got a mapping"},
	{"listen: 6479", `c.yaml:1:9: listen: want host:port, got "6479"`},
	{"listen: 1.2.3.4:70000", `c.yaml:1:9: listen: want a port from 0 to 65535 in "1.2.3.4:70000"`},
	{"node_map: [a:1]", "c.yaml:1:11: node_map: want a mapping, got a list"},
	{"node_map: {'a:1': b}", `c.yaml:1:11: node_map: want host:port, got "b"`},
	{"allow_cidrs: [10.0.0.1]", `c.yaml:1:14: allow_cidrs: want a network such as 10.0.0.0/8, got "10.0.0.1"`},
	{"log_level: inof", `c.yaml:1:12: log_level: want one of debug, info, warn, error, got "inof" (did you mean info?)`},
	{"unix_socket: x.sock", `c.yaml:1:14: unix_socket: want an absolute path, got "x.sock"`},
	{"unix_socket_mode: 0999", `c.yaml:1:19: unix_socket_mode: want a file mode in octal such as 0660, got "0999"`},
	{"state_dir: here", `c.yaml:1:12: state_dir: want an absolute path or none, got "here"`},
	{"admin_viewer_password: x", "c.yaml:1:24: admin_viewer_password: needs admin_password"},
	{"tls_client_auth: require", "c.yaml:1:18: tls_client_auth: require needs tls_client_ca"},
	{"listen_tls: [127.0.0.1:1]", "c.yaml:1:13: listen_tls: needs tls_cert and tls_key"},
	{"cluster_tls_server_name: x", "--cluster-tls: cluster_tls: is false, but other cluster_tls settings are given"},
	{"tls_cert: /nonexistent/x\ntls_key: /nonexistent/y", "c.yaml:1:11: tls_cert: stat /nonexistent/x: no such file or directory\n" +
		"c.yaml:2:10: tls_key: stat /nonexistent/y: no such file or directory"},
	{"cluster_user: bob", "c.yaml:1:15: cluster_user: needs cluster_password or cluster_password_file"},
	{"listen: 0.0.0.0:6479", "c.yaml:1:9: listen: is reachable from other machines (protected_mode); give the cluster a password and the proxy " +
		"cluster_password, require client certificates, listen on loopback, or set protected_mode to false"},
	{"admin: :6481", "c.yaml:1:8: admin: is reachable from other machines (protected_mode); set admin_password, listen on loopback, " +
		"or set protected_mode to false"},
	{"pprof: true\nhttp: 10.0.0.1:9490", "c.yaml:1:8: pprof: is reachable from other machines (protected_mode); turn pprof off, listen on " +
		"loopback, or set protected_mode to false"},
	{"a: &x 1\n", `c.yaml:1:1: unknown key "a"`},
	{"loops: &x 1\n", "c.yaml:1:8: loops: want one value, got an anchor or alias, which are not used here"},
	{"loops: !!int 1\n", "c.yaml:1:8: loops: want one value, got a tag, which are not used here"},
	{"loops: |\n  1\n", "c.yaml:1:8: loops: want one value, got a block of text"},
	{"loops: x\nlane: 1\npprof: maybe\n", `c.yaml:2:1: unknown key "lane" (did you mean lanes?)`},
	{"loops: x\npprof: maybe\n", `c.yaml:1:8: loops: want a whole number from 0 to 256, got "x"` + "\n" +
		`c.yaml:2:8: pprof: want true or false, got "maybe"`},
	{"loops: \x00", "c.yaml: this is not YAML: it holds a zero byte"},
}

func TestAMistakeIsToldWithItsPlaceAndRemedy(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range brokenFiles {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(tt.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Sources{File: path})
		if err == nil {
			t.Errorf("%q is taken", tt.yaml)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir+"/", ""); got != tt.want {
			t.Errorf("%q\n got %s\nwant %s", tt.yaml, got, tt.want)
		}
	}
}

// The wording of a syntax error is the library's; its place is what counts.
func TestASyntaxErrorHasItsPlace(t *testing.T) {
	for _, tt := range []struct{ yaml, place string }{
		{"loops: 1\n  lanes: [", "c.yaml:"}, {"a: b: c", "c.yaml:1:"}, {"loops: \"x", "c.yaml:1:"}, {"\tloops: 1", "c.yaml:1:"},
		{"loops: [1", "c.yaml:1:"},
	} {
		_, err := parseYAML("c.yaml", []byte(tt.yaml))
		if err == nil || !strings.HasPrefix(err.Error(), tt.place) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q gives %v, want one line that begins with %s", tt.yaml, err, tt.place)
		}
	}
}

func TestMistakesOutsideOfFilesNameTheirSource(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	twoLines, none := write(t, "two", "a\nb\n"), write(t, "none", "\n")
	for _, tt := range []struct {
		src  Sources
		want string
	}{
		{Sources{Env: []string{"SLOTPROXY_LOOPS=many"}}, `SLOTPROXY_LOOPS: loops: want a whole number`},
		{Sources{Flags: map[string][]string{"max_clients": {"0"}}}, `--max-clients: max_clients: want a whole number`},
		{Sources{File: missing}, missing + ": open "},
		{Sources{Flags: map[string][]string{"admin_password_file": {missing}}}, "--admin-password-file: admin_password_file: open "},
		{Sources{Flags: map[string][]string{"admin_password_file": {twoLines}}}, "does not hold one line with a password"},
		{Sources{Flags: map[string][]string{"admin_password_file": {none}}}, "does not hold one line with a password"},
		{Sources{Flags: map[string][]string{"admin_password_file": {none}, "admin_password": {"x"}}},
			"--admin-password-file: admin_password_file: admin_password is set as well, by --admin-password"},
	} {
		_, err := Load(tt.src)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
		var p *Problem
		if !errors.As(err, &p) || p.Where == "" {
			t.Errorf("%v has no place", err)
		}
	}
}

func TestServingNeedsAClusterAndAListener(t *testing.T) {
	c := Default()
	if err := c.CheckServe(); err == nil || !strings.Contains(err.Error(), "--cluster 127.0.0.1:7000") {
		t.Errorf("without a cluster: %v", err)
	}
	c.Cluster.Seeds = []string{"a:1"}
	if err := c.CheckServe(); err != nil {
		t.Errorf("with a cluster: %v", err)
	}
	c.Listen.TCP = nil
	if err := c.CheckServe(); err == nil || !strings.Contains(err.Error(), "nowhere to listen") {
		t.Errorf("without a listener: %v", err)
	}
}

func TestProtectedModeKnowsWhoCanReachAListener(t *testing.T) {
	cert := write(t, "cert", "x")
	for _, tt := range []struct {
		name  string
		flags map[string][]string
		ok    bool
	}{
		{"loopback", map[string][]string{"listen": {"127.0.0.1:1,[::1]:1,localhost:1,127.9.9.9:1"}}, true},
		{"every address", map[string][]string{"listen": {":1"}}, false},
		{"a name", map[string][]string{"listen": {"proxy.example:1"}}, false},
		{"turned off", map[string][]string{"listen": {":1"}, "admin": {":2"}, "protected_mode": {"false"}}, true},
		{"a cluster with a password", map[string][]string{"listen": {":1"}, "cluster_password": {"x"}}, true},
		{"TLS without client certificates", map[string][]string{"listen_tls": {":1"}, "tls_cert": {cert}, "tls_key": {cert}}, false},
		{"TLS with optional ones", map[string][]string{"listen_tls": {":1"}, "tls_cert": {cert}, "tls_key": {cert},
			"tls_client_ca": {cert}, "tls_client_auth": {"optional"}}, false},
		{"TLS with required ones", map[string][]string{"listen_tls": {":1"}, "tls_cert": {cert}, "tls_key": {cert},
			"tls_client_ca": {cert}, "tls_client_auth": {"require"}}, true},
		{"admin with a password", map[string][]string{"admin": {":1"}, "admin_password": {"x"}}, true},
		{"admin on a socket", map[string][]string{"admin": {"unix:/x"}}, true},
		{"metrics for all", map[string][]string{"http": {":1"}}, true},
	} {
		if _, err := Load(Sources{Flags: tt.flags}); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

// Whatever is in a file, reading it ends, with a configuration or with an error that has a place.
func FuzzYAML(f *testing.F) {
	for _, tt := range brokenFiles {
		f.Add([]byte(tt.yaml))
	}
	f.Add([]byte("cluster: [a:1, b:2]\nnode_map: {a:1: b:2}\nidle_timeout: 5m\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseYAML("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("%q: %v has no place", text, err)
			}
			return
		}
		c, err := assemble(entries)
		if err != nil {
			return
		}
		for _, e := range entries {
			if find(e.key) == nil || c.Origin(e.key) != e.where {
				t.Errorf("%q: %s comes from %s, want %s", text, e.key, c.Origin(e.key), e.where)
			}
		}
	})
}
