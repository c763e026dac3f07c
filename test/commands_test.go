package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/router"
)

// Every case, at a bare server and through the proxy, in both protocols: equal replies, byte for byte, apart from what
// normal_test.go lists.
func TestEveryCommandAnswersAsABareServerByteForByte(t *testing.T) {
	cases := readCases(t)
	expected := readExpected(t, cases)
	rounds := 0
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		cluster, server := sharedCluster(t, v), sharedServer(t, v)
		p := startProxy(t, cluster.Addrs()[:1])
		bare := newTarget(t, server.Addr, []string{server.Addr}, false)
		proxied := newTarget(t, p.addr, cluster.Addrs(), true)
		for _, protocol := range []string{"2", "3"} {
			t.Run("RESP"+protocol, func(t *testing.T) {
				rounds++
				for _, c := range cases {
					if c.fits(v, protocol) {
						t.Run(c.name, func(t *testing.T) {
							wanted := bare.play(t, c, protocol, nil).replies
							expected.judge(t, c, v, compare(t, c, protocol, wanted, proxied, v))
						})
					}
				}
			})
		}
	})
	if rounds == 2*len(testcluster.Need(t)) {
		expected.finish(t)
	}
}

// compare plays a case and returns how the replies differ from those that the bare server gave.
func compare(t *testing.T, c *testCase, protocol string, wanted []reply, other *target, v testcluster.Version) []string {
	t.Helper()
	var differences []string
	played := other.play(t, c, protocol, func(i int, r reply) bool {
		d := difference(r, wanted, i, other.proxy, v)
		if d != "" {
			differences = append(differences, d)
		}
		return d == ""
	})
	differences = append(differences, played.refused...)
	if len(differences) == 0 && len(played.replies) < len(wanted) {
		differences = append(differences, "no replies from "+wanted[len(played.replies)].line+" on")
	}
	return differences
}

// difference words how the i-th reply is not what it should be; empty when it is.
func difference(r reply, wanted []reply, i int, proxied bool, v testcluster.Version) string {
	// After a difference lines are left out, so that the i-th here need not be the i-th there.
	for i < len(wanted) && wanted[i].line != r.line {
		i++
	}
	if i >= len(wanted) {
		return r.line + "\n  got  " + brief(r.raw) + "\n  want nothing"
	}
	got, want := normalise(r), normalise(wanted[i])
	if proxied {
		got, want = exempt(r, got, want, v)
	}
	if got == want {
		return ""
	}
	at := firstDifference(got, want)
	return r.line + "\n  got  " + brief(got[at:]) + "\n  want " + brief(want[at:])
}

// firstDifference is where two texts part, or a little before.
func firstDifference(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if n < 100 { // a reader knows it from its beginning
		return 0
	}
	return n - 40
}

// seen is what the cases made a bare server answer to a command.
type seen struct{ ok, failed bool }

// The table itself must be right: it leaves no command out, and two bare servers of one version give the same replies.
func TestEveryCommandIsClassifiedAndHasCasesThatAreRepeatable(t *testing.T) {
	cases := readCases(t)
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		server, other := sharedServer(t, v), testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
		bare := newTarget(t, server.Addr, []string{server.Addr}, false)
		again := newTarget(t, other.Addr, []string{other.Addr}, false)
		known := serverCommands(t, server)
		for _, protocol := range []string{"2", "3"} {
			for _, c := range cases {
				if !c.fits(v, protocol) {
					continue
				}
				replies := bare.play(t, c, protocol, nil).replies
				for _, d := range compare(t, c, protocol, replies, again, v) {
					t.Errorf("RESP%s %s: not repeatable: %s", protocol, c.name, d)
				}
				for _, r := range replies {
					if s := known[commandName(r.args, known)]; s != nil && r.raw != "+QUEUED\r\n" {
						s.failed = s.failed || r.raw[0] == '-'
						s.ok = s.ok || r.raw[0] != '-'
					}
				}
			}
		}
		wantComplete(t, known)
	})
}

func wantComplete(t *testing.T, known map[string]*seen) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if rule := ruleOf(strings.Split(name, "|")); rule == nil || rule.Name != name || rule.Policy == 0 {
			t.Errorf("%s is not classified: router/policy.go", name)
		}
		if s := known[name]; !s.ok && neverSucceeds(name) == "" {
			t.Errorf("%s: no case in which it succeeds: %s", name, caseFolder)
		} else if !s.failed && neverFails[name] == "" {
			t.Errorf("%s: no case in which it is an error: %s", name, caseFolder)
		}
	}
}

func TestTheListsOfDifferencesNameOnlyWhatTheCasesSay(t *testing.T) {
	var said []string
	for _, c := range readCases(t) {
		for _, s := range c.steps {
			said = append(said, strings.Join(s.args, " "))
		}
	}
	check := func(words string) {
		if !slices.ContainsFunc(said, func(s string) bool { return begins(s, words) }) {
			t.Errorf("no case says %q: take it off the list in normal_test.go", words)
		}
	}
	for _, n := range normal {
		check(n.what)
	}
	for _, d := range differing {
		check(d.command)
	}
	for _, names := range []map[string]string{fruitless, neverFails} {
		for name := range names {
			if rule := ruleOf(strings.Split(name, "|")); rule == nil || rule.Name != name {
				t.Errorf("%s is no command: take it off the list in normal_test.go", name)
			}
		}
	}
}

// serverCommands are the commands and sub-commands that COMMAND lists, none seen yet.
func serverCommands(t *testing.T, server *testcluster.Node) map[string]*seen {
	t.Helper()
	known := map[string]*seen{}
	for _, e := range do(t, dialAddr(t, server.Addr), "COMMAND").Elems {
		known[e.Elems[0].Text] = &seen{}
		for _, sub := range e.Elems[9].Elems {
			known[sub.Elems[0].Text] = &seen{}
		}
	}
	if len(known) < 300 {
		t.Fatalf("COMMAND lists only %d commands", len(known))
	}
	return known
}

// commandName is the name in COMMAND's spelling of what args call.
func commandName(args []string, known map[string]*seen) string {
	if len(args) == 0 {
		return ""
	}
	name := strings.ToLower(args[0])
	if len(args) > 1 && known[name+"|"+strings.ToLower(args[1])] != nil {
		return name + "|" + strings.ToLower(args[1])
	}
	return name
}

func ruleOf(args []string) *router.Rule {
	words := make([][]byte, len(args))
	for i, a := range args {
		words[i] = []byte(a)
	}
	return router.Builtin().Lookup(words)
}

// refusal is what the proxy says to a command that the policy table refuses; empty for another.
func refusal(args []string) string {
	rule := ruleOf(args)
	if rule == nil || rule.Policy != router.Refused {
		return ""
	}
	return "PROXYUNSUPPORTED " + strings.ToUpper(strings.ReplaceAll(rule.Name, "|", " ")) + " " + rule.Why
}
