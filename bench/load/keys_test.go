package load

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestZipfDrawsEachRankInItsProportion(t *testing.T) {
	const keys, draws = 1000, 400_000
	for _, exponent := range []float64{0.5, 0.99, 1, 1.5} {
		z := newZipf(keys, exponent, rand.New(rand.NewPCG(1, 2)))
		var seen [keys]int
		for range draws {
			seen[z.next()]++
		}
		sum := 0.0
		for rank := 1; rank <= keys; rank++ {
			sum += math.Pow(float64(rank), -exponent)
		}
		for _, rank := range []int{1, 2, 3, 10, 100, 1000} {
			want := draws * math.Pow(float64(rank), -exponent) / sum
			// Five standard deviations: the draws are the same in every run.
			if got := float64(seen[rank-1]); math.Abs(got-want) > 5*math.Sqrt(want)+1 {
				t.Errorf("exponent %v, rank %d: %v of %d draws, want about %.0f", exponent, rank, got, draws, want)
			}
		}
	}
}

func TestOneKeyIsAlwaysDrawn(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for _, d := range []Distribution{{Kind: Uniform}, {Kind: Zipf, Exponent: 0.99}, {Kind: Zipf, Exponent: 1}, {Kind: Sequential}} {
		c := newChooser(d, 1, 0, 1, dice)
		for range 100 {
			if got := c.next(); got != 0 {
				t.Fatalf("%v of one key: got %d", d, got)
			}
		}
	}
}

func TestSizesAreRead(t *testing.T) {
	for text, want := range map[string][]Size{
		"64":               {{64, 64, 1}},
		"0":                {{0, 0, 1}},
		"16-1024":          {{16, 1024, 1}},
		"64=9,16KiB=1":     {{64, 64, 9}, {16 << 10, 16 << 10, 1}},
		"1KiB-1MiB=3,32=2": {{1 << 10, 1 << 20, 3}, {32, 32, 2}},
		"":                 nil, "x": nil, "-1": nil, "9-3": nil, "64=0": nil, "64=x": nil, "1TiB": nil, "600MiB": nil, "64,": nil,
	} {
		got, err := ParseSizes(text)
		if (err != nil) != (want == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestSizesAreDrawnByTheirWeightsAndWithinTheirRanges(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	list := []Size{{10, 20, 9}, {1000, 1000, 1}}
	s := sizes{list, newChoice(list, func(z Size) int { return z.Weight }), dice}
	large, lengths := 0, map[int]bool{}
	for range 10_000 {
		n := s.next()
		if lengths[n] = true; n == 1000 {
			large++
		} else if n < 10 || n > 20 {
			t.Fatalf("a length of %d", n)
		}
	}
	if large < 900 || large > 1100 || len(lengths) != 12 {
		t.Errorf("%d of 10000 are large, want about 1000; %d different lengths, want 12", large, len(lengths))
	}
}

func TestDistributionsAreRead(t *testing.T) {
	for text, want := range map[string]Distribution{
		"uniform": {Kind: Uniform}, "zipf": {Zipf, 0.99}, "zipf:1.2": {Zipf, 1.2}, "sequential": {Kind: Sequential},
		"": {}, "zipf:": {}, "zipf:0": {}, "zipf:NaN": {}, "uniform:2": {}, "normal": {},
	} {
		got, err := ParseDistribution(text)
		if (err != nil) != (want == Distribution{}) || err == nil && got != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestOperationsAreWrittenAsTheProtocolWantsThem(t *testing.T) {
	w := writer{prefix: "k:", payload: []byte("0123456789")}
	keys := []located{{key: 7}, {key: 123456789012}}
	const k7, k123 = "$14\r\nk:000000000007\r\n", "$14\r\nk:123456789012\r\n"
	for _, tt := range []struct {
		op   Op
		keys []located
		want string
	}{
		{Get(1), keys[:1], "*2\r\n$3\r\nGET\r\n" + k7},
		{Set(1), keys[1:], "*3\r\n$3\r\nSET\r\n" + k123 + "$3\r\n012\r\n"},
		{MGet(1, 2), keys, "*3\r\n$4\r\nMGET\r\n" + k7 + k123},
		{MSet(1, 2), keys, "*5\r\n$4\r\nMSET\r\n" + k7 + "$3\r\n012\r\n" + k123 + "$3\r\n012\r\n"},
		{MSet(1, 2), keys[:1], "*3\r\n$4\r\nMSET\r\n" + k7 + "$3\r\n012\r\n"},
		{Multi(1), keys[:1], "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n" + k7 + "$3\r\n012\r\n*2\r\n$3\r\nGET\r\n" + k7 + "*1\r\n$4\r\nEXEC\r\n"},
		{Op{"X", 1, []string{"SET {key} {value} EX 100"}, 0}, keys[:1],
			"*5\r\n$3\r\nSET\r\n" + k7 + "$3\r\n012\r\n$2\r\nEX\r\n$3\r\n100\r\n"},
	} {
		k, err := newKind(tt.op)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(w.append(nil, &k, tt.keys, 3)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.op.Name, got, tt.want)
		}
	}
}

func TestWhatIsNoOperationIsRefused(t *testing.T) {
	for _, o := range []Op{
		{"X", 1, nil, 1}, {"", 1, []string{"GET {key}"}, 1}, {"a,b", 1, []string{"GET {key}"}, 1}, {"X", 1, []string{" "}, 1},
		{"X", 1, []string{"{key} GET"}, 1}, {"X", 1, []string{"MGET {keys} {pairs}"}, 1}, {"X", 1, []string{"MGET {keys}", "PING"}, 1},
		{"X", 1, []string{"MGET {keys}"}, 1 << 30},
	} {
		if k, err := newKind(o); err == nil {
			t.Errorf("%+v: got %+v, want an error", o, k)
		}
	}
}

func TestAConfigurationThatMakesNoSenseIsRefusedWithItsReason(t *testing.T) {
	one := Target{Addr: "127.0.0.1:1"}
	for says, c := range map[string]Config{
		"a target is":   {},
		"one server or": {Target: Target{Addr: "a:1", Seeds: []string{"a:1"}}},
		"no host:port":  {Target: Target{Addr: "localhost"}},
		"clients":       {Target: one, Clients: -1},
		"threads":       {Target: one, Threads: 1000, Clients: 2000},
		"pipeline":      {Target: one, Pipeline: 1 << 20},
		"keys":          {Target: one, Keys: -5},
		"rate":          {Target: one, Rate: -1},
		"a weight":      {Target: one, Ops: []Op{Get(0)}},
		"a size":        {Target: one, Sizes: []Size{{5, 4, 1}}},
		"zipf":          {Target: one, Distribution: Distribution{Kind: Zipf}},
		"RESP":          {Target: Target{Addr: "a:1", RESP: 4}},
	} {
		if _, err := c.withDefaults(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want an error that says %q", c, err, says)
		}
	}
	if c, err := (Config{Target: one}).withDefaults(); err != nil || c.Clients != 50 || c.Keys != 100_000 || len(c.Ops) != 2 {
		t.Errorf("a target alone: got %+v, %v", c, err)
	}
}

func TestSpreadIsTheMedianAndTheEnds(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}}, {[]float64{3}, Spread{3, 3, 3}}, {[]float64{9, 1, 2}, Spread{2, 1, 9}}, {[]float64{4, 1, 2, 8}, Spread{3, 1, 8}},
	} {
		if got := SpreadOf(tt.values); got != tt.want {
			t.Errorf("%v: got %+v, want %+v", tt.values, got, tt.want)
		}
	}
}
