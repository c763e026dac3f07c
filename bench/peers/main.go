//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	bin     string
	floor   string // bench/floor, built
	against string // another build of slotproxy, to measure what a change does; empty: none
	profile string // folder for processor profiles of slotproxy with one loop; empty: none are taken
	cases   string // of these alone, for a quicker answer; empty: all, and the latency of one client
	version string
	rounds  int
	length  time.Duration // of one measurement
	clients int
	value   int // bytes
	keys    int // distinct keys, all of which exist
}

func main() {
	s := settings{}
	flag.StringVar(&s.bin, "bin", "bin/slotproxy", "slotproxy to measure")
	flag.StringVar(&s.floor, "floor", "bin/floor", "the loop that only copies")
	flag.StringVar(&s.against, "against", "", "another build of slotproxy, measured in turn with the others")
	flag.StringVar(&s.profile, "profile", "", "folder for processor profiles of slotproxy, one a case: no figures, only profiles")
	flag.StringVar(&s.cases, "cases", "", "only these, such as MULTI:16,GET:1: no latency, no bars")
	flag.StringVar(&s.version, "version", "valkey-9.1", "servers behind the proxies")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds, of which the median counts")
	seconds := flag.Float64("seconds", 1.5, "length of one measurement")
	flag.IntVar(&s.clients, "clients", 50, "connections")
	flag.IntVar(&s.value, "value", 64, "bytes of a value")
	flag.IntVar(&s.keys, "keys", 100_000, "distinct keys")
	flag.Parse()
	s.length = time.Duration(*seconds * float64(time.Second))
	if s.rounds < 1 || s.length < 100*time.Millisecond || s.clients < 1 || s.clients > 1000 || s.value < 1 || s.value > 1<<20 || s.keys < 1 {
		fmt.Fprintln(os.Stderr, "peers: a number is out of range")
		os.Exit(2)
	}
	if err := pick(s.cases); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	met, err := run(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

// run measures and prints; met tells whether slotproxy met every bar.
func run(ctx context.Context, s settings) (met bool, err error) {
	w, err := startWorld(ctx, s)
	defer w.stop()
	if err != nil {
		return false, err
	}
	for _, p := range w.peers {
		if p.name == "echo" {
			continue
		}
		if err := fill(p.addr, s); err != nil {
			return false, fmt.Errorf("%s: fill: %w", p.name, err)
		}
		if p.name == "twemproxy" {
			continue // it knows no SCRIPT
		}
		if err := loadScript(p.addr); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if s.profile != "" {
		return true, profiles(ctx, w, s)
	}
	r := newResults(w.peers)
	for round := range s.rounds {
		for i := range w.peers {
			p := w.peers[(i+round)%len(w.peers)]
			if err := r.measure(ctx, p, s); err != nil {
				return false, fmt.Errorf("%s: %w", p.name, err)
			}
		}
		for i := range latencyRuns * len(w.peers) {
			if s.cases != "" {
				break
			}
			p := w.peers[(i+round)%len(w.peers)]
			if err := r.measureLatency(ctx, p, s); err != nil {
				return false, fmt.Errorf("%s: %w", p.name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, s.rounds)
	}
	return r.print(os.Stdout, s), nil
}
