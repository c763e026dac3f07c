package differ

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Options of a run. The zero value of every field but Bare, Test and Tags has a stated meaning.
type Options struct {
	Bare, Test Side
	Tags       []string // hash tags of the keys, best of slots of several nodes
	Seed       uint64   // of the first sequence; 0: 1
	First      uint64   // number of the first sequence, to run one again
	Most       int      // sequences; 0: until the context ends
	Families   []string // empty: all
	Moving     bool     // slots move meanwhile, so what concerns all keys at once is not exact
	Known      []Known  // differences that are no news
	Differing  int      // ends the run after so many classes of differences; 0: 5
}

// Known is a difference that is meant, or waits for its issue. Both texts are beginnings of replies.
type Known struct {
	Want, Got string
	Why       string
}

func (d *Difference) is(k Known) bool {
	return strings.HasPrefix(d.Want, k.Want) && strings.HasPrefix(d.Got, k.Got)
}

// How long one side may take for a step. The bare server needs only its own time; the endpoint may have to follow a slot that moves.
const (
	barePatience = 3 * time.Second
	testPatience = 8 * time.Second
	// While shrinking, what does not come is what was found, and is waited for again and again.
	shrinkPatience = time.Second
)

// Found is a difference and the shortest sequence that shows it.
type Found struct {
	Number     uint64 // of the sequence that was generated
	Difference *Difference
	Sequence   Sequence
	Repeatable bool // it showed again when the sequence was run again; if not, Sequence is not shrunk
}

func (f Found) String() string {
	note := ""
	if !f.Repeatable {
		note = " (it did not show again)"
	}
	return fmt.Sprintf("sequence %d%s: %s\n%s", f.Number, note, f.Difference, f.Sequence)
}

// Report is what a run saw.
type Report struct {
	Seed      uint64
	Sequences int
	Commands  int
	Unusable  int      // sequences that the bare server did not end
	Hung      Sequence // the last of these, up to the step that has no end
	Found     []Found
	Repeated  map[string]int // further sequences with a difference of a class that is in Found
}

func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d sequences, %d commands, %d unusable, %d differences\n", r.Seed, r.Sequences, r.Commands, r.Unusable, len(r.Found))
	if len(r.Hung) > 0 {
		fmt.Fprintf(&b, "unusable:\n%s", r.Hung)
	}
	for _, f := range r.Found {
		fmt.Fprintf(&b, "%s", f)
		if n := r.Repeated[f.Difference.class()]; n > 0 {
			fmt.Fprintf(&b, "  and %d sequences more\n", n)
		}
	}
	return b.String()
}

// Run generates and compares until the context ends, or enough was found. It returns an error when the bare server cannot be used or
// the endpoint does not even take connections.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Seed == 0 {
		o.Seed = 1
	}
	if o.Differing == 0 {
		o.Differing = 5
	}
	if len(o.Families) == 0 {
		o.Families = Families()
	}
	all := Families()
	for _, f := range o.Families {
		if !slices.Contains(all, f) {
			return Report{}, fmt.Errorf("there is no family %q among %v", f, all)
		}
	}
	r, err := newRunner(o)
	if err != nil {
		return Report{}, err
	}
	defer r.bare.shut()
	defer r.test.shut()
	report := Report{Seed: o.Seed, Repeated: map[string]int{}}
	for n := o.First; ctx.Err() == nil && len(report.Found) < o.Differing && (o.Most == 0 || report.Sequences < o.Most); n++ {
		if err := r.once(o, n, &report); err != nil {
			return report, fmt.Errorf("seed %d, sequence %d: %w", o.Seed, n, err)
		}
	}
	return report, nil
}

func newRunner(o Options) (*runner, error) {
	bare, err := open(o.Bare, barePatience)
	if err != nil {
		return nil, err
	}
	test, err := open(o.Test, testPatience)
	if err != nil {
		bare.shut()
		return nil, err
	}
	r := &runner{bare: bare, test: test, block: slices.Contains(o.Families, "blocking"), known: o.Known}
	for _, k := range allKeys(o.Tags) {
		r.cleaning = append(r.cleaning, []string{"UNLINK", k})
	}
	if !o.Moving {
		r.cleaning = [][]string{{"FLUSHALL"}}
	}
	if slices.Contains(o.Families, "scripts") {
		r.cleaning = append(r.cleaning, []string{"SCRIPT", "FLUSH"}, []string{"FUNCTION", "FLUSH"})
	}
	return r, nil
}

// sequence makes the n-th of a run.
func (o Options) sequence(n uint64) Sequence {
	return generate(newGenerator(rand.New(rand.NewPCG(o.Seed, n)), o.Tags), o.Families)
}

// once runs one sequence, and shrinks it if it shows something new.
func (r *runner) once(o Options, n uint64, report *Report) error {
	s := o.sequence(n)
	d, err := r.run(s)
	report.Sequences++
	report.Commands += s.Commands()
	if errors.Is(err, errUnusable) {
		report.Unusable++
		report.Hung = s[:r.at+1]
		return nil
	}
	if err != nil || d == nil {
		return err
	}
	known := func(f Found) bool { return f.Difference.class() == d.class() }
	if slices.ContainsFunc(report.Found, known) {
		report.Repeated[d.class()]++
		return nil
	}
	f := Found{Number: n, Difference: d, Sequence: s}
	if !o.Moving {
		r.test.patience = shrinkPatience
		defer func() { r.test.patience = testPatience }()
	}
	f.Sequence, f.Difference, f.Repeatable, err = shrink(r.run, s, d)
	report.Found = append(report.Found, f)
	return err
}
