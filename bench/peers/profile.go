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
)

// profiles loads slotproxy with each case in turn and writes where its processor time went, one file a case.
func profiles(ctx context.Context, w *world, s settings) error {
	if err := os.MkdirAll(s.profile, 0o755); err != nil {
		return err
	}
	for _, p := range w.peers {
		if p.name != judged {
			continue
		}
		for _, c := range cases {
			if err := profile(ctx, p, c, s); err != nil {
				return fmt.Errorf("%s pipeline %d: %w", c.command, c.pipeline, err)
			}
		}
	}
	return nil
}

// profile loads for a little longer than the profile takes.
func profile(ctx context.Context, p *peer, c loadCase, s settings) error {
	seconds := max(1, int(s.length.Seconds()))
	name := fmt.Sprintf("%s-%d.pb.gz", strings.ToLower(c.command), c.pipeline)
	before, err := systemCalls(p.http)
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	go take(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.http, seconds), filepath.Join(s.profile, name), taken)
	n, err := newLoad(p.addr, c.command, s.clients, c.pipeline, s).run(ctx, time.Duration(seconds)*time.Second+time.Second/2)
	if err != nil {
		return err
	}
	after, err := systemCalls(p.http)
	if err != nil {
		return err
	}
	fmt.Printf("%s pipeline %d, calls for each command:", c.command, c.pipeline)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		fmt.Printf(" %s %.3f", name, (after[name]-before[name])/float64(n))
	}
	fmt.Println()
	return <-taken
}

// counted are the metrics that tell how well a proxy batches.
var counted = regexp.MustCompile(`(?m)^slotproxy_(?:network_calls_total\{[^}]*"(\w+)",[^}]*"(\w+)"\}|loop_iterations_total) (\S+)$`)

// systemCalls reads how often slotproxy has called read and write on each side, and how many rounds its loops have made.
func systemCalls(addr string) (map[string]float64, error) {
	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	calls := map[string]float64{}
	for _, m := range counted.FindAllStringSubmatch(string(text), -1) {
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
