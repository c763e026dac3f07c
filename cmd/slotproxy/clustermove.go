package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slotproxy/internal/admin"
	"slotproxy/migrate/plan"
)

// planFlags are those of the commands that make a plan.
type planFlags struct {
	engine             string
	hold               time.Duration
	maxKeys, maxBytes  int64
	parallel           int
	blocking           bool
	dryRun, detach     bool
	savePlan, readPlan string
	capSlots           int
	capKeys            int64

	// Of valkey-cli; what they set is measured here.
	timeout, pipeline int
	replace           bool
}

// sameFlags are other names: valkey-cli's for what has a name of its own here, and its old ones.
var sameFlags = map[string]string{
	"simulate": "dry-run", "use-empty-masters": "use-empty-primaries", "primary-id": "replica-of", "master-id": "replica-of",
	"slave": "replica",
}

func otherNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if same, ok := sameFlags[name]; ok {
		name = same
	}
	return pflag.NormalizedName(name)
}

func addPlanFlags(cmd *cobra.Command) *planFlags {
	p := &planFlags{}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetNormalizeFunc(otherNames)
	flags.BoolVar(&p.dryRun, "dry-run", false, "Show the plan and begin nothing. Also --simulate.")
	flags.StringVar(&p.savePlan, "save-plan", "", "Write the plan to this file, for --plan.")
	flags.StringVar(&p.readPlan, "plan", "", "Carry out the plan of this file; the cluster must be as it was then.")
	flags.IntVar(&p.capSlots, "cap-slots", 0, "Most slots that the plan moves in all; what is left the same command moves later.")
	flags.Int64Var(&p.capKeys, "cap-keys", 0, "Most keys that the plan moves in all, as counted when it is made.")
	flags.BoolVar(&p.detach, "detach", false, "Print the id of the job and do not wait for it.")
	flags.StringVar(&p.engine, "engine", "", "How slots move: auto, atomic or legacy. Default: the proxy's migrate_engine.")
	flags.DurationVar(&p.hold, "hold", 0, "How long commands for slots in hand may be held back. Default: the proxy's migrate_hold_budget.")
	flags.Int64Var(&p.maxKeys, "max-keys", 0, "Most keys a second.")
	flags.Int64Var(&p.maxBytes, "max-bytes", 0, "Most bytes a second.")
	flags.IntVar(&p.parallel, "parallel", 0, "Groups of slots at one time.")
	flags.BoolVar(&p.blocking, "allow-blocking", false, "Move also keys so large that they stop their nodes for longer than allowed.")
	flags.IntVar(&p.timeout, "timeout", 0, "As in valkey-cli. Without effect: timeouts follow from what is moved.")
	flags.IntVar(&p.pipeline, "pipeline", 0, "As in valkey-cli. Without effect: batches follow from what nodes can do.")
	flags.BoolVar(&p.replace, "replace", false, "As in valkey-cli. Without effect: keys are never replaced blindly.")
	return p
}

// adminWords are those of a command for the admin port.
type adminWords []string

func (w *adminWords) add(given bool, word string, value any) {
	if given {
		*w = append(*w, word, fmt.Sprint(value))
	}
}

// caps belong to a goal: a plan has them already.
func (p *planFlags) caps() (w adminWords) {
	w.add(p.capSlots != 0, "CAPSLOTS", p.capSlots)
	w.add(p.capKeys != 0, "CAPKEYS", p.capKeys)
	return w
}

// options are those of a job.
func (p *planFlags) options() (w adminWords) {
	w.add(p.engine != "", "ENGINE", p.engine)
	w.add(p.hold != 0, "HOLD", p.hold.Milliseconds())
	w.add(p.maxKeys != 0, "MAXKEYS", p.maxKeys)
	w.add(p.maxBytes != 0, "MAXBYTES", p.maxBytes)
	w.add(p.parallel != 0, "PARALLEL", p.parallel)
	if p.blocking {
		w = append(w, "ALLOWBLOCKING")
	}
	return w
}

func moveCommands(f *clusterFlags) []*cobra.Command {
	return []*cobra.Command{reshardCommand(f), slotsCommand(f), rebalanceCommand(f), evacuateCommand(f)}
}

// reshardWords are what a reshard needs.
type reshardWords struct {
	from  []string
	to    string
	slots int
}

func reshardCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reshard [HOST:PORT]",
		Short: "Move so many slots from some nodes to one",
		Long:  "Moves slots. What is missing of --from, --to and --slots is asked for.\n\n  slotproxy cluster reshard --from all --to 127.0.0.1:7003 --slots 1000 --yes",
		Args:  cobra.MaximumNArgs(1),
	}
	cmd.PreRunE = onNode(f)
	w := &reshardWords{}
	cmd.Flags().StringSliceVar(&w.from, "from", nil, "Nodes that give, separated by commas, or all.")
	cmd.Flags().StringVar(&w.to, "to", "", "Node that receives.")
	cmd.Flags().IntVar(&w.slots, "slots", 0, "How many slots.")
	p := addPlanFlags(cmd)
	cmd.RunE = act(f, func(ctx context.Context, o *operation, _ []string) error {
		if p.readPlan == "" {
			if err := o.reshardAsk(ctx, w); err != nil {
				return err
			}
		}
		words := append([]string{"RESHARD", "FROM"}, w.from...)
		return o.carryOut(ctx, p, append(words, "TO", w.to, "SLOTS", strconv.Itoa(w.slots)))
	})
	planOrGoal(cmd)
	return cmd
}

func slotsCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move SLOTS...",
		Short: "Move these slots to a node",
		Long:  "Moves slots that are named.\n\n  slotproxy cluster move 0-99 200 --to 127.0.0.1:7003",
	}
	var to string
	cmd.Flags().StringVar(&to, "to", "", "Node that receives.")
	p := addPlanFlags(cmd)
	planOrGoal(cmd)
	cmd.RunE = act(f, func(ctx context.Context, o *operation, args []string) error {
		words := []string{"MOVE", "SLOTSRANGE"}
		for _, arg := range args {
			first, last, isRange := strings.Cut(arg, "-")
			if !isRange {
				last = first
			}
			words = append(words, first, last)
		}
		switch {
		case p.readPlan != "" && len(args) > 0:
			return errTwoGoals
		case p.readPlan == "" && (len(args) == 0 || to == ""):
			return fail(exitUsage, "move wants slots, such as 0-99 200, and --to")
		}
		return o.carryOut(ctx, p, append(words, "TO", to))
	})
	return cmd
}

func rebalanceCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebalance [HOST:PORT]",
		Short: "Give each primary its share",
		Long:  "Moves as few slots as give each primary its share.\n\n  slotproxy cluster rebalance --use-empty-primaries --yes",
	}
	var by string
	var weights []string
	var threshold float64
	var empty bool
	cmd.Flags().StringSliceVar(&weights, "weight", nil, "node=weight, repeated or separated by spaces or commas; 1 for nodes not named, 0 empties a node.")
	cmd.Flags().BoolVar(&empty, "use-empty-primaries", false, "Primaries without slots get their share, too.")
	cmd.Flags().Float64Var(&threshold, "threshold", 0, "Percent off the share up to which nothing moves. Default 2, or 5 when not by slots.")
	cmd.Flags().StringVar(&by, "by", "", "What a share is counted in: slots, keys or ops (commands). Default slots.")
	p := addPlanFlags(cmd)
	planOrGoal(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		nodes := slices.DeleteFunc(slices.Clone(args), isWeight)
		if len(nodes) > 1 {
			return fail(exitUsage, "rebalance wants one node of the cluster, not %s", strings.Join(nodes, " "))
		}
		return onNode(f)(cmd, nodes)
	}
	cmd.RunE = act(f, func(ctx context.Context, o *operation, args []string) error {
		words := []string{"REBALANCE"}
		for _, arg := range args {
			if isWeight(arg) {
				weights = append(weights, arg)
			}
		}
		if by != "" {
			words = append(words, "BY", by)
		}
		for i, w := range weights {
			node, weight, ok := strings.Cut(w, "=")
			if !ok {
				return fail(exitUsage, "--weight wants node=weight, got %q", w)
			}
			if i == 0 {
				words = append(words, "WEIGHT")
			}
			words = append(words, node, weight)
		}
		if cmd.Flags().Changed("threshold") {
			words = append(words, "THRESHOLD", strconv.FormatFloat(threshold, 'f', -1, 64))
		}
		if empty {
			words = append(words, "USEEMPTY")
		}
		return o.carryOut(ctx, p, words)
	})
	return cmd
}

// isWeight tells more values of --weight from a node of the cluster: valkey-cli writes them one behind the other.
func isWeight(arg string) bool { return strings.Contains(arg, "=") }

func evacuateCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evacuate NODE",
		Short: "Move all slots of a node to the others",
		Long:  "Moves everything away from a node, for example before del-node.",
		Args:  cobra.MaximumNArgs(1),
	}
	p := addPlanFlags(cmd)
	planOrGoal(cmd)
	cmd.RunE = act(f, func(ctx context.Context, o *operation, args []string) error {
		switch {
		case p.readPlan != "" && len(args) > 0:
			return errTwoGoals
		case p.readPlan == "" && len(args) == 0:
			return fail(exitUsage, "evacuate wants a node")
		}
		return o.carryOut(ctx, p, append([]string{"EVACUATE"}, args...))
	})
	return cmd
}

// errTwoGoals refuses slots or nodes beside a plan that names its own.
var errTwoGoals = fail(exitUsage, "--plan says already what moves where")

// planOrGoal refuses --plan beside the flags that say what a plan says already: those that are the command's own.
func planOrGoal(cmd *cobra.Command) {
	for _, name := range []string{"from", "to", "slots", "weight", "use-empty-primaries", "threshold", "by", "cap-slots", "cap-keys"} {
		if cmd.Flags().Lookup(name) != nil {
			cmd.MarkFlagsMutuallyExclusive("plan", name)
		}
	}
}

// carryOut makes a plan, or reads a saved one, shows it, asks, and executes exactly that.
func (o *operation) carryOut(ctx context.Context, flags *planFlags, goal []string) error {
	if flags.timeout != 0 || flags.pipeline != 0 || flags.replace {
		o.say("--timeout, --pipeline and --replace have no effect here.\n")
	}
	if flags.detach && o.alone != nil {
		return fail(exitUsage, "--detach needs a proxy: without one the job ends with this command")
	}
	text, p, err := o.plan(ctx, flags, goal)
	if err != nil {
		return err
	}
	if flags.savePlan != "" {
		if err := os.WriteFile(flags.savePlan, []byte(text+"\n"), 0o644); err != nil {
			return fmt.Errorf("save the plan: %w", err)
		}
	}
	only := flags.dryRun || len(p.Moves) == 0
	if !o.json() || !only && o.willAsk() {
		if err := o.showPlan(ctx, p); err != nil {
			return err
		}
	}
	if only {
		if o.json() {
			_, err = fmt.Fprintln(o.out, text) // one line: a slot a line is for nobody
		}
		return err
	}
	if err := o.consent("Do you want to proceed with the proposed reshard plan (yes/no)? "); err != nil {
		return err
	}
	answer, err := o.client.do(ctx, append([]string{"PROXY", "EXECUTE", text}, flags.options()...)...)
	if err != nil {
		return err
	}
	id, _ := answer.(string)
	if !flags.detach {
		return o.watch(ctx, id)
	}
	if o.json() {
		return o.printJSON(map[string]string{"job": id})
	}
	o.print("%s\n", id)
	return nil
}

// plan returns a plan that fits the cluster as it is, and its JSON in one line.
func (o *operation) plan(ctx context.Context, flags *planFlags, goal []string) (text string, p *plan.Plan, err error) {
	goal = append(goal, flags.caps()...)
	if flags.readPlan != "" {
		b, err := os.ReadFile(flags.readPlan)
		if err != nil {
			return "", nil, fail(exitUsage, "--plan: %w", err)
		}
		if p, err = admin.ReadPlan(string(b)); err != nil {
			return "", nil, fmt.Errorf("%s is no plan: %w", flags.readPlan, err)
		}
		if len(p.Moves) == 0 {
			return string(b), p, nil
		}
		goal = []string{"EXECUTE", string(b)}
	}
	words := append([]string{"PROXY"}, goal...)
	answer, err := o.client.do(ctx, append(append(words, flags.options()...), "DRYRUN", "JSON")...)
	if err != nil {
		return "", nil, err
	}
	text, _ = answer.(string)
	p, err = admin.ReadPlan(text)
	return text, p, err
}

// shownTime is as exact as an estimate is shown, and the shortest.
const shownTime = 100 * time.Millisecond

// showPlan prints what would move.
func (o *operation) showPlan(ctx context.Context, p *plan.Plan) error {
	if len(p.Moves) == 0 {
		o.print("Nothing to move.\n")
		o.printCapped(p.Capped)
		for _, w := range p.Warnings {
			o.print("[WARNING] %s\n", w)
		}
		return nil
	}
	pic, err := o.picture(ctx)
	if err != nil {
		return err
	}
	o.print("Ready to move %d slots with %s keys", p.Slots, amount(p.Keys))
	if p.Bytes > 0 {
		o.print(", %s", size(p.Bytes))
	}
	o.print(", in about %s", max(p.Estimate.Round(shownTime), shownTime))
	if p.EstimateBy != "" { // plans of before do not say it
		o.print(" (%s)", p.EstimateBy)
	}
	o.print(".\n  Resharding plan:\n")
	for i := range p.Moves {
		m := &p.Moves[i]
		o.print("    Moving %d slots from %s to %s: %s\n", len(m.Slots), pic.name(m.Source), pic.name(m.Target), brief(m.Slots))
	}
	o.printShares(views(p.Before), views(p.After))
	o.printCapped(p.Capped)
	for _, w := range p.Warnings {
		o.print("[WARNING] %s\n", w)
	}
	return nil
}

func views(shares []plan.Share) []shareView {
	list := make([]shareView, len(shares))
	for i, s := range shares {
		list[i] = shareView(s)
	}
	return list
}

// maxRanges of one move are printed. The file of --save-plan has all.
const maxRanges = 12

// brief writes slots as ranges.
func brief(slots []uint16) string {
	var b strings.Builder
	for i, n := 0, 0; i < len(slots); n++ {
		last := i
		for last+1 < len(slots) && slots[last+1] == slots[last]+1 {
			last++
		}
		if n == maxRanges {
			b.WriteString(" ...")
			break
		}
		if n > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(int(slots[i])))
		if last > i {
			b.WriteString("-" + strconv.Itoa(int(slots[last])))
		}
		i = last + 1
	}
	return b.String()
}
