package load

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Target is what a load is sent to.
type Target struct {
	Name string // of results

	// Addr is one server, such as a proxy; or Seeds are nodes of a cluster, whose slots each client looks up itself.
	Addr  string
	Seeds []string

	TLS            *tls.Config // nil for none
	User, Password string      // no password: no login
	RESP           int         // 0 and 2: no HELLO is sent; 3
}

func (t *Target) cluster() bool { return len(t.Seeds) > 0 }

// Config is a load. The zero value of what is not the target is replaced by a default.
type Config struct {
	Target Target

	Clients int // 50. Each has a connection of its own, to a cluster one to each of its nodes.
	// Bound clients of a cluster have a connection to one of the nodes only, and use keys that it owns, as those of valkey-benchmark do:
	// thousands of clients with a connection to each node need more descriptors than there are.
	Bound    bool
	Threads  int // 1
	Pipeline int // 1. Operations that a client of a closed load sends at once.

	Ops          []Op // GET and SET, 10:1
	Keys         int  // 100000
	Prefix       string
	Distribution Distribution
	Sizes        []Size // 64 bytes

	// Rate is the operations a second of an open load, which are due by the clock. 0 is a closed load: a client sends when it has its replies.
	Rate float64
	// Backlog is how many operations of an open load may wait for their replies. Those that are due beyond it are sent later, and measured
	// from when they were due. 0: 100000.
	Backlog int
	// Count ends a load after so many operations; 0 for none. What phases there are does not matter to it.
	Count int

	// Begin is the phase in which the load begins. Without one, what happens before the first Enter is not counted: it warms up.
	Begin string

	// Wait is how long Stop waits for replies. What is not answered then is an error, and took that long. 0: 5s.
	Wait time.Duration

	// Processes whose processor time is measured, those of them that are on this machine.
	Processes []Process

	Log *slog.Logger // nil for none
}

// Bounds of a load, each where one process of this kind ends to be of use.
const (
	maxClients  = 60_000 // connections from one address to one port
	maxThreads  = 256
	maxPipeline = 10_000
	maxKeys     = 1_000_000_000_000 // of keyDigits digits
	maxRate     = 10e6
	maxBacklog  = 10_000_000 // of 100 bytes each
	maxPrefix   = 1000
)

// Check says what is wrong with a load, without a connection to anything.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults returns a copy that is complete, or says what is wrong.
func (c Config) withDefaults() (Config, error) {
	def := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	def(&c.Clients, 50)
	def(&c.Threads, 1)
	def(&c.Pipeline, 1)
	def(&c.Keys, 100_000)
	def(&c.Backlog, 100_000)
	if len(c.Ops) == 0 {
		c.Ops = []Op{Get(10), Set(1)}
	}
	if len(c.Sizes) == 0 {
		c.Sizes = []Size{{64, 64, 1}}
	}
	if c.Prefix == "" {
		c.Prefix = "bench:"
	}
	if c.Distribution.Kind == "" {
		c.Distribution.Kind = Uniform
	}
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Threads = min(c.Threads, c.Clients)
	return c, c.check()
}

func (c *Config) check() error {
	for _, n := range []struct {
		name       string
		got, limit int
	}{
		{"clients", c.Clients, maxClients}, {"threads", c.Threads, maxThreads}, {"pipeline", c.Pipeline, maxPipeline},
		{"keys", c.Keys, maxKeys}, {"operations", len(c.Ops), maxOps}, {"backlog", c.Backlog, maxBacklog},
	} {
		if n.got < 1 || n.got > n.limit {
			return fmt.Errorf("%s: 1 to %d, not %d", n.name, n.limit, n.got)
		}
	}
	switch {
	case (c.Target.Addr == "") == (len(c.Target.Seeds) == 0):
		return fmt.Errorf("a target is one server or the nodes of a cluster")
	case c.Target.RESP != 0 && c.Target.RESP != 2 && c.Target.RESP != 3:
		return fmt.Errorf("RESP is 2 or 3, not %d", c.Target.RESP)
	case c.Rate < 0 || c.Rate > maxRate:
		return fmt.Errorf("rate: at most %g, not %g", float64(maxRate), c.Rate)
	case c.Count < 0:
		return fmt.Errorf("count: %d", c.Count)
	case c.Wait < 0:
		return fmt.Errorf("wait: %v", c.Wait)
	case len(c.Prefix) > maxPrefix:
		return fmt.Errorf("prefix: at most %d bytes", maxPrefix)
	case c.Distribution.Kind == Zipf && !(c.Distribution.Exponent > 0 && c.Distribution.Exponent <= maxExponent):
		return fmt.Errorf("the exponent of zipf is above 0, at most %d", maxExponent)
	}
	for _, addr := range append([]string{c.Target.Addr}, c.Target.Seeds...) {
		if addr == "" && c.Target.cluster() {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%q is no host:port", addr)
		}
	}
	for _, o := range c.Ops {
		if o.Weight < 1 || o.Weight > maxWeight {
			return fmt.Errorf("%s: a weight is 1 to %d, not %d", o.Name, maxWeight, o.Weight)
		}
	}
	return checkSizes(c.Sizes)
}
