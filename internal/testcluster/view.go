package testcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// view is what one node says about the cluster, one line a node.
type view []viewLine

type viewLine struct {
	id      string
	flags   []string
	primary string // id of the primary of a replica, else "-"
	epoch   uint64
	ranges  [][2]int
	open    bool // some slot of it is migrating or importing
	network bool // the link of the asked node to this one is up
}

func (l *viewLine) is(flag string) bool { return slices.Contains(l.flags, flag) }

// viewTimeout is short: a frozen node must not hold up a look at the others.
const viewTimeout = time.Second

func (n *Node) view() (view, error) {
	reply, err := n.ask(viewTimeout, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	var v view
	for line := range strings.Lines(text) {
		l, err := parseViewLine(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("CLUSTER NODES of %s: %w in %q", n.Addr, err, line)
		}
		v = append(v, l)
	}
	return v, nil
}

// parseViewLine reads: id addr flags primary ping pong epoch link [slot | first-last | [open slot]]...
func parseViewLine(fields []string) (viewLine, error) {
	const fixed = 8
	if len(fields) < fixed {
		return viewLine{}, errors.New("too few fields")
	}
	l := viewLine{id: fields[0], flags: strings.Split(fields[2], ","), primary: fields[3], network: fields[7] == "connected"}
	var err error
	if l.epoch, err = strconv.ParseUint(fields[6], 10, 64); err != nil {
		return l, err
	}
	for _, field := range fields[fixed:] {
		if strings.HasPrefix(field, "[") {
			l.open = true
			continue
		}
		low, high, isRange := strings.Cut(field, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.Atoi(low)
		last, err2 := strconv.Atoi(high)
		if err := errors.Join(err1, err2); err != nil {
			return l, err
		}
		if first < 0 || last >= Slots || first > last {
			return l, fmt.Errorf("bad range %s", field)
		}
		l.ranges = append(l.ranges, [2]int{first, last})
	}
	return l, nil
}

// signature is the same text for views that agree about who owns what and who copies whom.
func (v view) signature() string {
	var lines []string
	for i := range v {
		l := &v[i]
		switch {
		case len(l.ranges) > 0:
			lines = append(lines, fmt.Sprintf("%s %d %v", l.id, l.epoch, l.ranges))
		case l.is("slave") && !l.is("fail"):
			lines = append(lines, l.id+" of "+l.primary)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// WaitOK waits until every node that runs says cluster_state:ok, knows all the others that run, shows no open slot, and
// agrees with them about the owner and epoch of every slot.
func (c *Cluster) WaitOK(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := poll(ctx, c.agreement); err != nil {
		return fmt.Errorf("wait for the nodes to agree: %w", err)
	}
	return nil
}

// agreement is nil when all nodes agree now, else what is missing.
func (c *Cluster) agreement() error {
	first, alive := "", 0
	for _, n := range c.Nodes {
		if !n.Alive() {
			continue
		}
		signature, err := c.checkView(n)
		if err != nil {
			return err
		}
		if alive++; alive == 1 {
			first = signature
		}
		if signature != first {
			return fmt.Errorf("node %s sees other owners than the first", n.Addr)
		}
	}
	if alive == 0 {
		return errors.New("no node runs")
	}
	return nil
}

func (c *Cluster) checkView(n *Node) (signature string, err error) {
	reply, err := n.ask(viewTimeout, "CLUSTER", "INFO")
	if err != nil {
		return "", err
	}
	info, _ := reply.(string)
	if state := infoField(info, "cluster_state"); state != "ok" {
		return "", fmt.Errorf("node %s is in state %q", n.Addr, state)
	}
	v, err := n.view()
	if err != nil {
		return "", err
	}
	known := make(map[string]bool)
	for i := range v {
		l := &v[i]
		if l.open {
			return "", fmt.Errorf("node %s shows an open slot of %s", n.Addr, l.id)
		}
		known[l.id] = (l.network || l.is("myself")) && !l.is("handshake") && !l.is("fail?")
	}
	for _, other := range c.Nodes {
		if other.Alive() && !known[other.ID] {
			return "", fmt.Errorf("node %s does not know %s yet", n.Addr, other.Addr)
		}
	}
	return v.signature(), nil
}

// Owners asks every node that runs for the slots that it itself claims. An entry is nil when none claims the slot; of
// two claims the one with the higher epoch counts.
func (c *Cluster) Owners() ([Slots]*Node, error) {
	var owners [Slots]*Node
	var epochs [Slots]uint64
	var errs []error
	answered := 0
	for _, n := range c.Nodes {
		if !n.Alive() {
			continue
		}
		v, err := n.view()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		answered++
		claim(&owners, &epochs, n, v)
	}
	if answered == 0 {
		return owners, fmt.Errorf("no node tells its slots: %w", errors.Join(errs...))
	}
	return owners, nil
}

// claim writes the slots of n, by its own line in its own view, where no claim of a higher epoch stands.
func claim(owners *[Slots]*Node, epochs *[Slots]uint64, n *Node, v view) {
	mine := slices.IndexFunc(v, func(l viewLine) bool { return l.is("myself") && l.is("master") })
	if mine < 0 {
		return
	}
	for _, r := range v[mine].ranges {
		for slot := r[0]; slot <= r[1]; slot++ {
			if owners[slot] == nil || epochs[slot] < v[mine].epoch {
				owners[slot], epochs[slot] = n, v[mine].epoch
			}
		}
	}
}

// SlotOwner is the node that owns the slot now, nil when no running node claims it.
func (c *Cluster) SlotOwner(slot int) (*Node, error) {
	if slot < 0 || slot >= Slots {
		return nil, fmt.Errorf("slot %d is out of range", slot)
	}
	owners, err := c.Owners()
	return owners[slot], err
}
