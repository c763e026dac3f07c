package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// The command slotproxy bench. The load itself is made by bench/load.
//
//	bench.go        flags                                benchrun.go     rounds, progress, a command in the middle
//	benchplan.go    what they mean: loads and targets    benchreport.go  the result for people    benchjson.go  and for programs

// benchFlags are as they were given.
type benchFlags struct {
	target, proxy, cluster          string
	admin, adminUser, adminPassword string // adminPassword is a file
	proxyPID                        int

	clients, threads, pipeline, keys int
	ratio, mix, command              string
	read                             float64
	prefix, distribution, size       string
	rate                             float64
	duration, warmUp                 time.Duration
	rounds                           int
	fill, bound                      bool

	user, passwordFile        string
	resp                      int
	tls, clusterTLS, insecure bool
	ca, cert, key, serverName string
	during, output, hdr       string
	given                     func(flag string) bool
}

const benchHelp = `Sends commands to a cluster directly, as a client that knows the slots, and through the proxy, and tells what the proxy costs.

  slotproxy bench                                                  a slotproxy on this machine, and its cluster directly
  slotproxy bench --target proxy -c 200 -P 16 --ratio 1:10 -d 1KiB
  slotproxy bench --rate 20000 --distribution zipf:0.99            latency at a fixed rate
  slotproxy bench --mix get=8,set=1,mget10=1 --size 64=9,16KiB=1   what is sent, and how large
  slotproxy bench --command 'LPUSH {key} {value}'
  slotproxy bench --during 'PROXY REBALANCE USEEMPTY' --rate 5000  before, during and after
  slotproxy bench --target direct --cluster 10.0.0.1:7000 --output json

Without --rate a client sends when it has its replies, as valkey-benchmark does (a closed load): it shows how much can be done. With
--rate commands are due by the clock, whether or not earlier ones were answered, and measured from when they were due (an open load):
it shows what users would wait. The keys bench:000000000000 and following are written first and stay; --fill=false leaves that out.

Exit codes: 0 fine, 1 it broke or an operation failed, 2 usage, 5 the job of --during has not moved everything, 130 interrupted.`

func benchCommand() *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{Use: "bench", Short: "Measure what the proxy costs beside the cluster itself", Long: benchHelp, Args: cobra.NoArgs}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.target, "target", "", "direct, proxy or both, in turn. Default both; proxy with --during.")
	flags.StringVar(&f.proxy, "proxy", "127.0.0.1:6479", "Address of the proxy, host:port.")
	flags.StringVar(&f.cluster, "cluster", "", "Nodes of the cluster, host:port separated by commas. Default: asked from the admin port.")
	flags.IntVarP(&f.clients, "clients", "c", 50, "Clients. Directly each has a connection to every node.")
	flags.BoolVar(&f.bound, "bound", false, "Directly a client has one connection, and uses keys of that node only, as those of valkey-benchmark.")
	flags.IntVar(&f.threads, "threads", 1, "Threads of the load generator.")
	flags.IntVarP(&f.pipeline, "pipeline", "P", 1, "Operations that a client sends at once.")
	flags.StringVar(&f.ratio, "ratio", "1:10", "SET:GET.")
	flags.Float64Var(&f.read, "read", 0, "Share of GET instead, 0 to 1; the rest is SET.")
	flags.StringVar(&f.mix, "mix", "", "Operations and their weights instead: get, set, mgetN, msetN, multi, publish. Such as get=9,mget10=1.")
	flags.StringVar(&f.command, "command", "", "A command instead, with {key} and {value}, or {keys} or {pairs}.")
	flags.IntVarP(&f.keys, "keys", "r", 100_000, "Keys.")
	flags.StringVar(&f.prefix, "prefix", "bench:", "What they begin with.")
	flags.StringVar(&f.distribution, "distribution", "uniform", "Which are used how often: uniform, zipf, zipf:EXPONENT or sequential.")
	flags.StringVarP(&f.size, "size", "d", "64", "Bytes of a value: 64, 16-1KiB, or weighted 64=9,16KiB=1.")
	flags.Float64Var(&f.rate, "rate", 0, "Operations a second of an open load. Default: as fast as replies come.")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "Length of a measurement; with --during of each before and after.")
	flags.DurationVar(&f.warmUp, "warmup", 2*time.Second, "What is not counted before it.")
	flags.IntVar(&f.rounds, "rounds", 0, "Measurements of each target, in changing order. Default 3 for both, 1 for one.")
	flags.BoolVar(&f.fill, "fill", true, "Write every key first.")
	flags.StringVar(&f.during, "during", "", "A command for the admin port in the middle. The job that it begins is waited for.")
	flags.StringVar(&f.user, "user", "", "User of the proxy and the nodes.")
	flags.StringVar(&f.passwordFile, "password-file", "", "File that holds the user's password; or the variable REDISCLI_AUTH.")
	flags.IntVar(&f.resp, "resp", 2, "Protocol, 2 or 3.")
	flags.BoolVar(&f.tls, "tls", false, "TLS to the proxy.")
	flags.BoolVar(&f.clusterTLS, "cluster-tls", false, "TLS to the nodes.")
	flags.StringVar(&f.ca, "tls-ca", "", "File of the authorities that are trusted. Default: the system's.")
	flags.StringVar(&f.cert, "tls-cert", "", "Certificate to show, with --tls-key.")
	flags.StringVar(&f.key, "tls-key", "", "Its key.")
	flags.StringVar(&f.serverName, "tls-server-name", "", "Name in the certificates. Default: the host of the address.")
	flags.BoolVar(&f.insecure, "tls-insecure-skip-verify", false, "Accept any certificate.")
	flags.StringVar(&f.admin, "admin", environment("SLOTPROXY_ADMIN", "127.0.0.1:6481"), "Admin port of the proxy, host:port or unix:/path.")
	flags.StringVar(&f.adminUser, "admin-user", "admin", "User of the admin port.")
	flags.StringVar(&f.adminPassword, "admin-password-file", environment("SLOTPROXY_ADMIN_PASSWORD_FILE", ""),
		"File that holds its password; or the variable SLOTPROXY_ADMIN_PASSWORD.")
	flags.IntVar(&f.proxyPID, "proxy-pid", 0, "Process of the proxy, to measure its processor time. Default: asked from the admin port.")
	flags.StringVarP(&f.output, "output", "o", outputText, "text or json.")
	flags.StringVar(&f.hdr, "hdr", "", "Write histograms to this file: percentiles if it ends with .hgrm, else an HDR histogram log.")
	f.given = flags.Changed
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err := runBench(ctx, cmd, f)
		if err != nil && ctx.Err() != nil {
			return fail(exitInterrupt, "interrupted")
		}
		return failure(err)
	}
	return cmd
}
