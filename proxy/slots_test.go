package proxy

import (
	"math"
	"testing"
)

func TestACountOfASlotsCommandsGoesOnBeyond32Bits(t *testing.T) {
	l := &loop{opsWraps: map[uint16]uint64{}}
	l.slots[7].ops = math.MaxUint32 - 1
	r := &request{slot: 7, hasSlot: true}
	for range 3 {
		l.count(r)
		l.uncount(r)
	}
	if got := l.sent(7); got != 1<<32+1 {
		t.Errorf("%d commands, want %d", got, uint64(1<<32+1))
	}
}

func TestOnlySlotsWithTroubleOrSeveralKeysInFlightMakeCommandsWait(t *testing.T) {
	l := &loop{opsWraps: map[uint16]uint64{}}
	s := &session{conn: conn{l: l}}
	one, many := &request{slot: 65, hasSlot: true}, &request{slot: 65, hasSlot: true, multi: true}
	calm := func(want bool, when string) {
		t.Helper()
		if got := s.calm(one); got != want {
			t.Errorf("%s: calm is %v", when, got)
		}
	}
	calm(true, "at first")
	l.count(many)
	calm(false, "with a command of several keys in flight")
	l.uncount(many)
	calm(true, "when it is answered")
	l.count(one)
	trouble := l.unsettle(65)
	calm(false, "while the past is in flight")
	trouble.open = true
	l.uncount(one)
	calm(false, "while the slot is open")
	trouble.open = false
	l.settle(65)
	calm(true, "in the end")
}

func TestANodeHasANumberWhileItHasSlots(t *testing.T) {
	o := newOwnership()
	a, b, c := &node{addr: "a"}, &node{addr: "b"}, &node{addr: "c"}
	o.set(1, a)
	o.set(2, a)
	o.set(3, b)
	o.set(1, c)
	if o.of(1) != c || o.of(2) != a || o.of(3) != b || o.of(4) != nil {
		t.Fatalf("slots 1 to 4 are at %v, %v, %v, %v", o.of(1), o.of(2), o.of(3), o.of(4))
	}
	o.set(3, nil)
	if b.number != 0 || o.of(3) != nil {
		t.Fatalf("a node without slots has number %d, and its slot is at %v", b.number, o.of(3))
	}
	for i := range 100 { // of nodes that come and go
		o.set(2, &node{addr: "d"})
		if len(o.nodes) > 5 {
			t.Fatalf("%d numbers after %d nodes that came and went, with three at a time", len(o.nodes), i)
		}
	}
	if a.number != 0 || o.of(1) != c {
		t.Errorf("the first node has number %d, slot 1 is at %v", a.number, o.of(1))
	}
}
