package router

import (
	"slices"
	"strings"
)

// builder makes one Commands set out of another and a COMMAND reply. It works on copies; the other set stays as it is.
type builder struct {
	rules  []*Rule // by ID
	byName map[string]*Rule
	listed map[string]bool // by the cluster
}

func newBuilder(base *Commands) *builder {
	b := &builder{byName: make(map[string]*Rule, len(base.rules)), listed: make(map[string]bool, len(base.rules))}
	for _, r := range base.rules {
		cp := *r
		b.rules = append(b.rules, &cp)
		b.byName[cp.Name] = &cp
	}
	return b
}

// command takes over what a cluster says about one command and its sub-commands.
func (b *builder) command(info *commandInfo) {
	r := b.byName[info.name]
	b.listed[info.name] = true
	if r == nil {
		p, known := policyByName[info.name]
		if !known {
			p = defaultPolicy(info)
		}
		r = p.rule(info.name)
		r.ID = len(b.rules)
		b.rules = append(b.rules, r)
		b.byName[r.Name] = r
	}
	r.Arity, r.Flags = info.arity, info.flags
	if r.Policy == Lease {
		r.Flags |= FlagBlocking // Redis 7.0 forgets it for BLMOVE and BRPOPLPUSH
	}
	r.specs, r.oneKey = info.specs, 0
	r.findKeys = ownKeys[r.Name]
	if len(r.specs) == 1 && r.findKeys == nil {
		r.oneKey = r.specs[0].onlyKey()
	}
	const once = FlagWrite | FlagPubsub
	r.Repeatable = r.Flags&once == 0 && (r.Flags&FlagReadonly != 0 || policyByName[r.Name].repeat)
	for i := range info.subs {
		b.command(&info.subs[i])
	}
}

// done makes the look-up tables. The builder must not be used again.
func (b *builder) done() *Commands {
	var top []nameEntry
	subs := make(map[*Rule][]nameEntry)
	for _, r := range b.rules {
		if !b.listed[r.Name] {
			continue // a command of newer servers
		}
		container, sub, isSub := strings.Cut(r.Name, "|")
		if !isSub {
			top = append(top, nameEntry{name: r.Name, rule: r})
			continue
		}
		if parent := b.byName[container]; parent != nil {
			subs[parent] = append(subs[parent], nameEntry{name: sub, rule: r})
		}
	}
	for parent, entries := range subs {
		parent.subs = makeNameTable(entries)
		parent.Subs = make(map[string]*Rule, len(entries))
		for _, e := range entries {
			parent.Subs[e.name] = e.rule
		}
	}
	return &Commands{rules: b.rules, names: makeNameTable(top)}
}

// sortInfos puts commands into the order of their names, so that IDs do not depend on the hash seed of a server.
func sortInfos(infos []commandInfo) {
	byName := func(a, b commandInfo) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(infos, byName)
	for i := range infos {
		slices.SortFunc(infos[i].subs, byName)
	}
}

// ownKeys are the commands whose keys the specifications cannot tell.
var ownKeys = map[string]func([][]byte, []int) ([]int, bool){
	"sort":              sortKeys,
	"sort_ro":           firstKey,
	"georadius":         georadiusKeys,
	"georadiusbymember": georadiusKeys,
}

// defaultPolicy decides about a command that our table does not know: a module's, or one of a newer server.
func defaultPolicy(info *commandInfo) policy {
	p := policy{name: info.name, policy: Shard}
	switch {
	case len(info.subs) > 0:
		return local(info.name)
	case info.flags&FlagBlocking != 0:
		p.policy = Lease
	case info.flags&FlagPubsub != 0:
		p.policy, p.why = Subscribe, whySubscribe
	case len(info.specs) == 0:
		p.policy, p.why = AnyNode, "it names no key, and this proxy does not know which nodes it is for"
	case info.vague || info.flags&FlagModule != 0 && info.flags&FlagMovable != 0 && plainSpecs(info.specs):
		// A module that finds its keys in its own code is "movable" and yet shows a plain range.
		p.why = "only the server's own code can tell its keys"
	}
	return p
}

func plainSpecs(specs []keySpec) bool {
	for i := range specs {
		if specs[i].begin != beginIndex || specs[i].find != findRange {
			return false
		}
	}
	return true
}
