package router

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// update rewrites the generated file: go test ./router -update
var update = flag.Bool("update", false, "rewrite docs/commands.md")

const docFile = "../docs/commands.md"

// policyTexts say what the proxy does with the commands of a policy.
var policyTexts = []struct {
	policy Policy
	text   string
}{
	{Shard, "sent to the node of its keys, which must lie in one slot, else `-CROSSSLOT Keys in request don't hash to the same slot`"},
	{Split, "keys may lie in any slots: each slot's part goes to its node, the replies are merged in the order of the keys"},
	{AllPrimaries, "sent to every primary, the replies are merged; an error of one node is the reply, and says on how many it was done when it changes something"},
	{AnyNode, "sent to one node, whose answer is that of the whole cluster"},
	{Local, "answered by the proxy"},
	{Scan, "the proxy walks over the slots of all nodes"},
	{Iterate, "sent to the node of its key; the cursor is marked with the node that gave it"},
	{Transaction, "collected, and executed as a block on the node of its keys"},
	{Lease, "runs on a node connection that is the client's own meanwhile"},
	{Publish, "sent to the node that the proxy's subscribers listen at, or to the owner of the sharded channel; the reply counts the clients of the proxy"},
	{Subscribe, "one subscription a node, shared by all clients of the proxy"},
	{Script, "runs on the node of its keys; code is kept on all nodes"},
	{Refused, "answered with `-PROXYUNSUPPORTED <command> <reason>`"},
}

func document() string {
	var b strings.Builder
	b.WriteString("# Commands\n\n")
	b.WriteString("Generated from the table in `router/policy.go` by `go test ./router -update`; do not edit.\n\n")
	b.WriteString("Every command and sub-command of Valkey 9.1, 8.1, 8.0 and Redis 7.0, as a client of the proxy finds it. A command that\n" +
		"the cluster's nodes know and this list does not (a module's, or one of a newer server) goes to the node of its keys if\n" +
		"the server tells which they are, and is answered with `-PROXYUNSUPPORTED` if not. Whether a command of this list exists\n" +
		"is up to the nodes: `valkey-cli -p 6479 COMMAND INFO HGETEX`.\n\n")
	writePolicies(&b)
	writeRefused(&b)
	writeDiffering(&b)
	writeApart(&b)
	b.WriteString(scriptsText)
	writeEmulated(&b)
	writeAll(&b)
	return b.String()
}

// documented returns the rules that clients can call, in the order of their names: containers only act through their
// sub-commands.
func documented() []*Rule {
	var rules []*Rule
	for _, r := range Builtin().Rules() {
		if r.Subs == nil || r.Policy != Local {
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	return rules
}

// shown is the name as users write it.
func shown(r *Rule) string { return strings.ToUpper(strings.Replace(r.Name, "|", " ", 1)) }

func writePolicies(b *strings.Builder) {
	count := make(map[Policy]int)
	for _, r := range documented() {
		count[r.Policy]++
	}
	b.WriteString("## What the proxy does\n\n| policy | commands | what the proxy does |\n| --- | ---: | --- |\n")
	for _, p := range policyTexts {
		fmt.Fprintf(b, "| %s | %d | %s |\n", p.policy, count[p.policy], p.text)
	}
	b.WriteString("\nWhile a slot moves or a node is away, commands wait up to `redirect_budget`; no client sees MOVED, ASK or TRYAGAIN.\n\n")
}

func writeRefused(b *strings.Builder) {
	b.WriteString("## Refused\n\nThese make no sense through a proxy, and stay so.\n\n| command | reason |\n| --- | --- |\n")
	for _, r := range documented() {
		if r.Policy == Refused {
			fmt.Fprintf(b, "| `%s` | %s |\n", shown(r), r.Why)
		}
	}
	b.WriteString("\n")
}

func writeDiffering(b *strings.Builder) {
	b.WriteString("## What differs from one server\n\n| command | what differs |\n| --- | --- |\n")
	for _, r := range documented() {
		if r.Differs != "" {
			fmt.Fprintf(b, "| `%s` | %s |\n", shown(r), r.Differs)
		}
	}
	b.WriteString("\n")
}

// writeApart says what transactions are here, and which commands they exclude by what keeps them out.
func writeApart(b *strings.Builder) {
	b.WriteString("## Transactions\n\nEXEC sends all that was queued to one node, in one piece. So the keys of all commands between MULTI and EXEC must lie in one\n" +
		"slot: the first of another one is answered with `-CROSSSLOT`. What the commands are allowed to touch only the node knows: a\n" +
		"`-NOPERM` for a queued command, or `-OOM`, comes with EXEC, as `-EXECABORT Transaction discarded because of: NOPERM ...`. A\n" +
		"blocking command does not wait, as in a server.\n\n" +
		"These cannot be queued, though a server would: they are answered with `-PROXYUNSUPPORTED`, and EXEC with `-EXECABORT`.\n\n" +
		"| why | commands |\n| --- | --- |\n")
	for _, group := range []struct {
		why string
		has func(Policy) bool
	}{
		{"they ask all primaries", func(p Policy) bool { return p == AllPrimaries || p == Scan }},
		{"they change what the client listens to", func(p Policy) bool { return p == Subscribe }},
		{"the proxy carries them out: they change the client or others, or the stream of its replies", func(p Policy) bool { return p == Local }},
	} {
		var names []string
		for _, r := range documented() {
			if r.Apart && r.Flags&FlagNoMulti == 0 && group.has(r.Policy) {
				names = append(names, "`"+shown(r)+"`")
			}
		}
		fmt.Fprintf(b, "| %s | %s |\n", group.why, strings.Join(names, ", "))
	}
	b.WriteString("\n")
}

const scriptsText = `## Scripts

While a script or function runs, commands for its node wait behind it on the connection that they share, and get
` + "`-PROXYTIMEOUT` after `upstream_timeout`; a server soon answers them with `-BUSY`" + `. The client of a script that takes longer
than that gets ` + "`-PROXYTIMEOUT`" + `, too, and the script goes on in the node: end it with SCRIPT KILL, or FUNCTION KILL.

`

func writeEmulated(b *strings.Builder) {
	b.WriteString("## Keys in several slots\n\nBy default these commands are answered with `-CROSSSLOT` when their keys lie in several slots. With `cross_slot: emulate`\n" +
		"they are carried out in steps, which is not atomic; up to `emulate_max_bytes` are fetched, above it comes `-PROXYLIMIT`. Not in\n" +
		"transactions. Blocking commands, XREADGROUP, MSETEX and scripts always want one slot. SORT takes BY and GET patterns only\n" +
		"as a cluster's node does.\n\n| command | what is not as on one server |\n| --- | --- |\n")
	for _, r := range documented() {
		if r.Emulated != "" {
			fmt.Fprintf(b, "| `%s` | %s |\n", shown(r), r.Emulated)
		}
	}
	b.WriteString("\n")
}

func writeAll(b *strings.Builder) {
	b.WriteString("## All commands\n\n| command | policy | reply |\n| --- | --- | --- |\n")
	for _, r := range documented() {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", shown(r), r.Policy, replyText(r))
	}
}

func replyText(r *Rule) string {
	switch {
	case r.Answer != "":
		return "`" + r.Answer + "`"
	case r.Merge != MergeNone:
		return r.Merge.String()
	case r.Policy == Shard || r.Policy == AnyNode || r.Policy == Script:
		return "the node's"
	}
	return ""
}

func TestCommandsDocumentSaysWhatTheTableSays(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/commands.md is not what router/policy.go says: run go test ./router -update")
	}
}

func TestEveryCommandOfTheDocumentIsBuilt(t *testing.T) {
	for _, r := range documented() {
		if !r.Built {
			t.Errorf("%s is not built, and the document does not say so", r.Name)
		}
	}
}

func TestEveryPolicyAndMergeHasWords(t *testing.T) {
	for _, r := range Builtin().Rules() {
		if !slices.ContainsFunc(policyTexts, func(p struct {
			policy Policy
			text   string
		}) bool {
			return p.policy == r.Policy
		}) {
			t.Errorf("%s: policy %s has no text", r.Name, r.Policy)
		}
	}
	if Refused.String() != "Refused" || MergeInfo.String() != "one INFO" || Retry.String() != "retry" {
		t.Errorf("names out of step: %s, %s, %s", Refused, MergeInfo, Retry)
	}
	if Policy(99).String() == "" || Merge(99).String() == "" || Cause(99).String() == "" {
		t.Error("unknown values have no words")
	}
}
