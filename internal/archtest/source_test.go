package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

const (
	maxFile     = 500
	maxFunction = 70
)

// longFiles may be longer than maxFile: the policy table is one line a command.
var longFiles = map[string]bool{"router/policy.go": true}

func TestSourcesKeepTheHouseRules(t *testing.T) {
	rules := []struct {
		name string
		find func(*source) []string
	}{
		{"files have at most 500 lines", longFile},
		{"functions have at most 70 lines", longFunctions},
		{"goroutines run something with a name", namelessGoroutines},
		{"no test is skipped", skippedTests},
		{"a TODO has its issue", namelessTodos},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, s := range tree(t) {
				report(t, rule.find(s))
			}
		})
	}
}

func longFile(s *source) []string {
	if s.lines <= maxFile || longFiles[s.path] || ast.IsGenerated(s.file) {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d lines", s.path, s.lines)}
}

func longFunctions(s *source) []string {
	if s.isTest() {
		return nil
	}
	var wrong []string
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFunction {
			wrong = append(wrong, fmt.Sprintf("%s: %s has %d lines", s.at(f.Pos()), f.Name.Name, n))
		}
	}
	return wrong
}

// namelessGoroutines: a stack that begins in a closure does not tell whose it is.
func namelessGoroutines(s *source) []string {
	if s.isTest() {
		return nil
	}
	var wrong []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		g, ok := n.(*ast.GoStmt)
		if !ok {
			return true
		}
		if _, nameless := ast.Unparen(g.Call.Fun).(*ast.FuncLit); nameless {
			wrong = append(wrong, s.at(g.Pos())+": the goroutine has no name")
		}
		return true
	})
	return wrong
}

// skippers are the methods of testing.T, B, F and TB that skip.
var skippers = map[string]bool{"Skip": true, "Skipf": true, "SkipNow": true}

func skippedTests(s *source) []string {
	if _, ok := s.imports()["testing"]; !ok {
		return nil
	}
	var wrong []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !skippers[method.Sel.Name] {
			return true
		}
		// Another package's Skip has the package's name in front, and no import has one of these.
		if on, ok := method.X.(*ast.Ident); ok && (on.Name == "t" || on.Name == "tb" || on.Name == "b" || on.Name == "f") {
			wrong = append(wrong, s.at(call.Pos())+": "+on.Name+"."+method.Sel.Name)
		}
		return true
	})
	return wrong
}

var (
	todo      = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	withIssue = regexp.MustCompile(`\bTODO\(#[0-9]+\)|\bTODO\(issue [0-9]+\)`)
)

func namelessTodos(s *source) []string {
	var wrong []string
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			for line := range strings.SplitSeq(c.Text, "\n") {
				if todo.MatchString(withIssue.ReplaceAllString(line, "")) {
					wrong = append(wrong, s.at(c.Pos())+": write TODO(#issue), not "+strings.TrimSpace(line))
				}
			}
		}
	}
	return wrong
}

func TestTheHouseRulesFindWhatTheyShould(t *testing.T) {
	long := strings.Repeat("\n", maxFile)
	body := func(lines int) string { return "func f() {" + strings.Repeat("\n", lines-1) + "}\n" }
	// Put together here, since these words in a comment of this file would be found.
	note := "// TO" + "DO"
	tests := []struct {
		name, path, text string
		wrong            bool
		rule             func(*source) []string
	}{
		{"a file of 500 lines", "proxy/a.go", long[1:], false, longFile},
		{"a file of 501 lines", "proxy/a.go", long, true, longFile},
		{"a long test file", "proxy/a_test.go", long, true, longFile},
		{"the policy table", "router/policy.go", long, false, longFile},
		{"a function of 70 lines", "proxy/a.go", body(70), false, longFunctions},
		{"a function of 71 lines", "proxy/a.go", body(71), true, longFunctions},
		{"a long test", "proxy/a_test.go", body(71), false, longFunctions},
		{"a goroutine with a name", "proxy/a.go", "func f() { go s.run(func() {}) }\n", false, namelessGoroutines},
		{"a goroutine without one", "proxy/a.go", "func f() { go func() {}() }\n", true, namelessGoroutines},
		{"one inside another function", "proxy/a.go", "func f() { g(func() { go (func() {})() }) }\n", true, namelessGoroutines},
		{"a test may start what it likes", "proxy/a_test.go", "func f() { go func() {}() }\n", false, namelessGoroutines},
		{"a skipped test", "proxy/a_test.go", "import \"testing\"\nfunc f(t *testing.T) { t.Skip() }\n", true, skippedTests},
		{"a skipped benchmark", "proxy/a_test.go", "import \"testing\"\nfunc f(b *testing.B) { b.Skipf(\"x\") }\n", true, skippedTests},
		{"another Skip", "resp/a_test.go", "import \"testing\"\nfunc f(t *testing.T) { Skip(nil); resp.Skip(nil) }\n", false, skippedTests},
		{"a note with its issue", "proxy/a.go", note + "(#12): later\n", false, namelessTodos},
		{"a note without", "proxy/a.go", note + ": later\n", true, namelessTodos},
		{"a note with a name", "proxy/a.go", note + "(me): later\n", true, namelessTodos},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parse(tt.path, []byte("package x\n"+tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.rule(s); (len(got) > 0) != tt.wrong {
				t.Errorf("got %q, want a finding: %v", got, tt.wrong)
			}
		})
	}
	s, err := parse("proxy/a.go", []byte("// Code generated by x. DO NOT EDIT.\n\npackage x\n"+long))
	if err != nil {
		t.Fatal(err)
	}
	if got := longFile(s); got != nil {
		t.Errorf("a generated file: got %q", got)
	}
}
