package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/migrate"
)

const (
	// lookEvery is how often a job is looked at: often enough that a bar moves, seldom enough to cost nothing.
	lookEvery = 250 * time.Millisecond
	// lineEvery is how often a line of progress is written where there is no terminal.
	lineEvery = 5 * time.Second
	// barWidth is what is left on the narrowest terminal, of 80 columns.
	barWidth = 20
)

func jobCommands(f *clusterFlags) []*cobra.Command {
	watch := &cobra.Command{
		Use: "watch [JOB]", Short: "Follow a job until it ends", Args: cobra.MaximumNArgs(1),
		Long: "Follows a job, by default the newest. Ctrl-C ends only the watching.",
		RunE: act(f, func(ctx context.Context, o *operation, args []string) error {
			id, err := o.jobID(ctx, args)
			if err != nil {
				return err
			}
			return o.watch(ctx, id)
		}),
	}
	list := []*cobra.Command{watch}
	for _, c := range []struct{ word, short string }{
		{"pause", "Finish the slots in hand and begin no others"},
		{"resume", "Go on with a job that was paused"},
		{"cancel", "Finish or take back the slots in hand and end a job; what has moved stays where it is"},
	} {
		list = append(list, &cobra.Command{
			Use: c.word + " [JOB]", Short: c.short, Args: cobra.MaximumNArgs(1),
			RunE: act(f, func(ctx context.Context, o *operation, args []string) error {
				id, err := o.jobID(ctx, args)
				if err != nil {
					return err
				}
				if _, err = o.client.do(ctx, "PROXY", strings.ToUpper(c.word), id); err != nil {
					return err
				}
				if o.alone == nil {
					return o.done()
				}
				return o.settle(ctx, id, c.word, settleTime)
			}),
		})
	}
	return list
}

// settleTime is the wait for a job that cannot go on: another coordinator that has died looks alive for 15 s.
const settleTime = 20 * time.Second

// settle stays until a job of this process does what it was told: it goes on only as long as the process does. One that cannot
// go on has the word in memory alone, so it is waited for no longer than patience.
func (o *operation) settle(ctx context.Context, id, word string, patience time.Duration) error {
	if word == "resume" {
		return o.watch(ctx, id)
	}
	var deadline time.Time // zero: it goes on
	for {
		_, j, err := o.job(ctx, id)
		if err != nil {
			return err
		}
		if j.ended() || j.State == migrate.PausedJob && word == "pause" {
			return o.done()
		}
		never := word == "pause" && strings.HasPrefix(j.Reason, "OTHERCLUSTER") // only cancel ends that
		switch {
		case j.State != migrate.Running || j.Reason == "":
			deadline = time.Time{}
		case never, !deadline.IsZero() && time.Now().After(deadline):
			return fail(exitFailure, "%s has no effect, job %s does not go on: %s", word, id, j.Reason)
		case deadline.IsZero():
			deadline = time.Now().Add(patience)
			o.say("Job %s does not go on: %s\n", id, j.Reason)
		}
		time.Sleep(lookEvery)
	}
}

// done says that a command without an answer of its own was carried out.
func (o *operation) done() error {
	if o.json() {
		return o.printJSON(map[string]bool{"ok": true})
	}
	o.print("OK\n")
	return nil
}

// jobID is the job that is named, or the newest.
func (o *operation) jobID(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	answer, err := o.client.do(ctx, "PROXY", "JOBS")
	if err != nil {
		return "", err
	}
	var jobs []jobView
	if err := decode(answer, &jobs); err != nil {
		return "", err
	}
	if len(jobs) == 0 {
		return "", fail(exitFailure, "there is no job")
	}
	return jobs[0].ID, nil
}

func (o *operation) job(ctx context.Context, id string) (answer any, j *jobView, err error) {
	if answer, err = o.client.do(ctx, "PROXY", "JOB", id); err == nil {
		err = decode(answer, &j)
	}
	return answer, j, err
}

// ended says whether a job's state is its last.
func (j *jobView) ended() bool {
	return j.State == "success" || j.State == "partial" || j.State == "failed" || j.State == "cancelled"
}

// watch shows a job until it ends, or until somebody has seen enough. A job of a proxy goes on then; one of this process
// is ended properly first, unless it is asked for twice.
func (o *operation) watch(ctx context.Context, id string) error {
	seen, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.alone != nil {
		o.alone.unguard()
	}
	err := o.follow(seen, id)
	if !errors.Is(err, errSeen) {
		return err
	}
	if o.alone == nil {
		return fail(exitInterrupt, "job %s goes on. To see it: slotproxy cluster watch %s; to stop it: slotproxy cluster cancel %s", id, id, id)
	}
	o.say("Finishing the slots in hand. Ctrl-C once more leaves them as they are; the same --cluster goes on with the job then.\n")
	if _, err := o.client.do(ctx, "PROXY", "CANCEL", id); err != nil {
		return err
	}
	again, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.follow(again, id); !errors.Is(err, errSeen) {
		return err
	}
	o.alone.cut = true
	return fail(exitInterrupt, "job %s is not over", id)
}

// errSeen ends the watching of a job that goes on.
var errSeen = errors.New("seen enough")

// follow shows a job until it ends, or seen does.
func (o *operation) follow(seen context.Context, id string) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var told time.Time
	state, ctx := "", context.WithoutCancel(seen) // what is asked of a proxy takes no time, and the connection is still needed
	for {
		answer, j, err := o.job(ctx, id)
		if err != nil {
			o.clear()
			return err
		}
		if j.ended() {
			o.clear()
			return o.report(answer, j)
		}
		switch now := time.Now(); {
		case o.json():
		case o.live:
			o.say("\r\x1b[K%s", fit(j.bar(), o.width))
		case j.State != state || now.Sub(told) >= lineEvery:
			o.say("%s\n", j.progress())
			told, state = now, j.State
		}
		select {
		case <-tick.C:
		case <-seen.Done():
			o.clear()
			return errSeen
		}
	}
}

// clear removes the bar.
func (o *operation) clear() {
	if o.live && !o.json() {
		o.say("\r\x1b[K")
	}
}

// fit keeps a line from wrapping, which would leave parts of it behind. 0 is a terminal that does not tell its width.
func fit(line string, width int) string {
	if r := []rune(line); width > 1 && len(r) >= width {
		return string(r[:width-1])
	}
	return line
}

func (j *jobView) share() float64 {
	if j.SlotsTotal == 0 {
		return 0
	}
	return float64(j.SlotsDone) / float64(j.SlotsTotal)
}

func (j *jobView) bar() string {
	full := int(j.share() * barWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "] " + j.progress()
}

// progress is a job in one line.
func (j *jobView) progress() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%3.0f%%  slots %d/%d  keys %s/%s", 100*j.share(), j.SlotsDone, j.SlotsTotal, amount(j.KeysMoved), amount(max(j.KeysTotal, j.KeysMoved)))
	if j.BytesMoved > 0 {
		fmt.Fprintf(&b, "  %s", size(j.BytesMoved))
	}
	fmt.Fprintf(&b, "  %s keys/s", amount(j.KeysPerSecond))
	if j.ETA > 0 {
		fmt.Fprintf(&b, "  ETA %s", (time.Duration(j.ETA) * time.Millisecond).Round(time.Second))
	}
	if j.State != "running" {
		b.WriteString("  " + j.State)
	}
	if why := cmp.Or(j.Reason, j.Pace); why != "" {
		b.WriteString("  (" + why + ")")
	}
	return b.String()
}

// report tells how a job ended, and ends the process as the job ended.
func (o *operation) report(answer any, j *jobView) error {
	if o.json() {
		if err := o.printJSON(answer); err != nil {
			return err
		}
	} else {
		o.printJob(j)
	}
	if j.State == "success" {
		return nil
	}
	return fail(exitJob, "job %s: %s", j.ID, strings.TrimSpace(j.State+" "+j.Reason))
}

// amount writes a count in at most five characters.
func amount(n int64) string {
	f := float64(n)
	for _, unit := range []string{"", "k", "M", "G"} {
		if f < 1000 || unit == "G" {
			if unit == "" {
				return fmt.Sprintf("%.0f", f)
			}
			return fmt.Sprintf("%.1f%s", f, unit)
		}
		f /= 1000
	}
	return ""
}

func size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 || unit == "TiB" {
			if unit == "B" {
				return fmt.Sprintf("%.0f B", f)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1024
	}
	return ""
}
