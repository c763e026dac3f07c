package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/router"
)

func lookCommands(f *clusterFlags) []*cobra.Command {
	list := []*cobra.Command{}
	for _, c := range []struct {
		use, short string
		run        func(ctx context.Context, o *operation, args []string) error
	}{
		{"info [HOST:PORT]", "Keys and slots of each primary", clusterInfo},
		{"nodes", "Nodes of the cluster", clusterNodes},
		{"slots", "Slot ranges with their owners", clusterSlots},
		{"check [HOST:PORT]", "Find what is wrong with the cluster; exit code 1 if anything is", clusterCheck},
		{"jobs", "Jobs, the newest first", clusterJobs},
		{"job [JOB]", "One job, by default the newest", clusterJob},
	} {
		cmd := &cobra.Command{Use: c.use, Short: c.short, Args: cobra.NoArgs, RunE: look(f, c.run)}
		switch _, arg, _ := strings.Cut(c.use, " "); arg {
		case "[HOST:PORT]":
			cmd.Args, cmd.PreRunE = cobra.MaximumNArgs(1), onNode(f)
		case "[JOB]":
			cmd.Args = cobra.MaximumNArgs(1)
		}
		if cmd.Name() == "check" {
			everyOwner(cmd)
		}
		list = append(list, cmd)
	}
	return list
}

// look is act for commands that change nothing.
func look(f *clusterFlags, run func(ctx context.Context, o *operation, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		f.use.look = true
		return act(f, run)(cmd, args)
	}
}

// everyOwner gives a command valkey-cli's option for what is always done here.
func everyOwner(cmd *cobra.Command) {
	cmd.Flags().Bool("search-multiple-owners", false, "As in valkey-cli. Without effect: slots with several owners are always found.")
}

// raw prints an answer as JSON when that is wanted.
func (o *operation) raw(ctx context.Context, words ...string) (answer any, done bool, err error) {
	if answer, err = o.client.do(ctx, words...); err != nil || !o.json() {
		return answer, false, err
	}
	return answer, true, o.printJSON(answer)
}

// table writes rows of columns.
func (o *operation) table(head string, rows [][]string) {
	w := tabwriter.NewWriter(o.talk, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.ReplaceAll(head, "|", "\t"))
	for _, r := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
}

func clusterNodes(ctx context.Context, o *operation, _ []string) error {
	answer, done, err := o.raw(ctx, "PROXY", "NODES")
	if done || err != nil {
		return err
	}
	var nodes []nodeView
	if err := decode(answer, &nodes); err != nil {
		return err
	}
	var rows [][]string
	for _, n := range nodes {
		state := "ok"
		if n.Failed {
			state = "failed"
		}
		rows = append(rows, []string{n.ID, n.Addr, n.Role, fmt.Sprint(n.Slots), fmt.Sprint(n.Epoch), state, n.Primary})
	}
	o.table("ID|ADDRESS|ROLE|SLOTS|EPOCH|STATE|PRIMARY", rows)
	return nil
}

func clusterSlots(ctx context.Context, o *operation, _ []string) error {
	answer, done, err := o.raw(ctx, "PROXY", "SLOTS")
	if done || err != nil {
		return err
	}
	var rows [][]string
	ranges, _ := answer.([]any)
	for _, r := range ranges {
		var row []string
		columns, _ := r.([]any)
		for _, v := range columns {
			row = append(row, fmt.Sprint(v))
		}
		rows = append(rows, row)
	}
	o.table("FIRST|LAST|ADDRESS|ID", rows)
	return nil
}

func clusterInfo(ctx context.Context, o *operation, _ []string) error {
	answer, done, err := o.raw(ctx, "PROXY", "CHECK")
	if done || err != nil {
		return err
	}
	var report reportView
	if err := decode(answer, &report); err != nil {
		return err
	}
	p, err := o.picture(ctx)
	if err != nil {
		return err
	}
	o.printInfo(p, &report)
	return nil
}

// printInfo writes as valkey-cli --cluster info does.
func (o *operation) printInfo(p *picture, report *reportView) {
	var keys int64
	for _, s := range report.Shares {
		keys += s.Keys
		o.print("%s (%s...) -> %d keys | %d slots | %d replicas.\n", s.Addr, short(s.Node), s.Keys, s.Slots, p.replicas(s.Node))
	}
	o.print("[OK] %d keys in %d primaries.\n%.2f keys per slot on average.\n", keys, len(report.Shares), float64(keys)/router.Slots)
}

func clusterCheck(ctx context.Context, o *operation, _ []string) error {
	answer, done, err := o.raw(ctx, "PROXY", "CHECK")
	if err != nil {
		return err
	}
	var report reportView
	if err := decode(answer, &report); err != nil {
		return err
	}
	if !done {
		p, err := o.picture(ctx)
		if err != nil {
			return err
		}
		o.printInfo(p, &report)
		using := "admin port " + o.flags.admin
		if o.alone != nil {
			using = "node " + o.alone.members[0]
		}
		o.print(">>> Performing Cluster Check (using %s)\n", using)
		for i := range p.nodes {
			o.print("%s", p.describe(&p.nodes[i], ""))
		}
		o.printFindings(&report)
	}
	if !report.OK {
		return fail(exitFailure, "the cluster has %d findings", len(report.Findings))
	}
	return nil
}

// printFindings writes as valkey-cli --cluster check does.
func (o *operation) printFindings(report *reportView) {
	if report.Agree {
		o.print("[OK] All nodes agree about slots configuration.\n")
	} else {
		o.print("[ERR] Nodes don't agree about configuration!\n")
	}
	o.print(">>> Check for open slots...\n")
	for _, f := range report.Findings {
		mark := "[WARNING]"
		if f.Severity == "error" {
			mark = "[ERR]"
		}
		o.print("%s %s\n", mark, f.Text)
		for _, r := range f.Repair {
			o.print("      repair: %s\n", r)
		}
	}
	o.print(">>> Check slots coverage...\n")
	if report.Covered == router.Slots {
		o.print("[OK] All %d slots covered.\n", router.Slots)
	} else {
		o.print("[ERR] Not all %d slots are covered by nodes.\n", router.Slots)
	}
}

func clusterJobs(ctx context.Context, o *operation, _ []string) error {
	answer, done, err := o.raw(ctx, "PROXY", "JOBS")
	if done || err != nil {
		return err
	}
	var jobs []jobView
	if err := decode(answer, &jobs); err != nil {
		return err
	}
	var rows [][]string
	for _, j := range jobs {
		created := time.UnixMilli(j.Created).UTC().Format(time.RFC3339)
		rows = append(rows, []string{j.ID, j.State, fmt.Sprintf("%d/%d", j.SlotsDone, j.SlotsTotal), created, j.Goal, j.Reason})
	}
	o.table("JOB|STATE|SLOTS|CREATED|GOAL|REASON", rows)
	return nil
}

func clusterJob(ctx context.Context, o *operation, args []string) error {
	id, err := o.jobID(ctx, args)
	if err != nil {
		return err
	}
	answer, done, err := o.raw(ctx, "PROXY", "JOB", id)
	if done || err != nil {
		return err
	}
	var j jobView
	if err := decode(answer, &j); err != nil {
		return err
	}
	if !j.ended() {
		o.print("Job %s: %s\n%s\n", j.ID, j.Goal, j.progress())
		o.printCapped(j.Capped)
		for _, u := range j.Units {
			o.print("  %s -> %s: %s, %s, slots %s\n", short(u.Source), short(u.Target), u.Engine, u.Step, u.Slots)
		}
		o.printNoticed(&j)
		return nil
	}
	o.printJob(&j)
	return nil
}

// printJob tells of a job that has ended.
func (o *operation) printJob(j *jobView) {
	took := time.Duration(j.Finished-j.Started) * time.Millisecond
	o.print("Job %s: %s", j.ID, j.State)
	if j.Reason != "" {
		o.print(" (%s)", j.Reason)
	}
	o.print(" after %s: %d of %d slots, %s keys, %s, %d retries\n", took.Round(10*time.Millisecond), j.SlotsDone, j.SlotsTotal,
		amount(j.KeysMoved), size(j.BytesMoved), j.Retries)
	o.printShares(j.Before, j.After)
	for _, b := range j.Blocked {
		o.print("[WARNING] not moved: %s\n", b)
	}
	o.printCapped(j.Capped)
	if j.Agree { // else the reason says what is wrong
		o.print("[OK] All nodes agree about slots configuration, none is open.\n")
	}
	o.printNoticed(j)
}

// printCapped tells what caps have kept a plan from.
func (o *operation) printCapped(text string) {
	if text != "" {
		o.print("[WARNING] %s\n", text)
	}
}

// printNoticed tells what a job has done to clients, and to values that nobody may lose.
func (o *operation) printNoticed(j *jobView) {
	if j.Side != "" {
		o.print("[WARNING] values that differed on two nodes are kept in %s\n", j.Side)
	}
	if o.alone != nil {
		o.print("Clients: nobody has watched them, there was no proxy; those of moved slots saw MOVED or ASK\n")
		return
	}
	o.print("Clients: %d commands were held, the longest for %s; %d redirects, %d errors\n", j.Held,
		(time.Duration(j.LongestHold) * time.Microsecond).Round(100*time.Microsecond), j.Redirects, j.ClientErrors)
}

// printShares compares what nodes have before and after.
func (o *operation) printShares(before, after []shareView) {
	if len(after) == 0 {
		return
	}
	was := make(map[string]shareView, len(before))
	for _, s := range before {
		was[s.Node] = s
	}
	head, counted := "  NODE|SLOTS|KEYS", slices.ContainsFunc(after, func(s shareView) bool { return s.Ops > 0 })
	if counted {
		head += "|OPS"
	}
	var rows [][]string
	for _, s := range after {
		b := was[s.Node]
		row := []string{"  " + s.Addr, fmt.Sprintf("%d -> %d", b.Slots, s.Slots), fmt.Sprintf("%s -> %s", amount(b.Keys), amount(s.Keys))}
		if counted {
			row = append(row, fmt.Sprintf("%s -> %s", amount(b.Ops), amount(s.Ops)))
		}
		rows = append(rows, row)
	}
	o.table(head, rows)
}
