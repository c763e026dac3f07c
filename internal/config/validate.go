package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// problem names the place of a setting, wherever its value came from.
func (c *Config) problem(key, format string, args ...any) error {
	where := c.origins[key]
	if where == "" {
		where = "--" + find(key).flag()
	}
	return &Problem{where, key + ": " + fmt.Sprintf(format, args...)}
}

// check finds what is wrong between settings; each one alone was checked when it was set.
func (c *Config) check() error {
	return errors.Join(c.checkFiles(), c.checkTLS(), c.checkLimits(), c.checkAdminUsers(), c.checkProtected())
}

// CheckServe finds what serving needs and a configuration by itself does not: a cluster, and somewhere to listen.
func (c *Config) CheckServe() error {
	var errs []error
	if len(c.Cluster.Seeds) == 0 {
		errs = append(errs, c.problem("cluster", "no cluster is given, for example --cluster 127.0.0.1:7000"))
	}
	if len(c.Listen.TCP)+len(c.Listen.TLS) == 0 && c.Listen.Unix == "" {
		errs = append(errs, c.problem("listen", "nowhere to listen: listen, listen_tls and unix_socket are all empty"))
	}
	return errors.Join(errs...)
}

// checkFiles finds files that are not there, where a typing error is likely and the reason would come late.
func (c *Config) checkFiles() error {
	var errs []error
	for _, f := range []struct{ key, path string }{
		{"cluster_tls_ca", c.Cluster.TLS.CA}, {"cluster_tls_cert", c.Cluster.TLS.Cert}, {"cluster_tls_key", c.Cluster.TLS.Key},
		{"tls_cert", c.Listen.Cert}, {"tls_key", c.Listen.Key}, {"tls_client_ca", c.Listen.ClientCA},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			errs = append(errs, c.problem(f.key, "%v", err))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkTLS() error {
	var errs []error
	need := func(key string, ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, c.problem(key, format, args...))
		}
	}
	node, l := c.Cluster.TLS, c.Listen
	need("cluster_tls_cert", (node.Cert == "") == (node.Key == ""), "cluster_tls_cert and cluster_tls_key belong together")
	need("cluster_tls", node.On || node == (NodeTLS{}), "is false, but other cluster_tls settings are given")
	need("listen_tls", len(l.TLS) == 0 || l.Cert != "" && l.Key != "", "needs tls_cert and tls_key")
	need("tls_cert", (l.Cert == "") == (l.Key == ""), "tls_cert and tls_key belong together")
	need("tls_client_auth", l.ClientAuth == AuthNone || l.ClientCA != "", "%s needs tls_client_ca", l.ClientAuth)
	return errors.Join(errs...)
}

func (c *Config) checkLimits() error {
	var errs []error
	lim := &c.Limits
	atMost := func(key string, n int, otherKey string, other int) {
		if n > other {
			a, b := find(key).at(c).text(), find(otherKey).at(c).text()
			errs = append(errs, c.problem(key, "%s is more than %s, which is %s", a, otherKey, b))
		}
	}
	atMost("output_low", lim.OutLow, "output_hard", lim.OutHard)
	atMost("max_bulk", lim.AfterAuth.Bulk, "max_query", lim.AfterAuth.Query)
	atMost("max_bulk_before_auth", lim.BeforeAuth.Bulk, "max_query_before_auth", lim.BeforeAuth.Query)
	atMost("max_args_before_auth", lim.BeforeAuth.Args, "max_args", lim.AfterAuth.Args)
	atMost("max_bulk_before_auth", lim.BeforeAuth.Bulk, "max_bulk", lim.AfterAuth.Bulk)
	if lim.BufferBudget != 0 && lim.BufferBudget < lim.OutHard {
		atMost("output_hard", lim.OutHard, "buffer_budget", lim.BufferBudget)
	}
	// What is held must have time left to go elsewhere. Nobody who moves no slots shall hear of the default.
	if c.Origin("migrate_hold_budget") != "default" && c.Migrate.HoldBudget > c.Upstream.RedirectBudget/4 {
		errs = append(errs, c.problem("migrate_hold_budget", "%v is more than a quarter of redirect_budget, which is %v",
			c.Migrate.HoldBudget, c.Upstream.RedirectBudget))
	}
	if c.Admin.FromClients != ProxyCommandsOff && c.Admin.Address == "" {
		errs = append(errs, c.problem("proxy_commands", "needs the admin port, and admin is empty"))
	}
	if len(c.Cluster.Password) == 0 && c.Cluster.User != "" {
		errs = append(errs, c.problem("cluster_user", "needs cluster_password or cluster_password_file"))
	}
	return errors.Join(errs...)
}

// shortBudget leaves a gate, which may be closed for half of it, the 250 ms that are needed where a machine stutters.
const shortBudget = 500 * time.Millisecond

// doubts are values that work and are probably not meant.
func (c *Config) doubts() []string {
	var list []string
	if b := c.Upstream.RedirectBudget; b < shortBudget {
		list = append(list, c.problem("redirect_budget", "with %v, which is less than %v, clients get errors while a node fails over, and "+
			"slots that move may be held back for %v only: on a busy machine they move slowly or not at all", b, shortBudget, b/2).Error())
	}
	return list
}

// checkAdminUsers refuses passwords that protect nothing: without the admin's, who comes from this machine is admin.
func (c *Config) checkAdminUsers() error {
	var errs []error
	for _, user := range []struct {
		key      string
		password Secret
	}{{"admin_operator_password", c.Admin.OperatorPassword}, {"admin_viewer_password", c.Admin.ViewerPassword}} {
		if user.password == "" {
			continue
		}
		key := user.key
		if c.origins[key] == "" {
			key += "_file"
		}
		if c.Admin.Password == "" {
			errs = append(errs, c.problem(key, "needs admin_password"))
		}
	}
	return errors.Join(errs...)
}

// checkProtected refuses listeners that strangers could use, as far as the configuration alone tells. Whether the
// cluster asks its clients for a password is only known from the cluster: see Exposed.
func (c *Config) checkProtected() error {
	if !c.Listen.ProtectedMode {
		return nil
	}
	var errs []error
	const remedy = "is reachable from other machines (protected_mode); %s, listen on loopback, or set protected_mode to false"
	if c.Exposed() && c.Cluster.Password == "" {
		errs = append(errs, c.problem(c.exposedKey(), remedy,
			"give the cluster a password and the proxy cluster_password, require client certificates"))
	}
	if beyondLoopback(c.Admin.Address) && c.Admin.Password == "" {
		errs = append(errs, c.problem("admin", remedy, "set admin_password"))
	}
	if c.HTTP.PProf && beyondLoopback(c.HTTP.Address) {
		errs = append(errs, c.problem("pprof", remedy, "turn pprof off"))
	}
	return errors.Join(errs...)
}

// Exposed says whether a client from another machine gets in when the cluster asks for no password: protected mode is
// on, and a listener is neither on loopback nor asks for certificates.
func (c *Config) Exposed() bool { return c.Listen.ProtectedMode && c.exposedKey() != "" }

func (c *Config) exposedKey() string {
	for _, addr := range c.Listen.TCP {
		if beyondLoopback(addr) {
			return "listen"
		}
	}
	for _, addr := range c.Listen.TLS {
		if beyondLoopback(addr) && c.Listen.ClientAuth != AuthRequire {
			return "listen_tls"
		}
	}
	return ""
}

// beyondLoopback is true for an address that other machines may reach. A name counts as such unless it is localhost:
// what it stands for can change.
func beyondLoopback(addr string) bool {
	if addr == "" || strings.HasPrefix(addr, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}
