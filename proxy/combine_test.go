package proxy

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"slotproxy/router"
)

// As real servers write them: Redis 7.0.15, and alike Valkey 8.0.1 and 9.1.2.
func TestScoresAreWrittenAsTheServersWriteThem(t *testing.T) {
	redis7, valkey := ServerFace{Name: "redis", Version: "7.0.15"}, ServerFace{Name: "valkey", Version: "9.1.2"}
	for _, tc := range []struct {
		score       float64
		old, newest string
	}{
		{0.1, "0.10000000000000001", "0.1"},
		{1.5, "1.5", "1.5"},
		{-3, "-3", "-3"},
		{math.Copysign(0, -1), "-0", "-0"},
		{1e16, "10000000000000000", "10000000000000000"},
		{1e17, "1e+17", "100000000000000000"},
		{123456789012345680, "1.2345678901234568e+17", "123456789012345680"},
		{4611686018427387904, "4.6116860184273879e+18", "4611686018427387904"},
		{9.3e18, "9.3e+18", "9.3e+18"},
		{1e20, "1e+20", "1e+20"},
		{1.234e21, "1.234e+21", "1.234e+21"},
		{1.5e300, "1.5000000000000001e+300", "1.5e+300"},
		{5e-324, "4.9406564584124654e-324", "5e-324"},
		{0.00001, "1.0000000000000001e-05", "0.00001"},
		{0.000001, "9.9999999999999995e-07", "0.000001"},
		{1e-7, "9.9999999999999995e-08", "1e-7"},
		{1.25e-5, "1.2500000000000001e-05", "1.25e-5"},
		{123456.789, "123456.789", "123456.789"},
		{-1e-10, "-1e-10", "-1e-10"},
		{3.14159e-8, "3.1415900000000003e-08", "3.14159e-8"},
		{12345678.12345678, "12345678.12345678", "1.234567812345678e+7"},
		{0.30000000000000004, "0.30000000000000004", "0.30000000000000004"},
		{math.Inf(1), "inf", "inf"},
		{math.Inf(-1), "-inf", "-inf"},
	} {
		if got := string(scoreText(tc.score, redis7)); got != tc.old {
			t.Errorf("%v on Redis 7.0: got %s, want %s", tc.score, got, tc.old)
		}
		if got := string(scoreText(tc.score, valkey)); got != tc.newest {
			t.Errorf("%v on Valkey: got %s, want %s", tc.score, got, tc.newest)
		}
	}
}

func membersOf(text string) [][]byte { return bytes.Fields([]byte(text)) }

func TestSetsAreCombined(t *testing.T) {
	for _, tc := range []struct {
		sets                 []string
		union, inter, differ string
	}{
		{[]string{"a b c", "b c d"}, "a b c d", "b c", "a"},
		{[]string{"a b c", "c b", "c"}, "a b c", "c", "a"},
		{[]string{"", "a"}, "a", "", ""},
		{[]string{"a", ""}, "a", "", "a"},
		{[]string{"a b", "a b"}, "a b", "a b", ""},
		{[]string{"", ""}, "", "", ""},
	} {
		var sets [][][]byte
		for _, s := range tc.sets {
			sets = append(sets, membersOf(s))
		}
		for _, f := range []struct {
			name string
			got  [][]byte
			want string
		}{
			{"union", unite(sets), tc.union}, {"intersection", intersect(sets, 0), tc.inter}, {"difference", subtract(sets), tc.differ},
		} {
			if got := string(bytes.Join(f.got, []byte(" "))); got != f.want {
				t.Errorf("%s of %q: got %q, want %q", f.name, tc.sets, got, f.want)
			}
		}
	}
	if got := intersect([][][]byte{membersOf("a b c"), membersOf("a b c")}, 2); len(got) != 2 {
		t.Errorf("%d members, want 2 at most", len(got))
	}
}

func TestScoresAreCombined(t *testing.T) {
	inf := math.Inf(1)
	for _, tc := range []struct {
		name    string
		sources []source
		join    joinScores
		union   string
		inter   string
	}{
		{"sums", []source{{scores{{[]byte("a"), 1, nil}, {[]byte("b"), 2, nil}}, 1}, {scores{{[]byte("a"), 5, nil}}, 2}}, sumScores, "b=2 a=11", "a=11"},
		{"least", []source{{scores{{[]byte("a"), 1, nil}}, 1}, {scores{{[]byte("a"), -5, nil}}, 1}}, leastScore, "a=-5", "a=-5"},
		{"most", []source{{scores{{[]byte("a"), 1, nil}}, 1}, {scores{{[]byte("a"), -5, nil}}, 1}}, mostScore, "a=1", "a=1"},
		{"infinities cancel", []source{{scores{{[]byte("a"), inf, nil}}, 1}, {scores{{[]byte("a"), -inf, nil}}, 1}}, sumScores, "a=0", "a=0"},
		{"infinity without weight is nothing", []source{{scores{{[]byte("a"), inf, nil}}, 0}, {scores{}, 1}}, sumScores, "a=0", ""},
		{"equal scores go by name", []source{{scores{{[]byte("c"), 1, nil}, {[]byte("b"), 1, nil}}, 1}, {scores{{[]byte("a"), 1, nil}}, 1}}, sumScores, "a=1 b=1 c=1", ""},
	} {
		text := func(s scores) string {
			s.sort()
			var all []string
			for _, m := range s {
				all = append(all, fmt.Sprintf("%s=%v", m.member, m.score))
			}
			return strings.Join(all, " ")
		}
		if got := text(uniteScores(tc.sources, tc.join)); got != tc.union {
			t.Errorf("%s: union %q, want %q", tc.name, got, tc.union)
		}
		if got := text(intersectScores(tc.sources, tc.join)); got != tc.inter {
			t.Errorf("%s: intersection %q, want %q", tc.name, got, tc.inter)
		}
	}
}

func TestBrokenHyperLogLogsAreRefused(t *testing.T) {
	head := "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, tc := range []struct{ name, text, want string }{
		{"another text", "hello, this is not a count", errTextNoHLL},
		{"too short", "HYLL", errTextNoHLL},
		{"unknown encoding", "HYLL\x02" + head[5:], errTextNoHLL},
		{"dense of the wrong length", "HYLL\x00" + head[5:] + "xx", errTextNoHLL},
		{"empty", head + "\x7f\xff", ""},
		{"one register", head + "\x80\x7f\xfe", ""},
		{"too few registers", head + "\x7f\xfe", errTextBadHLL},
		{"too many registers", head + "\x7f\xff\x80", errTextBadHLL},
		{"half of a run", head + "\x7f", errTextBadHLL},
	} {
		var r registers
		if got := r.merge([]byte(tc.text)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestNeighboursOfAKeyAreInItsSlot(t *testing.T) {
	for _, key := range []string{"a", "app:x", "{t}a", "a{t}", "{}a", "a{b", "a}b", "", "{", "}", "{}", "a{}b{c}"} {
		name := neighbour([]byte(key))
		if got, want := router.Slot(name), router.Slot([]byte(key)); got != want {
			t.Errorf("%q has slot %d, its neighbour %q %d", key, want, name, got)
		}
	}
	if name := string(neighbour([]byte("app:x"))); !strings.HasPrefix(name, "app:x") {
		t.Errorf("a user who may use app:* may not use %s", name)
	}
}
