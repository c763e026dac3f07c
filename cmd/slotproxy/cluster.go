package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"slotproxy/internal/config"
)

// The commands of slotproxy cluster. Each speaks to the admin port of a proxy that runs:
//
//	cluster.go         the commands' frame: flags, login, output     clusterclient.go  a connection to the admin port
//	clusterlook.go     info, nodes, slots, check, jobs, job          clusterview.go    what it answers
//	clustermove.go     reshard, move, rebalance, evacuate: a plan,   clusterask.go     questions, as valkey-cli asks them
//	                   a yes, a job                                  clusterwatch.go   a job, until it has ended
//	clusternodes.go    create, add-node, del-node, fix               clusteralone.go   the same without a proxy

// clusterFlags are those that all commands have.
type clusterFlags struct {
	admin, user, passwordFile string
	output                    string
	yes                       bool

	alone *settingFlags // of a coordinator in this process; used when they name a cluster
	use   purpose       // of that coordinator
}

const (
	outputText = "text"
	outputJSON = "json"
)

// operation is one command under way.
type operation struct {
	flags  *clusterFlags
	client *adminClient
	out    io.Writer // results that programs read
	talk   io.Writer // what people read: results, questions, progress; with JSON, standard error
	in     *bufio.Reader
	alone  *standalone // the coordinator of this process; nil when it is a proxy's
	asks   bool        // a person can answer
	live   bool        // talk is a terminal
	width  int         // of the terminal
}

func (o *operation) json() bool { return o.flags.output == outputJSON }

// say writes to a person. What cannot be written is not missed.
func (o *operation) say(format string, args ...any) { _, _ = fmt.Fprintf(o.talk, format, args...) }

// print writes a result as people read it. Where JSON is the result, that is beside it: what a question is about.
func (o *operation) print(format string, args ...any) { o.say(format, args...) }

// printJSON writes an answer as it is.
func (o *operation) printJSON(v any) error {
	e := json.NewEncoder(o.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look at a cluster, move its slots, change its nodes",
		Long: "Speaks to the admin port of a slotproxy that runs, or to the nodes when there is none: --cluster.\n" +
			"Changes are shown and confirmed on a terminal; elsewhere --yes must be given. reshard asks for all that is missing.\n\n" +
			"  slotproxy cluster check\n" +
			"  slotproxy cluster reshard --from all --to 127.0.0.1:7003 --slots 4096\n" +
			"  slotproxy cluster rebalance --use-empty-primaries --yes\n\n" +
			"Nodes are named by id, the beginning of one, or host:port.\n\n" +
			"Who knows valkey-cli --cluster: options have its names without --cluster- before them, and HOST:PORT behind check, info,\n" +
			"fix, reshard, rebalance, add-node and del-node is a node of the cluster, as --cluster. There are no call, import, backup\n" +
			"and set-timeout, and no --fix-with-unreachable-primaries.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := &clusterFlags{alone: &settingFlags{given: map[string][]string{}}}
	flags := cmd.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&f.admin, "admin", environment("SLOTPROXY_ADMIN", "127.0.0.1:6481"), "Admin port of the proxy, host:port or unix:/path.")
	flags.StringVar(&f.user, "user", "admin", "User of the admin port: admin, operator or viewer.")
	flags.StringVar(&f.passwordFile, "password-file", environment("SLOTPROXY_ADMIN_PASSWORD_FILE", ""),
		"File that holds the user's password; or the variable SLOTPROXY_ADMIN_PASSWORD.")
	flags.StringVarP(&f.output, "output", "o", outputText, "text or json.")
	flags.BoolVarP(&f.yes, "yes", "y", false, "Do not ask whether to go on.")
	for _, s := range config.Settings() {
		if s.Key == "cluster" {
			s.Help = "Work without a proxy, on the cluster of this node (host:port). Clients that are moved meanwhile see MOVED and ASK."
		}
		if s.Key == "state_dir" || s.Key == "cluster" || strings.HasPrefix(s.Key, "cluster_") && s.Key != "cluster_refresh" {
			f.alone.add(flags, s)
		}
	}
	cmd.AddCommand(lookCommands(f)...)
	cmd.AddCommand(moveCommands(f)...)
	cmd.AddCommand(jobCommands(f)...)
	cmd.AddCommand(nodeCommands(f)...)
	return cmd
}

// onNode takes a node that is named behind a command, as valkey-cli has it, for --cluster.
func onNode(f *clusterFlags) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case cmd.Flags().Changed("cluster") || cmd.Flags().Changed("admin"):
			return fail(exitUsage, "%s stands for --cluster: give only one of it, --cluster and --admin", args[0])
		}
		f.alone.given["cluster"] = args[:1]
		return nil
	}
}

func environment(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// act makes the RunE of a command that speaks to the admin port.
func act(f *clusterFlags, run func(ctx context.Context, o *operation, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := context.Background() // a signal ends the process, but for watch: it waits for nothing then
		if dry := cmd.Flags().Lookup("dry-run"); dry != nil && dry.Value.String() == "true" {
			f.use.look = true
		}
		o, err := newOperation(ctx, f, cmd)
		if err != nil {
			return err
		}
		defer o.close()
		return failure(run(ctx, o, args))
	}
}

// failure gives an error that has no exit code the usual one.
func failure(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{exitFailure, err}
}

// close ends what newOperation has begun.
func (o *operation) close() {
	o.client.close()
	if o.alone != nil {
		o.alone.stop()
	}
}

// newOperation connects to the admin port of a proxy, or starts a coordinator and connects to that, and logs in.
func newOperation(ctx context.Context, f *clusterFlags, cmd *cobra.Command) (*operation, error) {
	if f.output != outputText && f.output != outputJSON {
		return nil, fail(exitUsage, "--output is text or json, not %q", f.output)
	}
	o := &operation{flags: f, out: cmd.OutOrStdout(), talk: cmd.OutOrStdout(), in: bufio.NewReader(cmd.InOrStdin())}
	if o.json() {
		o.talk = cmd.ErrOrStderr()
	}
	o.asks = isTerminal(cmd.InOrStdin())
	o.live = isTerminal(o.talk)
	if o.live {
		o.width, _, _ = term.GetSize(int(o.talk.(*os.File).Fd()))
	}
	if len(f.alone.given["cluster"]) > 0 {
		return o, failure(o.stand(ctx, cmd.ErrOrStderr()))
	}
	client, err := dialAdmin(ctx, f.admin)
	if err != nil {
		return nil, fail(exitFailure, "%w\nIs a slotproxy running there? --admin names its admin port, --cluster a node to work without a proxy", err)
	}
	o.client = client
	if err := o.login(ctx); err != nil {
		client.close()
		return nil, failure(err)
	}
	return o, nil
}

// stand starts a coordinator in this process and connects to it.
func (o *operation) stand(ctx context.Context, stderr io.Writer) error {
	alone, err := newStandalone(ctx, o.flags.alone.sources(nil), stderr, o.flags.use)
	if err != nil {
		return err
	}
	if o.client, err = alone.start(ctx); err != nil {
		alone.stop()
		return err
	}
	o.alone = alone
	if alone.moves.Running() {
		o.say("A job that was interrupted goes on as long as this command runs; slotproxy cluster watch waits for its end.\n")
	}
	return nil
}

// isTerminal is false for everything but a terminal, such as a test's buffer.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// login asks for the password when it is needed, nobody has given one, and somebody can.
func (o *operation) login(ctx context.Context) error {
	password := os.Getenv("SLOTPROXY_ADMIN_PASSWORD")
	if o.flags.passwordFile != "" {
		text, err := os.ReadFile(o.flags.passwordFile)
		if err != nil {
			return fail(exitUsage, "--password-file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	err := o.client.hello(ctx, o.flags.user, password)
	var said serverError
	if password != "" || !o.asks || !errors.As(err, &said) || !said.is("NOAUTH") {
		return err
	}
	o.say("Password of %s: ", o.flags.user)
	typed, err := readPassword(int(os.Stdin.Fd()))
	o.say("\n")
	if err != nil {
		return err
	}
	return o.client.hello(ctx, o.flags.user, typed)
}

// readPassword reads a line that is not shown. A signal must not leave a terminal behind that shows nothing.
func readPassword(fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		_ = term.Restore(fd, before)
		os.Exit(exitInterrupt)
	})()
	typed, err := term.ReadPassword(fd)
	return string(typed), err
}
