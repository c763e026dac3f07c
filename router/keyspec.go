package router

import (
	"bytes"
	"math"
)

// keySpec is one key specification of COMMAND: where the search begins, and how many keys lie from there.
type keySpec struct {
	begin   beginKind
	index   int    // beginIndex: position; beginKeyword: where to start looking, negative from the end
	keyword string // beginKeyword, lower case
	find    findKind
	lastKey int // findRange: last key, relative to the first; negative: from the end
	step    int
	limit   int // findRange with negative lastKey: only 1/limit of the rest are keys
	numIdx  int // findKeynum: where the number of keys stands, relative to begin
	first   int // findKeynum: where the first key stands, relative to begin
}

type beginKind uint8

const (
	beginUnknown beginKind = iota
	beginIndex
	beginKeyword
)

type findKind uint8

const (
	findUnknown findKind = iota
	findRange
	findKeynum
)

// onlyKey returns the position of the key if the specification can only ever give one at a fixed place, else 0.
func (s *keySpec) onlyKey() int {
	if s.begin == beginIndex && s.find == findRange && s.lastKey == 0 {
		return s.index
	}
	return 0
}

// Keys appends the positions of the keys in args to dst. It is not ok when the arguments do not have the form that the
// command asks for; any node will answer the right error to such a command. It allocates only when dst is too small.
func (r *Rule) Keys(args [][]byte, dst []int) (keys []int, ok bool) {
	if r.oneKey > 0 {
		if r.oneKey >= len(args) {
			return dst, false
		}
		return append(dst, r.oneKey), true
	}
	if r.findKeys != nil {
		return r.findKeys(args, dst)
	}
	for i := range r.specs {
		if dst, ok = r.specs[i].keys(args, dst); !ok {
			return dst, false
		}
	}
	return dst, true
}

// keys appends the positions that one specification gives. A keyword that is absent gives none.
func (s *keySpec) keys(args [][]byte, dst []int) ([]int, bool) {
	begin, found := s.start(args)
	if !found {
		return dst, s.begin == beginKeyword
	}
	first, last, ok := s.bounds(args, begin)
	if !ok {
		return dst, false
	}
	for i := first; i <= last; i += s.step {
		dst = append(dst, i)
	}
	return dst, true
}

// start finds the position where the keys, or their number, begin.
func (s *keySpec) start(args [][]byte) (int, bool) {
	switch s.begin {
	case beginIndex:
		return s.index, s.index <= len(args)
	case beginKeyword:
		return s.findKeyword(args)
	}
	return 0, false
}

func (s *keySpec) findKeyword(args [][]byte) (int, bool) {
	if s.index >= 0 {
		for i := max(s.index, 1); i < len(args)-1; i++ {
			if foldEqual(s.keyword, args[i]) {
				return i + 1, true
			}
		}
		return 0, false
	}
	for i := len(args) + s.index; i >= 1; i-- {
		if foldEqual(s.keyword, args[i]) {
			return i + 1, i+1 < len(args)
		}
	}
	return 0, false
}

// bounds returns the first and the last key; last < first stands for none.
func (s *keySpec) bounds(args [][]byte, begin int) (first, last int, ok bool) {
	switch s.find {
	case findRange:
		first = begin
		switch {
		case s.lastKey >= 0:
			last = first + s.lastKey
		case s.limit <= 1:
			last = len(args) + s.lastKey
		default:
			last = first + (len(args)-first)/s.limit + s.lastKey
		}
		if s.lastKey < 0 && first == len(args) {
			return first, first - 1, true // a list that may be empty, like the sources of PFMERGE
		}
		return first, last, last >= first && last < len(args)
	case findKeynum:
		at := begin + s.numIdx
		if at < 0 || at >= len(args) {
			return 0, 0, false
		}
		first = begin + s.first
		if n, ok := parseCount(args[at]); ok {
			last = first + (n-1)*s.step
			return first, last, first > 0 && last < len(args)
		}
		// The command is in vain, but a node says so only where it finds its keys. One of them leads there, and leaves
		// nothing to emulate.
		n := looseCount(args[at])
		return first, first, n > 0 && first > 0 && first+(n-1)*s.step < len(args)
	}
	return 0, 0, false
}

// parseCount reads a number of keys as a server does that runs the command: decimal digits without a sign or leading zeros. Seven digits
// are more than a command may have arguments.
func parseCount(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 7 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// looseCount reads a number of keys as a node does that looks for them before it runs the command, with C's atoi: spaces
// and a sign before the digits, anything behind them, and of a large number the low 32 bits. What is no number is 0.
func looseCount(b []byte) int {
	b = bytes.TrimLeft(b, " \t\n\v\f\r")
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		if n > (math.MaxInt64-9)/10 {
			return 0 // the largest number, of which atoi makes -1, or the smallest, of which it makes 0
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return int(int32(n))
}

// sortKeys finds the keys of SORT: the one sorted and the last STORE. The specs of the command cannot say it, because a
// pattern of GET or BY may itself be the word "store".
func sortKeys(args [][]byte, dst []int) ([]int, bool) {
	if len(args) < 2 {
		return dst, false
	}
	dst = append(dst, 1)
	store := 0
	for i := 2; i < len(args); i++ {
		switch arg := args[i]; {
		case foldEqual("limit", arg):
			i += 2
		case foldEqual("get", arg), foldEqual("by", arg):
			i++
		case foldEqual("store", arg) && i+1 < len(args):
			store = i + 1
		}
	}
	if store > 0 {
		dst = append(dst, store)
	}
	return dst, true
}

// georadiusKeys finds the keys of GEORADIUS and GEORADIUSBYMEMBER: the one searched and the last STORE or STOREDIST, which counts for the
// server. The specs of the command give the first of each. A member may be the word "store", so the search begins behind it.
func georadiusKeys(args [][]byte, dst []int) ([]int, bool) {
	if len(args) < 2 {
		return dst, false
	}
	dst = append(dst, 1)
	store := 0
	for i := 5; i+1 < len(args); i++ {
		if foldEqual("store", args[i]) || foldEqual("storedist", args[i]) {
			i++
			store = i
		}
	}
	if store > 0 {
		dst = append(dst, store)
	}
	return dst, true
}

// firstKey finds the key of a command that has one, right behind its name.
func firstKey(args [][]byte, dst []int) ([]int, bool) {
	if len(args) < 2 {
		return dst, false
	}
	return append(dst, 1), true
}
