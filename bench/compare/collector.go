//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// collections are what the garbage collector of a slotproxy has done. The zero value is of one that was not watched.
type collections struct {
	cycles float64 // collections
	used   float64 // seconds of processor time
	pause  float64 // seconds, the longest total of one collection
	share  float64 // percent of the processor time of the process
}

func pauseOf(f *figures) load.Spread { return f.Pause }
func shareOf(f *figures) load.Spread { return f.GC }

// scrapeEvery is how often the metrics are asked for meanwhile, as Prometheus does by default: what that leaves behind is collected too.
const scrapeEvery = 15 * time.Second

// pass lets a load run on, with an eye on the collector when the case is about it.
func pass(ctx context.Context, p *proxy, at loadCase, length time.Duration) (collections, error) {
	if !at.watched() || p.http == "" {
		return collections{}, load.Pause(ctx, length)
	}
	before, err := collected(p.http)
	if err != nil {
		return collections{}, err
	}
	for until := time.Now().Add(length); time.Until(until) > 0; {
		if err := load.Pause(ctx, min(scrapeEvery, time.Until(until))); err != nil {
			return collections{}, err
		}
		if _, err := fetch(p.http, "/metrics"); err != nil {
			return collections{}, err
		}
	}
	after, err := collected(p.http)
	return collections{cycles: after.cycles - before.cycles, used: after.used - before.used, pause: after.longest(after.cycles - before.cycles)}, err
}

// books are what the runtime has counted since the start.
type books struct {
	cycles, used float64
	pauses       []string // ns, of the last 256 collections, in a ring
}

// longest is the longest pause of the last collections, in seconds; of 256 if there were more.
func (b *books) longest(cycles float64) float64 {
	longest := 0.0
	for i := range int(min(cycles, float64(len(b.pauses)))) {
		ns, _ := strconv.ParseFloat(b.pauses[(int(b.cycles)-1-i)%len(b.pauses)], 64) // the expression has found digits
		longest = max(longest, ns/1e9)
	}
	return longest
}

var (
	cyclesOf = regexp.MustCompile(`(?m)^# NumGC = (\d+)$`)
	pausesOf = regexp.MustCompile(`(?m)^# PauseNs = \[([\d ]+)\]$`)
	usedOf   = regexp.MustCompile(`(?m)^go_cpu_classes_gc_total_cpu_seconds_total (\S+)$`)
)

// collected reads the books: the metrics have the processor time, the page of the heap each pause, of which the metrics know decades.
func collected(addr string) (b books, err error) {
	metrics, err := fetch(addr, "/metrics")
	if err != nil {
		return b, err
	}
	heap, err := fetch(addr, "/debug/pprof/heap?debug=1")
	if err != nil {
		return b, err
	}
	used, cycles, pauses := usedOf.FindStringSubmatch(metrics), cyclesOf.FindStringSubmatch(heap), pausesOf.FindStringSubmatch(heap)
	if used == nil || cycles == nil || pauses == nil {
		return b, errors.New("the proxy does not tell of its collector")
	}
	b.pauses = strings.Fields(pauses[1])
	if b.used, err = strconv.ParseFloat(used[1], 64); err != nil {
		return b, err
	}
	b.cycles, err = strconv.ParseFloat(cycles[1], 64)
	return b, err
}

// fetch is a page of slotproxy's.
func fetch(addr, page string) (string, error) {
	r, err := http.Get("http://" + addr + page)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", page, r.Status)
	}
	return string(text), err
}

// collectorTable tells of the collector beside what the case costs.
func (r *report) collectorTable(at loadCase) table {
	t := table{{"", "CPU", "commands/s", "p99 us", "collections", "longest pause ms", "collector %", "RSS MiB", "peak MiB"}}
	for _, who := range r.Contenders {
		f := r.figures(at, who)
		switch {
		case f == nil:
		case f.Failed != "":
			t = append(t, []string{who, "failed", "", "", "", "", "", "", ""})
		default:
			t = append(t, []string{who, micro(f.CPU), spread(f.Rate, "%.0f"), micro(f.P99), spread(f.Cycles, "%.0f"), spread(f.Pause, "%.3f"),
				spread(f.GC, "%.3f"), spread(f.RSS, "%.0f"), spread(f.Peak, "%.0f")})
		}
	}
	return t
}
