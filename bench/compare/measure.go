//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// measurer carries out a run.
type measurer struct {
	*settings
	list    []*contender
	files   int // descriptors that a process may have
	cores   cores
	samples map[loadCase]map[string][]sample
	failed  map[loadCase]map[string]string
	release string   // of the servers, as they tell it
	notes   []string // what was left out, in the order in which it was met

	// saturation is what slotproxy with one loop did in a closed load, in commands a second: the measure of the open ones.
	saturation map[loadCase]float64
}

// sample is one measurement.
type sample struct {
	cpu, nodes float64 // microseconds per command, of the proxy and of all servers behind it; 0: not known
	rate       float64 // commands per second
	p50, p99   float64 // microseconds
	rss, peak  float64 // MiB of the proxy
	late       float64 // microseconds from when commands of an open load were due until they were sent, p99
	collector  collections
}

func newMeasurer(s *settings) (*measurer, error) {
	m := &measurer{settings: s, list: contenders(s), samples: map[loadCase]map[string][]sample{}, failed: map[loadCase]map[string]string{},
		saturation: map[loadCase]float64{}}
	var err error
	if m.files, err = raiseFiles(); err != nil {
		return nil, err
	}
	if s.taskset {
		m.cores, err = splitCores()
	}
	return m, err
}

// all measures every case, scene by scene.
func (m *measurer) all(ctx context.Context) error {
	order, by := scenes(m.cases)
	jobs := map[scene]map[loadCase][]*contender{}
	number := 0
	for _, sc := range order {
		jobs[sc] = map[loadCase][]*contender{}
		for _, at := range by[sc] {
			jobs[sc][at] = m.fit(at)
			number += len(jobs[sc][at])
		}
	}
	const around = 500 * time.Millisecond // connecting, and warming up
	fmt.Fprintf(os.Stderr, "%d measurements, %d rounds: about %v\n", number, m.rounds,
		(time.Duration(number*m.rounds) * (m.length + around)).Round(10*time.Second))
	w := &world{measurer: m}
	defer w.stop()
	for i, sc := range order {
		if err := w.enter(sc); err != nil {
			return err
		}
		if err := m.saturate(ctx, w, by[sc]); err != nil {
			return err
		}
		for round := range m.rounds {
			fmt.Fprintf(os.Stderr, "scene %d of %d (%d nodes, %d keys), round %d of %d\n", i+1, len(order), sc.nodes, sc.keys, round+1, m.rounds)
			for _, at := range by[sc] {
				if err := m.round(ctx, w, at, jobs[sc][at], round); err != nil {
					return err
				}
				if at.heavy() {
					w.stopProxies()
				}
			}
		}
	}
	return nil
}

// fit are those who can take part in a case; who cannot for a reason that is not always the same is noted.
func (m *measurer) fit(at loadCase) []*contender {
	var list []*contender
	for _, c := range m.list {
		if !m.wanted(c, at) || !c.fits(at) {
			continue
		}
		if reason := c.lacks(at, m.files); reason != "" {
			m.note(reason)
			continue
		}
		list = append(list, c)
	}
	return list
}

// round measures a case with each contender once, each round in another order.
func (m *measurer) round(ctx context.Context, w *world, at loadCase, list []*contender, round int) error {
	for i := range list {
		c := list[(i+round)%len(list)]
		if m.failed[at][c.name] != "" {
			continue
		}
		got, err := m.measure(ctx, w, c, at)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s, %s: %v\n", c.name, at.title(), err)
			put(m.failed, at, c.name, err.Error())
			continue
		}
		put(m.samples, at, c.name, append(m.samples[at][c.name], got))
	}
	return nil
}

func put[V any](in map[loadCase]map[string]V, at loadCase, name string, v V) {
	if in[at] == nil {
		in[at] = map[string]V{}
	}
	in[at][name] = v
}

func (m *measurer) note(text string) {
	for _, n := range m.notes {
		if n == text {
			return
		}
	}
	m.notes = append(m.notes, text)
}

// A run with one client is several short ones instead of a long one: where the kernel happens to place the processes decides a run, up
// to a half.
const (
	shortRuns = 5
	leastRun  = 100 * time.Millisecond
)

// measure runs a case once with one contender.
func (m *measurer) measure(ctx context.Context, w *world, c *contender, at loadCase) (sample, error) {
	p, err := w.proxy(ctx, c, at)
	if err != nil {
		return sample{}, err
	}
	cfg := w.load(c, p, at)
	resetPeak(p.pid())
	runs, length := 1, m.length
	if at.clients == 1 {
		runs, length = shortRuns, max(m.length/shortRuns, leastRun)
	}
	var got sample
	var results []*load.Result
	answered := int64(0)
	for range runs {
		one, err := m.once(ctx, w, p, cfg, at, length)
		if err != nil {
			return sample{}, err
		}
		results = append(results, one.res)
		answered += one.answered
		got.rss, got.peak, got.collector = one.rss, one.peak, one.collector
	}
	phase := &load.Merge(results).Phases[0]
	if err := wrong(phase, at, answered); err != nil {
		return sample{}, err
	}
	got.cpu, got.nodes = perCommand(phase, load.Proxy, answered), perCommand(phase, load.Node, answered)
	got.rate = float64(answered) / phase.Length.Seconds()
	all := phase.All()
	got.p50, got.p99 = micros(all.Quantile(50)), micros(all.Quantile(99))
	if at.share > 0 {
		got.late = micros(time.Duration(phase.Lag.ValueAtQuantile(99)))
	}
	if at.watched() && got.cpu > 0 {
		got.collector.share = 100 * got.collector.used * 1e6 / (got.cpu * float64(answered))
	}
	return got, nil
}

// seen is what one load tells.
type seen struct {
	res *load.Result
	// answered are the commands whose replies came in time: a phase counts those that were sent in it, which are others when thousands of
	// clients wait for seconds.
	answered  int64
	rss, peak float64
	collector collections
}

// once is a load, after some of it that warms up.
func (m *measurer) once(ctx context.Context, w *world, p *proxy, cfg load.Config, at loadCase, length time.Duration) (s seen, err error) {
	var crowd *audience
	if at.op == "PUBLISH" && at.many > 0 {
		if crowd, err = gather(w.audienceAddrs(p), at.many, at.size); err != nil {
			return s, err
		}
		defer crowd.leave()
		cfg.Ops = []load.Op{crowd.publishTo()}
	}
	run, err := load.Start(ctx, cfg)
	if err != nil {
		return s, err
	}
	err = load.Pause(ctx, length/5)
	if err == nil {
		err = run.Enter("all")
	}
	before, _ := run.Progress()
	if err == nil {
		s.collector, err = pass(ctx, p, at, length)
	}
	after, _ := run.Progress()
	s.answered = after - before
	s.rss, s.peak = memory(p.pid())
	s.res = run.Stop()
	if err == nil && crowd != nil {
		sent, _ := run.Progress()
		err = crowd.heard(sent)
	}
	return s, err
}

// wrong is why figures of a phase would mean nothing.
func wrong(p *load.Phase, at loadCase, answered int64) error {
	all := p.All()
	for text, n := range p.Errors {
		return fmt.Errorf("%d of %d failed, %d of them because of: %s", all.Failed, all.Failed+all.Count, n, strings.TrimSpace(text))
	}
	switch {
	case answered == 0:
		return fmt.Errorf("nothing was answered in %v", p.Length.Round(time.Millisecond))
	case all.Missing > 0 && at.op != "SET":
		return fmt.Errorf("%d of %d keys did not exist", all.Missing, all.Count)
	}
	return nil
}

// perCommand is the processor time of a role in microseconds.
func perCommand(p *load.Phase, role string, commands int64) float64 {
	var sum time.Duration
	for _, t := range p.CPU {
		if t.Role == role && t.Used > 0 {
			sum += t.Used
		}
	}
	return micros(sum) / float64(commands)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// finish turns what was measured into a report.
func (m *measurer) finish(r *report) {
	for _, c := range m.list {
		for _, at := range m.cases {
			f := newFigures(m.samples[at][c.name], at)
			f.Failed = m.failed[at][c.name]
			if f.Rounds > 0 || f.Failed != "" {
				r.add(at, c.name, f)
			}
		}
	}
	r.Notes = append(r.Notes, m.notes...)
	for _, at := range m.cases {
		if full := m.saturation[at]; full > 0 {
			r.Facts = append(r.Facts, fact{"saturation", fmt.Sprintf("%.0f commands/s: %s, %s, a closed load", full, judged, at.title())})
		}
	}
	r.Facts = append(r.Facts, fact{"load average after", loadAverage()}, fact{"servers", m.release})
}
