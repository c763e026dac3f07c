//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// profiles loads slotproxy with each case in turn and writes where its processor time went, one file a case.
func (m *measurer) profiles(ctx context.Context, out io.Writer) error {
	if err := os.MkdirAll(m.profile, 0o755); err != nil {
		return err
	}
	w := &world{measurer: m}
	defer w.stop()
	at := slices.IndexFunc(m.list, func(c *contender) bool { return c.name == judged })
	order, by := scenes(m.cases)
	for _, sc := range order {
		if err := w.enter(sc); err != nil {
			return err
		}
		for _, c := range by[sc] {
			if err := w.profileOf(ctx, m.list[at], c, out); err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
		}
	}
	return nil
}

// profileOf loads for a little longer than the profile takes.
func (w *world) profileOf(ctx context.Context, c *contender, at loadCase, out io.Writer) error {
	p, err := w.proxy(ctx, c, at)
	if err != nil {
		return err
	}
	seconds := max(1, int(w.length.Seconds()))
	before, err := systemCalls(p.http)
	if err != nil {
		return err
	}
	run, err := load.Start(ctx, w.load(c, p, at))
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	if w.flame {
		go w.flameOf(ctx, p, at, seconds, taken)
	} else {
		go take(profileURL(p, seconds), filepath.Join(w.profile, at.fileName()+".pb.gz"), taken)
	}
	err = load.Pause(ctx, time.Duration(seconds)*time.Second+time.Second/2)
	run.Stop()
	if err != nil {
		return err
	}
	n, failed := run.Progress()
	if failed > 0 {
		return fmt.Errorf("%d of %d failed", failed, n)
	}
	after, err := systemCalls(p.http)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, calls for each command:", at.title())
	for _, name := range slices.Sorted(maps.Keys(after)) {
		fmt.Fprintf(out, " %s %.3f", name, (after[name]-before[name])/float64(n))
	}
	fmt.Fprintln(out)
	return <-taken
}

// fileName is the case where colons are no good.
func (c *loadCase) fileName() string {
	return strings.ToLower(strings.ReplaceAll(c.String(), ":", "-"))
}

func profileURL(p *proxy, seconds int) string {
	return fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.http, seconds)
}

// counted are the metrics that tell how well a proxy batches.
var counted = regexp.MustCompile(`(?m)^slotproxy_(?:network_calls_total\{[^}]*"(\w+)",[^}]*"(\w+)"\}|loop_iterations_total) (\S+)$`)

// systemCalls reads how often slotproxy has called read and write on each side, and how many rounds its loops have made.
func systemCalls(addr string) (map[string]float64, error) {
	text, err := fetch(addr, "/metrics")
	if err != nil {
		return nil, err
	}
	calls := map[string]float64{}
	for _, m := range counted.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		calls[strings.TrimSpace(cmp.Or(m[1], "rounds")+" "+m[2])] = n
	}
	return calls, nil
}

// take saves what a page answers.
func take(url, file string, done chan<- error) { done <- save(url, file) }

func save(url, file string) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	packed, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if packed, err = strip(packed); err != nil {
		return err
	}
	return os.WriteFile(file, packed, 0o644)
}
