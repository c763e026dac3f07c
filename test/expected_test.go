package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

const expectedFile = "testdata/expected-failures.txt"

// expectation is one line of the list of cases that fail because what they need is not built: a case, for all versions or
// the named ones, under the heading of its family.
type expectation struct {
	name     string
	versions []string
	family   string
	failed   map[string]bool // by version
	ran      map[string]bool
}

type expectations map[string]*expectation

// readExpected reads the list, which can only shrink: a line whose case passes fails the test.
func readExpected(t *testing.T, cases []*testCase) expectations {
	t.Helper()
	list := expectations{}
	family := ""
	for line := range strings.Lines(string(read(t, expectedFile))) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "# "); ok {
			family, _, _ = strings.Cut(heading, ":")
			continue
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !slices.ContainsFunc(cases, func(c *testCase) bool { return c.name == words[0] }) {
			t.Errorf("%s: there is no case %s", expectedFile, words[0])
		}
		if list[words[0]] != nil {
			t.Errorf("%s: %s stands twice", expectedFile, words[0])
		}
		list[words[0]] = &expectation{
			name: words[0], versions: words[1:], family: family, failed: map[string]bool{}, ran: map[string]bool{},
		}
	}
	return list
}

// judge fails the test for differences that are not expected, and remembers the others.
func (e expectations) judge(t *testing.T, c *testCase, v testcluster.Version, differences []string) {
	t.Helper()
	x := e[c.name]
	if x == nil || len(x.versions) > 0 && !slices.Contains(x.versions, string(v)) {
		for _, d := range differences {
			t.Error(d)
		}
		return
	}
	x.ran[string(v)] = true
	if len(differences) > 0 {
		x.failed[string(v)] = true
		t.Logf("expected to fail, %s: %s", x.family, differences[0])
	}
}

// finish fails the test for every line that is not needed any more. It is called when all versions have run.
func (e expectations) finish(t *testing.T) {
	t.Helper()
	families := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		x := e[name]
		families[x.family]++
		if len(x.failed) == 0 && len(x.ran) > 0 {
			t.Errorf("%s now passes: take it off %s", name, expectedFile)
		}
		for _, v := range x.versions {
			if x.ran[v] && !x.failed[v] && len(x.failed) > 0 {
				t.Errorf("%s now passes on %s: take the version off %s", name, v, expectedFile)
			}
		}
	}
	if len(e) > 0 {
		t.Logf("%d cases are expected to fail, by family: %v", len(e), families)
	}
}
