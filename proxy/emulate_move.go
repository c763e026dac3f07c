package proxy

import (
	"bytes"
	"hash/maphash"

	"slotproxy/resp"
)

// The commands that move a key or an element to another slot. A value is never in no place: the old one goes when the
// new one is there, or, for elements of lists, what was popped is put back when it could not be pushed.

// dumpOf are the commands that say all about a key.
func dumpOf(key []byte) [][][]byte {
	return [][][]byte{{[]byte("DUMP"), key}, {[]byte("PEXPIRETIME"), key}}
}

// restore writes what DUMP and PEXPIRETIME have said to another key.
func (e *emulation) restore(key []byte, said [][]byte, replace bool) {
	expires := scalar(said[1])
	if n, ok := integer(said[1]); !ok || n < 0 {
		expires = []byte("0") // never
	}
	args := [][]byte{[]byte("RESTORE"), key, expires, scalar(said[0]), []byte("ABSTTL")}
	if replace {
		args = append(args, []byte("REPLACE"))
	}
	e.write(key, args...)
}

// dumped reads the reply to dumpOf. It reports false when the command is done.
func (e *emulation) dumped(got [][]byte, absent string) (said [][]byte, ok bool) {
	said, failure := blockReplies(got[0])
	switch {
	case failure != nil:
		e.say(failure)
		return nil, false
	case len(said) < 2:
		e.fail(repliesDiffer(e.r.rule))
		return nil, false
	case e.failed(said):
		return nil, false
	case isNull(said[0]):
		e.say([]byte(absent))
		return nil, false
	}
	return said, true
}

func beginRename(e *emulation) {
	e.probe()
	e.block(e.key(0), false, dumpOf(e.key(0))...)
	e.next = renameTo
}

func renameTo(e *emulation, got [][]byte) {
	said, ok := e.dumped(got, "-ERR no such key\r\n")
	if !ok {
		return
	}
	e.sum = sumOf(said)
	e.must = true
	e.restore(e.key(1), said, e.r.rule.Name == "rename")
	e.forget()
	e.next = renamed
}

// renamed deletes the old key, and looks in the same instant whether it has changed meanwhile.
func renamed(e *emulation, got [][]byte) {
	switch {
	case bytes.HasPrefix(got[0], busyKeyCode):
		e.say([]byte(":0\r\n"))
		return
	case isUnknown(got[0]):
		e.partly(partlyCopied, got[0])
		return
	case e.failed(got):
		return
	}
	e.block(e.key(0), true, append(dumpOf(e.key(0)), [][]byte{[]byte("DEL"), e.key(0)})...)
	e.next = oldDeleted
}

// sumOf tells what dumpOf has said from anything else, without keeping it.
func sumOf(said [][]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	for _, b := range said {
		_, _ = h.Write(b) // never fails
	}
	return h.Sum64()
}

var sumSeed = maphash.MakeSeed()

var busyKeyCode = []byte("-BUSYKEY ")

func oldDeleted(e *emulation, got [][]byte) {
	said, failure := blockReplies(got[0])
	if failure == nil && len(said) == 3 {
		for _, g := range said {
			if g[0] == '-' {
				failure = clone(g)
			}
		}
	}
	switch {
	case failure != nil:
		e.partly(partlyNotDeleted, failure)
	case len(said) != 3 || isNull(said[0]) || sumOf(said[:2]) == e.sum:
		e.renameDone()
	default:
		e.restore(e.key(1), said, true)
		e.forget()
		e.next = updated
	}
}

func updated(e *emulation, got [][]byte) {
	if got[0][0] == '-' {
		e.partly(partlyNotUpdated, got[0])
		return
	}
	e.renameDone()
}

func (e *emulation) renameDone() {
	if e.r.rule.Name == "rename" {
		e.say(okReply)
	} else {
		e.say([]byte(":1\r\n"))
	}
}

func beginCopy(e *emulation) {
	for i, a := range e.args[3:] {
		switch {
		case bytes.EqualFold(a, []byte("replace")):
			e.at = 1
		case bytes.EqualFold(a, []byte("db")) && i+4 < len(e.args):
			e.fail(errTextCopyDB)
			return
		default:
			e.fail(errTextSyntax)
			return
		}
	}
	e.probe()
	e.block(e.key(0), false, dumpOf(e.key(0))...)
	e.next = copyTo
}

func copyTo(e *emulation, got [][]byte) {
	said, ok := e.dumped(got, ":0\r\n")
	if !ok {
		return
	}
	e.restore(e.key(1), said, e.at == 1)
	e.forget()
	e.next = copied
}

func copied(e *emulation, got [][]byte) {
	switch {
	case bytes.HasPrefix(got[0], busyKeyCode):
		e.say([]byte(":0\r\n"))
	case !e.failed(got):
		e.say([]byte(":1\r\n"))
	}
}

// beginSMove looks first, so that nothing is changed where a server would refuse.
func beginSMove(e *emulation) {
	from, to, member := e.args[1], e.args[2], e.args[3]
	e.read(from, []byte("EXISTS"), from)
	e.read(from, []byte("SISMEMBER"), from, member)
	e.read(to, []byte("SISMEMBER"), to, member)
	e.next = sMoveAdd
}

func sMoveAdd(e *emulation, got [][]byte) {
	if n, ok := integer(got[0]); ok && n == 0 {
		e.say([]byte(":0\r\n"))
		return
	}
	if e.failed(got) {
		return
	}
	if n, _ := integer(got[1]); n == 0 {
		e.say([]byte(":0\r\n"))
		return
	}
	e.must = true
	e.write(e.args[2], []byte("SADD"), e.args[2], e.args[3])
	e.next = sMoveRemove
}

func sMoveRemove(e *emulation, got [][]byte) {
	if isUnknown(got[0]) {
		e.partly(partlyNotMoved, got[0])
		return
	}
	if e.failed(got) {
		return
	}
	added, _ := integer(got[0])
	e.at = int(added)
	e.write(e.args[1], []byte("SREM"), e.args[1], e.args[3])
	e.next = sMoved
}

// sMoved takes the member out again where another client was faster to remove it: only one of them has moved it.
func sMoved(e *emulation, got [][]byte) {
	n, _ := integer(got[0])
	switch {
	case got[0][0] == '-':
		e.partly(partlyInBoth, got[0])
	case n == 1:
		e.say([]byte(":1\r\n"))
	case e.at == 0:
		e.say([]byte(":0\r\n"))
	default:
		e.write(e.args[2], []byte("SREM"), e.args[2], e.args[3])
		e.next = sMoveUndone
	}
}

func sMoveUndone(e *emulation, got [][]byte) {
	if got[0][0] == '-' {
		e.partly(partlyNotUndone, got[0])
		return
	}
	e.say([]byte(":0\r\n"))
}

// beginLMove serves LMOVE, and RPOPLPUSH, which is LMOVE RIGHT LEFT.
func beginLMove(e *emulation) {
	from, to := "right", "left"
	if e.r.rule.Name == "lmove" {
		from, to = string(bytes.ToLower(e.args[3])), string(bytes.ToLower(e.args[4]))
	}
	if from != "left" && from != "right" || to != "left" && to != "right" {
		e.fail(errTextSyntax)
		return
	}
	e.pop, e.back, e.push = []byte(listEnds[from].take), []byte(listEnds[from].put), []byte(listEnds[to].put)
	e.read(e.key(0), []byte("LLEN"), e.key(0))
	e.read(e.key(1), []byte("LLEN"), e.key(1))
	e.next = lMovePop
}

// listEnds are the commands that take from and put to an end of a list.
var listEnds = map[string]struct{ take, put string }{"left": {"LPOP", "LPUSH"}, "right": {"RPOP", "RPUSH"}}

func lMovePop(e *emulation, got [][]byte) {
	if n, ok := integer(got[0]); ok && n == 0 {
		e.say(resp.AppendNull(nil, e.proto()))
		return
	}
	if e.failed(got) {
		return
	}
	e.must = true
	e.write(e.key(0), e.pop, e.key(0))
	e.next = lMovePush
}

func lMovePush(e *emulation, got [][]byte) {
	if got[0][0] == '-' || isNull(got[0]) {
		e.say(clone(got[0])) // nothing popped, or nobody knows
		return
	}
	e.value = clone(got[0])
	e.write(e.key(1), e.push, e.key(1), scalar(e.value))
	e.next = lMoved
}

// lMoved puts the element back where it was if the other list did not take it.
func lMoved(e *emulation, got [][]byte) {
	switch {
	case got[0][0] != '-':
		e.say(e.value)
	case isUnknown(got[0]):
		e.partly(partlyPopped, got[0])
	default:
		element := scalar(e.value)
		e.value = clone(got[0])
		e.write(e.key(0), e.back, e.key(0), element)
		e.next = lMoveUndone
	}
}

func lMoveUndone(e *emulation, got [][]byte) {
	if got[0][0] == '-' {
		e.partly(partlyNotPutBack, got[0])
		return
	}
	e.say(e.value) // the reason for which it was not pushed
}

// beginMSetNX looks whether any of the keys exists.
func beginMSetNX(e *emulation) {
	if len(e.args)%2 == 0 {
		e.fail(wrongArity(e.r.rule))
		return
	}
	e.fetch(mSetNX, "EXISTS")
}

// mSetNX sets each key unless somebody has done so since. Of a key that is named twice the last value counts.
func mSetNX(e *emulation, got [][]byte) {
	if e.failed(got) {
		return
	}
	for _, g := range got {
		if n, _ := integer(g); n != 0 {
			e.say([]byte(":0\r\n"))
			return
		}
	}
	last := make(map[string]int, len(e.keys))
	for i := range e.keys {
		last[string(e.key(i))] = i
	}
	set := e.keys[:0]
	for i, at := range e.keys {
		if last[string(e.args[at])] == i {
			set = append(set, at)
			e.write(e.args[at], []byte("SET"), e.args[at], e.args[at+1], []byte("NX"))
		}
	}
	e.keys = set
	e.must = true
	e.next = mSetDone
}

// mSetDone takes back what was set when another key was not.
func mSetDone(e *emulation, got [][]byte) {
	e.value = []byte(":0\r\n")
	all := true
	for _, g := range got {
		all = all && g[0] == '+'
		if g[0] == '-' {
			e.value = clone(g)
		}
	}
	if all {
		e.say([]byte(":1\r\n"))
		return
	}
	e.at = 0
	for i, g := range got {
		if g[0] == '+' {
			e.at++
			e.write(e.key(i), []byte("DEL"), e.key(i))
		}
	}
	e.next = mSetUndone
	if e.at == 0 {
		e.next(e, nil)
	}
}

func mSetUndone(e *emulation, got [][]byte) {
	for _, g := range got {
		if g[0] == '-' {
			e.partly(partlySet, g)
			return
		}
	}
	if isUnknown(e.value) {
		e.partly(partlySet, e.value)
		return
	}
	e.say(e.value)
}
