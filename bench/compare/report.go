//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// report is what a run has found.
type report struct {
	Set        string
	When       time.Time
	Rounds     int
	Length     time.Duration
	Facts      []fact
	Cases      []loadCase
	Contenders []string // who was measured, in the order of tables
	Figures    map[loadCase]map[string]*figures
	Bars       []verdict
	Notes      []string
}

// figures are those of a contender in a case: medians of the rounds, with the lowest and the highest.
type figures struct {
	Rounds   int
	CPU      load.Spread // microseconds of the proxy per command
	NodeCPU  load.Spread // microseconds of all servers behind it per command
	Rate     load.Spread // commands per second
	PerKey   load.Spread // microseconds from one key to the next, of all clients together
	P50, P99 load.Spread // microseconds
	RSS      load.Spread // MiB, at the end
	Peak     load.Spread // MiB
	Late     load.Spread // microseconds by which the load itself was late, p99
	Pause    load.Spread // milliseconds, the longest of the collector in a round
	GC       load.Spread // percent of the proxy's processor time
	Cycles   load.Spread // collections in a round
	Failed   string      // why there are none
}

func newReport(s *settings, when time.Time, facts []fact) *report {
	return &report{Set: s.set, When: when, Rounds: s.rounds, Length: s.length, Facts: facts, Figures: map[loadCase]map[string]*figures{}}
}

// newFigures sums up the rounds.
func newFigures(list []sample, at loadCase) *figures {
	of := func(value func(s *sample) float64) load.Spread {
		var all []float64
		for i := range list {
			all = append(all, value(&list[i]))
		}
		return load.SpreadOf(all)
	}
	keys := 1
	if at.op == "MGET" || at.op == "MSET" {
		keys = at.many
	}
	return &figures{
		Rounds:  len(list),
		CPU:     of(func(s *sample) float64 { return s.cpu }),
		NodeCPU: of(func(s *sample) float64 { return s.nodes }),
		Rate:    of(func(s *sample) float64 { return s.rate }),
		PerKey:  of(func(s *sample) float64 { return 1e6 / (s.rate * float64(keys)) }),
		P50:     of(func(s *sample) float64 { return s.p50 }),
		P99:     of(func(s *sample) float64 { return s.p99 }),
		RSS:     of(func(s *sample) float64 { return s.rss }),
		Peak:    of(func(s *sample) float64 { return s.peak }),
		Late:    of(func(s *sample) float64 { return s.late }),
		Pause:   of(func(s *sample) float64 { return s.collector.pause * 1000 }),
		GC:      of(func(s *sample) float64 { return s.collector.share }),
		Cycles:  of(func(s *sample) float64 { return s.collector.cycles }),
	}
}

// add keeps figures, cases and contenders in the order in which they come.
func (r *report) add(at loadCase, who string, f *figures) {
	if !slices.Contains(r.Contenders, who) {
		r.Contenders = append(r.Contenders, who)
	}
	put(r.Figures, at, who, f)
}

// figures is nil for who was not measured.
func (r *report) figures(at loadCase, who string) *figures { return r.Figures[at][who] }

// measured are the cases that have figures.
func (r *report) measured() []loadCase {
	var list []loadCase
	for _, at := range r.Cases {
		if len(r.Figures[at]) > 0 {
			list = append(list, at)
		}
	}
	return list
}

func (r *report) title() string {
	return fmt.Sprintf("What a proxy costs: %s, %s", r.Set, r.When.Format(time.DateOnly))
}

// Texts that both forms of the report have.
const (
	barsText = "Figures of slotproxy with one loop, unless it says otherwise, as a multiple of another figure of the same run. In " +
		"brackets the least and the most that single rounds give."
	// Only a report that has such bars says so.
	unitText = "Bars in microseconds, milliseconds or percent are no multiples; they mean something on an otherwise idle machine."
	rateText = "A case *at N % of saturation* is an open load: commands are due by the clock, whatever came of earlier ones, and " +
		"measured from when they were due. Its rate is a share of what slotproxy with one loop can do, the same for everybody: one who can do less " +
		"does not keep up, and its latencies are those of a queue. *above direct* is the difference of the medians. *late* is how far behind the " +
		"clock the load itself was, p99: where that is much, the machine was measured and not the proxy. haproxy has one server, so it sends " +
		"nobody's key elsewhere; with *one key* all have."
	gcText = "*longest pause* is how long the collector stopped everything at most, all stops of one collection together; *collector* is its " +
		"share of the proxy's processor time, what it did on idle cores included; a dash where it had nothing to do. Metrics are read every 15 " +
		"seconds, as Prometheus does. With fewer cores than there are busy threads a pause also has the time in which another process had the core."
	casesText = "Medians of the rounds, in brackets the lowest and the highest. *CPU* is processor time of the proxy's process in " +
		"microseconds for each command, *servers' CPU* that of all servers behind it. MULTI is a block of four and counts as one."
	contendersText = "*direct* is a client that knows the cluster, without a proxy: its cost is the servers'. *forward* and *echo* are the loop " +
		"of slotproxy that only copies bytes to one server, and that answers without looking: what no proxy in Go can be cheaper than. Behind " +
		"whoever has one server there is one node of a cluster for PUBLISH: what is published goes to all nodes, behind slotproxy too."
)

func (r *report) method() string {
	return fmt.Sprintf("%d rounds of %v, each in another order; a closed load of one thread. Unless a case says otherwise: %d clients, "+
		"values of %d bytes, %d nodes, %d keys.", r.Rounds, r.Length, defaultClients, defaultSize, defaultNodes, defaultKeys)
}

// table is rows of cells, the first of which is the head.
type table [][]string

func (r *report) factTable() table {
	t := table{{"", ""}}
	for _, f := range r.Facts {
		t = append(t, []string{f.Name, f.Value})
	}
	return t
}

func (r *report) barTable() table {
	t := table{{"slotproxy's", "at most", "is", "", "issue"}}
	for _, v := range r.Bars {
		is, word, most := "-", "not measured", fmt.Sprintf("%.2f", v.Most)
		if v.Unit != "" {
			most = fmt.Sprintf("%g%s", v.Most, v.Unit)
		}
		if v.Measured {
			is = known(load.Spread{Median: v.Got, Min: v.Low, Max: v.High}, "%.3f") // one more than bars have, so that a miss is seen
			if v.Unit != "" {
				is += v.Unit
			}
			word = "met"
			if !v.Met {
				word = "MISSED"
			}
		}
		t = append(t, []string{v.Text, most, is, word, fmt.Sprint(v.Issue)})
	}
	return t
}

// caseTable compares the contenders in one case.
func (r *report) caseTable(at loadCase) table {
	switch {
	case at.share > 0:
		return r.rateTable(at)
	case at.watched():
		return r.collectorTable(at)
	}
	t := table{{"", "CPU", "times " + judged, "servers' CPU", "commands/s", "p50 us", "p99 us", "RSS MiB", "peak MiB"}}
	base := r.figures(at, judged)
	for _, who := range r.Contenders {
		f := r.figures(at, who)
		if f == nil {
			continue
		}
		if f.Failed != "" {
			t = append(t, []string{who, "failed", "", "", "", "", "", "", ""})
			continue
		}
		times := "-"
		if base != nil && base.CPU.Median > 0 && f.CPU.Median > 0 {
			times = fmt.Sprintf("%.2f", f.CPU.Median/base.CPU.Median)
		}
		t = append(t, []string{who, micro(f.CPU), times, micro(f.NodeCPU), spread(f.Rate, "%.0f"), micro(f.P50), micro(f.P99),
			spread(f.RSS, "%.0f"), spread(f.Peak, "%.0f")})
	}
	return t
}

// failures tells why a contender has no figures in a case.
func (r *report) failures(at loadCase) []string {
	var list []string
	for _, who := range r.Contenders {
		if f := r.figures(at, who); f != nil && f.Failed != "" {
			first, _, _ := strings.Cut(f.Failed, "\n")
			list = append(list, who+" failed: "+first)
		}
	}
	return list
}

// micro is a spread of microseconds, with as many digits as mean something.
func micro(s load.Spread) string {
	if s.Median >= 100 {
		return spread(s, "%.0f")
	}
	return spread(s, "%.2f")
}

// spread is "-" for what is not known.
func spread(s load.Spread, form string) string {
	if s.Median == 0 {
		return "-"
	}
	return known(s, form)
}

// known is a spread of what has been measured and may be nothing.
func known(s load.Spread, form string) string {
	median, low, high := fmt.Sprintf(form, s.Median), fmt.Sprintf(form, s.Min), fmt.Sprintf(form, s.Max)
	if low == high {
		return median
	}
	return median + " (" + low + "-" + high + ")"
}

// markdown is the report for terminals and for Markdown, whose tables are the same when their columns are aligned.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", r.title(), r.method())
	r.factTable().markdown(&b)
	if len(r.Bars) > 0 {
		fmt.Fprintf(&b, "\n## Bars\n\n%s\n\n", r.barsText())
		r.barTable().markdown(&b)
	}
	fmt.Fprintf(&b, "\n## Cases\n\n%s\n", strings.Join(r.texts(), "\n\n"))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNot measured: %s\n", n)
	}
	for _, at := range r.measured() {
		fmt.Fprintf(&b, "\n### %s\n\n", at.title())
		r.caseTable(at).markdown(&b)
		for _, text := range r.failures(at) {
			fmt.Fprintf(&b, "\n%s\n", text)
		}
	}
	return b.String()
}

func (t table) markdown(b *strings.Builder) {
	width := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)), 3)
		}
	}
	for y, row := range t {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i > 0 {
				cell = pad + cell // figures end in the same column
			} else {
				cell += pad
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if y > 0 {
			continue
		}
		for i, w := range width {
			line := strings.Repeat("-", w+1)
			if i > 0 {
				b.WriteString("|" + line + ":")
			} else {
				b.WriteString("|" + line + "-")
			}
		}
		b.WriteString("|\n")
	}
}

// write leaves both forms in a folder.
func (r *report) write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	page, err := r.html()
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, fmt.Sprintf("compare-%s-%s", r.When.Format(time.DateOnly), r.Set))
	for _, f := range []struct{ name, text string }{{name + ".md", r.markdown()}, {name + ".html", page}} {
		if err := os.WriteFile(f.name, []byte(f.text), 0o644); err != nil {
			return nil, err
		}
	}
	return []string{name + ".md", name + ".html"}, nil
}

// barsText explains bars.
func (r *report) barsText() string {
	if slices.ContainsFunc(r.Bars, func(v verdict) bool { return v.Unit != "" }) {
		return barsText + " " + unitText
	}
	return barsText
}

// texts explain the cases that were measured.
func (r *report) texts() []string {
	list := []string{casesText, contendersText}
	if slices.ContainsFunc(r.Cases, func(c loadCase) bool { return c.share > 0 }) {
		list = append(list, rateText)
	}
	if slices.ContainsFunc(r.Cases, func(c loadCase) bool { return c.watched() }) {
		list = append(list, gcText)
	}
	return list
}
