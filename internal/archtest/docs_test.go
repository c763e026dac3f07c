package archtest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// goFile is a Go file as a text names it. With a slash it is meant from the
// module's root, alone it may be in any folder.
var goFile = regexp.MustCompile(`[A-Za-z0-9_./-]*[A-Za-z0-9_-]\.go\b`)

func TestTheArchitectureNamesFilesThatExist(t *testing.T) {
	dir := root(t)
	text, err := os.ReadFile(filepath.Join(dir, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(goFile.FindAll(text, -1)) == 0 {
		t.Error("docs/architecture.md names no file")
	}
	names := map[string]bool{}
	for _, s := range tree(t) {
		names[path.Base(s.path)] = true
	}
	report(t, missing(string(text), os.DirFS(dir), names))
}

// missing lists the files that a text names and files does not have; names are the
// names of all Go files without their folder.
func missing(text string, files fs.FS, names map[string]bool) []string {
	var wrong []string
	for i, line := range strings.Split(text, "\n") {
		for _, name := range goFile.FindAllString(line, -1) {
			exists := names[name]
			if p := strings.TrimPrefix(name, "./"); strings.Contains(p, "/") {
				_, err := fs.Stat(files, p)
				exists = err == nil
			}
			if !exists {
				wrong = append(wrong, "docs/architecture.md:"+strconv.Itoa(i+1)+": there is no "+name)
			}
		}
	}
	return wrong
}

func TestMissingFilesAreFound(t *testing.T) {
	files := fstest.MapFS{"proxy/loop.go": {}, "internal/admin/a_b-c.go": {}}
	names := map[string]bool{"loop.go": true}
	tests := []struct {
		name, text string
		want       int
	}{
		{"a file that exists", "See `proxy/loop.go`, then (internal/admin/a_b-c.go).", 0},
		{"a file that does not", "See `proxy/pool.go`.", 1},
		{"two on one line", "`proxy/x.go`, `proxy/y.go`", 2},
		{"a file without its folder", "`loop.go` and `gone.go`", 1},
		{"a folder that is not there", "`prox/loop.go`", 1},
		{"a word that only begins so", "www.example.goto", 0},
		{"from the root", "./proxy/loop.go", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := missing(tt.text, files, names); len(got) != tt.want {
				t.Errorf("%q: got %q, want %d findings", tt.text, got, tt.want)
			}
		})
	}
}
