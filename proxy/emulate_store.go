package proxy

import (
	"fmt"
	"math/rand/v2"

	"slotproxy/router"
)

// The commands that store what they make of keys in other slots. The sources are dumped where they are and restored
// beside the destination under passing names, the node of the destination carries out the client's own command on these
// copies, and the copies go again: all in one block, so that nobody sees a copy and the destination changes at once.
// The result, its type and every error are the server's own.
//
//	DUMP a, DUMP b --> MULTI; SET a' x; RESTORE a' 0 ... REPLACE; SET b' x; RESTORE b' ...; SUNIONSTORE d a' b'; DEL a' b'; EXEC
//
// The SET, or for commands on strings an RPUSH, makes the command fail on the wrong type should a node not take the
// dump of a newer one: a missing copy would be an empty source.

func beginStore(e *emulation) { e.beginStore(0) }

func beginStoreLast(e *emulation) { e.beginStore(1) }

// beginStore fetches the sources; the destination is the key number dest.
func (e *emulation) beginStore(dest int) {
	e.at = dest
	e.probe()
	slot := router.Slot(e.key(dest))
	seen := make(map[string]int)
	for i := range e.keys {
		key := e.key(i)
		at, known := seen[string(key)]
		switch {
		case i == dest || router.Slot(key) == slot:
			at = -1 // where it is, it can be used itself
		case !known:
			at = len(seen)
			seen[string(key)] = at
			e.read(key, []byte("DUMP"), key)
		}
		e.place = append(e.place, at)
	}
	e.next = storeCopies
}

// storeCopies sends the block, now that all sources are here.
func storeCopies(e *emulation, got [][]byte) {
	if e.failed(got) {
		return
	}
	dest := e.key(e.at)
	names := make([][]byte, len(got))
	var commands [][][]byte
	gone := words("DEL")
	for i, dump := range got {
		names[i] = neighbour(dest)
		if isNull(dump) {
			continue // no source, no copy
		}
		commands = append(commands, placeholder(e.r.rule, names[i]),
			[][]byte{[]byte("RESTORE"), names[i], []byte("0"), scalar(dump), []byte("REPLACE")})
		gone = append(gone, names[i])
	}
	args := append([][]byte(nil), e.args...)
	for i, at := range e.place {
		if at >= 0 {
			args[e.keys[i]] = names[at]
		}
	}
	e.at = len(commands) // what has to succeed before the client's command
	commands = append(commands, args)
	if len(gone) > 1 {
		commands = append(commands, gone)
	}
	e.block(dest, true, commands...)
	e.next = stored
}

// stored gives the reply to the command, or the reason for which a copy could not be made.
func stored(e *emulation, got [][]byte) {
	each, failure := blockReplies(got[0])
	switch {
	case failure != nil:
		e.say(failure)
	case len(each) <= e.at:
		e.fail(repliesDiffer(e.r.rule))
	case !e.failed(each[:e.at]):
		e.say(clone(each[e.at]))
	}
}

// placeholder makes a key of a type that the command does not take.
func placeholder(rule *router.Rule, key []byte) [][]byte {
	name := "SET"
	if rule.Name == "bitop" || rule.Name == "pfmerge" {
		name = "RPUSH"
	}
	return [][]byte{[]byte(name), key, []byte("x")}
}

// maxNeighbourTries bounds the search for a name: one in 16384 is in the slot, so 2^18 fail once in ten million times.
const maxNeighbourTries = 1 << 18

// neighbour makes a new name in the slot of key. It begins with the key where that is possible, so that a user who may
// use keys with a prefix may use it.
func neighbour(key []byte) []byte {
	slot := router.Slot(key)
	suffix := fmt.Appendf(nil, ":slotproxy:%016x", rand.Uint64())
	name := append(clone(key), suffix...) // its own hash tag comes first
	if router.Slot(name) == slot {
		return name
	}
	name = append(append(append(append(clone(key), '{'), key...), '}'), suffix...)
	for i := 0; router.Slot(name) != slot && i < maxNeighbourTries; i++ { // a key with odd braces
		name = fmt.Appendf(name[:0], "slotproxy:%016x", rand.Uint64())
	}
	return name
}
