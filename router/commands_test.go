package router

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

func args(line string) [][]byte {
	var out [][]byte
	for f := range strings.FieldsSeq(line) {
		out = append(out, []byte(f))
	}
	return out
}

func TestLookupFindsCommandsInAnyCase(t *testing.T) {
	tests := []struct{ line, want string }{
		{"GET k", "get"},
		{"get k", "get"},
		{"gEt k", "get"},
		{"RESTORE-ASKING k 0 x", "restore-asking"},
		{"CLIENT LIST", "client|list"},
		{"client No-Evict on", "client|no-evict"},
		{"CLIENT", "client"},
		{"CLIENT NOSUCH", "client"},
		{"COMMAND", "command"},
		{"COMMAND count", "command|count"},
		{"GET", "get"},
	}
	c := Builtin()
	for _, tt := range tests {
		r := c.Lookup(args(tt.line))
		if r == nil || r.Name != tt.want {
			t.Errorf("Lookup(%q) = %+v, want %q", tt.line, r, tt.want)
		}
	}
}

func TestLookupReturnsNilForWhatIsNoCommand(t *testing.T) {
	for _, name := range []string{"", "ge", "gett", "g\x45t\x00", "restore\rasking", "client|list", "get\xc3\xa9",
		strings.Repeat("x", 1<<20), "\x00", "GET "} {
		if r := Builtin().Lookup([][]byte{[]byte(name)}); r != nil {
			t.Errorf("Lookup(%.20q) = %q, want nil", name, r.Name)
		}
	}
	if r := Builtin().Lookup(nil); r != nil {
		t.Errorf("Lookup(nil) = %q, want nil", r.Name)
	}
}

func TestLookupFindsEveryRuleByItsName(t *testing.T) {
	for i, r := range Builtin().Rules() {
		if r.ID != i {
			t.Errorf("%s has ID %d at place %d", r.Name, r.ID, i)
		}
		if got := Builtin().Lookup(args(strings.ToUpper(strings.Replace(r.Name, "|", " ", 1)))); got != r {
			t.Errorf("Lookup(%s) = %v, want the rule itself", r.Name, got)
		}
	}
}

func TestBuiltinHasWhatTheServerSays(t *testing.T) {
	get := Builtin().Lookup(args("GET"))
	if get.Arity != 2 || get.Flags != FlagReadonly|FlagFast || !get.Repeatable || !get.Built {
		t.Errorf("GET = %+v, want arity 2, readonly, fast, repeatable, built", get)
	}
	xgroup := Builtin().Lookup(args("XGROUP CREATE"))
	if xgroup.Arity != -5 || xgroup.Flags&FlagWrite == 0 || xgroup.Repeatable {
		t.Errorf("XGROUP CREATE = %+v, want arity -5, write, not repeatable", xgroup)
	}
	if subs := Builtin().Lookup(args("OBJECT")).Subs; len(subs) != 5 || subs["freq"].Name != "object|freq" {
		t.Errorf("OBJECT has sub-commands %v, want 5", slices.Sorted(maps.Keys(subs)))
	}
}

func TestTheProxysOwnCommandIsThereWhateverTheClusterHas(t *testing.T) {
	const rest = "\r\n:3\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n"
	const module = "*1\r\n*10\r\n$5\r\nproxy" + rest + "*1\r\n*10\r\n$10\r\nproxy|info" + rest + "*0\r\n"
	c, err := Builtin().With([]byte(module))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Commands{"builtin": Builtin(), "a module has the name": c} {
		r := c.Lookup(args("PROXY info"))
		if r == nil || r.Policy != Local || r.Arity != -2 || r.Flags&FlagWrite != 0 || r.ID != Builtin().Lookup(args("PROXY x")).ID {
			t.Errorf("%s: PROXY is %+v", name, r)
		}
	}
}

func TestArityCountsTheName(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{"GET", false}, {"GET a", true}, {"GET a b", false},
		{"DEL", false}, {"DEL a", true}, {"DEL a b c", true},
		{"XGROUP CREATE a b", false}, {"XGROUP CREATE a b $", true},
		{"CLIENT", false}, {"COMMAND", true},
	}
	for _, tt := range tests {
		a := args(tt.line)
		if got := Builtin().Lookup(a).ArityOK(len(a)); got != tt.want {
			t.Errorf("ArityOK(%q) = %v, want %v", tt.line, got, tt.want)
		}
	}
}

func TestEveryCommandOfEveryServerIsClassified(t *testing.T) {
	known := make(map[string]bool)
	for _, version := range []string{"valkey-9.1", "valkey-8.1", "valkey-8.0", "redis-7.0"} {
		list, err := os.ReadFile("testdata/commands-" + version + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Fields(string(list))
		if len(names) < 300 {
			t.Errorf("%s: %d names, want a whole server's", version, len(names))
		}
		for _, name := range names {
			known[name] = true
			if _, ok := policyByName[name]; !ok {
				t.Errorf("%s: %q has no entry in policy.go", version, name)
			}
		}
	}
	for _, p := range policies {
		if !known[p.name] && p.name != ownCommand.name {
			t.Errorf("policy.go has %q, which no server knows", p.name)
		}
	}
	if len(policies) != len(policyByName) {
		t.Errorf("%d entries for %d names: one is there twice", len(policies), len(policyByName))
	}
	inOrder := func(a, b policy) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(policies, inOrder) {
		t.Error("the entries of policy.go are not in the order of their names")
	}
}

func TestEveryRuleIsWhole(t *testing.T) {
	for _, r := range Builtin().Rules() {
		needsWhy := !r.Built || r.Policy == Refused
		merges := r.Policy == Split || r.Policy == AllPrimaries && r.Built || strings.HasPrefix(r.Name, "wait")
		switch {
		case r.Policy == 0:
			t.Errorf("%s has no policy", r.Name)
		case needsWhy != (r.Why != ""):
			t.Errorf("%s: built %v, policy %s, but Why is %q", r.Name, r.Built, r.Policy, r.Why)
		case merges != (r.Merge != MergeNone) && r.Built:
			t.Errorf("%s: policy %s with merge %s", r.Name, r.Policy, r.Merge)
		case (r.Policy == Split) != (r.KeyStep > 0):
			t.Errorf("%s: policy %s with %d arguments a key", r.Name, r.Policy, r.KeyStep)
		case r.Answer != "" && r.Policy != Local:
			t.Errorf("%s: policy %s with an answer of our own", r.Name, r.Policy)
		case r.Policy == Shard && len(r.specs) == 0:
			t.Errorf("%s is Shard but has no key", r.Name)
		case r.Policy == AnyNode && len(r.specs) > 0:
			t.Errorf("%s is AnyNode but has keys", r.Name)
		case r.Flags&FlagWrite != 0 && r.Repeatable:
			t.Errorf("%s writes and is repeatable", r.Name)
		case r.Policy == Shard && r.Flags&(FlagReadonly|FlagWrite|FlagPubsub) == 0:
			t.Errorf("%s is Shard but neither reads nor writes", r.Name)
		case r.Policy == Shard && r.Flags&FlagBlocking != 0 && !r.BlockOption:
			t.Errorf("%s may block a shared connection", r.Name)
		case strings.ContainsAny(r.Why+r.Answer, "\r\n") || strings.HasSuffix(r.Why, "."):
			t.Errorf("%s: text %q is not one clause", r.Name, r.Why+r.Answer)
		}
	}
}

func TestWithTakesFactsFromTheClusterAndPoliciesFromUs(t *testing.T) {
	// One command, known by us, that the cluster describes differently, and three that only the cluster knows.
	raw := commandReply(
		entry{"get", -2, "readonly", "1 0 1"},
		entry{"json.get", -2, "readonly module", "1 0 1"},
		entry{"mod.wait", 2, "write blocking module", "1 0 1"},
		entry{"mod.global", 1, "readonly module", ""},
		entry{"mod.getkeys", -2, "readonly module movablekeys", "1 0 1"},
	)
	base := Builtin()
	c, err := base.With([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	get := c.Lookup(args("GET"))
	if get.Arity != -2 || get.Policy != Shard || get.ID != base.Lookup(args("GET")).ID {
		t.Errorf("GET = %+v, want arity -2, Shard, the same ID", get)
	}
	if base.Lookup(args("GET")).Arity != 2 {
		t.Error("With changed the set that it was called on")
	}
	if r := c.Lookup(args("client list")); r != nil || base.Lookup(args("client list")) == nil {
		t.Errorf("CLIENT LIST = %v, want nothing: the cluster does not list it", r)
	}
	tests := []struct {
		name   string
		policy Policy
		built  bool
	}{
		{"JSON.GET", Shard, true}, {"mod.wait", Lease, true}, {"mod.global", AnyNode, false}, {"mod.getkeys", Shard, false},
	}
	for i, tt := range tests {
		r := c.Lookup(args(tt.name))
		if r == nil || r.Policy != tt.policy || r.Built != tt.built || r.ID < len(base.Rules()) || c.Rules()[r.ID] != r {
			t.Errorf("%d: %s = %+v, want policy %s, built %v, an ID behind ours", i, tt.name, r, tt.policy, tt.built)
		}
		if r != nil && !r.Built && r.Why == "" {
			t.Errorf("%s is not built and does not say why", tt.name)
		}
	}
	again, err := c.With([]byte(raw))
	if err != nil || len(again.Rules()) != len(c.Rules()) {
		t.Errorf("With twice: %d rules, want %d; error %v", len(again.Rules()), len(c.Rules()), err)
	}
}

func TestWithRefusesDamagedReplies(t *testing.T) {
	whole := commandReply(entry{"get", 2, "readonly", "1 0 1"})
	for _, raw := range []string{
		"", "*0\r\n", "-ERR no\r\n", "*1\r\n", "*1\r\n*0\r\n", whole + "x", whole[:len(whole)-1], "*1000000000\r\n",
		"*1\r\n$3\r\nget\r\n", strings.Repeat("*1\r\n", 100), "*-1\r\n", "$3\r\nfoo\r\n",
		commandReply(entry{"", 2, "", ""}), commandReply(entry{strings.Repeat("x", 65), 2, "", ""}), commandReply(entry{"x", 0, "", ""}),
	} {
		if _, err := Builtin().With([]byte(raw)); err == nil {
			t.Errorf("With(%.40q) succeeds, want an error", raw)
		}
	}
	for cut := range len(whole) {
		if _, err := Builtin().With([]byte(whole[:cut])); err == nil {
			t.Errorf("With(%q) succeeds, want an error", whole[:cut])
		}
	}
}

func TestBlockingIsSeenInTheArguments(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{"XREAD STREAMS a 0", false},
		{"XREAD COUNT 1 STREAMS a 0", false},
		{"XREAD BLOCK 0 STREAMS a 0", true},
		{"xread count 1 block 0 streams a $", true},
		{"XREAD STREAMS block 0", false},
		{"XREAD COUNT block STREAMS a 0", false},
		{"XREADGROUP GROUP block block STREAMS a >", false},
		{"XREADGROUP GROUP g c BLOCK 5 STREAMS a >", true},
		{"XREADGROUP GROUP g c NOACK STREAMS a >", false},
		{"BLPOP a 0", true},
		{"BLMOVE a b LEFT LEFT 0", true},
		{"LPOP a", false},
	}
	for _, tt := range tests {
		a := args(tt.line)
		if got := Builtin().Lookup(a).Blocks(a); got != tt.want {
			t.Errorf("Blocks(%q) = %v, want %v", tt.line, got, tt.want)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	c := Builtin()
	a := args("CLIENT SETINFO lib-name x")
	if n := testing.AllocsPerRun(100, func() { c.Lookup(a) }); n != 0 {
		t.Errorf("Lookup allocates %v times, want 0", n)
	}
}

var sinkRule *Rule

func BenchmarkLookup(b *testing.B) {
	for _, line := range []string{"GET", "set", "HSET", "ZRANGEBYSCORE", "CLIENT LIST", "NOSUCH"} {
		b.Run(strings.ReplaceAll(line, " ", "_"), func(b *testing.B) {
			c, a := Builtin(), args(line)
			b.ReportAllocs()
			for b.Loop() {
				sinkRule = c.Lookup(a)
			}
		})
	}
}
