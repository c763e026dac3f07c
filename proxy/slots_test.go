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
