package archtest

import (
	"strings"
	"testing"
)

// arrows says which of our packages the product code in a folder may import. An
// entry stands for the folders below it too, unless they have one of their own.
// "*" allows all. Test files may import anything of ours.
var arrows = map[string][]string{
	"resp":   {},
	"router": {},
	"proxy":  {"router", "resp", "internal/metrics"},
	// Declares Gate and Load itself, so that it never needs proxy.
	"migrate": {"router", "internal/metrics"},
	// What should move, and what was meant: data and pure functions. The machine decides with both, the engine acts.
	"migrate/plan":    {"router"},
	"migrate/journal": {},
	"migrate/machine": {"migrate/plan", "migrate/journal", "router"},
	"migrate/engine":  {"migrate/machine", "migrate/plan", "migrate/journal", "router"},
	"migrate/repair":  {"migrate/engine", "migrate/machine", "migrate/plan", "migrate/journal", "router"},
	"migrate/members": {"migrate/engine", "migrate/plan", "router"},

	// resp for the Guard around redcon and for replies.
	"internal/admin": {"proxy", "router", "migrate", "resp"},
	// resp for the Guard around valkey-go's connections.
	// migrate/engine for the interface of the nodes that it implements.
	"internal/cluster":     {"router", "resp", "migrate/engine"},
	"internal/metrics":     {},
	"internal/config":      {},
	"internal/testcluster": {},
	"internal/testnode":    {},
	"internal/archtest":    {},

	// The only place where packages meet. testcluster is the playground's.
	"cmd": {"internal/admin", "internal/cluster", "internal/metrics", "internal/config", "internal/testcluster",
		"proxy", "router", "migrate", "resp", "bench/load"},

	// Measure and test the product from outside.
	"bench": {"*"},
	"test":  {"*"},
}

// home says which folders' product code may import a module. Test files anywhere
// may import the modules of testsMay as well. A module without a line has no home.
var home = map[string][]string{
	"github.com/valkey-io/valkey-go":          {"internal/cluster"},
	"github.com/tidwall/redcon":               {"internal/admin", "internal/testnode", "bench/variants"},
	"github.com/panjf2000/ants/v2":            {"proxy/proxy.go", "proxy/dial.go", "migrate", "internal/admin"},
	"github.com/prometheus/client_golang":     {"internal/metrics", "cmd"},
	"github.com/prometheus/client_model":      {"internal/metrics"},
	"github.com/goccy/go-yaml":                {"internal/config", "bench"},
	"github.com/spf13/cobra":                  {"cmd"},
	"github.com/spf13/pflag":                  {"cmd"},
	"github.com/coreos/go-systemd/v22":        {"cmd"},
	"github.com/HdrHistogram/hdrhistogram-go": {"bench", "test"},
	"github.com/redis/go-redis/v9":            {"bench", "test"},
	"github.com/gomodule/redigo":              {"bench", "test"},
	"github.com/hibiken/asynq":                {"test"},
	"github.com/creack/pty":                   {"test"},
	"golang.org/x/term":                       {"cmd"},
	"golang.org/x/sys":                        {"proxy", "internal/testcluster", "cmd", "bench", "test"},
}

// testsMay are modules that speak to the product as its users do, or read what it
// gives them (metrics, the compose file).
var testsMay = map[string]bool{
	"github.com/valkey-io/valkey-go":      true,
	"github.com/redis/go-redis/v9":        true,
	"github.com/gomodule/redigo":          true,
	"github.com/prometheus/client_golang": true,
	"github.com/goccy/go-yaml":            true,
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, s := range tree(t) {
		report(t, againstArrows(s))
	}
}

func TestThirdPartyPackagesHaveOneHome(t *testing.T) {
	for _, s := range tree(t) {
		report(t, awayFromHome(s))
	}
}

func report(t *testing.T, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

// againstArrows lists what a file imports of ours and may not.
func againstArrows(s *source) []string {
	if s.isTest() {
		return nil
	}
	allowed, known := arrowsOf(s.dir())
	if !known {
		return []string{s.path + ": the folder " + s.dir() + " has no line in arrows"}
	}
	var wrong []string
	for p, at := range s.imports() {
		to, ours := strings.CutPrefix(p, module+"/")
		if !ours || under(to, s.dir()) || under(s.dir(), to) || mayReach(to, allowed) {
			continue
		}
		wrong = append(wrong, at+": "+s.dir()+" may not import "+to)
	}
	return wrong
}

// arrowsOf finds the line of a folder or of the nearest one above it.
func arrowsOf(dir string) ([]string, bool) {
	for {
		if allowed, known := arrows[dir]; known {
			return allowed, true
		}
		cut := strings.LastIndexByte(dir, '/')
		if cut < 0 {
			return nil, false
		}
		dir = dir[:cut]
	}
}

func mayReach(to string, allowed []string) bool {
	for _, a := range allowed {
		if a == "*" || under(to, a) {
			return true
		}
	}
	return false
}

// under says that p is the folder, file or module at, or below it.
func under(p, at string) bool {
	return p == at || strings.HasPrefix(p, at+"/")
}

// awayFromHome lists the modules that a file imports outside of their homes.
func awayFromHome(s *source) []string {
	var wrong []string
	for p, at := range s.imports() {
		domain, _, _ := strings.Cut(p, "/")
		if !strings.Contains(domain, ".") { // the standard library and ours
			continue
		}
		name, homes := homesOf(p)
		switch {
		case name == "":
			wrong = append(wrong, at+": "+p+" has no line in home")
		case s.isTest() && testsMay[name]:
		case !atHome(s.path, homes):
			wrong = append(wrong, at+": "+name+" is at home in "+strings.Join(homes, ", "))
		}
	}
	return wrong
}

func homesOf(p string) (string, []string) {
	for name, homes := range home {
		if under(p, name) {
			return name, homes
		}
	}
	return "", nil
}

func atHome(file string, homes []string) bool {
	for _, h := range homes {
		if under(file, h) {
			return true
		}
	}
	return false
}

func TestTheImportRulesFindWhatTheyShould(t *testing.T) {
	tests := []struct {
		name, path, imports string
		wrong               bool
		rule                func(*source) []string
	}{
		{"proxy uses router", "proxy/a.go", "slotproxy/router", false, againstArrows},
		{"proxy uses the metrics", "proxy/a.go", "slotproxy/internal/metrics", false, againstArrows},
		{"proxy reaches for migrate", "proxy/a.go", "slotproxy/migrate", true, againstArrows},
		{"migrate reaches for proxy", "migrate/a.go", "slotproxy/proxy", true, againstArrows},
		{"router reaches for resp", "router/a.go", "slotproxy/resp", true, againstArrows},
		{"a test may use what its subject may not", "router/a_test.go", "slotproxy/resp", false, againstArrows},
		{"a folder uses one below it", "migrate/a.go", "slotproxy/migrate/machine", false, againstArrows},
		{"a folder has the arrows of the one above", "migrate/machine/a.go", "slotproxy/resp", true, againstArrows},
		{"a folder that is not in the plan", "util/a.go", "fmt", true, againstArrows},
		{"the playground starts real servers", "cmd/slotproxy/a.go", "slotproxy/internal/testcluster", false, againstArrows},
		{"the product uses a scripted node", "cmd/slotproxy/a.go", "slotproxy/internal/testnode", true, againstArrows},
		{"a name that begins alike is another folder", "internal/admin/a.go", "slotproxy/proxyless", true, againstArrows},

		{"valkey-go at home", "internal/cluster/a.go", "github.com/valkey-io/valkey-go", false, awayFromHome},
		{"valkey-go on the data path", "proxy/a.go", "github.com/valkey-io/valkey-go", true, awayFromHome},
		{"valkey-go in a test", "proxy/a_test.go", "github.com/valkey-io/valkey-go/x", false, awayFromHome},
		{"redcon in a test elsewhere", "proxy/a_test.go", "github.com/tidwall/redcon", true, awayFromHome},
		{"ants in the dial pool", "proxy/dial.go", "github.com/panjf2000/ants/v2", false, awayFromHome},
		{"ants elsewhere on the data path", "proxy/loop.go", "github.com/panjf2000/ants/v2", true, awayFromHome},
		{"a module nobody decided on", "proxy/a.go", "example.com/x", true, awayFromHome},
		{"the standard library", "proxy/a.go", "net/http", false, awayFromHome},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parse(tt.path, []byte("package x\n\nimport _ \""+tt.imports+"\"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.rule(s); (len(got) > 0) != tt.wrong {
				t.Errorf("%s imports %s: got %q, want a finding: %v", tt.path, tt.imports, got, tt.wrong)
			}
		})
	}
}
