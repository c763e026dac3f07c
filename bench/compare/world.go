//go:build linux

package main

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/bench/load"
	"slotproxy/internal/testcluster"
)

// world is everything that runs during a comparison. What nobody asks for is not started.
type world struct {
	*measurer
	scene   scene
	dir     string
	cluster *testcluster.Cluster
	alone   []*testcluster.Node // servers that are no cluster
	certs   *testcluster.TLSFiles
	clients *tls.Config
	running map[string]*proxy
	broken  map[string]error // contenders that did not start
	filled  map[string]bool
}

// enter gets ready for other cases: servers of another number are other servers, another number of keys begins with none.
func (w *world) enter(to scene) error {
	from := w.scene
	w.scene, w.filled = to, map[string]bool{}
	if w.dir == "" {
		var err error
		if w.dir, err = os.MkdirTemp("", "slotproxy-compare-"); err != nil {
			return err
		}
		if w.certs, err = testcluster.NewTLSFiles(w.dir); err != nil {
			return err
		}
		if w.clients, err = w.certs.ClientConfig(); err != nil {
			return err
		}
	}
	if from.nodes != to.nodes {
		w.stopServers()
		w.broken = map[string]error{}
		return nil
	}
	for _, n := range w.servers() {
		if _, err := n.Do("FLUSHALL"); err != nil {
			return err
		}
	}
	return nil
}

// servers are all that run.
func (w *world) servers() []*testcluster.Node {
	list := slices.Clone(w.alone)
	if w.cluster != nil {
		list = append(list, w.cluster.Nodes...)
	}
	return list
}

// stopProxies has them start anew when they are needed next.
func (w *world) stopProxies() {
	for _, p := range w.running {
		p.stop()
	}
	w.running = map[string]*proxy{}
}

func (w *world) stopServers() {
	w.stopProxies()
	for _, n := range w.alone {
		n.Stop()
	}
	w.alone = nil
	if w.cluster != nil {
		w.cluster.Stop()
	}
	w.cluster = nil
}

func (w *world) stop() {
	w.stopServers()
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // a folder of temporary files, as others are
	}
}

func (w *world) folder(name string) (string, error) {
	return os.MkdirTemp(w.dir, strings.ReplaceAll(name, " ", "")+"-")
}

// nodes starts the servers of a kind, or finds them running.
func (w *world) nodes(ctx context.Context, of kind) ([]*testcluster.Node, error) {
	version := testcluster.Version(w.settings.version)
	// A node that is thought dead is another measurement, so a busy machine gets time. But nodes tell each other their slots within half of
	// it, and that many nodes must agree before a cluster of 30 has formed.
	const patience = 15 * time.Second
	// Those of the last load may still be closing when the next one connects. Servers take fewer when they have no descriptors for them.
	args := []string{"--maxclients", "30000"}
	number := w.scene.nodes
	switch of {
	case kindNothing:
		return nil, nil
	case kindDirect, kindCluster, kindMember:
		if w.cluster == nil {
			c, err := testcluster.Start(ctx, testcluster.Options{Version: version, Primaries: number, NodeTimeout: patience, Args: args})
			if err != nil {
				return nil, err
			}
			w.cluster = c
			if err := w.ready(ctx, c.Nodes...); err != nil {
				return nil, err
			}
		}
		return w.cluster.Nodes, nil
	case kindOne:
		number = 1
	}
	for len(w.alone) < number {
		n, err := testcluster.Standalone(ctx, testcluster.Options{Version: version, Args: args})
		if err != nil {
			return nil, err
		}
		w.alone = append(w.alone, n)
		if err := w.ready(ctx, n); err != nil {
			return nil, err
		}
	}
	return w.alone[:number], nil
}

// ready gives servers their cores and the script.
func (w *world) ready(ctx context.Context, list ...*testcluster.Node) error {
	for _, n := range list {
		if err := pin(n.Pid(), w.cores.servers); err != nil {
			return err
		}
		if _, err := load.Ask(ctx, &load.Target{}, n.Addr, "SCRIPT", "LOAD", script); err != nil {
			return err
		}
	}
	info, err := load.Ask(ctx, &load.Target{}, list[0].Addr, "INFO", "server")
	w.release = w.settings.version
	for _, name := range []string{"redis_version:", "valkey_version:"} { // Valkey tells old clients of a Redis
		if _, behind, found := strings.Cut(info, "\n"+name); found {
			number, _, _ := strings.Cut(behind, "\r")
			w.release = w.settings.version + " (" + number + ")"
		}
	}
	return err
}

// script is what EVALSHA runs: one command on one key. The servers name it by its sum.
const script = "return redis.call('GET',KEYS[1])"

var scriptName = func() string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}()

// backends are the addresses of servers, those that a proxy goes to.
func (w *world) backends(ctx context.Context, of kind) ([]string, error) {
	nodes, err := w.nodes(ctx, of)
	if of == kindMember {
		nodes = nodes[:min(1, len(nodes))]
	}
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	return addrs, err
}

// proxy starts a contender, or finds it running, and sees that the keys of a case exist.
func (w *world) proxy(ctx context.Context, c *contender, at loadCase) (*proxy, error) {
	name, on := c.name, c.behind(at)
	switch on {
	case kindNothing: // it knows one request and one reply
		name += at.op + strconv.Itoa(at.size)
	case kindMember:
		name += " " + string(kindMember)
	}
	if err := w.broken[name]; err != nil {
		return nil, err
	}
	if w.running[name] == nil {
		p, err := c.start(w, ctx, on, at)
		if err != nil {
			w.broken[name] = err
			return nil, err
		}
		w.running[name] = p
	}
	p := w.running[name]
	return p, w.fill(ctx, c, p, at)
}

// prefix is of keys whose values have one size: the size in base 36. Twelve digits of a number follow, so that up to a megabyte keys
// have 16 bytes, as those of the servers' own benchmark.
func prefix(size int) string {
	text := strconv.FormatInt(int64(size), 36)
	return strings.Repeat("0", max(0, 4-len(text))) + text
}

// fill writes the keys of a case once, by a way that is known to be right: proxies that divide keys in a manner of their own do it themselves.
func (w *world) fill(ctx context.Context, c *contender, p *proxy, at loadCase) error {
	on := c.behind(at)
	where := string(on)
	switch on {
	case kindNothing, kindMember: // the one has no keys, and the other is asked for none
		return nil
	case kindCluster:
		where = string(kindDirect)
	case kindServers:
		where = c.name
	}
	what := fmt.Sprintf("%s %d", where, at.size)
	if w.filled[what] {
		return nil
	}
	all := at
	all.one = false
	cfg := load.Config{Prefix: prefix(at.size), Keys: all.distinct(), Sizes: []load.Size{{Min: at.size, Max: at.size, Weight: 1}}}
	nodes, err := w.backends(ctx, on)
	if err != nil {
		return err
	}
	switch on {
	case kindDirect, kindCluster:
		cfg.Target.Seeds = nodes
	case kindOne:
		cfg.Target.Addr = nodes[0]
	default:
		cfg.Target.Addr = p.addr
	}
	w.filled[what] = true
	return load.Fill(ctx, cfg)
}

// load is the load of a case.
func (w *world) load(c *contender, p *proxy, at loadCase) load.Config {
	cfg := load.Config{
		Target: load.Target{Name: c.name, Addr: p.addr}, Clients: at.clients, Threads: 1, Pipeline: at.pipeline,
		Ops: at.loadOps(), Keys: at.distinct(), Prefix: prefix(at.size), Sizes: []load.Size{{Min: at.size, Max: at.size, Weight: 1}},
	}
	if c.kind == kindDirect {
		cfg.Target.Addr, cfg.Target.Seeds, cfg.Bound = "", w.cluster.Addrs(), bound(at)
	}
	cfg.Rate = w.saturation[at.saturating()] * float64(at.share) / 100
	if at.tls {
		cfg.Target.Addr, cfg.Target.TLS = p.tlsAddr, w.clients
	}
	if pid := p.pid(); pid > 0 {
		cfg.Processes = append(cfg.Processes, load.Process{Name: c.name, Role: load.Proxy, PID: pid})
	}
	nodes, _ := w.nodes(context.Background(), c.behind(at)) // they run
	for _, n := range nodes {
		cfg.Processes = append(cfg.Processes, load.Process{Name: n.Addr, Role: load.Node, PID: n.Pid()})
	}
	return cfg
}

// audienceAddrs is where subscribers connect: to the proxy, or without one to all nodes.
func (w *world) audienceAddrs(p *proxy) []string {
	if p.addr != "" {
		return []string{p.addr}
	}
	return w.cluster.Addrs()
}

func freeAddr() (string, error) {
	addrs, err := testcluster.FreeAddrs(1)
	if err != nil {
		return "", err
	}
	return addrs[0], nil
}

// joined is a certificate with its key, as haproxy wants them.
func (w *world) joined() (string, error) {
	file := filepath.Join(w.dir, "joined.pem")
	cert, err := os.ReadFile(w.certs.Cert)
	key, err2 := os.ReadFile(w.certs.Key)
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, append(cert, key...), 0o600)
}
