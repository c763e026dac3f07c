//go:build linux

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// frame is a function in a tree of callers, with what was sampled in it and below it.
type frame struct {
	name   string
	kernel bool
	count  int64
	calls  map[string]*frame
}

// flame is a profile as a tree. Its root is no function.
type flame struct {
	root frame
	unit time.Duration // of a count; 0: samples
}

// unknown is what perf calls a function without a symbol.
const unknown = "[unknown]"

// add counts a stack whose last function is the one that ran.
func (f *flame) add(stack []frame, count int64) {
	at := &f.root
	at.count += count
	for _, s := range stack {
		next := at.calls[s.name]
		if next == nil {
			if at.calls == nil {
				at.calls = map[string]*frame{}
			}
			next = &frame{name: s.name, kernel: s.kernel}
			at.calls[s.name] = next
		}
		next.count += count
		at = next
	}
}

// readPerf reads what perf script -F ip,sym prints: stacks with the function that ran first, an empty line behind each.
func readPerf(r io.Reader) (*flame, error) {
	f := &flame{root: frame{name: "all"}}
	var stack []frame
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, name, found := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if found {
			// The kernel has the upper half of the addresses.
			stack = append(stack, frame{name: name, kernel: len(addr) == 16 && strings.HasPrefix(addr, "ffff")})
			continue
		}
		if len(stack) > 0 {
			slices.Reverse(stack)
			f.add(stack, 1)
			stack = nil
		}
	}
	if len(stack) > 0 {
		slices.Reverse(stack)
		f.add(stack, 1)
	}
	return f, cmp.Or(lines.Err(), f.check())
}

// readTraces reads what go tool pprof -traces prints: a rule before each stack, then a time with the function that ran, then its callers.
func readTraces(r io.Reader) (*flame, error) {
	f := &flame{root: frame{name: "all"}, unit: time.Microsecond}
	var stack []frame
	var spent time.Duration
	begun := false
	lines := bufio.NewScanner(r)
	finish := func() {
		slices.Reverse(stack)
		f.add(stack, spent.Microseconds())
		stack, spent = nil, 0
	}
	for lines.Scan() {
		text := strings.TrimSuffix(strings.TrimSpace(lines.Text()), " (inline)")
		switch {
		case strings.HasPrefix(text, "-----"):
			finish()
			begun = true
		case !begun || text == "": // what it is a profile of
		case len(stack) == 0:
			first, name, _ := strings.Cut(text, " ")
			var err error
			if spent, err = time.ParseDuration(first); err != nil {
				return nil, fmt.Errorf("a stack begins with %q", text)
			}
			stack = append(stack, frame{name: strings.TrimSpace(name)})
		default:
			stack = append(stack, frame{name: text})
		}
	}
	finish()
	return f, cmp.Or(lines.Err(), f.check())
}

// check refuses a profile that would tell nothing.
func (f *flame) check() error {
	switch lost := f.root.lost(); {
	case f.root.count == 0:
		return fmt.Errorf("the profile is empty")
	case lost > f.root.count/3:
		return fmt.Errorf("%d of %d samples are in functions without a name: the binary is stripped (make flame builds another)", lost, f.root.count)
	}
	return nil
}

// lost is how much ran in functions without a name.
func (n *frame) lost() int64 {
	if n.name == unknown {
		return n.count
	}
	sum := int64(0)
	for _, c := range n.calls {
		sum += c.lost()
	}
	return sum
}

// Measures of a flame graph. Frames below half a unit cannot be seen.
const (
	flameWidth  = 1200.0
	flameRow    = 17
	flameHead   = 44
	flameLetter = 6.3 // of the font below
	flameLeast  = 0.5
)

const flameStyle = `text{font:11px monospace;fill:#111}.t{font:bold 14px system-ui,sans-serif}.n{font:12px system-ui,sans-serif}` +
	`rect{stroke:#fff;stroke-width:.5}.b{fill:#fff;stroke:none}.k{fill:#9db8d9}.r{fill:#d9d0a3}.o{fill:#e8935a}.s{fill:#c9c9c9}`

// svg draws the flame with the callers below, in one file without a script: a pointer over a frame shows its name and share.
func (f *flame) svg(title, note string) string {
	var d drawing
	height := flameHead + flameRow*f.root.depth()
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" role="img" aria-label="%s"><style>%s</style>`, flameWidth, height,
		template.HTMLEscapeString(title), flameStyle)
	d.add(`<rect class="b" width="%.0f" height="%d"/>`, flameWidth, height)
	d.add(`<text class="t" x="4" y="16">%s</text><text class="n" x="4" y="34">%s</text>`, template.HTMLEscapeString(title),
		template.HTMLEscapeString(note))
	f.draw(&d, &f.root, 0, height-flameRow)
	d.add("</svg>\n")
	return d.String()
}

func (f *flame) draw(d *drawing, n *frame, x float64, y int) {
	width := flameWidth * float64(n.count) / float64(f.root.count)
	if width < flameLeast {
		return
	}
	d.add(`<g><title>%s: %s, %.2f %%</title><rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`, template.HTMLEscapeString(n.name),
		f.amount(n.count), 100*float64(n.count)/float64(f.root.count), n.class(), x, y, width, flameRow-1)
	if room := int((width - 4) / flameLetter); room >= 3 {
		d.add(`<text x="%.1f" y="%d">%s</text>`, x+2, y+12, template.HTMLEscapeString(shortened(n.name, room)))
	}
	d.add("</g>")
	for _, name := range slices.Sorted(maps.Keys(n.calls)) {
		c := n.calls[name]
		f.draw(d, c, x, y-flameRow)
		x += flameWidth * float64(c.count) / float64(f.root.count)
	}
}

// amount is a count for people.
func (f *flame) amount(count int64) string {
	if f.unit == 0 {
		return strconv.FormatInt(count, 10) + " samples"
	}
	return (time.Duration(count) * f.unit).String()
}

// own sums what ran in functions of each class themselves, not in those that they called.
func (n *frame) own(by map[string]int64) {
	self := n.count
	for _, c := range n.calls {
		self -= c.count
		c.own(by)
	}
	by[n.class()] += self
}

// summary tells who had the processor, and which colour is whose.
func (f *flame) summary() string {
	by := map[string]int64{}
	f.root.own(by)
	share := func(class string) float64 { return 100 * float64(by[class]) / float64(f.root.count) }
	return fmt.Sprintf("Blue: the kernel %.0f %%; orange: slotproxy %.0f %%; yellow: Go's runtime %.0f %%; grey: other %.0f %%", share(kernelClass), share(ourClass),
		share(runtimeClass), share(otherClass))
}

// Classes of functions, as the style has them.
const (
	kernelClass  = "k"
	ourClass     = "o"
	runtimeClass = "r"
	otherClass   = "s"
)

// class is the colour: the kernel, Go itself, what is ours, all else.
func (n *frame) class() string {
	switch {
	case n.kernel:
		return kernelClass
	case strings.HasPrefix(n.name, "slotproxy/"), strings.HasPrefix(n.name, "main."):
		return ourClass
	case strings.HasPrefix(n.name, "runtime."), strings.HasPrefix(n.name, "internal/runtime"), strings.HasPrefix(n.name, "syscall."):
		return runtimeClass
	}
	return otherClass
}

// shortened fits a name into so many letters; functions are told apart by their ends.
func shortened(name string, room int) string {
	if len(name) > room {
		if _, last, found := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], "."); found {
			name = last
		}
	}
	if len(name) > room {
		return name[:room-2] + ".."
	}
	return name
}

// depth is how many frames stand upon each other where they can be seen.
func (n *frame) depth() int { return n.depthOf(n.count) }

func (n *frame) depthOf(all int64) int {
	if flameWidth*float64(n.count)/float64(all) < flameLeast {
		return 0
	}
	deepest := 0
	for _, c := range n.calls {
		deepest = max(deepest, c.depthOf(all))
	}
	return 1 + deepest
}
