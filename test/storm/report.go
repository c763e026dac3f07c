package storm

import (
	"fmt"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func join(runners []runner) Report {
	var r Report
	at := map[string]int{}
	for _, run := range runners {
		c := run.who()
		i, ok := at[c.class]
		if !ok {
			i = len(r.Classes)
			at[c.class] = i
			r.Classes = append(r.Classes, ClassReport{Name: c.class, Latency: hdrhistogram.New(1, 60_000_000, 2)})
		}
		cr := &r.Classes[i]
		cr.Ops += c.stat.ops
		cr.Errors += c.stat.errors
		cr.Violations += c.stat.violations
		cr.Latency.Merge(c.stat.latency)
		cr.Longest = max(cr.Longest, c.stat.longest)
		for _, s := range c.stat.samples {
			r.sample(s)
		}
	}
	return r
}

// sample keeps the first faults; more of them say nothing new.
func (r *Report) sample(s string) {
	if len(r.Samples) < 30 {
		r.Samples = append(r.Samples, s)
	}
}

// Ops is the number of replies that were checked.
func (r Report) Ops() (n int64) {
	for _, c := range r.Classes {
		n += c.Ops
	}
	return n
}

// Errors is the number of error replies, lost connections and refused dials.
func (r Report) Errors() (n int64) {
	for _, c := range r.Classes {
		n += c.Errors
	}
	return n
}

// Violations is the number of replies that a standalone server could not have given.
func (r Report) Violations() (n int64) {
	for _, c := range r.Classes {
		n += c.Violations
	}
	return n
}

// String is a table, latencies in milliseconds.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s %10s %7s %10s %9s %9s %9s %9s\n", "class", "replies", "errors", "violations", "p50 ms", "p99 ms", "max ms", "silence")
	for _, c := range r.Classes {
		fmt.Fprintf(&b, "%-11s %10d %7d %10d", c.Name, c.Ops, c.Errors, c.Violations)
		if c.Latency != nil {
			ms := func(us int64) float64 { return float64(us) / 1000 }
			fmt.Fprintf(&b, " %9.2f %9.2f %9.2f %9.2f", ms(c.Latency.ValueAtQuantile(50)), ms(c.Latency.ValueAtQuantile(99)),
				ms(c.Latency.Max()), ms(c.Longest.Microseconds()))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d replies in %.1f s, %d errors, %d violations\n", r.Ops(), r.Elapsed.Seconds(), r.Errors(), r.Violations())
	for _, s := range r.Samples {
		b.WriteString("  " + s + "\n")
	}
	return b.String()
}
