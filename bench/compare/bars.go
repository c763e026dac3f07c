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

// way is how a figure is judged.
type way int

const (
	times way = iota // as a multiple of another figure of the same run
	above            // by how much it is above another one, in microseconds
	alone            // by itself, in the unit of the bar
)

// bar is what slotproxy must meet. One of microseconds or percent means something on a quiet machine only, so that only reports judge.
type bar struct {
	text   string
	issue  int
	figure func(*figures) load.Spread
	ours   side
	theirs side
	most   float64
	how    way
	unit   string
	set    string // in which it must be met
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
	list := ratioBars()
	for i := range list {
		list[i].set = bySet
	}
	slow := vary(1, func(c *loadCase, n int) { c.share = n }, 10)[0]
	list = append(list, bar{text: "p50 of GET at 10 % of saturation, above direct", issue: 5, figure: p50Of, ours: side{judged, slow},
		theirs: side{direct, slow}, most: 40, how: above, unit: " us", set: byRate})
	for _, at := range gcCases() {
		own := bar{issue: 5, ours: side{judged, at}, how: alone, set: byGC}
		pause, share := own, own
		pause.text, pause.figure, pause.most, pause.unit = "longest pause of the collector, "+at.title(), pauseOf, 1, " ms"
		share.text, share.figure, share.most, share.unit = "the collector's share of processor time, "+at.title(), shareOf, 1, " %"
		list = append(list, pause, share)
	}
	return list
}

// ratioBars are those that mean something on any machine.
func ratioBars() []bar {
	get1, get16, set1, set16 := basic("GET", 0, 1), basic("GET", 0, 16), basic("SET", 0, 1), basic("SET", 0, 16)
	large := func(c loadCase) loadCase { c.size = 16 << 10; return c }
	many := vary(1, func(c *loadCase, n int) { c.clients = n }, 8000)[0]
	wide := vary(1, func(c *loadCase, n int) { c.nodes = n }, 30)[0]
	// Fifty clients ask 25 of thirty nodes at a time, each for little: that takes half a call more for each GET however a proxy
	// gathers. A thousand have something for every node.
	crowd := vary(1, func(c *loadCase, n int) { c.clients = n }, 1000)[0]
	crowdWide := wide
	crowdWide.clients = crowd.clients
	single := get1
	single.clients, single.one = 1, true // haproxy has one server: on one key the wake-ups of as many servers are compared
	than := func(text string, issue int, at loadCase, who string, most float64) bar {
		return bar{text: text, issue: issue, figure: cpuOf, ours: side{judged, at}, theirs: side{who, at}, most: most}
	}
	list := []bar{
		than("GET, of the echo", 5, get1, echo, 1.25),
		than("SET, of the echo", 5, set1, echo, 1.25),
		than("GET at pipeline 16, of twemproxy", 5, get16, twem, 0.40),
		than("SET at pipeline 16, of twemproxy", 5, set16, twem, 0.40),
		than("GET of 16 KiB, of haproxy", 5, large(get1), haproxy, 1),
		than("SET of 16 KiB, of haproxy", 5, large(set1), haproxy, 1),
		{text: "GET with two loops, of one", issue: 5, figure: cpuOf, ours: side{twoLoops, get1}, theirs: side{judged, get1}, most: 1.15},
		{text: "GET at pipeline 16 with two loops, of one", issue: 5, figure: cpuOf, ours: side{twoLoops, get16}, theirs: side{judged, get16}, most: 1.15},
		{text: "GET of 8000 clients, of 50", issue: 5, figure: cpuOf, ours: side{judged, many}, theirs: side{judged, get1}, most: 1.8},
		{text: "GET with 30 nodes, of 3", issue: 5, figure: cpuOf, ours: side{judged, wide}, theirs: side{judged, get1}, most: 1.3},
		{text: "GET of 1000 clients with 30 nodes, of 3", issue: 5, figure: cpuOf, ours: side{judged, crowdWide}, theirs: side{judged, crowd}, most: 1.3},
		{text: "time for a key in MGET of 100, of GET", issue: 5, figure: timeOf, ours: side{judged, basic("MGET", 100, 1)}, theirs: side{judged, get1}, most: 0.2},
		than("GET, of haproxy", 2, get1, haproxy, 0.75),
		than("GET, of twemproxy", 2, get1, twem, 0.90),
		than("GET at pipeline 16, of twemproxy", 2, get16, twem, 0.45),
		{text: "p50 of one client, of haproxy", issue: 2, figure: p50Of, ours: side{judged, single}, theirs: side{haproxy, single}, most: 1.10},
	}
	for _, op := range []string{"MULTI", "PUBLISH", "EVALSHA"} {
		list = append(list, than(op+" at pipeline 16, of haproxy", 3, basic(op, 0, 16), haproxy, 1))
	}
	return list
}

// barCases are those that the bars of their set are about.
func barCases() []loadCase {
	var list []loadCase
	for _, b := range ratioBars() {
		list = append(list, b.theirs.at, b.ours.at)
	}
	return distinct(list)
}

// barSides are who is needed in which case, and no other: the bars alone take minutes, the whole matrix an hour.
func barSides() map[loadCase][]string {
	need := map[loadCase][]string{}
	for _, b := range ratioBars() {
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
	Unit     string // "" of a multiple
	Got      float64
	Low      float64 // our best round beside their worst
	High     float64 // and the other way round
	Measured bool
	Met      bool
}

// judge compares with the bars. Those of another set are left out when their cases were not measured; those of this one are missed then.
func (r *report) judge(set string) {
	for _, b := range bars() {
		v := r.verdict(&b)
		if v.Measured || b.set == set {
			r.Bars = append(r.Bars, v)
		}
	}
}

func (r *report) verdict(b *bar) verdict {
	ours, theirs := r.value(b.ours, b.figure), r.value(b.theirs, b.figure)
	v := verdict{Text: b.text, Issue: b.issue, Most: b.most, Unit: b.unit, Measured: ours.Median > 0 && theirs.Median > 0}
	if b.how == alone { // 0 is a figure: the collector had nothing to do
		f := r.figures(b.ours.at, b.ours.who)
		v.Measured = f != nil && f.Failed == ""
	}
	if !v.Measured {
		return v
	}
	switch b.how {
	case times:
		v.Got, v.Low, v.High = ours.Median/theirs.Median, ours.Min/theirs.Max, ours.Max/theirs.Min
	case above:
		over := beyond(ours, theirs)
		v.Got, v.Low, v.High = over.Median, over.Min, over.Max
	case alone:
		v.Got, v.Low, v.High = ours.Median, ours.Min, ours.Max
	}
	v.Met = v.Got <= v.Most
	return v
}

// beyond is what one figure has more than another, at the least and at the most that single rounds give.
func beyond(ours, theirs load.Spread) load.Spread {
	return load.Spread{Median: ours.Median - theirs.Median, Min: ours.Min - theirs.Max, Max: ours.Max - theirs.Min}
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
