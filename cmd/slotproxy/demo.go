package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/internal/config"
)

// demoSize is how much a demo does.
type demoSize struct {
	clients int
	pause   time.Duration // of each client between two commands
	keys    int           // of each client
	calm    time.Duration // how long clients are watched before and after
}

// fullDemo has 5000 commands a second, a load that two processors carry beside four servers, and a few keys in each slot.
var fullDemo = demoSize{clients: 50, pause: 10 * time.Millisecond, keys: 800, calm: 5 * time.Second}

// demoTime bounds the whole, so that a script that runs it ends.
const demoTime = 2 * time.Minute

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a throw-away cluster and move a quarter of its slots while clients work",
		Long: "Starts a cluster as playground does, lets 50 clients read and write through the proxy, moves slots to the empty node\n" +
			"until all four nodes have the same, and tells what the clients noticed. Takes less than two minutes, asks nothing.\n" +
			"Exit code 0 only if no client got an error or a wrong value.",
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		signals := watchSignals()
		defer signal.Stop(signals)
		return runDemo(fullDemo, signals, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// demo is one demonstration under way.
type demo struct {
	play
	size    demoSize
	dir     string
	signals chan<- os.Signal // to the server, which ends with a SIGTERM
	ended   chan error       // from the goroutine that plays it
	load    *demoLoad
}

// runDemo starts a cluster and a proxy, plays, and stops both.
func runDemo(size demoSize, signals chan os.Signal, stdout, stderr io.Writer) error {
	d := &demo{play: play{out: stdout}, size: size, signals: signals, ended: make(chan error, 1)}
	d.say("Starting three primaries and one empty node ...")
	cl, sig, err := startCluster(signals)
	if err != nil {
		return fail(exitFailure, "%w\nscripts/servers.sh brings a server to this machine", err)
	}
	if sig != nil {
		return fail(exitInterrupt, "interrupted")
	}
	defer cl.Stop()
	d.cluster = cl
	if d.dir, err = os.MkdirTemp("", "slotproxy-demo-"); err != nil {
		return failure(err)
	}
	defer func() { _ = os.RemoveAll(d.dir) }()
	ctx, cancel := context.WithTimeout(context.Background(), demoTime)
	defer cancel()
	begun := false
	err = serve(d.sources(), signals, stderr, func(s *server) {
		begun = true
		go d.perform(ctx, s)
	})
	cancel() // when a signal has ended the server, what is played ends too
	if begun {
		err = errors.Join(err, <-d.ended)
	}
	return failure(err)
}

// sources are a proxy on ports of its own. What the environment says is for other proxies.
func (d *demo) sources() config.Sources {
	flags := map[string][]string{
		"cluster": d.cluster.Addrs(), "listen": {"127.0.0.1:0"}, "admin": {"unix:" + d.dir + "/admin"}, "http": {""}, "state_dir": {d.dir + "/state"},
	}
	for key, value := range playSettings(nil) {
		flags[key] = []string{value}
	}
	return config.Sources{Flags: flags}
}

// perform plays, and ends the server. It is the goroutine of a demo.
func (d *demo) perform(ctx context.Context, s *server) {
	d.ended <- d.story(ctx, s)
	d.signals <- syscall.SIGTERM // has room: nobody else sends as many
}

// story is what the demo shows, in its order.
func (d *demo) story(ctx context.Context, s *server) (err error) {
	d.load = newDemoLoad(s.addresses()[0], d.size)
	d.say("Writing %d keys through the proxy at %s ...", d.size.clients*d.size.keys, d.load.addr)
	if err := d.load.start(ctx); err != nil {
		return err
	}
	d.say("%d clients read and write, each its own keys, 4:1.", d.size.clients)
	d.load.enter(phaseBefore)
	if err := pauseFor(ctx, d.size.calm); err != nil {
		return errors.Join(err, d.load.stop())
	}
	d.say("\nMoving slots to the empty node %s:", d.cluster.Nodes[len(d.cluster.Nodes)-1].Addr)
	d.load.enter(phaseDuring)
	moved := d.rebalance(ctx)
	d.load.enter(phaseAfter)
	if moved == nil {
		moved = pauseFor(ctx, d.size.calm)
	}
	return errors.Join(moved, d.load.stop(), d.judge())
}

func pauseFor(ctx context.Context, span time.Duration) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the demo was not over in time: %w", ctx.Err())
	}
}

// rebalance does what slotproxy cluster rebalance --use-empty-primaries --yes does.
func (d *demo) rebalance(ctx context.Context) error {
	client, err := dialAdmin(ctx, "unix:"+d.dir+"/admin")
	if err != nil {
		return err
	}
	defer client.close()
	if err := client.hello(ctx, "", ""); err != nil {
		return err
	}
	o := &operation{flags: &clusterFlags{output: outputText, yes: true}, client: client, out: d.out, talk: d.out}
	return o.carryOut(ctx, &planFlags{}, []string{"REBALANCE", "USEEMPTY"})
}

// judge tells what clients noticed, and is an error unless it was nothing.
func (d *demo) judge() error {
	results := d.load.results()
	d.say("\nWhat clients noticed:")
	o := &operation{talk: d.out}
	row := func(name string, cell func(*demoResult) string) []string {
		cells := []string{"  " + name}
		for i := range results {
			cells = append(cells, cell(&results[i]))
		}
		return cells
	}
	o.table("  |BEFORE|DURING|AFTER", [][]string{
		row("commands", func(r *demoResult) string { return fmt.Sprint(len(r.took)) }),
		row("p50", func(r *demoResult) string { return r.quantile(0.5).String() }),
		row("p99", func(r *demoResult) string { return r.quantile(0.99).String() }),
		row("longest", func(r *demoResult) string { return r.quantile(1).String() }),
		row("errors", func(r *demoResult) string { return fmt.Sprint(r.errors) }),
		row("wrong values", func(r *demoResult) string { return fmt.Sprint(r.wrong) }),
	})
	bad, first := 0, ""
	for i := range results {
		bad += results[i].errors + results[i].wrong
		if first == "" {
			first = results[i].first
		}
	}
	if bad > 0 {
		return fmt.Errorf("clients noticed %d errors or wrong values, the first: %s", bad, strings.TrimSpace(first))
	}
	return nil
}
