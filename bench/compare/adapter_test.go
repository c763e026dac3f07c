//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnAdapterFileIsReadOrSaysWhatIsWrong(t *testing.T) {
	const good = "name: other\nkind: cluster\nstart: [other, -p, '{port}']\n"
	tests := []struct {
		name, text, wrong string
	}{
		{"the least that it needs", good, ""},
		{"all that there is", good + "version: [other, -v]\ndescriptors: 2\nnot: [MULTI, 'GET:100', 'SET:1:size=1MiB']\nfiles: {a.conf: 'x {each}'}\n", ""},
		{"the port in a file", "name: o\nkind: one\nstart: [o, '{dir}/c']\nfiles: {c: 'port {port}'}\n", ""},
		{"a key that does not exist", good + "ports: 7\n", `unknown field "ports"`},
		{"no name", "kind: cluster\nstart: [o, '{port}']\n", "name:"},
		{"a name that cannot be listed", "name: a,b\nkind: cluster\nstart: [o, '{port}']\n", "name:"},
		{"an unknown kind", strings.Replace(good, "kind: cluster", "kind: direct", 1), `not "direct"`},
		{"nothing to start", "name: o\nkind: one\n", "start:"},
		{"nowhere to listen", "name: o\nkind: one\nstart: [o]\n", "{port}"},
		{"a file elsewhere", good + "files: {../a: x}\n", "no file name"},
		{"a case that does not exist", good + "not: [GETT]\n", `"GETT" is neither`},
		{"descriptors beyond reason", good + "descriptors: 0\n", "descriptors:"},
		{"a list where a word belongs", strings.Replace(good, "name: other", "name: [a]", 1), "name"},
		{"no YAML", "{{", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := parseAdapter([]byte(tt.text))
			switch {
			case tt.name == "no YAML":
				if err == nil {
					t.Errorf("%q is read as %+v", tt.text, a)
				}
			case tt.wrong == "" && err != nil:
				t.Errorf("%q: %v", tt.text, err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("%q: got %v, want it to say %s", tt.text, err, tt.wrong)
			}
		})
	}
}

func TestTheAdaptersThatComeWithTheSuiteAreRight(t *testing.T) {
	files, err := filepath.Glob("../adapters/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		a, err := readAdapter(f)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		fill := a.filler("127.0.0.1:7000", "/dir", []string{"a:1", "b:2", "c:3"})
		for name, body := range a.Files {
			if text := fill(body); strings.Contains(text, "{each}") || strings.Contains(text, "{port}") {
				t.Errorf("%s leaves gaps:\n%s", name, text)
			}
		}
	}
}

func TestAnAdaptersGapsAreFilled(t *testing.T) {
	a := &adapter{}
	fill := a.filler("127.0.0.1:7000", "/dir", []string{"a:1", "b:2"})
	got := fill("listen {port}\nlog {dir}/log\nfirst {node} of {nodes}\n  - {each}\nend\n")
	want := "listen 7000\nlog /dir/log\nfirst a:1 of a:1,b:2\n  - a:1\n  - b:2\nend\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWhatAnAdapterCannotDoIsNotMeasured(t *testing.T) {
	a, err := parseAdapter([]byte("name: o\nkind: one\nstart: [o, '{port}']\nnot: [MULTI, 'GET:1:size=64']\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := a.contender()
	for text, want := range map[string]bool{"GET:1": false, "GET:16": true, "MULTI:16": false, "SET:1": true, "SET:1:tls": false, "SET:1:nodes=12": false} {
		at, err := parseCase(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.fits(at); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestAnAdapterFileThatIsNotThereIsTold(t *testing.T) {
	_, err := readAdapter(filepath.Join(t.TempDir(), "none.yaml"))
	if !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsPublishedGoesToAClusterInEachCase(t *testing.T) {
	for _, c := range contenders(&settings{}) {
		if k := c.behind(basic("PUBLISH", 0, 16)); k == kindOne {
			t.Errorf("%s has a server that is alone", c.name)
		}
		if k := c.behind(basic("GET", 0, 1)); k != c.kind {
			t.Errorf("%s has %s behind it for GET, want %s", c.name, k, c.kind)
		}
	}
}
