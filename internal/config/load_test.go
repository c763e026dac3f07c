package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFlagWinsOverAVariableOverTheFileOverTheDefault(t *testing.T) {
	file := write(t, "c.yaml", "max_clients: 100\nidle_timeout: 1m\nlisten: [127.0.0.1:1, 127.0.0.1:2]\nlog_level: warn\n")
	c, err := Load(Sources{
		File:  file,
		Env:   []string{"SLOTPROXY_MAX_CLIENTS=200", "SLOTPROXY_IDLE_TIMEOUT=2m", "SLOTPROXY_LISTEN=127.0.0.1:3, 127.0.0.1:4", "PATH=/bin"},
		Flags: map[string][]string{"max_clients": {"300"}, "cluster": {"a:1,b:2", "c:3"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ key, value, origin string }{
		{"max_clients", "300", "--max-clients"},
		{"idle_timeout", "2m", "SLOTPROXY_IDLE_TIMEOUT"},
		{"listen", "127.0.0.1:3,127.0.0.1:4", "SLOTPROXY_LISTEN"},
		{"log_level", "warn", file + ":4:12"},
		{"cluster", "a:1,b:2,c:3", "--cluster"},
		{"lanes", "1", "default"},
	} {
		got := c.Get(tt.key)
		if len(got) != 1 || got[0].Value != tt.value || c.Origin(tt.key) != tt.origin {
			t.Errorf("%s is %v from %s, want %s from %s", tt.key, got, c.Origin(tt.key), tt.value, tt.origin)
		}
	}
	if c.Limits.Idle != 2*time.Minute || c.Limits.MaxClients != 300 {
		t.Errorf("fields are %v and %d, want 2m and 300", c.Limits.Idle, c.Limits.MaxClients)
	}
}

func TestValuesAreTakenInEverySpelling(t *testing.T) {
	for _, tt := range []struct{ yaml, key, want string }{
		{"cluster: a:1", "cluster", "a:1"},
		{"cluster: a:1, b:2", "cluster", "a:1,b:2"},
		{"cluster:\n  - a:1\n  - '[::1]:2'", "cluster", "a:1,[::1]:2"},
		{"cluster: []", "cluster", ""},
		{`max_clients: "50"`, "max_clients", "50"},
		{"idle_timeout: 0", "idle_timeout", "0"},
		{"idle_timeout: 90s", "idle_timeout", "1m30s"},
		{"idle_timeout: 2h", "idle_timeout", "2h"},
		{"output_low: 512KiB", "output_low", "512KiB"},
		{"output_low: 1048576B", "output_low", "1MiB"},
		{"output_before_auth: 1500B", "output_before_auth", "1500B"},
		{"unix_socket_mode: 0600", "unix_socket_mode", "0600"},
		{"unix_socket_mode: 0o600", "unix_socket_mode", "0600"},
		{"unix_socket_mode: 660", "unix_socket_mode", "0660"},
		{"node_map: {'a:1': b:2, 'c:3': \"d:4\"}", "node_map", "a:1=b:2,c:3=d:4"},
		{"node_map:\n  a:1: b:2", "node_map", "a:1=b:2"},
		{"allow_cidrs: [10.1.2.3/8, 'fd00::/8']", "allow_cidrs", "10.0.0.0/8,fd00::/8"},
		{"admin: ''", "admin", ""},
		{"admin: unix:/run/x.sock", "admin", "unix:/run/x.sock"},
		{"http: localhost:0", "http", "localhost:0"},
		{"pprof: true", "pprof", "true"},
		{"# a comment\n---\nloops: 3 # more\n", "loops", "3"},
		{"admin_password: \"a#b: c\"", "admin_password", "***"},
	} {
		c, err := Load(Sources{File: write(t, "c.yaml", tt.yaml)})
		if err != nil {
			t.Errorf("%q: %v", tt.yaml, err)
			continue
		}
		if got := c.Get(tt.key)[0].Value; got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.yaml, got, tt.want)
		}
	}
}

func TestASecretNeverPrints(t *testing.T) {
	const secret = "hunter2"
	c, err := Load(Sources{
		Flags: map[string][]string{"cluster": {"a:1"}, "cluster_password": {secret}},
		Env:   []string{"SLOTPROXY_ADMIN_PASSWORD_FILE=" + write(t, "pw", secret+"\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Cluster.Password) != secret || string(c.Admin.Password) != secret {
		t.Fatalf("passwords did not arrive")
	}
	var out strings.Builder
	if err := c.WriteEffective(&out); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	all := out.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q", c, *c, *c, c.Cluster.Password, c.Admin.Password) + fmt.Sprint(c.Get("*"))
	if strings.Contains(all, secret) {
		t.Errorf("the password shows in %s", all)
	}
	if !strings.Contains(all, masked) {
		t.Errorf("nothing shows that there is a password: %s", all)
	}
}

func TestChangesTellLiveSettingsFromOthers(t *testing.T) {
	base := Sources{Flags: map[string][]string{"cluster": {"a:1"}, "admin_password": {"x"}}}
	other := Sources{Flags: map[string][]string{"cluster": {"a:1"}, "admin_password": {"y"}, "log_level": {"debug"}, "lanes": {"2"}}}
	a, err := Load(base)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(other)
	if err != nil {
		t.Fatal(err)
	}
	live, restart := Changes(a, b)
	if want := []string{"admin_password", "log_level"}; !reflect.DeepEqual(live, want) {
		t.Errorf("live changes are %v, want %v", live, want)
	}
	if want := []string{"lanes"}; !reflect.DeepEqual(restart, want) {
		t.Errorf("other changes are %v, want %v", restart, want)
	}
	if live, restart := Changes(a, a); live != nil || restart != nil {
		t.Errorf("a configuration differs from itself: %v %v", live, restart)
	}
}

func TestAReloadTakesLiveSettingsAndKeepsOthers(t *testing.T) {
	for s := range settings() {
		old, next := Default(), Default()
		probe(t, s, next)
		next.origins[s.key] = "here"
		got := Reloaded(old, next)
		want, origin := old, "default"
		if s.live {
			want, origin = next, "here"
		}
		if !same(s.at(got), s.at(want)) || got.Origin(s.key) != origin {
			t.Errorf("%s: %q from %s, want %q from %s", s.key, s.at(got).text(), got.Origin(s.key), s.at(want).text(), origin)
		}
		if live, restart := Changes(old, Default()); len(live)+len(restart) > 0 {
			t.Fatalf("%s: the old configuration was changed: %v %v", s.key, live, restart)
		}
	}
}

func TestAMistypedVariableIsToldAndAForeignOneIsNot(t *testing.T) {
	c, err := Load(Sources{Env: []string{
		"SLOTPROXY_MAX_CLIENT=1", "SLOTPROXY_PORT=tcp://10.0.0.1:6479", "SLOTPROXY_SERVICE_HOST=10.0.0.1", "SLOTPROXY_SERVERS=/x",
		"SLOTPROXY_CONFIG=f", "SLOTPROXY_PORT_6479_TCP_ADDR=1", "OTHER=1", "nonsense",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"variable SLOTPROXY_MAX_CLIENT is not known (did you mean SLOTPROXY_MAX_CLIENTS?)"}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("warnings are %q, want %q", c.Warnings, want)
	}
}

func TestABudgetTooShortToMoveSlotsIsTold(t *testing.T) {
	for _, tt := range []struct {
		budget string
		want   []string
	}{
		{"5s", nil},
		{"500ms", nil},
		{"499ms", []string{"--redirect-budget: redirect_budget: with 499ms, which is less than 500ms, clients get errors while a node fails over, " +
			"and slots that move may be held back for 249.5ms only: on a busy machine they move slowly or not at all"}},
	} {
		c, err := Load(Sources{Flags: map[string][]string{"redirect_budget": {tt.budget}}})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c.Warnings, tt.want) {
			t.Errorf("%s: warnings are %q, want %q", tt.budget, c.Warnings, tt.want)
		}
	}
}

func TestAutomaticValuesAreResolved(t *testing.T) {
	c := Default()
	if c.Loops.Count < 1 || c.Loops.Count > maxAutoLoops {
		t.Errorf("loops is %d, want 1 to %d", c.Loops.Count, maxAutoLoops)
	}
	if c.Limits.BufferBudget < c.Limits.OutHard {
		t.Errorf("the buffer budget %d is below the output of one client, %d", c.Limits.BufferBudget, c.Limits.OutHard)
	}
}

func TestMemoryIsReadFromFiles(t *testing.T) {
	for _, tt := range []struct {
		text string
		read func(string) int64
		want int64
	}{
		{"1073741824\n", fileNumber, 1 << 30},
		{"max\n", fileNumber, 0},
		{"", fileNumber, 0},
		{"MemFree: 3 kB\nMemTotal:       16318480 kB\n", machineMemory, 16318480 << 10},
		{"MemTotal: x kB\n", machineMemory, 0},
		{"MemTotal:\n", machineMemory, 0},
	} {
		if got := tt.read(write(t, "f", tt.text)); got != tt.want {
			t.Errorf("%q gives %d, want %d", tt.text, got, tt.want)
		}
	}
	if fileNumber("/nonexistent") != 0 || machineMemory("/nonexistent") != 0 {
		t.Error("a file that is not there has a number")
	}
	if bufferBudget(0) != fallbackBudget || bufferBudget(4<<30) != 1<<30 {
		t.Error("the budget is not a quarter of the limit")
	}
}

func TestListsAreBounded(t *testing.T) {
	many := strings.Repeat("a:1,", maxItems+1)
	if _, err := Load(Sources{Flags: map[string][]string{"cluster": {many}}}); err == nil || !strings.Contains(err.Error(), "at most 1024") {
		t.Errorf("%d seeds: %v", maxItems+1, err)
	}
	big := write(t, "big.yaml", strings.Repeat("#\n", maxFile/2+1))
	if _, err := Load(Sources{File: big}); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("a file of more than 1 MiB: %v", err)
	}
}

func TestEditDistanceCountsSlips(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"listen", "listen", 0}, {"lisetn", "listen", 1}, {"listn", "listen", 1}, {"kitten", "sitting", 3},
		{strings.Repeat("a", 1000), "b", maxWord},
	} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestEveryProxyHasAStateFolderOfItsOwn(t *testing.T) {
	const home = "HOME=/home/a"
	flags := func(key, value string) map[string][]string { return map[string][]string{key: {value}} }
	tests := []struct {
		name  string
		env   []string
		flags map[string][]string
		want  string
	}{
		{"in the home of its user, by its address", []string{home}, nil, "/home/a/.local/state/slotproxy/127.0.0.1_6479"},
		{"where the user keeps state", []string{home, "XDG_STATE_HOME=/var/a"}, nil, "/var/a/slotproxy/127.0.0.1_6479"},
		{"not where a relative path leads", []string{home, "XDG_STATE_HOME=a"}, nil, "/home/a/.local/state/slotproxy/127.0.0.1_6479"},
		{"the one that systemd made", []string{home, "STATE_DIRECTORY=/var/lib/slotproxy:/var/lib/other"}, nil, "/var/lib/slotproxy"},
		{"the one that it is told", []string{home, "STATE_DIRECTORY=/b"}, flags("state_dir", "/c"), "/c"},
		{"none, when it is told so", []string{home}, flags("state_dir", "none"), NoState},
		{"none, of a user without a home", nil, nil, NoState},
		{"none, when its port is another each time", []string{home}, flags("listen", "127.0.0.1:0"), NoState},
		{"by the address of IPv6", []string{home}, flags("listen", "[::1]:7"), "/home/a/.local/state/slotproxy/__1_7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(Sources{Env: tt.env, Flags: tt.flags})
			if err != nil {
				t.Fatal(err)
			}
			if c.Migrate.StateDir != tt.want {
				t.Errorf("got %q, want %q", c.Migrate.StateDir, tt.want)
			}
		})
	}
}
