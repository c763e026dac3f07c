package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options say what to start. The zero value is a cluster of three primaries of the newest version.
type Options struct {
	Version   Version // "" is the newest
	Primaries int     // nodes with slots, 3 when zero; ignored by Standalone
	Replicas  int     // for each primary
	Empty     int     // primaries without slots
	// NodeTimeout is cluster-node-timeout, the time after which a silent node is suspected.
	NodeTimeout time.Duration
	// Args are further settings as on a server's command line, for example "--maxmemory", "64mb". They win over
	// what this package sets.
	Args []string
	// NodeArgs, when not nil, gives further Args of one node: i counts nodes from 0 in the order of Cluster.Nodes.
	NodeArgs func(i, port int) []string
	Password string    // requirepass, also used between nodes
	TLS      *TLSFiles // not nil: the nodes speak only TLS, also among each other, and want client certificates
	Host     string    // loopback address to listen on, "127.0.0.1" when empty
	Dir      string    // where nodes keep their files; "" is a temporary folder that Stop removes
	Log      io.Writer // progress, one line a node; nil is silence
}

// Long enough that a busy machine does not see failovers that no test asked for, short enough to wait for one.
const defaultNodeTimeout = 5 * time.Second

// startLimit bounds Start and Restart. A cluster forms in 2 to 3 s; a machine under full load has needed ten times that.
const startLimit = 60 * time.Second

func (o Options) withDefaults() (Options, error) {
	if o.Version == "" {
		newest, err := Newest()
		if err != nil {
			return o, err
		}
		o.Version = newest
	}
	if o.Primaries == 0 {
		o.Primaries = 3
	}
	if o.Primaries < 0 || o.Replicas < 0 || o.Empty < 0 {
		return o, errors.New("testcluster: a negative number of nodes")
	}
	if o.NodeTimeout == 0 {
		o.NodeTimeout = defaultNodeTimeout
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	return o, nil
}

// Start starts a cluster and returns when every node answers, knows all others and agrees on who owns what. ctx bounds
// the start only. What was started is stopped again when it fails.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := newCluster(o, true)
	if err != nil {
		return nil, err
	}
	if err := c.launchAll(ctx, c.size()); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start a cluster of %s: %w", c.Version, err)
	}
	if err := c.form(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("form a cluster of %s: %w", c.Version, err)
	}
	return c, nil
}

// Standalone starts one server that is not in cluster mode; Node.Stop ends it and removes its folder.
func Standalone(ctx context.Context, o Options) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := newCluster(o, false)
	if err != nil {
		return nil, err
	}
	if err := c.launchAll(ctx, 1); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start a standalone %s: %w", c.Version, err)
	}
	return c.Nodes[0], nil
}

func newCluster(o Options, clustered bool) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Version: o.Version, options: o, clustered: clustered}
	if c.programs, err = o.Version.programs(); err != nil {
		return nil, err
	}
	if o.TLS != nil {
		if c.tls, err = o.TLS.ClientConfig(); err != nil {
			return nil, err
		}
	}
	if o.Dir == "" {
		c.dir, err = os.MkdirTemp("", "slotproxy-cluster-")
		return c, err
	}
	c.dir = o.Dir
	return c, os.MkdirAll(o.Dir, 0o700)
}

// size is the number of nodes, primaries first, then the empty ones, then the replicas.
func (c *Cluster) size() int {
	o := &c.options
	return o.Primaries + o.Empty + o.Primaries*o.Replicas
}

// config is the text of a node's configuration file.
func (c *Cluster) config(n *Node) string {
	o := &c.options
	var text strings.Builder
	set := func(name, value string) { fmt.Fprintf(&text, "%s %s\n", name, value) }
	set("bind", o.Host)
	set("dir", strconv.Quote(n.Dir))
	set("logfile", logName)
	set("save", `""`)
	set("appendonly", "no")
	set("enable-debug-command", "local") // tests make slow and broken nodes with DEBUG
	set("repl-diskless-sync-delay", "0") // by default replicas wait 5 s for company
	set("shutdown-timeout", "0")
	if o.Password != "" {
		set("requirepass", strconv.Quote(o.Password))
		set("masterauth", strconv.Quote(o.Password))
	}
	if c.clustered {
		set("cluster-enabled", "yes")
		set("cluster-config-file", "nodes.conf")
		set("cluster-node-timeout", strconv.FormatInt(o.NodeTimeout.Milliseconds(), 10))
	}
	if o.TLS == nil {
		set("port", strconv.Itoa(n.Port))
		return text.String()
	}
	set("port", "0")
	set("tls-port", strconv.Itoa(n.Port))
	set("tls-replication", "yes")
	set("tls-cluster", "yes")
	set("tls-cert-file", strconv.Quote(o.TLS.Cert))
	set("tls-key-file", strconv.Quote(o.TLS.Key))
	set("tls-ca-cert-file", strconv.Quote(o.TLS.CA))
	return text.String()
}
