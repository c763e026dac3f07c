package config

import (
	"bytes"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// update rewrites the generated files: go test ./internal/config -update
var update = flag.Bool("update", false, "rewrite configs/slotproxy.yaml and docs/configuration.md")

const (
	sampleFile = "../../configs/slotproxy.yaml"
	docFile    = "../../docs/configuration.md"
)

func TestGeneratedFilesSayWhatTheTableSays(t *testing.T) {
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{{sampleFile, WriteSample}, {docFile, WriteDoc}} {
		var want bytes.Buffer
		if err := f.write(&want); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(f.name, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what the table gives; run: go test ./internal/config -update", f.name)
		}
	}
}

func TestTheSampleIsTheDefaults(t *testing.T) {
	c, err := Load(Sources{File: sampleFile})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Cluster.Seeds = []string{sampleCluster}
	if live, restart := Changes(want, c); len(live)+len(restart) > 0 {
		t.Errorf("the sample differs from the defaults in %v %v", live, restart)
	}
}

// Settings without a value in the sample must be right once their # is taken away, too.
func TestTheSampleKnowsEverySetting(t *testing.T) {
	text, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	full := regexp.MustCompile(`(?m)^#([a-z_]+: )`).ReplaceAll(text, []byte("$1"))
	entries, err := parseYAML("sample", full)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(keys()) {
		t.Errorf("the sample has %d settings, the table %d", len(entries), len(keys()))
	}
}

func TestRowsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for s := range settings() {
		// Kubernetes sets SLOTPROXY_PORT... and SLOTPROXY_SERVICE_... by itself.
		if seen[s.key] || !name.MatchString(s.key) || strings.HasPrefix(s.key, "port") || strings.HasPrefix(s.key, "service") {
			t.Errorf("key %q is taken, reserved or misspelt", s.key)
		}
		seen[s.key] = true
		if s.help == "" || !strings.HasSuffix(s.help, ".") || strings.ContainsAny(s.help+s.why, "|\n`") {
			t.Errorf("%s: help wants a sentence, without | and ` (it goes into a table): %q", s.key, s.help)
		}
		c := Default()
		v := s.at(c)
		before := v.text()
		if v.shape() == scalar {
			if err := v.set([]string{before}); err != nil && s.def != "0" || v.text() != before {
				t.Errorf("%s: its own text %q is not taken back: %v", s.key, before, err)
			}
		}
	}
}

// Rows must lead to different fields: a copied row that was not finished would set another setting.
func TestEveryRowHasItsOwnField(t *testing.T) {
	for s := range settings() {
		c, other := Default(), Default()
		probe(t, s, c)
		for s2 := range settings() {
			if s2.key != s.key && !same(s2.at(c), s2.at(other)) {
				t.Errorf("setting %s changes %s", s.key, s2.key)
			}
		}
		if same(s.at(c), s.at(other)) {
			t.Errorf("setting %s changes nothing", s.key)
		}
	}
}

// probe sets a setting to something else than its default.
func probe(t *testing.T, s *setting, c *Config) {
	t.Helper()
	for _, items := range [][]string{
		{"true"}, {"false"}, {"7"}, {"63"}, {"12345"}, {"7s"}, {"2KiB"}, {"600KiB"}, {"7MiB"}, {"20GiB"}, {"0600"}, {"127.0.0.1:1"}, {"a:1=b:2"}, {"10.0.0.0/8"},
		{"debug"}, {"json"}, {"atomic"}, {"70ms"}, {"optional"}, {"emulate"}, {"read"}, {"/x"}, {"x"},
	} {
		if s.at(c).set(items) == nil && !same(s.at(c), s.at(Default())) {
			return
		}
	}
	t.Fatalf("no value for %s", s.key)
}
