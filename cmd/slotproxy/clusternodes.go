package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func nodeCommands(f *clusterFlags) []*cobra.Command {
	return []*cobra.Command{fixCommand(f), createCommand(f), addNodeCommand(f), delNodeCommand(f)}
}

func fixCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fix [HOST:PORT]",
		Short: "Repair what is wrong with the cluster",
		Long:  "Shows what check finds and the commands that repair it, asks, and sends them.",
		Args:  cobra.MaximumNArgs(1),
	}
	cmd.PreRunE = onNode(f)
	everyOwner(cmd)
	var orphans string
	var dryRun bool
	cmd.Flags().StringVar(&orphans, "orphans", "keep", "What becomes of keys on nodes that do not own their slots: keep, merge or delete.")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show the repairs and send nothing.")
	cmd.RunE = act(f, func(ctx context.Context, o *operation, _ []string) error { return o.fix(ctx, orphans, dryRun) })
	return cmd
}

func (o *operation) fix(ctx context.Context, orphans string, dryRun bool) error {
	words := []string{"PROXY", "FIX", "ORPHANS", orphans}
	answer, err := o.client.do(ctx, append(words, "DRYRUN")...)
	if err != nil {
		return err
	}
	var report reportView
	if err := decode(answer, &report); err != nil {
		return err
	}
	if o.json() && dryRun {
		return o.printJSON(answer)
	}
	if !o.json() || o.willAsk() {
		o.printFindings(&report)
	}
	repairs := 0
	for _, f := range report.Findings {
		repairs += len(f.Repair)
	}
	switch {
	case dryRun:
		return nil
	case repairs == 0 && !report.OK:
		return errors.New("nothing of this can be repaired automatically")
	case repairs == 0:
		return o.done()
	}
	if err := o.consent("Do you want to send these " + strconv.Itoa(repairs) + " commands (yes/no)? "); err != nil {
		return err
	}
	if answer, err = o.client.do(ctx, words...); err != nil {
		return err
	}
	report = reportView{}
	if err := decode(answer, &report); err != nil {
		return err
	}
	if o.json() {
		if err := o.printJSON(answer); err != nil {
			return err
		}
	} else {
		o.print("%s", lines(report.Done))
		o.printFindings(&report)
	}
	if !report.OK {
		return errors.New("not everything is repaired")
	}
	return nil
}

func lines(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, "\n") + "\n"
}

func createCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create HOST:PORT...",
		Short: "Make one cluster of empty nodes",
		Long: "Makes a cluster of nodes that run and are empty. Without --admin it needs no proxy.\n\n" +
			"  slotproxy cluster create 10.0.0.1:7000 10.0.0.2:7000 10.0.0.3:7000 10.0.0.4:7000 10.0.0.5:7000 10.0.0.6:7000 --replicas 1",
		Args: cobra.MinimumNArgs(1),
	}
	var replicas int
	var dryRun bool
	cmd.Flags().IntVar(&replicas, "replicas", 0, "Replicas of each primary.")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show what the cluster would be and make nothing.")
	cmd.PreRun = func(cmd *cobra.Command, args []string) {
		if !cmd.Flags().Changed("admin") && !cmd.Flags().Changed("cluster") {
			f.alone.given["cluster"], f.use.found = args, true
		}
	}
	cmd.RunE = act(f, func(ctx context.Context, o *operation, args []string) error {
		words := append([]string{"PROXY", "CREATE"}, args...)
		words = append(words, "REPLICAS", strconv.Itoa(replicas))
		if err := o.createLines(ctx, append(words, "DRYRUN"), dryRun); err != nil || dryRun {
			return err
		}
		if err := o.consent("Can I set the above configuration? (type 'yes' to accept): "); err != nil {
			return err
		}
		return o.createLines(ctx, words, true)
	})
	return cmd
}

// createLines sends a CREATE. The last one is the result, what comes before is for people.
func (o *operation) createLines(ctx context.Context, words []string, last bool) error {
	answer, err := o.client.do(ctx, words...)
	if err != nil {
		return err
	}
	if o.json() && last {
		return o.printJSON(answer)
	}
	var list []string
	if err := decode(answer, &list); err != nil {
		return err
	}
	o.say("%s", lines(list))
	return nil
}

func addNodeCommand(f *clusterFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add-node HOST:PORT [HOST:PORT]",
		Short: "Add a node, as an empty primary or as a replica",
		Long: "Adds a node that runs, is empty and belongs to no cluster; a second one is of the cluster, as --cluster.\n" +
			"Slots come to it by rebalance --use-empty-primaries.",
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error { return onNode(f)(cmd, args[1:]) }
	var primary string
	var replica bool
	cmd.Flags().SetNormalizeFunc(otherNames)
	cmd.Flags().BoolVar(&replica, "replica", false, "As a replica of the primary that has fewest, or of --replica-of.")
	cmd.Flags().StringVar(&primary, "replica-of", "", "As a replica of this node. Also --primary-id.")
	cmd.RunE = act(f, func(ctx context.Context, o *operation, args []string) error {
		if replica && primary == "" {
			p, err := o.picture(ctx)
			if err != nil {
				return err
			}
			if primary = p.needy(); primary == "" {
				return errors.New("there is no primary")
			}
		}
		words := []string{"PROXY", "ADDNODE", args[0]}
		if primary != "" {
			words = append(words, "REPLICAOF", primary)
		}
		if _, err := o.client.do(ctx, words...); err != nil {
			return err
		}
		return o.done()
	})
	return cmd
}

// needy is the primary with slots that has fewest replicas.
func (p *picture) needy() (id string) {
	least := 0
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.primary() || n.Failed || n.Slots == 0 {
			continue
		}
		if count := p.replicas(n.ID); id == "" || count < least {
			id, least = n.ID, count
		}
	}
	return id
}

func delNodeCommand(f *clusterFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "del-node [HOST:PORT] NODE",
		Short:   "Remove a node that has no slots",
		Long:    "Removes a node from the cluster and resets it. Its slots have to leave before: evacuate. One before it is of the cluster, as --cluster.",
		Args:    cobra.RangeArgs(1, 2),
		PreRunE: func(cmd *cobra.Command, args []string) error { return onNode(f)(cmd, args[:len(args)-1]) },
		RunE: act(f, func(ctx context.Context, o *operation, args []string) error {
			node := args[len(args)-1]
			if err := o.consent("Remove " + node + " from the cluster (yes/no)? "); err != nil {
				return err
			}
			if _, err := o.client.do(ctx, "PROXY", "DELNODE", node); err != nil {
				return err
			}
			return o.done()
		}),
	}
}
