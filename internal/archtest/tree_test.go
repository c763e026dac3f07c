package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "slotproxy"

// source is one parsed Go file.
type source struct {
	path  string // from the module's root, with slashes
	lines int
	fset  *token.FileSet
	file  *ast.File
}

func (s *source) dir() string  { return path.Dir(s.path) }
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// at is a position as editors understand it.
func (s *source) at(p token.Pos) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(p).Line)
}

// imports returns the paths that the file imports, each with its place.
func (s *source) imports() map[string]string {
	found := map[string]string{}
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			found[p] = s.at(spec.Pos())
		}
	}
	return found
}

func parse(name string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &source{path: name, lines: strings.Count(string(text), "\n"), fset: fset, file: file}, nil
}

// root is the folder of go.mod, above this package.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("no module above this package: %v", err)
	}
	return dir
}

// notOurs are folders without code of the product.
var notOurs = map[string]bool{"node_modules": true, "testdata": true, "bin": true}

var (
	readOnce sync.Once
	read     []*source
	readErr  error
)

// tree returns the Go files of the module.
func tree(t *testing.T) []*source {
	t.Helper()
	dir := root(t)
	readOnce.Do(func() { read, readErr = readTree(os.DirFS(dir)) })
	if readErr != nil {
		t.Fatal(readErr)
	}
	if len(read) < 20 {
		t.Fatalf("only %d Go files found below the module's root", len(read))
	}
	return read
}

func readTree(files fs.FS) ([]*source, error) {
	var list []*source
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (notOurs[d.Name()] || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		text, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		s, err := parse(p, text)
		if err != nil {
			return err
		}
		list = append(list, s)
		return nil
	})
	return list, err
}
