// Command slotproxy serves a Valkey or Redis Cluster as one standalone server.
//
//	main.go        the commands and exit codes          serve.go      a proxy's life: start, signals, drain
//	config.go      config check|print                   wire.go       the one place where packages meet
//	playground.go  a throw-away cluster                 health.go     the HTTP port
//	demo*.go       demo: slots move while clients work
//	version.go     version                              console.go    what the admin port shows
//	bench*.go      bench: measures what the proxy costs
//	cluster*.go    cluster: moves slots, by the admin port of a proxy that runs
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes, for scripts and service managers.
const (
	exitOK        = 0
	exitFailure   = 1   // it ran, and broke
	exitUsage     = 2   // the command line cannot be understood
	exitConfig    = 3   // the configuration is wrong
	exitBind      = 4   // an address, file or socket cannot be opened
	exitJob       = 5   // a job has not moved everything: partial, failed or cancelled
	exitDrainCut  = 6   // the drain had to cut commands under way
	exitInterrupt = 130 // a second SIGINT
	exitTerminate = 143 // a second SIGTERM
)

// exitError ends the process with a code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs a command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	// What no command of ours has judged comes from cobra: a command or an argument that it does not know.
	code := exitUsage
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	// Nobody is left to tell when this fails.
	_, _ = fmt.Fprintf(stderr, "slotproxy: %v\n", err)
	if code == exitUsage {
		_, _ = fmt.Fprintln(stderr, "See slotproxy --help.")
	}
	return code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "slotproxy",
		Short: "One endpoint that behaves as one Valkey server, in front of a Valkey or Redis Cluster",
		Long: "slotproxy makes a Valkey or Redis Cluster look like one standalone server, also while slots move.\n\n" +
			"  slotproxy playground                               a throw-away cluster, served on 127.0.0.1:6479\n" +
			"  slotproxy demo                                     one whose slots move while clients work\n" +
			"  slotproxy serve --cluster 127.0.0.1:7000           your cluster\n" +
			"  slotproxy cluster reshard                          moves its slots\n" +
			"  slotproxy bench                                    measures what the proxy costs\n\n" +
			"Exit codes: 0 fine, 1 failure, 2 usage, 3 configuration, 4 cannot bind or open, 5 a job has not moved everything,\n" +
			"6 the drain cut commands under way, 130 and 143 stopped at once by a signal.",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(buildInfo().String() + "\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(serveCommand(), playgroundCommand(), demoCommand(), clusterCommand(), benchCommand(), configCommand(), versionCommand())
	return root
}
