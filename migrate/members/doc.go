// Package members makes clusters and changes who belongs to them: create, add, remove. Slots are other packages' business: a
// node comes without any, and goes without any.
package members

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"slotproxy/migrate/engine"
)

// Registrar does it. Its methods must not run at the same time.
type Registrar struct {
	Nodes engine.Nodes
	Say   func(format string, args ...any) // progress for a person, a line each; nil: nobody listens
	Wait  time.Duration                    // for nodes to know each other and for replicas to copy; 0: two minutes
}

func (r *Registrar) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(format, args...)
	}
}

func (r *Registrar) wait() time.Duration {
	if r.Wait == 0 {
		return 2 * time.Minute
	}
	return r.Wait
}

// pollPause is the time between two looks at what others have to do: nodes gossip ten times a second.
const pollPause = 100 * time.Millisecond

// until repeats try until it returns nil, or the time is up; then its last error says what was missing.
func (r *Registrar) until(ctx context.Context, what string, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.wait())
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(pollPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("ERR %s: %w", what, err)
		case <-timer.C:
		}
	}
}

// do runs one command and takes an error reply for an error.
func (r *Registrar) do(ctx context.Context, addr string, command ...string) (any, error) {
	replies, err := r.Nodes.Do(ctx, addr, command)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", addr, command[0], err)
	}
	if failed, ok := replies[0].(engine.ServerError); ok {
		return nil, fmt.Errorf("%s answers %s with %s", addr, strings.Join(command[:min(2, len(command))], " "), failed)
	}
	return replies[0], nil
}

func (r *Registrar) text(ctx context.Context, addr string, command ...string) (string, error) {
	v, err := r.do(ctx, addr, command...)
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s answers %s with a %T", addr, command[0], v)
	}
	return text, nil
}

// info asks for INFO or CLUSTER INFO.
func (r *Registrar) info(ctx context.Context, addr string, command ...string) (engine.Info, error) {
	text, err := r.text(ctx, addr, command...)
	return engine.ReadInfo(text), err
}

// mustBeNew refuses a node that is not in cluster mode, has keys or slots, or knows other nodes.
func (r *Registrar) mustBeNew(ctx context.Context, addr string) error {
	info, err := r.info(ctx, addr, "INFO")
	if err != nil {
		return fmt.Errorf("ERR Node %s does not answer: %w", addr, err)
	}
	if info["cluster_enabled"] != "1" {
		return fmt.Errorf("ERR Node %s is not configured as a cluster node", addr)
	}
	state, err := r.info(ctx, addr, "CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if state["cluster_known_nodes"] != "1" {
		return fmt.Errorf("ERR Node %s is not empty. Either the node already knows other nodes (check with CLUSTER NODES) or contains some key in database 0", addr)
	}
	if n := state["cluster_slots_assigned"]; n != "0" {
		return fmt.Errorf("ERR Node %s is not empty: it has %s slots. CLUSTER RESET HARD on it makes it new", addr, n)
	}
	if dbs := info.Databases(); len(dbs) > 0 {
		return fmt.Errorf("ERR Node %s is not empty: it has keys in database %d", addr, dbs[0])
	}
	return nil
}

// meetable is the address as CLUSTER MEET wants it: an IP address and a port.
func meetable(ctx context.Context, addr string) (ip, port string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("ERR Invalid node address %.64s: host:port is wanted", addr)
	}
	if net.ParseIP(host) != nil {
		return host, port, nil
	}
	ips, err := (&net.Resolver{}).LookupHost(ctx, host)
	if err != nil || len(ips) == 0 {
		return "", "", fmt.Errorf("ERR The name %.64s cannot be resolved: %w", host, err)
	}
	return ips[0], port, nil
}
