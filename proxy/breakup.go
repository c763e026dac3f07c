package proxy

import (
	"slotproxy/resp"
	"slotproxy/router"
)

// breakUpAfter is how many TRYAGAINs a command with several keys takes before it is asked key by key: about 7 ms, in
// which a small slot is through. A large one may stay open for minutes, and waiting does not help its split keys.
const breakUpAfter = 3

// canBreakUp says that a command which a half-moved slot refuses may be asked key by key: it reads, or it counts what it
// does to each key. One that sets several keys at once may not, for nobody should see the half of it.
func canBreakUp(r *request) bool {
	return r.rule.Policy == router.Split && r.rule.KeyStep <= 1 && r.multi && r.hops >= breakUpAfter
}

// breakUp replaces r, which its node has refused and so not run, by one part a key.
func (l *loop) breakUp(r *request) {
	root := r.root()
	s := root.sess
	if s == nil {
		l.abandon(r)
		return
	}
	var parser resp.Parser
	if n, err := parser.Next(r.buf, &l.limits.AfterAuth); err != nil || n == 0 {
		l.tryLater(r, causeTryAgain) // cannot happen: it was parsed before
		return
	}
	if root.fan == nil {
		root.fan = l.newFanout()
		root.fan.merge = mergers[r.rule.Merge]
	}
	for _, key := range parser.Args[1:] {
		p := l.newPart(root)
		p.slot, p.hasSlot, p.args = r.slot, true, 1
		p.buf = resp.AppendCommand(p.buf[:0], parser.Args[0], key)
		p.state = stateNew
	}
	if r == root {
		root.fan.orderByPart()
	} else {
		l.replacePart(root.fan, r, len(parser.Args)-1)
	}
	for _, p := range root.fan.parts {
		if p.state == stateNew {
			p.enter(stateHeld)
		}
	}
	s.advance()
}

// orderByPart says that the n-th key is answered by the n-th part.
func (f *fanout) orderByPart() {
	f.order = f.order[:0]
	for i := range f.parts {
		f.order = append(f.order, partRef{part: uint32(i)})
	}
}

// replacePart puts the last n parts of f in the place of old, which had n keys.
func (l *loop) replacePart(f *fanout, old *request, n int) {
	first := len(f.parts) - n
	for i := range f.order {
		if f.order[i].part == old.part {
			f.order[i] = partRef{part: uint32(first) + f.order[i].index}
		}
	}
	// The hole is filled by the last part, so that every index stays that of a part.
	last := len(f.parts) - 1
	moved := f.parts[last]
	for i := range f.order {
		if f.order[i].part == uint32(last) {
			f.order[i].part = old.part
		}
	}
	f.parts[old.part], moved.part = moved, old.part
	f.parts[last] = nil
	f.parts = f.parts[:last]
	f.left--
	l.dropReply(old)
	old.enter(stateDone)
	old.parent = nil
	l.release(old)
}
