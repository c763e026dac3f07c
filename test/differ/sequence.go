package differ

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Step is what one client sends in one go: a pipeline.
type Step struct {
	Client   int
	Commands [][]string
	Chunk    int  // bytes in one write; 0: all
	Blocks   bool // the one command is meant to wait for another client's; if it does, the sequence goes on
	Sweep    bool // the one command is of the SCAN family, and is repeated until its cursor is 0
}

// Sequence is a test case. It is a value: what was run can be run again.
type Sequence []Step

// Commands is their number.
func (s Sequence) Commands() (n int) {
	for _, step := range s {
		n += len(step.Commands)
	}
	return n
}

// String is for reports: a line a step.
func (s Sequence) String() string {
	var b strings.Builder
	for _, step := range s {
		fmt.Fprintf(&b, "  client %d:", step.Client)
		for i, args := range step.Commands {
			if i > 0 {
				b.WriteString(" |")
			}
			b.WriteString(" " + show(args))
		}
		for _, note := range []struct {
			on   bool
			text string
		}{
			{step.Chunk > 0, "in writes of " + strconv.Itoa(step.Chunk) + " bytes"}, {step.Blocks, "may block"}, {step.Sweep, "until the cursor is 0"},
		} {
			if note.on {
				b.WriteString("  (" + note.text + ")")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// show writes a command so that it can be typed again; runs of one letter are shortened.
func show(args []string) string {
	const most = 40 // more are made by the hundred, and alike
	if n := len(args); n > most {
		return show(args[:most]) + fmt.Sprintf(" ... (%d arguments)", n)
	}
	words := make([]string, len(args))
	for i, a := range args {
		switch {
		case len(a) >= bigValue && strings.Trim(a, a[:1]) == "":
			a = fmt.Sprintf("%q*%d", a[:1], len(a))
		case a == lastDump:
			a = "<the last DUMP>"
		case a == "" || strings.ContainsFunc(a, unusual):
			a = strconv.Quote(a)
		}
		words[i] = a
	}
	return strings.Join(words, " ")
}

func unusual(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '|' }

// Families are the names that Options.Families may have.
func Families() []string {
	return slices.Sorted(maps.Keys(recipes()))
}

// recipe makes the next steps of a client that has nothing else to do.
type recipe func(m *maker, client int) []Step

func recipes() map[string]recipe {
	all := map[string]recipe{
		"tx": (*maker).transaction, "blocking": (*maker).blocking, "pubsub": (*maker).subscription, "reply": (*maker).replyMode,
		"sweeps": (*maker).sweep, "scan": (*maker).scan, "tracking": (*maker).tracking,
	}
	for name := range families {
		all[name] = (*maker).pipeline
	}
	return all
}

// compiled are the families' templates.
var compiled = func() map[string][]template {
	all := map[string][]template{}
	for name, texts := range families {
		for _, text := range texts {
			all[name] = append(all[name], parse(text))
		}
	}
	return all
}()

// maker makes one sequence.
type maker struct {
	*generator
	enabled []string       // families of the run
	simple  []template     // of the families of this sequence
	recipes []recipe       // of the families of this sequence
	plans   map[int][]Step // what a client has begun and must end before it does something else
	waits   map[int]int    // a blocked client and the one whose plan releases it
}

// How long a sequence is: long enough that state builds up, short enough to be shrunk.
const (
	minSteps = 5
	maxSteps = 40
	// maxClients: one blocks, one releases, one listens, one disturbs.
	maxClients = 4
	// maxPipeline is now and then exceeded by a burst.
	maxPipeline = 5
	burst       = 40
)

// generate makes a sequence; the same arguments make the same one.
func generate(g *generator, enabled []string) Sequence {
	m := &maker{generator: g, enabled: enabled, plans: map[int][]Step{}, waits: map[int]int{}}
	all := recipes()
	// A few families meet more often than all of them.
	for _, i := range g.Perm(len(enabled))[:1+g.IntN(min(4, len(enabled)))] {
		m.recipes = append(m.recipes, all[enabled[i]])
		m.simple = append(m.simple, compiled[enabled[i]]...)
	}
	if len(m.simple) == 0 { // transactions of nothing would be dull
		m.simple = compiled["strings"]
	}
	var out Sequence
	clients := 1 + g.IntN(maxClients)
	for c := range clients {
		if g.chance(50) {
			out = append(out, Step{Client: c, Commands: [][]string{{"HELLO", "3"}}})
		}
	}
	for range minSteps + g.IntN(maxSteps-minSteps) {
		out = m.next(out, g.IntN(clients), clients)
	}
	for c := range clients { // end what was begun
		out = append(out, m.plans[c]...)
	}
	return out
}

// next appends a step of a client, or of the one that will release it.
func (m *maker) next(out Sequence, c, clients int) Sequence {
	if by, blocked := m.waits[c]; blocked {
		c = by
	}
	if len(m.plans[c]) == 0 {
		m.tag = m.one(m.tags...)
		steps := m.recipes[m.IntN(len(m.recipes))](m, c)
		m.plan(c, steps, clients)
	}
	if len(m.plans[c]) == 0 {
		return out
	}
	s := m.plans[c][0]
	if m.plans[c] = m.plans[c][1:]; len(m.plans[c]) == 0 {
		maps.DeleteFunc(m.waits, func(_, by int) bool { return by == c })
	}
	return append(out, s)
}

// plan takes steps on. Those behind one that blocks are another client's: they release it.
func (m *maker) plan(c int, steps []Step, clients int) {
	for i, s := range steps {
		if !s.Blocks {
			continue
		}
		by := (c + 1) % clients
		if clients == 1 || len(m.plans[by]) > 0 || m.isWaiting(by) {
			return // nobody is free
		}
		for j := range steps[i+1:] {
			steps[i+1+j].Client = by
		}
		m.plans[c], m.plans[by], m.waits[c] = steps[:i+1], steps[i+1:], by
		return
	}
	m.plans[c] = steps
}

func (m *maker) isWaiting(c int) bool { _, ok := m.waits[c]; return ok }
