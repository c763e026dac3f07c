package members

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"slotproxy/router"
)

// Seat is the place of one node in a cluster to be.
type Seat struct {
	Addr        string `json:"addr"`
	First, Last int    // slots of a primary
	Of          string `json:"of,omitempty"` // of a replica: the address of its primary
}

// leastPrimaries is what a cluster needs to agree on a failover.
const leastPrimaries = 3

// Layout seats nodes: the first of each host in turn are primaries with equal shares, and no replica sits on its primary's
// host if that can be helped; no two of one primary sit on one host if that can be seen at once.
func Layout(addrs []string, replicas int) ([]Seat, error) {
	for i, a := range addrs {
		if slices.Contains(addrs[:i], a) {
			return nil, fmt.Errorf("ERR Node %s is named twice", a)
		}
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("ERR Invalid node address %.64s: host:port is wanted", a)
		}
	}
	if replicas < 0 {
		return nil, fmt.Errorf("ERR The number of replicas must be 0 or more")
	}
	n := len(addrs) / (replicas + 1)
	if n < leastPrimaries {
		return nil, fmt.Errorf("ERR A cluster needs at least %d primaries: with %d replicas each that is %d nodes, %d are named",
			leastPrimaries, replicas, leastPrimaries*(replicas+1), len(addrs))
	}
	queue := interleave(addrs)
	primaries, rest := queue[:n], queue[n:]
	seats := make([]Seat, 0, len(addrs))
	for i, addr := range primaries {
		seats = append(seats, Seat{Addr: addr, First: i * router.Slots / n, Last: (i+1)*router.Slots/n - 1})
	}
	for round := 0; len(rest) > 0; round++ { // those beyond a full round are more replicas for the first primaries
		for i := 0; i < n && len(rest) > 0; i++ {
			at := max(0, slices.IndexFunc(rest, func(a string) bool { return !together(seats, a, primaries[i]) }))
			seats = append(seats, Seat{Addr: rest[at], Of: primaries[i]})
			rest = slices.Delete(slices.Clone(rest), at, at+1)
		}
	}
	part(seats[n:])
	return seats, nil
}

// together tells whether a primary, or a replica that it has already, is on the host of addr.
func together(seats []Seat, addr, primary string) bool {
	return slices.ContainsFunc(seats, func(s Seat) bool {
		return (s.Addr == primary || s.Of == primary) && host(s.Addr) == host(addr)
	})
}

// part lets replicas on their primary's host change places with others, when both are away from their primaries then. One that
// finds nobody stays: each of the other places has that host at one end already.
func part(replicas []Seat) {
	for i := range replicas {
		a := &replicas[i]
		if host(a.Addr) != host(a.Of) {
			continue
		}
		other := slices.IndexFunc(replicas, func(b Seat) bool { return host(a.Addr) != host(b.Of) && host(b.Addr) != host(a.Of) })
		if other >= 0 {
			b := &replicas[other]
			a.Addr, b.Addr = b.Addr, a.Addr
		}
	}
}

func host(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

// interleave takes one node of each host in turn.
func interleave(addrs []string) []string {
	var hosts []string
	of := map[string][]string{}
	for _, a := range addrs {
		if of[host(a)] == nil {
			hosts = append(hosts, host(a))
		}
		of[host(a)] = append(of[host(a)], a)
	}
	var list []string
	for len(list) < len(addrs) {
		for _, h := range hosts {
			if q := of[h]; len(q) > 0 {
				list = append(list, q[0])
				of[h] = q[1:]
			}
		}
	}
	return list
}

// Create makes one cluster of new nodes, and returns when all agree about it and all replicas have copied. All are looked at before
// the first is changed. The text of a later error names the nodes that have been configured.
func (r *Registrar) Create(ctx context.Context, seats []Seat) error {
	for _, s := range seats {
		if err := r.mustBeNew(ctx, s.Addr); err != nil {
			return err
		}
		if err := r.mustHaveNoEpoch(ctx, s.Addr); err != nil {
			return err
		}
	}
	begun, err := r.configure(ctx, seats)
	if err == nil {
		err = r.join(ctx, seats)
	}
	if err != nil {
		return begunWith(begun, err)
	}
	return nil
}

// mustHaveNoEpoch refuses a node that has been in a cluster and was reset softly: it cannot be given an epoch again.
func (r *Registrar) mustHaveNoEpoch(ctx context.Context, addr string) error {
	state, err := r.info(ctx, addr, "CLUSTER", "INFO")
	if err == nil && state["cluster_my_epoch"] != "0" {
		err = fmt.Errorf("ERR Node %s has an epoch of a cluster before: CLUSTER RESET HARD on it makes it new", addr)
	}
	return err
}

// configure gives each node its slots and its epoch. It returns the nodes that have been changed, or perhaps, with an error too.
func (r *Registrar) configure(ctx context.Context, seats []Seat) (begun []string, err error) {
	for i, s := range seats {
		begun = append(begun, s.Addr)
		if s.Of == "" {
			if _, err := r.do(ctx, s.Addr, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(s.First), strconv.Itoa(s.Last)); err != nil {
				return begun, err
			}
		}
		// Different epochs from the start: nodes would else have to settle it among themselves.
		if _, err := r.do(ctx, s.Addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return begun, err
		}
		r.say("%s is configured", s.Addr)
	}
	return begun, nil
}

// join makes nodes that are configured know each other and agree, and replicas copy.
func (r *Registrar) join(ctx context.Context, seats []Seat) error {
	ip, port, err := meetable(ctx, seats[0].Addr)
	if err != nil {
		return err
	}
	addrs, ids := make([]string, len(seats)), map[string]string{}
	for i, s := range seats {
		addrs[i] = s.Addr
		if ids[s.Addr], err = r.text(ctx, s.Addr, "CLUSTER", "MYID"); err != nil {
			return err
		}
	}
	for _, s := range seats[1:] {
		if _, err := r.do(ctx, s.Addr, "CLUSTER", "MEET", ip, port); err != nil {
			return err
		}
	}
	r.say("waiting for the nodes to know each other")
	if err := r.until(ctx, "The nodes do not know each other", func(ctx context.Context) error { return r.joined(ctx, addrs, len(seats)) }); err != nil {
		return err
	}
	for _, s := range seats {
		if s.Of != "" {
			if err := r.follow(ctx, s.Addr, ids[s.Of], s.Of); err != nil {
				return err
			}
		}
	}
	return r.until(ctx, "The nodes do not agree about their slots", func(ctx context.Context) error { return r.agreed(ctx, addrs) })
}

// begunWith adds to the cause which nodes have been configured. They are not reset from here: since they were looked at, another
// cluster may have taken one, or a client given it keys.
func begunWith(begun []string, cause error) error {
	if len(begun) == 0 {
		return cause
	}
	return fmt.Errorf("%w. These nodes have been configured; before another try each needs a CLUSTER RESET HARD: %s", cause, strings.Join(begun, ", "))
}

// joined wants each node to know so many, none of them in a handshake.
func (r *Registrar) joined(ctx context.Context, addrs []string, want int) error {
	for _, addr := range addrs {
		text, err := r.text(ctx, addr, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if n := strings.Count(text, "\n"); n != want || strings.Contains(text, "handshake") {
			return fmt.Errorf("%s knows %d nodes of %d", addr, n, want)
		}
	}
	return nil
}

// agreed wants all nodes to be content and to have the same owners.
func (r *Registrar) agreed(ctx context.Context, addrs []string) error {
	var first *router.View
	for _, addr := range addrs {
		info, err := r.info(ctx, addr, "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		if state := info["cluster_state"]; state != "ok" {
			return fmt.Errorf("%s says cluster_state:%s", addr, state)
		}
		text, err := r.text(ctx, addr, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		view, err := router.ParseNodes([]byte(text), addr)
		if err != nil {
			return err
		}
		if first == nil {
			first = view
		}
		for slot := range router.Slots {
			if view.OwnerID(uint16(slot)) != first.OwnerID(uint16(slot)) || view.OwnerID(uint16(slot)) == "" {
				return fmt.Errorf("%s has another owner for slot %d than %s", addr, slot, addrs[0])
			}
		}
	}
	return nil
}

// follow makes a node a replica and waits until it has copied its primary.
func (r *Registrar) follow(ctx context.Context, addr, id, primary string) error {
	err := r.until(ctx, "REPLICATE on "+addr, func(ctx context.Context) error {
		_, err := r.do(ctx, addr, "CLUSTER", "REPLICATE", id) // the node may not have heard of its primary yet
		return err
	})
	if err != nil {
		return err
	}
	r.say("%s copies %s", addr, primary)
	return r.until(ctx, addr+" does not copy its primary", func(ctx context.Context) error {
		self, err := r.self(ctx, addr)
		if err != nil {
			return err
		}
		info, err := r.info(ctx, addr, "INFO", "replication")
		if err != nil {
			return err
		}
		if up := info["master_link_status"]; up != "up" || self.PrimaryID != id {
			return fmt.Errorf("its link is %s", up)
		}
		return nil
	})
}

// self is what a node says of itself.
func (r *Registrar) self(ctx context.Context, addr string) (*router.ViewNode, error) {
	text, err := r.text(ctx, addr, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	view, err := router.ParseNodes([]byte(text), addr)
	if err != nil {
		return nil, err
	}
	if self := view.Node(view.Myself); self != nil {
		return self, nil
	}
	return nil, fmt.Errorf("%s does not know its own address", addr)
}
