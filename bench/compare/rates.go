//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// saturationRuns are as many as tell a slow moment of the machine from what slotproxy can do.
const saturationRuns = 3

// saturate measures how much slotproxy can do in the closed loads that the open ones are shares of.
func (m *measurer) saturate(ctx context.Context, w *world, cases []loadCase) error {
	i := slices.IndexFunc(m.list, func(c *contender) bool { return c.name == judged })
	for _, at := range cases {
		full := at.saturating()
		if at.share == 0 || m.saturation[full] > 0 {
			continue
		}
		var rates []float64
		for range saturationRuns {
			got, err := m.measure(ctx, w, m.list[i], full)
			if err != nil {
				return fmt.Errorf("the saturation of %s, which rates are shares of: %w", full.title(), err)
			}
			rates = append(rates, got.rate)
		}
		slices.Sort(rates)
		m.saturation[full] = rates[len(rates)/2]
		fmt.Fprintf(os.Stderr, "saturation of %s: %.0f commands/s\n", full.title(), m.saturation[full])
	}
	return nil
}

// rateTable compares latencies at one rate.
func (r *report) rateTable(at loadCase) table {
	t := table{{"", "commands/s", "p50 us", "above direct", "p99 us", "above direct", "CPU", "late us"}}
	base := r.figures(at, direct)
	for _, who := range r.Contenders {
		f := r.figures(at, who)
		if f == nil {
			continue
		}
		if f.Failed != "" {
			t = append(t, []string{who, "failed", "", "", "", "", "", ""})
			continue
		}
		p50, p99 := "-", "-"
		if who != direct && base != nil && base.Failed == "" {
			p50, p99 = fmt.Sprintf("%+.0f", f.P50.Median-base.P50.Median), fmt.Sprintf("%+.0f", f.P99.Median-base.P99.Median)
		}
		t = append(t, []string{who, spread(f.Rate, "%.0f"), spread(f.P50, "%.0f"), p50, spread(f.P99, "%.0f"), p99, micro(f.CPU), spread(f.Late, "%.0f")})
	}
	return t
}
