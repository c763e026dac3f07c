//go:build linux

package main

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"slotproxy/bench/load"
)

// plot is a drawing of the page.
type plot struct {
	Title string
	SVG   template.HTML
}

// colour is a contender's by its number, one of those that the page has: who comes late shares one.
func colour(i int) int { return i % 8 }

// axis is something that cases differ in.
type axis struct {
	name string
	of   func(c *loadCase) *int
	rest int // what titles are silent about
	text func(n int) string
	// latency is what grows along it; of the others it is the cost
	latency bool
}

var axes = []axis{
	{"size of a value", func(c *loadCase) *int { return &c.size }, defaultSize, sizeText, false},
	{"clients", func(c *loadCase) *int { return &c.clients }, defaultClients, shortNumber, false},
	{"nodes", func(c *loadCase) *int { return &c.nodes }, defaultNodes, shortNumber, false},
	{"keys or subscribers of a command", func(c *loadCase) *int { return &c.many }, 0, shortNumber, false},
	{"keys in the cluster", func(c *loadCase) *int { return &c.keys }, defaultKeys, shortNumber, false},
	{"pipeline", func(c *loadCase) *int { return &c.pipeline }, 1, shortNumber, false},
	{"percent of saturation", func(c *loadCase) *int { return &c.share }, 0, shortNumber, true},
}

// measure is a figure that lines show.
type measure struct {
	name string
	of   func(*figures) load.Spread
}

var (
	costs     = []measure{{"processor time of the proxy for a command, us", cpuOf}, {"commands/s", func(f *figures) load.Spread { return f.Rate }}}
	latencies = []measure{{"p50, us", p50Of}, {"p99, us", func(f *figures) load.Spread { return f.P99 }}}
)

// fewest is how many values make a line.
const fewest = 3

// plots are bars for each command around the default, and lines for what cases vary.
func (r *report) plots() []plot {
	var list []plot
	for _, at := range r.measured() {
		if at == basic(at.op, at.many, at.pipeline) {
			if svg := r.barsOf(at); svg != "" {
				list = append(list, plot{at.title() + ": processor time of the proxy for a command, us", svg})
			}
		}
	}
	for _, x := range axes {
		for _, cases := range r.along(x) {
			base := cases[0]
			*x.of(&base) = x.rest
			head := base.title() + ", by " + x.name + ": "
			if x.name == "pipeline" {
				head = strings.Replace(head, ", pipeline 1", "", 1)
			}
			shown := costs
			if x.latency {
				shown = latencies
			}
			for _, y := range shown {
				if svg := r.lines(x, cases, y.of); svg != "" {
					list = append(list, plot{head + y.name, svg})
				}
			}
		}
	}
	return list
}

// along finds cases that differ in one thing only, sorted by it.
func (r *report) along(x axis) [][]loadCase {
	var order []loadCase
	by := map[loadCase][]loadCase{}
	for _, at := range r.measured() {
		base := at
		if *x.of(&base) == 0 {
			continue // a PUBLISH to nobody has no place on a logarithmic axis
		}
		*x.of(&base) = 0
		if by[base] == nil {
			order = append(order, base)
		}
		by[base] = append(by[base], at)
	}
	var all [][]loadCase
	for _, base := range order {
		if list := by[base]; len(list) >= fewest {
			slices.SortFunc(list, func(a, b loadCase) int { return *x.of(&a) - *x.of(&b) })
			all = append(all, list)
		}
	}
	return all
}

// Measures of a drawing, in units that browsers scale.
const (
	plotWidth  = 520
	plotHeight = 280
	plotLeft   = 62 // room for the figures of the y axis
	plotBottom = 34
	plotTop    = 12
	plotRight  = 24

	rowHeight = 24
	rowLeft   = 92  // room for names
	rowRight  = 150 // room for figures behind the longest bar
)

// drawing is an SVG that grows.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.Builder, format, args...) }

func (d *drawing) begin(width, height int, label string) {
	d.add(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(label))
}

func (d *drawing) end() template.HTML {
	d.add("</svg>")
	return template.HTML(d.String()) // all texts in it were escaped
}

func (d *drawing) text(x, y float64, anchor, text string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(text))
}

// barsOf compares the contenders in a case; "" when there is only one.
func (r *report) barsOf(at loadCase) template.HTML {
	type bar struct {
		who   int
		value load.Spread
	}
	var list []bar
	most := 0.0
	for i, who := range r.Contenders {
		if v := r.value(side{who, at}, cpuOf); v.Median > 0 {
			list = append(list, bar{i, v})
			most = max(most, v.Max)
		}
	}
	if len(list) < 2 {
		return ""
	}
	var d drawing
	d.begin(plotWidth, rowHeight*len(list), at.title())
	scale := (plotWidth - rowLeft - rowRight) / most
	for i, b := range list {
		y := float64(i * rowHeight)
		d.text(rowLeft-8, y+16, "end", r.Contenders[b.who])
		d.add(`<rect class="fill s%d" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/>`, colour(b.who), rowLeft, y+4, scale*b.value.Median, rowHeight-8)
		d.add(`<path class="range" d="M%.1f %.1fH%.1f"/>`, rowLeft+scale*b.value.Min, y+rowHeight/2, rowLeft+scale*b.value.Max)
		d.text(rowLeft+scale*b.value.Max+6, y+16, "start", micro(b.value))
	}
	return d.end()
}

// scale places values on an axis.
type scale struct {
	low, high, from, to float64
	log                 bool
}

func (s *scale) at(v float64) float64 {
	f := math.Log
	if !s.log {
		f = func(v float64) float64 { return v }
	}
	return s.from + (s.to-s.from)*(f(v)-f(s.low))/(f(s.high)-f(s.low))
}

// steps are where lines of the grid are: tens, or a handful of round numbers.
func (s *scale) steps() []float64 {
	var list []float64
	if s.log {
		for v := s.low; v <= s.high*1.001; v *= 10 {
			list = append(list, v)
		}
		return list
	}
	for i := 0; i <= gridLines; i++ {
		list = append(list, s.high/gridLines*float64(i))
	}
	return list
}

const gridLines = 4

// round is the next number above that divides well by gridLines.
func round(v float64) float64 {
	ten := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 3, 4, 5, 6, 8} {
		if m*ten >= v {
			return m * ten
		}
	}
	return 10 * ten
}

// vertical is the scale of values: from 0, or in tens when they differ so much that the small ones would lie on the ground.
func vertical(least, most float64) scale {
	const far = 50
	s := scale{low: 0, high: round(most), from: plotHeight - plotBottom, to: plotTop}
	if most/least > far {
		s.log, s.low, s.high = true, math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
	}
	return s
}

// lines draws how a figure goes along an axis, a line for each contender; "" when nobody has a line.
func (r *report) lines(x axis, cases []loadCase, figure func(*figures) load.Spread) template.HTML {
	least, most := math.Inf(1), 0.0
	for _, at := range cases {
		for _, who := range r.Contenders {
			if v := r.value(side{who, at}, figure); v.Median > 0 {
				least, most = min(least, v.Min), max(most, v.Max)
			}
		}
	}
	if most == 0 {
		return ""
	}
	first, last := cases[0], cases[len(cases)-1]
	across := scale{low: float64(*x.of(&first)), high: float64(*x.of(&last)), from: plotLeft + 12, to: plotWidth - plotRight, log: true}
	up := vertical(least, most)
	var d drawing
	d.begin(plotWidth, plotHeight, x.name)
	for _, v := range up.steps() {
		y := up.at(v)
		d.add(`<path class="grid" d="M%d %.1fH%d"/>`, plotLeft, y, plotWidth-plotRight)
		d.text(plotLeft-6, y+4, "end", short(v))
	}
	end := 0.0
	for _, at := range cases {
		v := *x.of(&at)
		const room = 26 // of a figure below the axis
		if px := across.at(float64(v)); px >= end {
			d.text(px, plotHeight-14, "middle", x.text(v))
			end = px + room
		}
	}
	for i, who := range r.Contenders {
		d.line(i, x, cases, across, up, func(at loadCase) load.Spread { return r.value(side{who, at}, figure) })
	}
	return d.end()
}

// line is one contender's, with a point for each case.
func (d *drawing) line(who int, x axis, cases []loadCase, across, up scale, value func(loadCase) load.Spread) {
	path, points, count := "", "", 0
	for _, at := range cases {
		v := value(at)
		if v.Median == 0 {
			continue
		}
		count++
		px, py := across.at(float64(*x.of(&at))), up.at(v.Median)
		step := "L"
		if path == "" {
			step = "M"
		}
		path += fmt.Sprintf("%s%.1f %.1f", step, px, py)
		points += fmt.Sprintf(`<path class="range" d="M%.1f %.1fV%.1f"/><circle class="fill s%d" cx="%.1f" cy="%.1f" r="3"/>`,
			px, up.at(v.Min), up.at(v.Max), colour(who), px, py)
	}
	if count > 1 { // who has one case only is in its table
		d.add(`<path class="line s%d" d="%s"/>%s`, colour(who), path, points)
	}
}

func shortNumber(n int) string { return short(float64(n)) }

// short is a figure beside the grid: 250k.
func short(v float64) string {
	for _, u := range []struct {
		unit float64
		name string
	}{{1e6, "M"}, {1e3, "k"}} {
		if v >= u.unit {
			return strconv.FormatFloat(v/u.unit, 'g', 4, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
