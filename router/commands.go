package router

import (
	_ "embed" // the snapshot of COMMAND
	"fmt"
	"sync"
)

// Commands is an immutable set of rules, safe for concurrent use.
type Commands struct {
	rules []*Rule   // by ID, sub-commands too
	names nameTable // top-level commands
}

//go:embed data/command-valkey-9.1.resp
var snapshot []byte

// Builtin returns the commands of Valkey 9.1 with our policies.
func Builtin() *Commands { return builtin() }

var builtin = sync.OnceValue(func() *Commands {
	c, err := (&Commands{}).With(snapshot)
	if err != nil {
		panic("router: embedded COMMAND snapshot: " + err.Error()) // a broken build; the tests run this
	}
	return c
})

// With returns the set as a cluster knows it: raw is the RESP2 reply of one of its nodes to COMMAND. What the cluster says
// about arity, flags and keys counts, what c says about policies stays. A command that the cluster does not list is not
// found any more, but keeps its ID. Commands new to c get a policy from their flags and keys.
func (c *Commands) With(raw []byte) (*Commands, error) {
	infos, err := parseCommandReply(raw)
	if err != nil {
		return nil, fmt.Errorf("COMMAND reply: %w", err)
	}
	sortInfos(infos)
	b := newBuilder(c)
	for i := range infos {
		if infos[i].name != ownCommand.name {
			b.command(&infos[i])
		}
	}
	b.command(&ownCommand)
	return b.done(), nil
}

// ownCommand is what clients may ask the proxy itself. A command of that name of a module is not reached.
var ownCommand = commandInfo{name: "proxy", arity: -2, flags: FlagAdmin | FlagNoscript | FlagNoMulti | FlagLoading | FlagStale}

// Rules returns all rules by ID. The slice belongs to the set.
func (c *Commands) Rules() []*Rule { return c.rules }

// Lookup returns the rule of a command, that of the sub-command where the command has some, in any case of letters. It
// returns nil for an unknown command, and the container itself, whose Subs is not nil, for a missing or an unknown
// sub-command. It does not allocate.
func (c *Commands) Lookup(args [][]byte) *Rule {
	if len(args) == 0 {
		return nil
	}
	r := c.names.find(args[0])
	if r == nil || r.Subs == nil || len(args) < 2 {
		return r
	}
	if sub := r.subs.find(args[1]); sub != nil {
		return sub
	}
	return r
}

// nameTable finds rules by name. It is an open hash table at most a quarter full, filled once; the zero value is empty.
type nameTable struct {
	mask    uint32
	entries []nameEntry
}

type nameEntry struct {
	name string // lower case
	rule *Rule
}

func makeNameTable(entries []nameEntry) nameTable {
	size := 4
	for size < 4*len(entries) {
		size *= 2
	}
	t := nameTable{mask: uint32(size - 1), entries: make([]nameEntry, size)}
	for _, e := range entries {
		at := hashName([]byte(e.name)) & t.mask
		for t.entries[at].rule != nil {
			at = (at + 1) & t.mask
		}
		t.entries[at] = e
	}
	return t
}

func (t *nameTable) find(name []byte) *Rule {
	if len(t.entries) == 0 {
		return nil
	}
	for at := hashName(name) & t.mask; ; at = (at + 1) & t.mask {
		e := &t.entries[at]
		if e.rule == nil || foldEqual(e.name, name) {
			return e.rule
		}
	}
}

// maxHashed bounds the work for a hostile name; the names of all known commands differ within it.
const maxHashed = 32

// hashName is FNV-1a over the bytes with the bit of lower case set, so that names which differ only in case meet.
func hashName(name []byte) uint32 {
	h := uint32(2166136261) + uint32(len(name))
	for _, c := range name[:min(len(name), maxHashed)] {
		h = (h ^ uint32(c|0x20)) * 16777619
	}
	return h ^ h>>15
}

// foldEqual compares with a lower-case name; only the letters A to Z of b are folded, as servers do.
func foldEqual(lower string, b []byte) bool {
	if len(lower) != len(b) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
