package load

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a load has seen.
type Result struct {
	Target string
	Phases []Phase
}

// Phase is a part of a load, between two calls of Enter. An operation belongs to the phase in which it was due.
type Phase struct {
	Name    string
	Begin   time.Time
	Length  time.Duration
	Ops     []OpResult       // in the order of the configuration
	Errors  map[string]int64 // operations that failed, by text
	CPU     []ProcessTime
	Lag     *hdrhistogram.Histogram // ns from when operations of an open load were due until they were sent
	Unsent  int64                   // operations of an open load that were due and not sent by the end: they are errors too
	Follows int64                   // MOVED and ASK that were followed
}

// OpResult is one kind of operation.
type OpResult struct {
	Name    string
	Count   int64                   // operations that were carried out
	Failed  int64                   // those that were not
	Missing int64                   // of Count: with a null for an answer
	Latency *hdrhistogram.Histogram // ns of those in Count, and of those that were never answered
}

// ProcessTime is what a process has used in a phase.
type ProcessTime struct {
	Process
	Used time.Duration // -1: not known, it has ended
}

// Histograms hold a nanosecond to five minutes with an error of a thousandth, in a quarter of a megabyte.
const (
	longest = 5 * time.Minute
	digits  = 3
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest), digits) }

// All sums the operations.
func (p *Phase) All() OpResult {
	all := OpResult{Name: "ALL", Latency: newHistogram()}
	for i := range p.Ops {
		o := &p.Ops[i]
		all.Count, all.Failed, all.Missing = all.Count+o.Count, all.Failed+o.Failed, all.Missing+o.Missing
		all.Latency.Merge(o.Latency)
	}
	return all
}

// Rate is operations a second.
func (p *Phase) Rate() float64 {
	n := int64(0)
	for i := range p.Ops {
		n += p.Ops[i].Count
	}
	return float64(n) / max(p.Length.Seconds(), 1e-9)
}

// CPUPerOp is the processor time of a role for one operation. It is not known when no process has that role, or one has ended.
func (p *Phase) CPUPerOp(role string) (perOp time.Duration, known bool) {
	var sum time.Duration
	for _, t := range p.CPU {
		if t.Role != role {
			continue
		}
		if t.Used < 0 {
			return 0, false
		}
		known = true
		sum += t.Used
	}
	n := int64(0)
	for i := range p.Ops {
		n += p.Ops[i].Count
	}
	if n == 0 {
		return 0, false
	}
	return sum / time.Duration(n), known
}

// Quantile is in percent.
func (o *OpResult) Quantile(percent float64) time.Duration {
	return time.Duration(o.Latency.ValueAtQuantile(percent))
}

// recorder is one phase as one thread sees it.
type recorder struct {
	ops     []OpResult
	errors  map[string]int64
	lag     *hdrhistogram.Histogram // nil for a closed load
	unsent  int64
	follows int64
}

func newRecorder(kinds []kind, open bool) *recorder {
	r := &recorder{errors: map[string]int64{}}
	for i := range kinds {
		r.ops = append(r.ops, OpResult{Name: kinds[i].name, Latency: newHistogram()})
	}
	if open {
		r.lag = newHistogram()
	}
	return r
}

// maxTexts bounds the texts of errors: some have an address or a slot in them.
const maxTexts = 64

const otherErrors = "(other errors)"

func (r *recorder) fail(text string) {
	if _, known := r.errors[text]; !known && len(r.errors) >= maxTexts {
		text = otherErrors
	}
	r.errors[text]++
}

// clamp keeps a latency within what a histogram holds.
func clamp(ns int64) int64 { return min(max(ns, 1), int64(longest)) }

// add joins what another thread has seen to a phase.
func (p *Phase) add(r *recorder) {
	for i := range r.ops {
		from, to := &r.ops[i], &p.Ops[i]
		to.Count, to.Failed, to.Missing = to.Count+from.Count, to.Failed+from.Failed, to.Missing+from.Missing
		to.Latency.Merge(from.Latency)
	}
	for text, n := range r.errors {
		p.Errors[text] += n
	}
	if r.lag != nil {
		p.Lag.Merge(r.lag)
	}
	p.Unsent, p.Follows = p.Unsent+r.unsent, p.Follows+r.follows
}

// Spread is a value of several rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf is the zero value for no values.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(values))
	m := s[len(s)/2]
	if len(s)%2 == 0 {
		m = (s[len(s)/2-1] + m) / 2
	}
	return Spread{m, s[0], s[len(s)-1]}
}
