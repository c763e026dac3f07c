package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Distribution says which keys are used how often.
type Distribution struct {
	Kind string // "" and Uniform are the same
	// Exponent of Zipf: the key of rank r is used in proportion to 1/r^Exponent. 0.99 is what YCSB has.
	Exponent float64
}

// Kinds of distributions.
const (
	Uniform    = "uniform"
	Zipf       = "zipf"
	Sequential = "sequential" // each key in turn, to fill a cluster
)

// ParseDistribution reads uniform, sequential, zipf or zipf:EXPONENT.
func ParseDistribution(text string) (Distribution, error) {
	name, exponent, given := strings.Cut(text, ":")
	d := Distribution{Kind: name}
	switch {
	case name == Zipf && !given:
		d.Exponent = 0.99
	case name == Zipf:
		e, err := strconv.ParseFloat(exponent, 64)
		if err != nil || !(e > 0 && e <= maxExponent) {
			return d, fmt.Errorf("the exponent of zipf is a number above 0, at most %d, not %q", maxExponent, exponent)
		}
		d.Exponent = e
	case name != Uniform && name != Sequential || given:
		return d, fmt.Errorf("a distribution is uniform, sequential, zipf or zipf:EXPONENT, not %q", text)
	}
	return d, nil
}

func (d Distribution) String() string {
	if d.Kind == Zipf {
		return fmt.Sprintf("zipf:%g", d.Exponent)
	}
	return d.Kind
}

// maxExponent: beyond it everything is the first key.
const maxExponent = 10

// chooser chooses keys for one thread.
type chooser interface{ next() int }

// newChooser is for thread number of threads.
func newChooser(d Distribution, keys, number, threads int, dice *rand.Rand) chooser {
	switch d.Kind {
	case Zipf:
		return newZipf(keys, d.Exponent, dice)
	case Sequential:
		return &sequential{at: number % keys, step: threads, keys: keys}
	}
	return &uniform{keys, dice}
}

type uniform struct {
	keys int
	dice *rand.Rand
}

func (u *uniform) next() int { return u.dice.IntN(u.keys) }

type sequential struct{ at, step, keys int }

func (s *sequential) next() int {
	key := s.at
	s.at = (s.at + s.step) % s.keys
	return key
}

// zipf samples by rejection and inversion (Hörmann and Derflinger, 1996), which takes the same time for every number of keys and every
// exponent; the one of the standard library wants an exponent above 1. x stands for ranks, from 1.
type zipf struct {
	dice                   *rand.Rand
	keys                   float64
	exponent               float64
	hFirst, hLast, squeeze float64
}

func newZipf(keys int, exponent float64, dice *rand.Rand) *zipf {
	z := &zipf{dice: dice, keys: float64(keys), exponent: exponent}
	z.hFirst = z.h(1.5) - 1
	z.hLast = z.h(z.keys + 0.5)
	z.squeeze = 2 - z.inverse(z.h(2.5)-z.weight(2))
	return z
}

func (z *zipf) next() int {
	for {
		u := z.hLast + z.dice.Float64()*(z.hFirst-z.hLast)
		x := z.inverse(u)
		rank := min(max(math.Floor(x+0.5), 1), z.keys)
		if rank-x <= z.squeeze || u >= z.h(rank+0.5)-z.weight(rank) {
			return int(rank) - 1
		}
	}
}

func (z *zipf) weight(x float64) float64 { return math.Exp(-z.exponent * math.Log(x)) }

// h is the integral of weight, and inverse its inverse. near is what keeps both exact at an exponent of 1.
func (z *zipf) h(x float64) float64 {
	l := math.Log(x)
	return l * near(math.Expm1, (1-z.exponent)*l)
}

func (z *zipf) inverse(u float64) float64 {
	t := max(u*(1-z.exponent), -1)
	return math.Exp(u * near(math.Log1p, t))
}

// near is f(t)/t for a function with f(0) = 0 and f'(0) = 1.
func near(f func(float64) float64, t float64) float64 {
	if math.Abs(t) < 1e-8 { // the next term is below what a float64 holds
		return 1
	}
	return f(t) / t
}

// Size is a range of lengths of values, which all are as likely, and its share.
type Size struct{ Min, Max, Weight int }

// maxValue is what the servers allow.
const maxValue = 512 << 20

// ParseSizes reads 64, 16-1024, or a list with weights: 64=9,16KiB=1.
func ParseSizes(text string) ([]Size, error) {
	var list []Size
	for _, item := range strings.Split(text, ",") {
		span, weight, weighted := strings.Cut(item, "=")
		first, last, isRange := strings.Cut(span, "-")
		if !isRange {
			last = first
		}
		s := Size{Weight: 1}
		var err error
		if s.Min, err = parseBytes(first); err != nil {
			return nil, err
		}
		if s.Max, err = parseBytes(last); err != nil {
			return nil, err
		}
		if weighted {
			if s.Weight, err = strconv.Atoi(weight); err != nil {
				return nil, fmt.Errorf("the weight of a size is a number, not %q", weight)
			}
		}
		list = append(list, s)
	}
	return list, checkSizes(list)
}

func parseBytes(text string) (int, error) {
	digits, unit := text, 1
	for _, u := range []struct {
		name string
		unit int
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"k", 1 << 10}, {"m", 1 << 20}} {
		if rest, is := strings.CutSuffix(text, u.name); is {
			digits, unit = rest, u.unit
			break
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > maxValue/unit {
		return 0, fmt.Errorf("a size is bytes, such as 64 or 16KiB, not %q", text)
	}
	return n * unit, nil
}

// maxSizes and maxWeight keep sums of weights far from overflow.
const (
	maxSizes  = 1000
	maxWeight = 1_000_000
)

func checkSizes(list []Size) error {
	if len(list) == 0 || len(list) > maxSizes {
		return fmt.Errorf("1 to %d sizes, not %d", maxSizes, len(list))
	}
	for _, s := range list {
		switch {
		case s.Min < 0 || s.Max > maxValue || s.Min > s.Max:
			return fmt.Errorf("a size of %d to %d bytes", s.Min, s.Max)
		case s.Weight < 1 || s.Weight > maxWeight:
			return fmt.Errorf("a weight is 1 to %d, not %d", maxWeight, s.Weight)
		}
	}
	return nil
}

// sizes draws lengths for one thread.
type sizes struct {
	list   []Size
	choice choice
	dice   *rand.Rand
}

func (s *sizes) next() int {
	z := &s.list[0]
	if len(s.list) > 1 {
		z = &s.list[s.choice.draw(s.dice)]
	}
	if z.Max == z.Min {
		return z.Min
	}
	return z.Min + s.dice.IntN(z.Max-z.Min+1)
}

// choice draws the index of a weight.
type choice struct{ upTo []int }

func newChoice[T any](list []T, weight func(T) int) choice {
	var c choice
	sum := 0
	for _, v := range list {
		sum += weight(v)
		c.upTo = append(c.upTo, sum)
	}
	return c
}

func (c *choice) draw(dice *rand.Rand) int {
	n := dice.IntN(c.upTo[len(c.upTo)-1])
	for i, upTo := range c.upTo {
		if n < upTo {
			return i
		}
	}
	return 0
}
