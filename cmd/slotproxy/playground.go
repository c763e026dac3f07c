package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"slotproxy/internal/config"
	"slotproxy/internal/testcluster"
)

func playgroundCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "playground",
		Short: "Start a throw-away cluster of real servers and serve it",
		Long: "Starts three primaries and one empty node of the newest server found on this machine, on free ports of 127.0.0.1\n" +
			"and in a temporary folder, and serves them. Ctrl-C ends all of it and leaves nothing behind.\n\n" +
			"Takes the flags of serve, for example --listen 127.0.0.1:7000.",
		Args: cobra.NoArgs,
	}
	flags := addSettings(cmd, "cluster", "cluster_user", "cluster_password", "cluster_password_file", "cluster_tls", "cluster_tls_ca",
		"cluster_tls_cert", "cluster_tls_key", "cluster_tls_server_name", "cluster_tls_insecure_skip_verify")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		signals := watchSignals()
		defer signal.Stop(signals)
		return playground(flags, signals, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// playground starts a cluster and serves it until a signal comes.
func playground(flags *settingFlags, signals chan os.Signal, stdout, stderr io.Writer) error {
	sources := flags.sources(playSettings(os.Environ()))
	if _, err := config.Load(sources); err != nil { // before seconds are spent on a cluster
		return &exitError{exitConfig, err}
	}
	p := play{out: stdout}
	p.say("Starting three primaries and one empty node ...")
	cl, sig, err := startCluster(signals)
	if err != nil {
		return fail(exitFailure, "%w\nscripts/servers.sh brings a server to this machine", err)
	}
	if sig != nil {
		return nil
	}
	defer cl.Stop()
	p.cluster = cl
	sources.Flags["cluster"] = cl.Addrs()
	remove, err := p.keepState(sources)
	if err != nil {
		return failure(err)
	}
	defer remove()
	err = serve(sources, signals, stderr, p.welcome)
	p.say("Stopping the cluster.")
	return err
}

// keepState gives the coordinator a folder that goes away with the cluster, unless another one is named.
func (p *play) keepState(sources config.Sources) (remove func(), err error) {
	if _, named := sources.Flags["state_dir"]; named {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "slotproxy-state-")
	if err != nil {
		return nil, err
	}
	sources.Flags["state_dir"] = []string{dir}
	return func() { _ = os.RemoveAll(dir) }, nil
}

// playSettings differ from serve's defaults: nobody has to notice that a playground goes away, and a terminal shows
// warnings only. What the environment says counts more.
func playSettings(env []string) map[string]string {
	play := map[string]string{"drain_delay": "0", "drain_spread": "0", "drain_timeout": "2s", "log_level": "warn"}
	for _, s := range config.Settings() {
		for _, pair := range env {
			if strings.HasPrefix(pair, s.Env+"=") {
				delete(play, s.Key)
			}
		}
	}
	return play
}

// started is the outcome of starting a cluster.
type started struct {
	cluster *testcluster.Cluster
	err     error
}

// startCluster starts a cluster unless a signal comes first; then nothing is left of it.
func startCluster(signals <-chan os.Signal) (*testcluster.Cluster, os.Signal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan started) // from launch to here
	go launch(ctx, done)
	var sig os.Signal
	for {
		select {
		case sig = <-signals:
			cancel()
		case s := <-done:
			if sig == nil {
				return s.cluster, nil, s.err
			}
			if s.cluster != nil {
				s.cluster.Stop()
			}
			return nil, sig, nil
		}
	}
}

func launch(ctx context.Context, done chan<- started) {
	cl, err := testcluster.Start(ctx, testcluster.Options{Primaries: 3, Empty: 1})
	done <- started{cl, err}
}

// play tells a person what is running. What cannot be written is not missed.
type play struct {
	out     io.Writer
	cluster *testcluster.Cluster
}

func (p *play) say(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

// welcome shows what there is and what to try. Called once the proxy serves.
func (p *play) welcome(s *server) {
	nodes := p.cluster.Nodes
	p.say("\n%s, three primaries and one empty node:", p.cluster.Version)
	for i, n := range nodes {
		what := "primary"
		if i == len(nodes)-1 {
			what = "empty"
		}
		p.say("  %-8s  %s", what, n.Addr)
	}
	addrs := s.addresses()
	p.say("slotproxy, one server for all of them:")
	p.say("  clients   %s", strings.Join(addrs, " "))
	if s.admin != nil {
		p.say("  admin     %s", s.adminAddress())
	}
	if s.http != nil {
		p.say("  metrics   http://%s/metrics", s.http.ln.Addr())
	}
	p.say("\nTry, in another terminal:")
	name, line := cli(p.cluster.CLI().Path)
	if line != "" {
		p.say("  %s", line)
	}
	target := cliTarget(s)
	p.say("  %s %s SET greeting hello", name, target)
	p.say("  %s %s INCR visits", name, target)
	if s.admin != nil && s.moves != nil {
		p.say("  %s cluster rebalance --use-empty-primaries%s", shellQuote(os.Args[0]), adminFlag(s.adminAddress()))
	}
	p.say("\nCtrl-C ends all of it and leaves nothing behind.")
}

// cli is how to call a client: valkey-cli if it is on the PATH, else the cached one by a variable, and the line that sets it.
func cli(cached string) (name, line string) {
	if _, err := exec.LookPath("valkey-cli"); err == nil {
		return "valkey-cli", ""
	}
	return "$CLI", "CLI=" + shellQuote(cached)
}

// adminFlag names the admin port, unless it is the usual one.
func adminFlag(addr string) string {
	if addr == config.Default().Admin.Address {
		return ""
	}
	return " --admin " + shellQuote(addr)
}

func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%"
	if strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// cliTarget points a client at the first listener.
func cliTarget(s *server) string {
	if len(s.cfg.Load().Listen.TCP) > 0 {
		return target(s.addresses()[0])
	}
	if path := s.cfg.Load().Listen.Unix; path != "" {
		return "-s " + shellQuote(path)
	}
	return "--tls " + target(s.addresses()[0])
}

func target(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "127.0.0.1" || host == "::" || host == "0.0.0.0" {
		return "-p " + port
	}
	return "-h " + host + " -p " + port
}
