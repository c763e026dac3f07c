//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	bin      string
	floor    string // bench/floor, built
	against  string // another build of slotproxy, to measure what a change does; empty: none
	set      string // name of the cases
	cases    []loadCase
	need     map[loadCase][]string // contenders of a case; nil: all
	only     []string              // contenders; empty: all
	adapters []*adapter
	version  string
	rounds   int
	length   time.Duration // of one measurement
	out      string        // folder for the report
	profile  string        // folder for processor profiles of slotproxy with one loop; empty: none are taken
	flame    bool          // draw them
	taskset  bool
	awake    bool // processors are kept from sleeping
}

func main() {
	s, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	met, err := run(ctx, s, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

// parseFlags reads the command line.
func parseFlags(args []string, usage io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&s.set, "set", "quick", "cases: quick, bars (what slotproxy must meet), full (an hour), growth, rates (latency below saturation), gc (the collector)")
	cases := f.String("cases", "", "these instead of a set, such as GET:1,MGET100:1,GET:16:size=16KiB:clients=1000:nodes=12:keys=1000000:tls")
	only := f.String("only", "", "these contenders alone, such as direct,slotproxy 1")
	f.IntVar(&s.rounds, "rounds", 0, "rounds, of which the median counts; 0: 5, of gc 1")
	seconds := f.Float64("seconds", 0, "length of one measurement; 0: 1.5, of rates 2, of gc 60")
	f.StringVar(&s.bin, "bin", "bin/slotproxy", "slotproxy to measure")
	f.StringVar(&s.floor, "floor", "bin/floor", "the loop that only copies or answers")
	f.StringVar(&s.against, "against", "", "another build of slotproxy, measured in turn with the others")
	f.StringVar(&s.version, "version", "valkey-9.1", "servers behind the proxies")
	f.StringVar(&s.out, "out", "bench/results", "folder for the report, empty for none")
	f.StringVar(&s.profile, "profile", "", "folder for processor profiles of slotproxy, one a case: no figures, only profiles")
	flame := f.String("flame", "", "folder for flame graphs of slotproxy, one a case, with the kernel if there is perf: no figures, only drawings")
	f.BoolVar(&s.taskset, "taskset", false, "give proxies, servers and the load cores of their own; needs four")
	f.BoolVar(&s.awake, "awake", false, "keep the processors from sleeping: what waking them takes is not measured (in a virtual machine, tens of microseconds)")
	f.Func("adapter", "file that describes another proxy (bench/adapters); may be repeated", func(file string) error {
		a, err := readAdapter(file)
		s.adapters = append(s.adapters, a)
		return err
	})
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", f.Arg(0))
	}
	if err := s.pick(*cases, *seconds); err != nil {
		return nil, err
	}
	// Shorter ones measure how a load begins. What is longer than an hour is a mistake.
	if s.rounds < 1 || s.rounds > 1000 || s.length < 100*time.Millisecond || s.length > time.Hour {
		return nil, errors.New("1 to 1000 rounds, of 0.1 to 3600 seconds")
	}
	if s.flame = *flame != ""; s.flame {
		s.profile = *flame
	}
	if *only != "" {
		s.only = strings.Split(*only, ",")
	}
	return s, s.check()
}

// pick chooses the cases, how often and how long each is measured.
func (s *settings) pick(named string, seconds float64) (err error) {
	from, known := sets[s.set]
	switch {
	case named != "":
		from, s.set = sets[quick], "cases"
		if s.cases, err = parseCases(named); err != nil {
			return err
		}
	case !known:
		return fmt.Errorf("no set %q: there are %s", s.set, strings.Join(slices.Sorted(maps.Keys(sets)), ", "))
	default:
		s.cases = from.cases()
		if from.need != nil {
			s.need = from.need()
		}
	}
	s.rounds = cmp.Or(s.rounds, from.rounds)
	s.length = time.Duration(cmp.Or(seconds, from.seconds) * float64(time.Second))
	return nil
}

// check finds what would only be noticed after minutes.
func (s *settings) check() error {
	names := map[string]bool{}
	for _, c := range contenders(s) {
		if names[c.name] {
			return fmt.Errorf("two contenders are called %s", c.name)
		}
		names[c.name] = true
	}
	for _, name := range s.only {
		if !names[name] {
			return fmt.Errorf("no contender %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
		}
	}
	return nil
}

// wanted tells whether a contender is measured in a case.
func (s *settings) wanted(c *contender, at loadCase) bool {
	if len(s.only) > 0 && !slices.Contains(s.only, c.name) {
		return false
	}
	return s.need == nil || slices.Contains(s.need[at], c.name) || c.name == against && slices.Contains(s.need[at], judged)
}

// run measures, prints and writes; met tells whether slotproxy met every bar.
func run(ctx context.Context, s *settings, out io.Writer) (met bool, err error) {
	m, err := newMeasurer(s)
	if err != nil {
		return false, err
	}
	if s.awake {
		sleep, err := keepAwake(ctx, s.floor)
		if err != nil {
			return false, err
		}
		defer sleep()
	}
	if s.profile != "" {
		return true, m.profiles(ctx, out)
	}
	r := newReport(s, time.Now(), m.facts(ctx))
	r.Cases = s.cases
	if err := m.all(ctx); err != nil {
		return false, err
	}
	m.finish(r)
	r.judge(s.set)
	if _, err := io.WriteString(out, r.markdown()); err != nil {
		return false, err
	}
	if s.out != "" {
		files, err := r.write(s.out)
		if err != nil {
			return false, err
		}
		fmt.Fprintf(out, "\nwritten: %s\n", strings.Join(files, " "))
	}
	return r.met(), nil
}
