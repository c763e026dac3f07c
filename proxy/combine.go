package proxy

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"slotproxy/resp"
)

// What servers do with several sets and sorted sets, for sets that do not lie on one server. Pure functions.

// unite returns every member once, in the order of the sets.
func unite(sets [][][]byte) [][]byte {
	seen := make(map[string]struct{})
	var all [][]byte
	for _, set := range sets {
		for _, m := range set {
			if _, known := seen[string(m)]; !known {
				seen[string(m)] = struct{}{}
				all = append(all, m)
			}
		}
	}
	return all
}

// subtract returns the members of the first set that no other has.
func subtract(sets [][][]byte) [][]byte {
	gone := make(map[string]struct{})
	for _, set := range sets[1:] {
		for _, m := range set {
			gone[string(m)] = struct{}{}
		}
	}
	var left [][]byte
	for _, m := range sets[0] {
		if _, known := gone[string(m)]; !known {
			left = append(left, m)
		}
	}
	return left
}

// intersect returns the members that all sets have, at most limit of them if it is not 0. As in a server they come in
// the order of the smallest set.
func intersect(sets [][][]byte, limit int) [][]byte {
	sets = slices.Clone(sets)
	slices.SortStableFunc(sets, func(a, b [][]byte) int { return len(a) - len(b) })
	left := sets[0]
	for _, set := range sets[1:] {
		has := make(map[string]struct{}, len(set))
		for _, m := range set {
			has[string(m)] = struct{}{}
		}
		var both [][]byte
		for _, m := range left {
			if _, ok := has[string(m)]; ok {
				both = append(both, m)
			}
		}
		left = both
	}
	if limit > 0 && len(left) > limit {
		left = left[:limit]
	}
	return left
}

// scored is a member of a sorted set. text is how the server wrote the score, nil when it was computed here.
type scored struct {
	member []byte
	score  float64
	text   []byte
}

type scores []scored

// source is an input of ZUNION and its like.
type source struct {
	scores
	weight float64
}

// joinScores is AGGREGATE: what a member has that is in two sources. It is not commutative where NaN comes in.
type joinScores func(a, b float64) float64

func sumScores(a, b float64) float64 {
	if sum := a + b; sum == sum {
		return sum
	}
	return 0 // +inf and -inf
}

func leastScore(a, b float64) float64 {
	if b < a {
		return b
	}
	return a
}

func mostScore(a, b float64) float64 {
	if b > a {
		return b
	}
	return a
}

// weigh applies the weight of a source to the member that is seen first.
func (s *source) weigh(m scored) scored {
	if s.weight == 1 {
		return m
	}
	m.score, m.text = m.score*s.weight, nil
	if m.score != m.score {
		m.score = 0 // infinity times 0
	}
	return m
}

// bySize puts the sources in the order in which a server takes them: sums of floating point numbers depend on it.
func bySize(sources []source) []source {
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b source) int { return len(a.scores) - len(b.scores) })
	return sources
}

func uniteScores(sources []source, join joinScores) scores {
	at := make(map[string]int)
	var all scores
	for _, s := range bySize(sources) {
		for _, m := range s.scores {
			m = s.weigh(m)
			i, known := at[string(m.member)]
			if !known {
				at[string(m.member)] = len(all)
				all = append(all, m)
				continue
			}
			all[i].score, all[i].text = join(all[i].score, m.score), nil
		}
	}
	return all
}

func intersectScores(sources []source, join joinScores) scores {
	sources = bySize(sources)
	first := sources[0]
	left := make(scores, 0, len(first.scores))
	for _, m := range first.scores {
		left = append(left, first.weigh(m))
	}
	for _, s := range sources[1:] {
		has := make(map[string]float64, len(s.scores))
		for _, m := range s.scores {
			has[string(m.member)] = m.score * s.weight
		}
		both := left[:0]
		for _, m := range left {
			if score, ok := has[string(m.member)]; ok {
				m.score, m.text = join(m.score, score), nil
				both = append(both, m)
			}
		}
		left = both
	}
	return left
}

func subtractScores(sources []source) scores {
	gone := make(map[string]struct{})
	for _, s := range sources[1:] {
		for _, m := range s.scores {
			gone[string(m.member)] = struct{}{}
		}
	}
	var left scores
	for _, m := range sources[0].scores {
		if _, known := gone[string(m.member)]; !known {
			left = append(left, m)
		}
	}
	return left
}

// sort brings the members into the order of a sorted set.
func (s scores) sort() {
	slices.SortFunc(s, func(a, b scored) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		}
		return bytes.Compare(a.member, b.member)
	})
}

// scoresOf reads the reply to ZRANGE WITHSCORES: in RESP3 pairs, in RESP2 one list.
func scoresOf(reply []byte, proto int) scores {
	_, count, at, _ := resp.AggHeader(reply)
	all := make(scores, 0, max(count, 0))
	var flat [][]byte
	if proto == 3 {
		for range count {
			n, err := resp.Skip(reply[at:])
			if err != nil || n == 0 {
				return all
			}
			flat = append(flat, elements(reply[at:at+n])...)
			at += n
		}
	} else {
		flat = elements(reply)
	}
	for i := 0; i+1 < len(flat); i += 2 {
		score, _ := strconv.ParseFloat(string(flat[i+1]), 64)
		all = append(all, scored{member: flat[i], score: score, text: flat[i+1]})
	}
	return all
}

// reply writes the members as a server of that kind does.
func (s scores) reply(withScores bool, proto int, face ServerFace) []byte {
	n := len(s)
	if withScores && proto < 3 {
		n *= 2
	}
	out := resp.AppendArray(nil, n)
	for _, m := range s {
		if withScores && proto == 3 {
			out = resp.AppendArray(out, 2)
		}
		out = resp.AppendBulk(out, m.member)
		if !withScores {
			continue
		}
		text := m.text
		if text == nil {
			text = scoreText(m.score, face)
		}
		if proto == 3 {
			out = append(append(append(out, ','), text...), '\r', '\n')
		} else {
			out = resp.AppendBulk(out, text)
		}
	}
	return out
}

// wholeScore is the largest score that newer servers write as an integer.
const wholeScore = 1 << 62

// scoreText writes a score: Redis 7.0 with 17 digits like C's %.17g, later servers with as few as needed.
func scoreText(f float64, face ServerFace) []byte {
	switch {
	case math.IsInf(f, 1):
		return []byte("inf")
	case math.IsInf(f, -1):
		return []byte("-inf")
	case f == 0 && math.Signbit(f):
		return []byte("-0")
	case face.Name == "redis" && (face.Version == "7.0" || len(face.Version) > 3 && face.Version[:4] == "7.0."):
		return strconv.AppendFloat(nil, f, 'g', 17, 64)
	case math.Abs(f) <= wholeScore && f == math.Trunc(f):
		return strconv.AppendInt(nil, int64(f), 10)
	}
	return shortest(f)
}

// shortest writes the digits that tell f from its neighbours, and chooses between plain and scientific notation as
// fpconv does, which the servers use.
func shortest(f float64) []byte {
	var out []byte
	if f < 0 {
		out = append(out, '-')
	}
	sci := strconv.AppendFloat(nil, math.Abs(f), 'e', -1, 64) // d.ddde-xx
	e := bytes.IndexByte(sci, 'e')
	exp, _ := strconv.Atoi(string(sci[e+1:]))
	digits := append([]byte{sci[0]}, sci[min(2, e):e]...)
	behind := len(digits) - 1 - exp // digits behind the point, negative: zeros to add
	switch size := max(exp, -exp); {
	case behind <= 0 && size < len(digits)+7:
		return append(append(out, digits...), bytes.Repeat([]byte{'0'}, -behind)...)
	case behind > 0 && (behind < 7 || size < 4):
		if behind >= len(digits) {
			out = append(out, "0."...)
			out = append(out, bytes.Repeat([]byte{'0'}, behind-len(digits))...)
			return append(out, digits...)
		}
		at := len(digits) - behind
		return append(append(append(out, digits[:at]...), '.'), digits[at:]...)
	}
	out = append(out, digits[0])
	if len(digits) > 1 {
		out = append(append(out, '.'), digits[1:]...)
	}
	out = append(out, 'e')
	if exp > 0 {
		out = append(out, '+')
	}
	return strconv.AppendInt(out, int64(exp), 10)
}

// scoreOption is what stands behind the keys of ZUNION and its like.
type scoreOption struct {
	weights    []float64
	join       joinScores
	withScores bool
	limit      int
}

func (o *scoreOption) weight(i int) float64 {
	if o.weights == nil {
		return 1
	}
	return o.weights[i]
}

// scoreOptions reads them for n keys, or gives the error that a server gives.
func scoreOptions(name string, args [][]byte, n int) (o scoreOption, text string) {
	o.join = sumScores
	card, diff := name == "zintercard", name == "zdiff"
	for len(args) > 0 {
		word := string(bytes.ToLower(args[0]))
		switch {
		case word == "weights" && !card && !diff && len(args) > n:
			if o.weights, text = weights(args[1 : 1+n]); text != "" {
				return o, text
			}
			args = args[1+n:]
		case word == "aggregate" && !card && !diff && len(args) > 1:
			if o.join = aggregates[string(bytes.ToLower(args[1]))]; o.join == nil {
				return o, errTextSyntax
			}
			args = args[2:]
		case word == "withscores" && !card:
			o.withScores = true
			args = args[1:]
		case word == "limit" && card && len(args) > 1:
			if o.limit, text = limitOption(args[:2]); text != "" {
				return o, text
			}
			args = args[2:]
		default:
			return o, errTextSyntax
		}
	}
	return o, ""
}

var aggregates = map[string]joinScores{"sum": sumScores, "min": leastScore, "max": mostScore}

func weights(args [][]byte) ([]float64, string) {
	all := make([]float64, len(args))
	for i, a := range args {
		f, err := strconv.ParseFloat(string(a), 64)
		if err != nil && !math.IsInf(f, 0) || f != f {
			return nil, errTextWeight
		}
		all[i] = f
	}
	return all, ""
}
