package load

import (
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// WriteLog writes the histograms of all phases as an HDR histogram log: a line for each, tagged target.phase.operation, ns.
func WriteLog(w io.Writer, results []*Result) error {
	log := hdrhistogram.NewHistogramLogWriter(w)
	if err := log.OutputComment("[Histogram log of slotproxy bench; values in ns]"); err != nil {
		return err
	}
	if err := log.OutputLogFormatVersion(); err != nil {
		return err
	}
	if err := log.OutputLegend(); err != nil {
		return err
	}
	for _, res := range results {
		for i := range res.Phases {
			p := &res.Phases[i]
			for j := range p.Ops {
				h := p.Ops[j].Latency
				h.SetTag(res.Target + "." + p.Name + "." + p.Ops[j].Name)
				h.SetStartTimeMs(p.Begin.UnixMilli())
				h.SetEndTimeMs(p.Begin.Add(p.Length).UnixMilli())
				if err := log.OutputIntervalHistogram(h); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// WritePercentiles writes the distribution of each phase in the form that HdrHistogram's plotters read (.hgrm), in milliseconds.
func WritePercentiles(w io.Writer, results []*Result) error {
	for _, res := range results {
		for i := range res.Phases {
			p := &res.Phases[i]
			if _, err := fmt.Fprintf(w, "#[%s, %s]\n", res.Target, p.Name); err != nil {
				return err
			}
			// 5 lines for each halving of what is left: the usual.
			if _, err := p.All().Latency.PercentilesPrint(w, 5, 1e6); err != nil {
				return err
			}
		}
	}
	return nil
}

// Merge pools the rounds of one load: counts and histograms are added, phase by phase, lengths too.
func Merge(rounds []*Result) *Result {
	sum := &Result{}
	for _, res := range rounds {
		sum.Target = res.Target
		for i := range res.Phases {
			if i == len(sum.Phases) {
				sum.Phases = append(sum.Phases, empty(&res.Phases[i]))
			}
			sum.Phases[i].pool(&res.Phases[i])
		}
	}
	return sum
}

// empty is a phase of the same operations and processes in which nothing has happened.
func empty(like *Phase) Phase {
	p := Phase{Name: like.Name, Begin: like.Begin, Errors: map[string]int64{}, Lag: newHistogram()}
	for i := range like.Ops {
		p.Ops = append(p.Ops, OpResult{Name: like.Ops[i].Name, Latency: newHistogram()})
	}
	for _, t := range like.CPU {
		p.CPU = append(p.CPU, ProcessTime{t.Process, 0})
	}
	return p
}

func (p *Phase) pool(from *Phase) {
	p.Length += from.Length
	p.add(&recorder{ops: from.Ops, errors: from.Errors, lag: from.Lag, unsent: from.Unsent, follows: from.Follows})
	for i, t := range from.CPU {
		if t.Used < 0 || p.CPU[i].Used < 0 {
			p.CPU[i].Used = -1
			continue
		}
		p.CPU[i].Used += t.Used
	}
}
