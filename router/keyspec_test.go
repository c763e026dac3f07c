package router

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestKeysOfEveryForm(t *testing.T) {
	tests := []struct {
		line string
		want string // the keys, or "!" for arguments of the wrong form
	}{
		{"GET a", "a"},
		{"OBJECT FREQ a", "a"},
		{"MSET a 1 b 2", "a b"},
		{"DEL a b a", "a b a"},
		{"BITOP AND dst a b", "dst a b"},
		{"SINTERSTORE dst a b", "dst a b"},
		{"COPY a b DB 1", "a b"},
		{"ZUNION 2 a b WEIGHTS 1 2", "a b"},
		{"ZUNIONSTORE dst 2 a b WEIGHTS 1 2", "dst a b"},
		{"ZUNION 3 a b", "!"},
		{"ZUNION -1 a b", "!"},
		{"ZUNION x a b", "!"},
		{"ZUNION 1x a b", "a"},
		{"ZUNION 02 a b", "a"},
		{"ZUNION +2 a", "!"},
		{"ZUNION 99999999999999999999 a", "!"},
		{"ZUNION 4294967297 a", "a"},
		{"ZUNION 4294967295 a", "!"},
		{"ZUNIONSTORE dst 01 a", "dst a"},
		{"EVAL script 00 a", "!"},
		{"EVAL script 0", ""},
		{"EVAL script 0 x y", ""},
		{"EVAL script 2 a b c", "a b"},
		{"EVAL script 2 a", "!"},
		{"FCALL f 1 a b", "a"},
		{"LMPOP 2 a b LEFT", "a b"},
		{"BLMPOP 0 1 a LEFT", "a"},
		{"MSETEX 2 a 1 b 2 EX 5", "a b"},
		{"XREAD STREAMS a b 0 0", "a b"},
		{"XREAD COUNT 2 BLOCK 0 STREAMS a 0", "a"},
		{"XREAD STREAMS streams 0", "streams"},
		{"XREAD COUNT 1 a 0", ""},
		{"XREADGROUP GROUP streams c STREAMS a >", "a"},
		{"XREADGROUP GROUP g c NOACK STREAMS a b > >", "a b"},
		{"GEORADIUS a 1 1 1 m", "a"},
		{"GEORADIUS a 1 1 1 m STORE b", "a b"},
		{"GEORADIUS a 1 1 1 m storedist b", "a b"},
		{"GEORADIUSBYMEMBER a store 1 m STORE b", "a b"},
		{"SORT a", "a"},
		{"SORT a BY store GET store STORE b", "a b"},
		{"SORT a LIMIT 0 store ALPHA", "a"},
		{"SORT a STORE b STORE c", "a c"},
		{"SORT a STORE", "a"},
		{"SORT_RO a BY w_*", "a"},
		{"GEORADIUS a 15 37 200 km ASC", "a"},
		{"GEORADIUS a 15 37 200 km STORE b STORE c", "a c"},
		{"GEORADIUS a 15 37 200 km STORE b STOREDIST c", "a c"},
		{"GEORADIUS a 15 37 200 km storedist b store c", "a c"},
		{"GEORADIUS a 15 37 200 km STORE STORE STORE b", "a b"},
		{"GEORADIUS a 15 37 200 km COUNT STORE STORE b", "a STORE"},
		{"GEORADIUS a 15 37 200 km STORE b STORE", "a b"},
		{"GEORADIUS a 15 37 200 km STORE", "a"},
		{"GEORADIUSBYMEMBER a store 200 km STORE b STOREDIST c", "a c"},
		{"GEORADIUSBYMEMBER STORE STORE 200 km STORE b", "STORE b"},
		{"GEORADIUS_RO a 15 37 200 km STORE b", "a"},
		{"SPUBLISH ch x", "ch"},
		{"BLPOP a b 0", "a b"},
		{"BLPOP a 0", "a"},
		{"PFMERGE dst", "dst"},
		{"PFMERGE dst a", "dst a"},
		{"MEMORY USAGE a SAMPLES 5", "a"},
		{"XGROUP CREATE a g $", "a"},
		{"PING", ""},
		{"GET", "!"},
	}
	for _, tt := range tests {
		a := args(tt.line)
		keys, ok := Builtin().Lookup(a).Keys(a, nil)
		got := "!"
		if ok {
			got = joinKeys(a, keys)
		}
		if got != tt.want {
			t.Errorf("Keys(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestLooseCountsAreThoseOfAtoi(t *testing.T) {
	tests := []struct {
		text string
		want int
	}{
		{"12", 12}, {"012", 12}, {" \t\n\v\f\r12", 12}, {"+12", 12}, {"-12", -12}, {"12x", 12}, {"1.5", 1}, {"1\x002", 1},
		{"", 0}, {"x", 0}, {"+", 0}, {"-", 0}, {"- 1", 0}, {"+-1", 0},
		{"2147483648", -2147483648}, {"4294967297", 1}, {"-4294967295", 1}, {"9223372036854775807", 0}, {"18446744073709551617", 0},
	}
	for _, tt := range tests {
		if got := looseCount([]byte(tt.text)); got != tt.want {
			t.Errorf("looseCount(%q) = %d, want %d", tt.text, got, tt.want)
		}
	}
}

func joinKeys(a [][]byte, keys []int) string {
	var names []string
	for _, at := range keys {
		names = append(names, string(a[at]))
	}
	return strings.Join(names, " ")
}

func TestKeysAreWhereTheServerFindsThem(t *testing.T) {
	recorded, err := os.ReadFile("testdata/getkeys-valkey-9.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(recorded)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		command, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
		name, rest, _ := strings.Cut(command, " ")
		a := args(strings.Replace(name, "|", " ", 1) + " " + rest)
		keys, ok := Builtin().Lookup(a).Keys(a, nil)
		if got := joinKeys(a, keys); !ok || got != want {
			t.Errorf("Keys(%q) = %q, %v, want %q", command, got, ok, want)
		}
		n++
	}
	if n < 300 {
		t.Errorf("%d lines, want the whole recording", n)
	}
}

func TestKeysAreAppended(t *testing.T) {
	a := args("DEL x y")
	keys, ok := Builtin().Lookup(a).Keys(a, []int{7})
	if !ok || !slices.Equal(keys, []int{7, 1, 2}) {
		t.Errorf("Keys = %v, %v, want [7 1 2], true", keys, ok)
	}
}

func TestDecideFindsSlotAndSpread(t *testing.T) {
	tests := []struct {
		line                 string
		hasSlot, cross, mult bool
	}{
		{"GET {t}a", true, false, false},
		{"MGET {t}a {t}a", true, false, false},
		{"MGET {t}a {t}b", true, false, true},
		{"MGET {t}a {u}b", true, true, true},
		{"MGET {t}a {t}a {u}b", true, true, true},
		{"SORT {t}a STORE {t}b", true, false, true},
		{"EVAL s 0", false, false, false},
		{"PING", false, false, false},
		{"ZUNION 9 a", false, false, false},
		{"ZUNION 2x {t}a {u}b", true, false, false},
		{"GET", false, false, false},
	}
	for _, tt := range tests {
		a := args(tt.line)
		d, _ := Decide(Builtin().Lookup(a), a, nil)
		if d.HasSlot != tt.hasSlot || d.Cross != tt.cross || d.Multi != tt.mult {
			t.Errorf("Decide(%q) = %+v, want slot %v, cross %v, multi %v", tt.line, d, tt.hasSlot, tt.cross, tt.mult)
		}
		if d.HasSlot && d.Slot != Slot([]byte("{t}")) {
			t.Errorf("Decide(%q) gives slot %d, want that of the first key", tt.line, d.Slot)
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	c := Builtin()
	keys := make([]int, 0, 16)
	for _, line := range []string{"GET a", "SET a b", "MSET {t}a 1 {t}b 2", "ZUNIONSTORE d 2 a b", "XREAD STREAMS a 0", "SORT a STORE b"} {
		a := args(line)
		r := c.Lookup(a)
		if n := testing.AllocsPerRun(100, func() { _, keys = Decide(r, a, keys) }); n != 0 {
			t.Errorf("Decide(%q) allocates %v times, want 0", line, n)
		}
	}
}

// FuzzDecide looks for arguments that lead outside of themselves.
func FuzzDecide(f *testing.F) {
	for _, line := range []string{"GET a", "ZUNIONSTORE d 2 a b", "XREADGROUP GROUP g c STREAMS a b > >", "EVAL s 1000000 a",
		"SORT a STORE", "GEORADIUS a 1 1 1 m STORE", "MSETEX 9999999 a", "MIGRATE h 1 k 0 1 KEYS"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a := args(line)
		r := Builtin().Lookup(a)
		if r == nil {
			return
		}
		d, keys := Decide(r, a, nil)
		if d.HasSlot != (len(keys) > 0) || d.Slot >= Slots || len(keys) > 2*len(a) {
			t.Fatalf("Decide(%q) = %+v with keys %v", line, d, keys)
		}
		for _, at := range keys {
			if at < 1 || at >= len(a) {
				t.Fatalf("Decide(%q): key at %d of %d", line, at, len(a))
			}
		}
		if d.HasSlot && d.Slot != Slot(a[keys[0]]) {
			t.Fatalf("Decide(%q): slot %d, want %d", line, d.Slot, Slot(a[keys[0]]))
		}
		r.Blocks(a)
	})
}

var sinkDecision Decision

func BenchmarkDecide(b *testing.B) {
	for _, line := range []string{"GET key:000000012345", "SET key:000000012345 x", "MGET " + mgetKeys(10), "ZUNIONSTORE {t}d 2 {t}a {t}b"} {
		a := args(line)
		b.Run(string(a[0])+"_"+strconv.Itoa(len(a)-1), func(b *testing.B) {
			r, keys := Builtin().Lookup(a), make([]int, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				sinkDecision, keys = Decide(r, a, keys)
			}
		})
	}
}

// BenchmarkLookupDecide is what the data path pays for one GET.
func BenchmarkLookupDecide(b *testing.B) {
	c, a, keys := Builtin(), args("GET key:000000012345"), make([]int, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		sinkDecision, keys = Decide(c.Lookup(a), a, keys)
	}
}

func mgetKeys(n int) string {
	var keys []string
	for i := range n {
		keys = append(keys, "{t}"+strconv.Itoa(i))
	}
	return strings.Join(keys, " ")
}
