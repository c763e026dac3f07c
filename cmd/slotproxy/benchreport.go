package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// benchReport is the result of all rounds.
type benchReport struct {
	bench  *bench
	rounds [][]*load.Result // by target
	sums   []*load.Result   // of the rounds of a target
}

func newBenchReport(b *bench, all [][]*load.Result) *benchReport {
	r := &benchReport{bench: b, rounds: all}
	for _, rounds := range all {
		r.sums = append(r.sums, load.Merge(rounds))
	}
	return r
}

func (r *benchReport) failed() int64 {
	n := int64(0)
	for _, s := range r.sums {
		for i := range s.Phases {
			n += s.Phases[i].All().Failed
		}
	}
	return n
}

// lateness is how late the generator may be in an open load before it is said that it, and not the target, is measured.
const lateness = time.Millisecond

func (r *benchReport) write(w io.Writer) {
	out := &operation{talk: w}
	for _, s := range r.sums {
		for i := range s.Phases {
			r.phase(out, s, &s.Phases[i])
		}
	}
	if len(r.sums) == 2 {
		r.overhead(out)
	}
	if r.bench.flags.during != "" {
		r.during(out)
	}
}

// phase is a block for each kind of operation, as valkey-benchmark writes it.
func (r *benchReport) phase(out *operation, s *load.Result, p *load.Phase) {
	f := r.bench.flags
	for i := range p.Ops {
		o := &p.Ops[i]
		title := o.Name + " " + s.Target
		if p.Name != "all" {
			title += " " + p.Name
		}
		out.print("====== %s ======\n", title)
		out.print("  %d requests completed in %.2f seconds\n", o.Count, p.Length.Seconds())
		out.print("  %d parallel clients\n  %s bytes payload\n  keep alive: 1\n", f.clients, f.size)
		out.print("  pipeline: %d, threads: %d, keys: %d %s\n", f.pipeline, f.threads, f.keys, f.distribution)
		if f.rate > 0 {
			out.print("  rate: %g requests per second of all kinds, latency from when they were due\n", f.rate)
		}
		if o.Failed > 0 || o.Missing > 0 {
			out.print("  failed: %d, without a value: %d\n", o.Failed, o.Missing)
		}
		out.print("\nSummary:\n  throughput summary: %.2f requests per second\n", float64(o.Count)/max(p.Length.Seconds(), 1e-9))
		out.print("  latency summary (msec):\n  %12s %9s %9s %9s %9s %9s %9s\n", "avg", "min", "p50", "p95", "p99", "p99.9", "max")
		out.print("  %12.3f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n\n", o.Latency.Mean()/1e6, float64(o.Latency.Min())/1e6,
			msec(o, 50), msec(o, 95), msec(o, 99), msec(o, 99.9), float64(o.Latency.Max())/1e6)
	}
	r.remarks(out, p)
}

func msec(o *load.OpResult, percent float64) float64 {
	return float64(o.Quantile(percent).Nanoseconds()) / 1e6
}

// remarks are what must not be overlooked.
func (r *benchReport) remarks(out *operation, p *load.Phase) {
	texts := slices.SortedFunc(maps.Keys(p.Errors), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.Errors[b], p.Errors[a]), cmp.Compare(a, b))
	})
	for _, text := range texts {
		out.print("  %d failed: %s\n", p.Errors[text], text)
	}
	if p.Follows > 0 {
		out.print("  %d redirects followed\n", p.Follows)
	}
	if late := time.Duration(p.Lag.ValueAtQuantile(99)); late > lateness {
		out.print("  one in a hundred was sent %v after it was due: more --threads, or a lower --rate\n", late.Round(100*time.Microsecond))
	}
	if len(texts) > 0 || p.Follows > 0 {
		out.print("\n")
	}
}

// measure is one line of a comparison.
type measure struct {
	name  string // with its unit
	json  string
	value func(*load.Phase) (float64, bool)
	ratio bool // the difference is told as a factor
}

var measures = []measure{
	{"throughput, requests/s", "requests_per_second", func(p *load.Phase) (float64, bool) { return p.Rate(), true }, true},
	quantileMeasure(50), quantileMeasure(99), quantileMeasure(99.9),
	cpuMeasure("CPU of the proxy", load.Proxy), cpuMeasure("CPU of the nodes", load.Node), cpuMeasure("CPU of the generator", load.Generator),
}

func quantileMeasure(percent float64) measure {
	return measure{fmt.Sprintf("p%g, msec", percent), fmt.Sprintf("p%g_msec", percent), func(p *load.Phase) (float64, bool) {
		all := p.All()
		return msec(&all, percent), all.Latency.TotalCount() > 0
	}, false}
}

func cpuMeasure(name, role string) measure {
	return measure{name + ", usec/request", "cpu_usec_per_request_" + role, func(p *load.Phase) (float64, bool) {
		used, known := p.CPUPerOp(role)
		return float64(used.Nanoseconds()) / 1e3, known
	}, false}
}

// spread is a measure over the rounds of a target, in the phase of an index.
func (m *measure) spread(rounds []*load.Result, phase int) (load.Spread, bool) {
	var values []float64
	for _, res := range rounds {
		if phase >= len(res.Phases) {
			return load.Spread{}, false
		}
		v, known := m.value(&res.Phases[phase])
		if !known {
			return load.Spread{}, false
		}
		values = append(values, v)
	}
	return load.SpreadOf(values), true
}

// overhead compares the proxy with the cluster itself.
func (r *benchReport) overhead(out *operation) {
	out.print("Overhead of the proxy (medians of %d rounds, and from the lowest to the highest)\n", r.bench.flags.rounds)
	var rows [][]string
	for i := range measures {
		m := &measures[i]
		row := []string{"  " + m.name}
		direct, known := m.spread(r.rounds[0], 0)
		row = append(row, cell(direct, known))
		through, knownToo := m.spread(r.rounds[1], 0)
		row = append(row, cell(through, knownToo))
		row = append(row, difference(m, direct.Median, through.Median, known && knownToo))
		if known || knownToo {
			rows = append(rows, row)
		}
	}
	out.table("  |DIRECT|PROXY|DIFFERENCE", rows)
	if _, known := measures[len(measures)-2].spread(r.rounds[0], 0); !known {
		out.print("  CPU is known of processes on this machine, the proxy's if the admin port or --proxy-pid tells which it is.\n")
	}
}

func cell(s load.Spread, known bool) string {
	if !known {
		return "-"
	}
	return fmt.Sprintf("%s (%s to %s)", figure(s.Median), figure(s.Min), figure(s.Max))
}

// figure has about three digits that mean something.
func figure(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func difference(m *measure, direct, through float64, known bool) string {
	if !known {
		return ""
	}
	if m.ratio && direct > 0 {
		return fmt.Sprintf("%.2fx", through/direct)
	}
	sign := "+"
	if through < direct {
		sign = "-"
	}
	return sign + figure(max(through-direct, direct-through))
}

// during compares the phases.
func (r *benchReport) during(out *operation) {
	phases := r.sums[0].Phases
	out.print("%s\n", r.bench.flags.during)
	if j := r.bench.job; j != nil {
		out.print("  job %s: %s, %d of %d slots, %d keys, longest hold %v\n", j.ID, strings.TrimSpace(j.State+" "+j.Reason), j.SlotsDone, j.SlotsTotal,
			j.KeysMoved, time.Duration(j.LongestHold)*time.Microsecond)
	}
	head := "  "
	for i := range phases {
		head += "|" + strings.ToUpper(phases[i].Name)
	}
	var rows [][]string
	row := func(name string, value func(*load.Phase) string) {
		cells := []string{"  " + name}
		for i := range phases {
			cells = append(cells, value(&phases[i]))
		}
		rows = append(rows, cells)
	}
	row("seconds", func(p *load.Phase) string { return fmt.Sprintf("%.1f", p.Length.Seconds()) })
	for i := range measures {
		m := &measures[i]
		row(m.name, func(p *load.Phase) string {
			if v, known := m.value(p); known {
				return figure(v)
			}
			return "-"
		})
	}
	row("longest, msec", func(p *load.Phase) string {
		all := p.All()
		return figure(float64(all.Latency.Max()) / 1e6)
	})
	row("failed", func(p *load.Phase) string { return fmt.Sprint(p.All().Failed) })
	out.table(head, rows)
}
