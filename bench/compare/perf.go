//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// flameOf takes a flame graph of a proxy that is loaded meanwhile. perf also sees the kernel, in which a proxy is most of the time; without
// it the profile of Go must do, for which the kernel is one function.
func (w *world) flameOf(ctx context.Context, p *proxy, at loadCase, seconds int, done chan<- error) {
	done <- w.drawFlame(ctx, p, at, seconds)
}

func (w *world) drawFlame(ctx context.Context, p *proxy, at loadCase, seconds int) error {
	from, how := w.perf, "perf, kernel included"
	if _, err := exec.LookPath("perf"); err != nil {
		from, how = w.traces, "pprof, for which the kernel is the system call in yellow"
	}
	f, err := from(ctx, p, seconds)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%s: %s in %d seconds, %s; %s. %s.", judged, f.amount(f.root.count), seconds, how,
		time.Now().Format(time.DateOnly), f.summary())
	return os.WriteFile(filepath.Join(w.profile, at.fileName()+".svg"), []byte(f.svg("Processor time: "+at.title(), note)), 0o644)
}

// perf samples the process. An odd rate does not beat with what happens a thousand times a second.
func (w *world) perf(ctx context.Context, p *proxy, seconds int) (*flame, error) {
	file := filepath.Join(w.dir, "perf.data")
	const rate = "997"
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-F", rate, "-g", "-o", file, "-p", strconv.Itoa(p.pid()), "--",
		"sleep", strconv.Itoa(seconds))
	if text, err := record.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("perf record: %w: %s", err, text)
	}
	text, err := exec.CommandContext(ctx, "perf", "script", "-i", file, "-F", "ip,sym").Output()
	if err != nil {
		return nil, fmt.Errorf("perf script: %w", err)
	}
	return readPerf(bytes.NewReader(text))
}

// traces asks the process for its own profile.
func (w *world) traces(ctx context.Context, p *proxy, seconds int) (*flame, error) {
	file := filepath.Join(w.dir, "profile.pb.gz")
	if err := save(profileURL(p, seconds), file); err != nil {
		return nil, err
	}
	text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", file).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return readTraces(bytes.NewReader(text))
}
