//go:build linux

package main

import (
	"slices"

	"slotproxy/bench/load"
)

// The names of contenders that a bar is about.
const (
	direct   = "direct"
	judged   = "slotproxy 1"
	twoLoops = "slotproxy 2"
	against  = "against"
	haproxy  = "haproxy"
	twem     = "twemproxy"
	forward  = "forward"
	echo     = "echo"
)

// bar is what slotproxy must meet: a figure is at most so many times another one of the same run.
type bar struct {
	text   string
	issue  int
	figure func(*figures) load.Spread
	ours   side
	theirs side
	most   float64
}

// side is whose figure, in which case.
type side struct {
	who string
	at  loadCase
}

func cpuOf(f *figures) load.Spread  { return f.CPU }
func p50Of(f *figures) load.Spread  { return f.P50 }
func timeOf(f *figures) load.Spread { return f.PerKey }

// bars are those of issues 2, 3 and 5.
func bars() []bar {
	get1, get16, set1, set16 := basic("GET", 0, 1), basic("GET", 0, 16), basic("SET", 0, 1), basic("SET", 0, 16)
	large := func(c loadCase) loadCase { c.size = 16 << 10; return c }
	many := vary(1, func(c *loadCase, n int) { c.clients = n }, 8000)[0]
	wide := vary(1, func(c *loadCase, n int) { c.nodes = n }, 30)[0]
	single := get1
	single.clients, single.one = 1, true // haproxy has one server: on one key the wake-ups of as many servers are compared
	than := func(text string, issue int, at loadCase, who string, most float64) bar {
		return bar{text, issue, cpuOf, side{judged, at}, side{who, at}, most}
	}
	list := []bar{
		than("GET, of the echo", 5, get1, echo, 1.25),
		than("SET, of the echo", 5, set1, echo, 1.25),
		than("GET at pipeline 16, of twemproxy", 5, get16, twem, 0.40),
		than("SET at pipeline 16, of twemproxy", 5, set16, twem, 0.40),
		than("GET of 16 KiB, of haproxy", 5, large(get1), haproxy, 1),
		than("SET of 16 KiB, of haproxy", 5, large(set1), haproxy, 1),
		{"GET with two loops, of one", 5, cpuOf, side{twoLoops, get1}, side{judged, get1}, 1.15},
		{"GET at pipeline 16 with two loops, of one", 5, cpuOf, side{twoLoops, get16}, side{judged, get16}, 1.15},
		{"GET of 8000 clients, of 50", 5, cpuOf, side{judged, many}, side{judged, get1}, 1.8},
		{"GET with 30 nodes, of 3", 5, cpuOf, side{judged, wide}, side{judged, get1}, 1.3},
		{"time for a key in MGET of 100, of GET", 5, timeOf, side{judged, basic("MGET", 100, 1)}, side{judged, get1}, 0.2},
		than("GET, of haproxy", 2, get1, haproxy, 0.75),
		than("GET, of twemproxy", 2, get1, twem, 0.90),
		than("GET at pipeline 16, of twemproxy", 2, get16, twem, 0.45),
		{"p50 of one client, of haproxy", 2, p50Of, side{judged, single}, side{haproxy, single}, 1.10},
	}
	for _, op := range []string{"MULTI", "PUBLISH", "EVALSHA"} {
		list = append(list, than(op+" at pipeline 16, of haproxy", 3, basic(op, 0, 16), haproxy, 1))
	}
	return list
}

// barCases are those that bars are about.
func barCases() []loadCase {
	var list []loadCase
	for _, b := range bars() {
		list = append(list, b.theirs.at, b.ours.at)
	}
	return distinct(list)
}

// barSides are who is needed in which case, and no other: the bars alone take minutes, the whole matrix an hour.
func barSides() map[loadCase][]string {
	need := map[loadCase][]string{}
	for _, b := range bars() {
		for _, s := range []side{b.theirs, b.ours} {
			if !slices.Contains(need[s.at], s.who) {
				need[s.at] = append(need[s.at], s.who)
			}
		}
	}
	return need
}

// verdict is a bar that was judged.
type verdict struct {
	Text     string
	Issue    int
	Most     float64
	Got      float64
	Low      float64 // our best round beside their worst
	High     float64 // and the other way round
	Measured bool
	Met      bool
}

// judge compares with the bars. Without whole, bars whose cases were not measured are left out; with it they are missed.
func (r *report) judge(whole bool) {
	for _, b := range bars() {
		ours, theirs := r.value(b.ours, b.figure), r.value(b.theirs, b.figure)
		v := verdict{Text: b.text, Issue: b.issue, Most: b.most, Measured: ours.Median > 0 && theirs.Median > 0}
		if v.Measured {
			v.Got, v.Low, v.High = ours.Median/theirs.Median, ours.Min/theirs.Max, ours.Max/theirs.Min
			v.Met = v.Got <= v.Most
		}
		if v.Measured || whole {
			r.Bars = append(r.Bars, v)
		}
	}
}

// value is zero for what was not measured.
func (r *report) value(s side, figure func(*figures) load.Spread) load.Spread {
	if f := r.figures(s.at, s.who); f != nil && f.Failed == "" {
		return figure(f)
	}
	return load.Spread{}
}

// met tells that no bar was missed.
func (r *report) met() bool {
	return !slices.ContainsFunc(r.Bars, func(v verdict) bool { return !v.Met })
}
