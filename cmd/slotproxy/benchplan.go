package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slotproxy/bench/load"
)

// Words of --target.
const (
	targetDirect = "direct"
	targetProxy  = "proxy"
	targetBoth   = "both"
)

// check completes the flags, or says which of them is wrong.
func (f *benchFlags) check() error {
	switch {
	case f.target == "" && f.during != "":
		f.target = targetProxy
	case f.target == "":
		f.target = targetBoth
	}
	if f.rounds == 0 {
		f.rounds = 1
		if f.target == targetBoth {
			f.rounds = 3
		}
	}
	kinds := 0
	for _, flag := range []string{"ratio", "read", "mix", "command"} {
		if f.given(flag) {
			kinds++
		}
	}
	switch {
	case f.target != targetDirect && f.target != targetProxy && f.target != targetBoth:
		return fail(exitUsage, "--target is direct, proxy or both, not %q", f.target)
	case f.output != outputText && f.output != outputJSON:
		return fail(exitUsage, "--output is text or json, not %q", f.output)
	case kinds > 1:
		return fail(exitUsage, "one of --ratio, --read, --mix and --command")
	case f.during != "" && (f.target == targetBoth || f.rounds != 1):
		return fail(exitUsage, "--during wants one target and one round: the next would find nothing to do")
	case f.rounds < 1 || f.rounds > 1000:
		return fail(exitUsage, "--rounds: 1 to 1000, not %d", f.rounds)
	case f.duration < 10*time.Millisecond || f.warmUp < 0:
		return fail(exitUsage, "--duration is at least 10ms, --warmup not negative")
	case (f.cert == "") != (f.key == ""):
		return fail(exitUsage, "--tls-cert and --tls-key come together")
	}
	return nil
}

// loadConfig is a load without its target.
func (f *benchFlags) loadConfig() (c load.Config, err error) {
	c = load.Config{Clients: f.clients, Threads: f.threads, Pipeline: f.pipeline, Keys: f.keys, Prefix: f.prefix, Rate: f.rate, Bound: f.bound}
	if c.Ops, err = f.operations(); err != nil {
		return c, fail(exitUsage, "%w", err)
	}
	if c.Distribution, err = load.ParseDistribution(f.distribution); err != nil {
		return c, fail(exitUsage, "--distribution: %w", err)
	}
	if c.Sizes, err = load.ParseSizes(f.size); err != nil {
		return c, fail(exitUsage, "--size: %w", err)
	}
	if f.clients < 1 || f.threads < 1 || f.pipeline < 1 || f.keys < 1 || f.rate < 0 || f.given("rate") && f.rate == 0 {
		return c, fail(exitUsage, "--clients, --threads, --pipeline, --keys and --rate are at least 1")
	}
	if f.resp != 2 && f.resp != 3 {
		return c, fail(exitUsage, "--resp is 2 or 3, not %d", f.resp)
	}
	if err := f.addresses(); err != nil {
		return c, err
	}
	rest := c
	rest.Target.Addr = f.proxy
	if err := rest.Check(); err != nil {
		return c, fail(exitUsage, "%w", err)
	}
	return c, nil
}

// addresses refuses what is no address, before anything has been measured.
func (f *benchFlags) addresses() error {
	if _, _, err := net.SplitHostPort(f.proxy); err != nil {
		return fail(exitUsage, "--proxy is host:port, not %q", f.proxy)
	}
	for _, node := range f.nodes() {
		if _, _, err := net.SplitHostPort(node); err != nil {
			return fail(exitUsage, "--cluster is host:port, more of them after commas, not %q", f.cluster)
		}
	}
	return nil
}

// nodes are those of --cluster.
func (f *benchFlags) nodes() []string {
	if f.cluster == "" {
		return nil
	}
	return strings.Split(f.cluster, ",")
}

// operations are those of --mix, --command, --read or --ratio.
func (f *benchFlags) operations() ([]load.Op, error) {
	switch {
	case f.mix != "":
		return parseMix(f.mix)
	case f.command != "":
		name, _, _ := strings.Cut(strings.TrimSpace(f.command), " ")
		return []load.Op{{Name: strings.ToUpper(name), Weight: 1, Commands: []string{f.command}, Keys: 10}}, nil
	case f.given("read"):
		if !(f.read >= 0 && f.read <= 1) {
			return nil, fmt.Errorf("--read is 0 to 1, not %g", f.read)
		}
		return shares(int(1000-1000*f.read+0.5), int(1000*f.read+0.5)), nil
	}
	write, read, ok := strings.Cut(f.ratio, ":")
	w, err1 := strconv.Atoi(write)
	r, err2 := strconv.Atoi(read)
	if !ok || err1 != nil || err2 != nil || w < 0 || r < 0 || w+r == 0 {
		return nil, fmt.Errorf("--ratio is SET:GET, such as 1:10, not %q", f.ratio)
	}
	return shares(w, r), nil
}

// shares leaves out what has no weight.
func shares(set, get int) []load.Op {
	var list []load.Op
	if get > 0 {
		list = append(list, load.Get(get))
	}
	if set > 0 {
		list = append(list, load.Set(set))
	}
	return list
}

func parseMix(text string) ([]load.Op, error) {
	var list []load.Op
	for _, item := range strings.Split(text, ",") {
		name, weightText, given := strings.Cut(strings.ToLower(item), "=")
		weight := 1
		var err error
		if given {
			weight, err = strconv.Atoi(weightText)
		}
		if err != nil {
			return nil, fmt.Errorf("--mix: a weight is a number, not %q", weightText)
		}
		word := strings.TrimRight(name, "0123456789")
		n, err := strconv.Atoi(name[len(word):])
		switch counted := err == nil && n > 0; {
		case word == "mget" && counted:
			list = append(list, load.MGet(weight, n))
		case word == "mset" && counted:
			list = append(list, load.MSet(weight, n))
		case name == "get":
			list = append(list, load.Get(weight))
		case name == "set":
			list = append(list, load.Set(weight))
		case name == "multi":
			list = append(list, load.Multi(weight))
		case name == "publish":
			list = append(list, load.Publish(weight))
		default:
			return nil, fmt.Errorf("--mix knows get, set, mgetN, msetN, multi and publish, not %q", name)
		}
	}
	return list, nil
}

// bench is one run of the command.
type bench struct {
	flags *benchFlags
	cmd   *cobra.Command
	admin *operation // nil when there is no admin port, and none is needed
	loads []load.Config
	hdr   *os.File // of --hdr, nil for none
	job   *jobView // of --during, once it has ended
	live  bool     // standard error is a terminal
}

// prepare finds the targets and the processes.
func (b *bench) prepare(ctx context.Context) error {
	f := b.flags
	cfg, err := f.loadConfig()
	if err != nil {
		return err
	}
	if err := b.openHistograms(); err != nil {
		return err
	}
	if err := b.findAdmin(ctx); err != nil {
		return err
	}
	login := load.Target{User: f.user, RESP: f.resp}
	if login.Password, err = f.password(); err != nil {
		return err
	}
	secure, err := f.tlsConfig()
	if err != nil {
		return err
	}
	seeds, err := b.seeds(ctx)
	if err != nil {
		return err
	}
	direct, through := login, login
	direct.Name, direct.Seeds = targetDirect, seeds
	through.Name, through.Addr = targetProxy, f.proxy
	if f.clusterTLS {
		direct.TLS = secure
	}
	if f.tls {
		through.TLS = secure
	}
	if len(seeds) > 0 {
		cfg.Processes = nodeProcesses(ctx, &direct)
	}
	if f.target != targetProxy {
		c := cfg
		c.Target = direct
		b.loads = append(b.loads, c)
	}
	if f.target != targetDirect {
		c := cfg
		c.Target = through
		c.Processes = append(c.Processes[:len(c.Processes):len(c.Processes)], b.proxyProcess(ctx)...)
		b.loads = append(b.loads, c)
	}
	return nil
}

// openHistograms opens the file of --hdr, so that nobody measures for minutes and then has no place for the result. What
// is in it stays until there is another.
func (b *bench) openHistograms() (err error) {
	if b.flags.hdr == "" {
		return nil
	}
	if b.hdr, err = os.OpenFile(b.flags.hdr, os.O_WRONLY|os.O_CREATE, 0o644); err != nil {
		return fail(exitUsage, "--hdr: %w", err)
	}
	return nil
}

// findAdmin connects to the admin port. Without --during only what it could tell is missing.
func (b *bench) findAdmin(ctx context.Context) error {
	f := b.flags
	if f.target == targetDirect && f.during == "" && f.cluster != "" {
		return nil
	}
	access := &clusterFlags{admin: f.admin, user: f.adminUser, passwordFile: f.adminPassword, output: outputText,
		alone: &settingFlags{given: map[string][]string{}}}
	o, err := newOperation(ctx, access, b.cmd)
	if err == nil {
		o.talk = b.cmd.ErrOrStderr()
		b.admin = o
		return nil
	}
	if f.during != "" || f.target != targetProxy && f.cluster == "" {
		return err
	}
	b.note("No admin port, so the processor time of the proxy is not known: %v\n", err)
	return nil
}

func (b *bench) note(format string, args ...any) {
	_, _ = fmt.Fprintf(b.cmd.ErrOrStderr(), format, args...)
}

// seeds are nodes of the cluster, none if nobody knows and nobody needs to.
func (b *bench) seeds(ctx context.Context) ([]string, error) {
	if nodes := b.flags.nodes(); nodes != nil {
		return nodes, nil
	}
	if b.admin == nil {
		return nil, nil
	}
	p, err := b.admin.picture(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for i := range p.nodes {
		if n := &p.nodes[i]; n.primary() && !n.Failed {
			list = append(list, n.Addr)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the proxy knows no node yet")
	}
	return list, nil
}

func (f *benchFlags) password() (string, error) {
	if f.passwordFile == "" {
		return os.Getenv("REDISCLI_AUTH"), nil
	}
	text, err := os.ReadFile(f.passwordFile)
	if err != nil {
		return "", fail(exitUsage, "--password-file: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func (f *benchFlags) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.serverName, InsecureSkipVerify: f.insecure}
	var err error
	if c.RootCAs, err = loadCA("--tls-ca", f.ca); err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	if f.cert != "" {
		cert, err := loadCert("--tls-cert", f.cert, f.key)
		if err != nil {
			return nil, fail(exitUsage, "%w", err)
		}
		c.Certificates = []tls.Certificate{*cert}
	}
	return c, nil
}

// nodeProcesses are those of the nodes on this machine that say so truly: one in a container names a process of the container's.
func nodeProcesses(ctx context.Context, t *load.Target) []load.Process {
	addrs, err := load.Nodes(ctx, t)
	if err != nil {
		return nil // the load itself will say why
	}
	for _, seed := range t.Seeds { // primaries that have no slots yet are among them
		if !slices.Contains(addrs, seed) {
			addrs = append(addrs, seed)
		}
	}
	var list []load.Process
	for _, addr := range addrs {
		info, err := load.Ask(ctx, t, addr, "INFO", "server")
		if err != nil || !here(addr) {
			return nil // of some of them it would be a wrong sum
		}
		pid, _ := strconv.Atoi(infoField(info, "process_id"))
		title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		program := filepath.Base(infoField(info, "executable"))
		if err != nil || !strings.Contains(string(title), program) {
			return nil
		}
		list = append(list, load.Process{Name: addr, Role: load.Node, PID: pid})
	}
	return list
}

// proxyProcess is none when it is on another machine or nobody knows.
func (b *bench) proxyProcess(ctx context.Context) []load.Process {
	pid := b.flags.proxyPID
	if pid == 0 && b.admin != nil && here(b.flags.proxy) {
		answer, err := b.admin.client.do(ctx, "PROXY", "INFO", "server")
		if text, ok := answer.(string); ok && err == nil {
			pid, _ = strconv.Atoi(infoField(text, "process_id"))
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid < 1 || err != nil {
		return nil
	}
	return []load.Process{{Name: b.flags.proxy, Role: load.Proxy, PID: pid}}
}

func infoField(info, name string) string {
	for _, l := range strings.Split(info, "\n") {
		if value, is := strings.CutPrefix(l, name+":"); is {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// here tells whether an address is one of this machine.
func here(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.IsLoopback() {
		return ip != nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}
