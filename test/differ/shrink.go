package differ

import (
	"errors"
	"slices"
	"time"
)

// Shrinking ends after so many runs or so long, whatever comes first: enough for the longest sequence that ends its steps, and a bound
// for those that hang.
const (
	shrinkRuns = 600
	shrinkTime = 40 * time.Second
)

// shrinker looks for a shorter sequence that still shows a difference of the same class.
type shrinker struct {
	run   func(Sequence) (*Difference, error)
	best  Sequence
	found *Difference
	runs  int
	until time.Time
	err   error // of a run: ends everything
}

// shrink drops steps, then commands, then what is special about steps, until nothing more can go. A sequence that does not show its
// difference again is returned as it is.
func shrink(run func(Sequence) (*Difference, error), s Sequence, d *Difference) (Sequence, *Difference, bool, error) {
	k := &shrinker{run: run, best: s, found: d, until: time.Now().Add(shrinkTime)}
	if !k.try(s) {
		return s, d, false, k.err
	}
	k.try(slices.Clone(k.best[:k.found.Step+1])) // what comes behind the difference
	for size := -1; size != len(k.best)+k.best.Commands() && !k.over(); {
		size = len(k.best) + k.best.Commands()
		k.dropSteps()
		k.dropCommands()
		k.simplify()
	}
	return k.best, k.found, true, k.err
}

func (k *shrinker) over() bool {
	return k.err != nil || k.runs >= shrinkRuns || time.Now().After(k.until)
}

// try keeps a sequence that still differs.
func (k *shrinker) try(s Sequence) bool {
	if k.over() {
		return false
	}
	k.runs++
	d, err := k.run(s)
	if err != nil {
		if !errors.Is(err, errUnusable) {
			k.err = err
		}
		return false
	}
	if d == nil || d.class() != k.found.class() {
		return false
	}
	k.best, k.found = s, d
	return true
}

// dropSteps leaves out steps: half of them at once at first, in the end one by one.
func (k *shrinker) dropSteps() {
	for n := max(1, len(k.best)/2); n > 0; n /= 2 {
		for from := len(k.best) - n; from >= 0 && !k.over(); from -= n {
			if from+n <= len(k.best) {
				k.try(slices.Delete(slices.Clone(k.best), from, from+n))
			}
		}
	}
}

// dropCommands leaves out commands of pipelines.
func (k *shrinker) dropCommands() {
	for i := len(k.best) - 1; i >= 0; i-- {
		for j := len(k.best[i].Commands) - 1; j >= 0 && len(k.best[i].Commands) > 1 && !k.over(); j-- {
			step := k.best[i]
			step.Commands = slices.Delete(slices.Clone(step.Commands), j, j+1)
			k.replace(i, step)
		}
	}
}

// simplify writes steps whole, shortens values, and has one client do all.
func (k *shrinker) simplify() {
	for i := range k.best {
		for _, simpler := range []func(Step) Step{wholeStep, shortValues, firstClient} {
			if step := simpler(k.best[i]); !equalSteps(step, k.best[i]) && !k.over() {
				k.replace(i, step)
			}
		}
	}
}

func (k *shrinker) replace(i int, step Step) bool {
	s := slices.Clone(k.best)
	s[i] = step
	return k.try(s)
}

func wholeStep(s Step) Step { s.Chunk = 0; return s }

func firstClient(s Step) Step { s.Client = 0; return s }

// shortValues: what is long is seldom the cause.
func shortValues(s Step) Step {
	commands := slices.Clone(s.Commands)
	for i, args := range commands {
		commands[i] = slices.Clone(args)
		for j, a := range args {
			if len(a) >= bigValue {
				commands[i][j] = a[:1]
			}
		}
	}
	s.Commands = commands
	return s
}

func equalSteps(a, b Step) bool {
	return a.Client == b.Client && a.Chunk == b.Chunk && slices.EqualFunc(a.Commands, b.Commands, slices.Equal)
}
