package machine

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine does into testdata, for a reader to check")

// A script is read as: lines without indentation are what happens, the indented ones below are what the machine does about
// it. "#" begins a comment.
//
//	job move=a>b:1-3 keys=10 engine=legacy   a fresh job; more than one move=; atomic=a>b for what pairs can do
//	begin                                    Begin
//	restart                                  Restore with the records so far, then Begin
//	crash after=2                            the same, but only so many records of the last effects were durable
//	u1 open done keys=5                      a Result; looks as "1:own 2:open+3 3:there", target=x, source=x, epoch=3
//	u1 woken, pause, resume, cancel          Woken, Command
//	trouble may-tell no-journal: reason      Trouble
type script struct {
	t       *testing.T
	spec    Spec
	m       *Machine
	records []journal.Record
	fresh   int // records of the last effects
	last    map[int]int
	asked   map[int]Step
}

func TestScriptsTellWhatTheMachineDoes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runScript(t, f) })
	}
}

func runScript(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, last: map[int]int{}, asked: map[int]Step{}}
	var got strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		fmt.Fprintln(&got, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, e := range s.happen(line) {
			fmt.Fprintln(&got, "\t"+s.describe(e))
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compareLines(t, file, got.String(), string(text))
}

func compareLines(t *testing.T, file, got, want string) {
	t.Helper()
	g, w := bufio.NewScanner(strings.NewReader(got)), bufio.NewScanner(strings.NewReader(want))
	for n := 1; ; n++ {
		a, b := g.Scan(), w.Scan()
		if !a && !b {
			return
		}
		if g.Text() != w.Text() || a != b {
			t.Fatalf("%s:%d\n got %q\nwant %q", file, n, g.Text(), w.Text())
		}
	}
}

func (s *script) happen(line string) []Effect {
	head, tail, _ := strings.Cut(line, ": ")
	f := strings.Fields(head)
	var out []Effect
	switch {
	case f[0] == "job":
		s.job(f[1:])
		return nil
	case f[0] == "begin":
		s.m = New(s.spec)
		out = s.m.Begin()
	case f[0] == "restart":
		s.m = Restore(s.spec, s.records)
		out = s.m.Begin()
	case f[0] == "crash":
		n := atoi(s.t, strings.TrimPrefix(f[1], "after="))
		s.records = s.records[:len(s.records)-s.fresh+n]
		s.m = Restore(s.spec, s.records)
		out = s.m.Begin()
	case f[0] == "trouble":
		out = s.m.Step(Trouble{Reason: tail, MayTell: slices.Contains(f, "may-tell"), NoJournal: slices.Contains(f, "no-journal")})
	case len(f) == 1:
		out = s.m.Step(Command{Word: f[0]})
	case f[1] == "woken":
		u := atoi(s.t, f[0][1:])
		out = s.m.Step(Woken{Unit: u, Attempt: s.last[u]})
	default:
		out = s.m.Step(s.result(f, tail))
	}
	s.keep(out)
	return out
}

func (s *script) keep(out []Effect) {
	s.fresh = 0
	for _, e := range out {
		switch e := e.(type) {
		case Append:
			s.records = append(s.records, e.Records...)
			s.fresh += len(e.Records)
		case Run:
			s.last[e.Unit.ID], s.asked[e.Unit.ID] = e.Attempt, e.Step
		case Wait:
			s.last[e.Unit] = e.Attempt
		}
	}
}

func (s *script) job(words []string) {
	s.spec = Spec{ID: "1", Plan: &plan.Plan{}, Keys: make([]int64, 16384)}
	can := map[string]bool{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "move":
			pair, slots, _ := strings.Cut(value, ":")
			a, b, _ := strings.Cut(pair, ">")
			s.spec.Plan.Moves = append(s.spec.Plan.Moves, plan.Move{Source: a, Target: b, Slots: slotsOf(s.t, slots)})
		case "keys":
			for i := range s.spec.Keys {
				s.spec.Keys[i] = int64(atoi(s.t, value))
			}
		case "engine":
			s.spec.Options.Engine = value
		case "atomic":
			can[value] = true
		default:
			s.t.Fatalf("what is %q?", w)
		}
	}
	s.spec.Engines = func(a, b string) string {
		if can[a+">"+b] {
			return Atomic
		}
		return Legacy
	}
}

func (s *script) result(f []string, reason string) Result {
	u := atoi(s.t, f[0][1:])
	r := Result{Unit: u, Attempt: s.last[u], Step: Step(slices.Index(stepNames[:], f[1])), Reason: reason}
	if r.Step != s.asked[u] {
		s.t.Fatalf("%v: the machine has not asked for that, but for %v", f, s.asked[u])
	}
	r.Outcome = Outcome(slices.Index(outcomeNames[:], f[2]))
	for _, w := range f[3:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "keys":
			r.Keys, r.Took = int64(atoi(s.t, value)), time.Second
		case "source":
			r.Source = value
		case "target":
			r.Target = value
		case "epoch":
			r.SourceEpoch = uint64(atoi(s.t, value))
		case "run":
			r.SourceRun = value
		default:
			r.Looks = append(r.Looks, lookOf(s.t, w)...)
		}
	}
	return r
}

// lookOf reads "1-3:own", "2:open+5" (five keys on the target), "3:there", "4:lost", "5:other", "6:unmarked+2", "7:nobody", "8:beside" (at h).
func lookOf(t *testing.T, w string) []SlotLook {
	slots, how, _ := strings.Cut(w, ":")
	how, keys, _ := strings.Cut(how, "+")
	l := SlotLook{SourceOwns: true}
	switch how {
	case "own", "unmarked":
	case "open":
		l.Migrating, l.Importing = true, true
	case "there":
		l.SourceOwns, l.TargetOwns = false, true
	case "lost":
		l.SourceOwns = false
	case "beside":
		l.SourceOwns, l.Beside = false, "h"
	case "nobody":
		l.SourceOwns, l.Unowned = false, true
	case "other":
		l.OtherOpen = true
	default:
		t.Fatalf("what is %q?", w)
	}
	if keys != "" {
		l.TargetKeys = int64(atoi(t, keys))
	}
	var out []SlotLook
	for _, s := range slotsOf(t, slots) {
		l.Slot = s
		out = append(out, l)
	}
	return out
}

func (s *script) describe(e Effect) string {
	switch e := e.(type) {
	case Append:
		var parts []string
		for _, r := range e.Records {
			parts = append(parts, describeRecord(r))
		}
		return "write " + strings.Join(parts, ", ")
	case Run:
		return fmt.Sprintf("u%d %s", e.Unit.ID, e.Step) + describeUnit(e.Step, e.Unit)
	case Wait:
		return fmt.Sprintf("u%d waits %v", e.Unit, e.For)
	case Ended:
		if e.Reason == "" {
			return "ended " + e.State
		}
		return "ended " + e.State + ": " + e.Reason
	}
	return "?"
}

func describeRecord(r journal.Record) string {
	text := r.Kind
	if r.Unit != nil {
		text += fmt.Sprintf(" u%d", r.Unit.ID)
		if r.Unit.Failover {
			text += " (failover)"
		}
	}
	return text
}

func describeUnit(s Step, u Unit) string {
	switch {
	case s == Release && u.Committed:
		return " to the target"
	case s == Release:
		return " to the source"
	case s == Prepare || s == Look:
		engine := u.Engine
		if u.Online {
			engine = "online"
		}
		return fmt.Sprintf(" %s of %s>%s, %s", Ranges(u.Slots), u.Source, u.Target, engine)
	}
	return ""
}

func slotsOf(t *testing.T, text string) []uint16 {
	var out []uint16
	for part := range strings.SplitSeq(text, ",") {
		a, b, two := strings.Cut(part, "-")
		if !two {
			b = a
		}
		for s := atoi(t, a); s <= atoi(t, b); s++ {
			out = append(out, uint16(s))
		}
	}
	return out
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
