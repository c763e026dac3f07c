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
	writeUnbuilt(&b)
	writeRefused(&b)
	writeDiffering(&b)
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

func writeUnbuilt(b *strings.Builder) {
	byWhy := make(map[string][]string)
	var order []string
	for _, r := range documented() {
		name := shown(r)
		if r.Built {
			continue
		}
		if byWhy[r.Why] == nil {
			order = append(order, r.Why)
		}
		byWhy[r.Why] = append(byWhy[r.Why], "`"+name+"`")
	}
	b.WriteString("## Not built yet\n\nAnswered with `-PROXYUNSUPPORTED <command> <reason>`; nothing is executed.\n\n| reason | commands |\n| --- | --- |\n")
	for _, why := range order {
		fmt.Fprintf(b, "| %s | %s |\n", why, strings.Join(byWhy[why], ", "))
	}
	b.WriteString("\n")
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
		if r.Built && r.Differs != "" {
			fmt.Fprintf(b, "| `%s` | %s |\n", shown(r), r.Differs)
		}
	}
	b.WriteString("\n")
}

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
	b.WriteString("## All commands\n\n| command | policy | reply | built |\n| --- | --- | --- | --- |\n")
	for _, r := range documented() {
		built := "yes"
		switch {
		case r.Policy == Refused:
			built = "refused"
		case !r.Built:
			built = "not yet"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", shown(r), r.Policy, replyText(r), built)
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
