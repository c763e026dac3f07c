package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/bench/load"
)

// runBench is the whole command.
func runBench(ctx context.Context, cmd *cobra.Command, f *benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	b := &bench{flags: f, cmd: cmd, live: isTerminal(cmd.ErrOrStderr())}
	defer b.close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if f.fill {
		b.note("Writing %d keys ...\n", f.keys)
		if err := load.Fill(ctx, b.loads[0]); err != nil {
			return err
		}
	}
	var current string
	all, err := load.Rounds(ctx, b.loads, f.rounds, func(ctx context.Context, c load.Config) (*load.Result, error) {
		return b.measure(ctx, c, current)
	}, func(round int, target string) {
		current = fmt.Sprintf("%s, round %d of %d", target, round+1, f.rounds)
		if !b.live {
			b.note("Measuring %s ...\n", current)
		}
	})
	if err != nil {
		if b.job != nil && !b.job.ended() {
			b.note("Job %s goes on: slotproxy cluster watch %s\n", b.job.ID, b.job.ID)
		}
		return err
	}
	return b.tell(all)
}

func (b *bench) close() {
	if b.admin != nil {
		b.admin.close()
	}
	if b.hdr != nil {
		_ = b.hdr.Close() // it has been closed when there was something to write
	}
}

// tell writes the result, and is an error when operations have failed or the job has.
func (b *bench) tell(all [][]*load.Result) error {
	r := newBenchReport(b, all)
	if b.flags.output == outputJSON {
		if err := r.writeJSON(b.cmd.OutOrStdout()); err != nil {
			return err
		}
	} else {
		r.write(b.cmd.OutOrStdout())
	}
	if b.hdr != nil {
		if err := writeHistograms(b.hdr, all); err != nil {
			return fmt.Errorf("--hdr: %w", err)
		}
	}
	if b.job != nil && b.job.ended() && b.job.State != "success" {
		return fail(exitJob, "job %s: %s", b.job.ID, strings.TrimSpace(b.job.State+" "+b.job.Reason))
	}
	if n := r.failed(); n > 0 {
		return fail(exitFailure, "%d operations failed", n)
	}
	return nil
}

// writeHistograms replaces what the file holds, and closes it.
func writeHistograms(out *os.File, all [][]*load.Result) error {
	_ = out.Truncate(0) // a pipe has no length, and holds nothing to replace
	var err error
	for _, rounds := range all {
		if strings.HasSuffix(out.Name(), ".hgrm") {
			err = errors.Join(err, load.WritePercentiles(out, []*load.Result{load.Merge(rounds)}))
		} else {
			err = errors.Join(err, load.WriteLog(out, rounds))
		}
	}
	return errors.Join(err, out.Close())
}

// measure is one round of one target.
func (b *bench) measure(ctx context.Context, c load.Config, title string) (*load.Result, error) {
	r, err := load.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	err = b.story(ctx, r, title)
	b.clear()
	return r.Stop(), err
}

// story is what happens while a load runs.
func (b *bench) story(ctx context.Context, r *load.Run, title string) error {
	f := b.flags
	if err := b.pass(ctx, r, title+", warm-up", f.warmUp); err != nil {
		return err
	}
	if f.during == "" {
		if err := r.Enter("all"); err != nil {
			return err
		}
		return b.pass(ctx, r, title, f.duration)
	}
	if err := r.Enter("before"); err != nil {
		return err
	}
	if err := b.pass(ctx, r, title+", before", f.duration); err != nil {
		return err
	}
	if err := r.Enter("during"); err != nil {
		return err
	}
	if err := b.command(ctx, r, title+", during"); err != nil {
		return err
	}
	if err := r.Enter("after"); err != nil {
		return err
	}
	return b.pass(ctx, r, title+", after", f.duration)
}

// command sends that of --during, and waits for the job that it has begun.
func (b *bench) command(ctx context.Context, r *load.Run, title string) error {
	answer, err := b.admin.client.do(ctx, strings.Fields(b.flags.during)...)
	if err != nil {
		return fmt.Errorf("--during: %w", err)
	}
	id, ok := answer.(string)
	if !ok || id == "" || strings.Trim(id, "0123456789") != "" {
		return nil // it was no job
	}
	for {
		_, j, err := b.admin.job(ctx, id)
		if err != nil {
			return fmt.Errorf("--during: job %s: %w", id, err)
		}
		b.job = j
		if j.ended() {
			return nil
		}
		if err := b.pass(ctx, r, title+", "+j.progress(), lookEvery); err != nil {
			return err
		}
	}
}

// pass waits, and shows on a terminal what happens meanwhile.
func (b *bench) pass(ctx context.Context, r *load.Run, title string, d time.Duration) error {
	for until := time.Now().Add(d); ; {
		left := time.Until(until)
		if left <= 0 {
			return ctx.Err()
		}
		count, failed := r.Progress()
		step := min(left, lookEvery)
		begun := time.Now()
		if err := load.Pause(ctx, step); err != nil {
			return err
		}
		if b.live {
			now, _ := r.Progress()
			rate := float64(now-count) / time.Since(begun).Seconds()
			line := fmt.Sprintf("%s: %.0f operations/s, %d failed, %.0fs left", title, rate, failed, time.Until(until).Seconds())
			b.note("\r\x1b[K%s", fit(line, b.width()))
		}
	}
}

func (b *bench) width() int {
	if b.admin != nil {
		return b.admin.width
	}
	return 80 // the narrowest
}

// clear removes the line.
func (b *bench) clear() {
	if b.live {
		b.note("\r\x1b[K")
	}
}
