//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// loadCase is one column of the table.
type loadCase struct {
	command  string
	pipeline int
	not      string // peers that do not know the command
}

var cases = []loadCase{
	{"GET", 1, ""}, {"SET", 1, "echo"}, {"GET", 16, ""}, {"SET", 16, "echo"},
	{"MULTI", 16, "twemproxy echo"}, {"PUBLISH", 16, "twemproxy echo"}, {"EVALSHA", 16, "twemproxy echo"},
}

// pick leaves the named cases, all of them when there is no name. Bars are indices, so they are judged only then.
func pick(names string) error {
	if names == "" {
		return nil
	}
	all := cases
	cases, bars = nil, nil
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(c loadCase) bool { return fmt.Sprintf("%s:%d", c.command, c.pipeline) == name })
		if i < 0 {
			return fmt.Errorf("no case %q", name)
		}
		cases = append(cases, all[i])
	}
	return nil
}

// bars are what slotproxy with one loop must meet, from issues 2 and 3. A prototype reached 0.67, 0.84 and 0.35.
var bars = []struct {
	peer string
	at   int // index of cases, or -1 for the latency of one client
	most float64
}{{"haproxy", 0, 0.75}, {"twemproxy", 0, 0.90}, {"twemproxy", 2, 0.45}, {"haproxy", -1, 1.10},
	{"haproxy", 4, 1}, {"haproxy", 5, 1}, {"haproxy", 6, 1}}

// latencyRuns in each round instead of a long one: where the kernel happens to place the three processes decides a run, up to a half.
const latencyRuns = 5

const judged = "slotproxy 1"

// results are one value a round, in microseconds.
type results struct {
	names []string
	cost  map[string][][]float64 // peer -> case -> processor time per command
	rate  map[string][][]float64 // peer -> case -> commands per second
	p50   map[string][]float64   // peer -> latency of one client without pipeline
}

func newResults(peers []*peer) *results {
	r := &results{cost: map[string][][]float64{}, rate: map[string][][]float64{}, p50: map[string][]float64{}}
	for _, p := range peers {
		r.names = append(r.names, p.name)
		r.cost[p.name] = make([][]float64, len(cases))
		r.rate[p.name] = make([][]float64, len(cases))
	}
	return r
}

// measure runs every case once against one peer.
func (r *results) measure(ctx context.Context, p *peer, s settings) error {
	for i, c := range cases {
		if strings.Contains(c.not, p.name) {
			continue
		}
		l := newLoad(p.addr, c.command, s.clients, c.pipeline, s)
		before, err := cpuTime(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		start := time.Now()
		n, err := l.run(ctx, s.length)
		if err != nil {
			return fmt.Errorf("%s pipeline %d: %w", c.command, c.pipeline, err)
		}
		elapsed := time.Since(start)
		after, err := cpuTime(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		r.cost[p.name][i] = append(r.cost[p.name][i], float64((after-before).Nanoseconds())/1000/float64(n))
		r.rate[p.name][i] = append(r.rate[p.name][i], float64(n)/elapsed.Seconds())
	}
	return nil
}

// measureLatency runs one client without pipeline, on one key: haproxy has one server behind it, and the other proxies are to be
// compared with it and not the wake-ups of three server processes with those of one.
func (r *results) measureLatency(ctx context.Context, p *peer, s settings) error {
	s.keys = 1
	l := newLoad(p.addr, "GET", 1, 1, s)
	if _, err := l.run(ctx, s.length/latencyRuns); err != nil {
		return fmt.Errorf("one client: %w", err)
	}
	r.p50[p.name] = append(r.p50[p.name], float64(l.p50().Nanoseconds())/1000)
	return nil
}

// cpuTime sums the run time of all threads of a process. A thread that ended takes its time with it; these proxies end none under load.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d has ended, or this kernel has no schedstat", pid)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// print writes the table and the bars, and tells whether all of them are met.
func (r *results) print(w io.Writer, s settings) bool {
	fmt.Fprintf(w, "%d clients, %d-byte values, %s; medians of %d rounds of %v\n\n", s.clients, s.value, s.version, s.rounds, s.length)
	fmt.Fprintf(w, "processor microseconds of the proxy per command (commands per second); MULTI is a block of four\n%-12s", "")
	for _, c := range cases {
		fmt.Fprintf(w, " %18s", fmt.Sprintf("%s pipeline %d", c.command, c.pipeline))
	}
	fmt.Fprintf(w, " %18s\n", "one client p50 us")
	for _, name := range r.names {
		fmt.Fprintf(w, "%-12s", name)
		for i := range cases {
			cell := "-"
			if len(r.cost[name][i]) > 0 {
				cell = fmt.Sprintf("%.2f (%.0fk)", median(r.cost[name][i]), median(r.rate[name][i])/1000)
			}
			fmt.Fprintf(w, " %18s", cell)
		}
		fmt.Fprintf(w, " %18.1f\n", median(r.p50[name]))
	}
	r.printRatios(w)
	return r.printBars(w)
}

// printRatios compares every slotproxy with every peer, each case for itself.
func (r *results) printRatios(w io.Writer) {
	fmt.Fprintf(w, "\nratios\n")
	for _, ours := range r.names {
		for _, theirs := range r.names {
			if !strings.HasPrefix(ours, "slotproxy") || strings.HasPrefix(theirs, "slotproxy") {
				continue
			}
			fmt.Fprintf(w, "%-24s", ours+" / "+theirs)
			for i := range cases {
				if len(r.cost[theirs][i]) == 0 {
					fmt.Fprintf(w, " %12s", "-")
					continue
				}
				fmt.Fprintf(w, " %12.2f", median(r.cost[ours][i])/median(r.cost[theirs][i]))
			}
			fmt.Fprintf(w, " %12.2f\n", median(r.p50[ours])/median(r.p50[theirs]))
		}
	}
}

func (r *results) printBars(w io.Writer) bool {
	fmt.Fprintf(w, "\nbars (%s)\n", judged)
	all := true
	for _, b := range bars {
		what, ours, theirs := "one client p50", median(r.p50[judged]), median(r.p50[b.peer])
		if b.at >= 0 {
			what = fmt.Sprintf("%s pipeline %d", cases[b.at].command, cases[b.at].pipeline)
			ours, theirs = median(r.cost[judged][b.at]), median(r.cost[b.peer][b.at])
		}
		verdict := "met"
		if ours > b.most*theirs {
			verdict, all = "MISSED", false
		}
		fmt.Fprintf(w, "%-16s at most %.2f of %-10s: %.2f %s\n", what, b.most, b.peer, ours/theirs, verdict)
	}
	return all
}
