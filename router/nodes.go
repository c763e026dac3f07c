package router

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Bounds of a CLUSTER NODES reply. The cluster specification advises against more than 1000 nodes; a line is longest when
// every other slot belongs to one node: 8192 numbers.
const (
	maxNodesReply = 16 << 20
	maxNodes      = 4096
	maxHost       = 255 // bytes of a host name, as in the DNS
	nodeIDLen     = 40
)

// View is what one node says about the cluster: its reply to CLUSTER NODES.
type View struct {
	Myself string     // ID of the node that was asked
	Nodes  []ViewNode // nodes without a usable address are left out

	owner [Slots]int16 // index into Nodes, -1 for none
	open  map[uint16]Open
}

// ViewNode is one line of a View. The Addr of its Node is made of Host and Port.
type ViewNode struct {
	Node
	Guessed bool // the node does not know its own address: Host is the one at which it was asked
	Linked  bool // the node asked has a connection to it
}

// Fields of a line; the slots follow.
const (
	lineID = iota
	lineAddr
	lineFlags
	linePrimary
	_ // ping sent
	_ // pong received
	lineEpoch
	lineLink
	lineSlots
)

var errNoMyself = errors.New("no line is the node's own")

// ParseNodes reads the reply of the node at askedAddr to CLUSTER NODES. It is strict: a reply that is damaged anywhere is
// refused as a whole. Nodes that are only being met, or whose address is not known, are left out.
func ParseNodes(raw []byte, askedAddr string) (*View, error) {
	if len(raw) > maxNodesReply {
		return nil, fmt.Errorf("CLUSTER NODES: %d bytes, at most %d", len(raw), maxNodesReply)
	}
	v := &View{}
	for slot := range v.owner {
		v.owner[slot] = -1
	}
	lines := 0
	for line := range bytes.Lines(raw) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			continue
		}
		lines++
		if lines > maxNodes {
			return nil, fmt.Errorf("CLUSTER NODES: more than %d nodes", maxNodes)
		}
		if err := v.addLine(string(line), askedAddr); err != nil {
			return nil, fmt.Errorf("CLUSTER NODES line %d: %w", lines, err)
		}
	}
	if v.Myself == "" {
		return nil, fmt.Errorf("CLUSTER NODES: %w", errNoMyself)
	}
	return v, v.checkIDs()
}

// checkIDs refuses two lines about one node.
func (v *View) checkIDs() error {
	seen := make(map[string]bool, len(v.Nodes))
	for i := range v.Nodes {
		if id := v.Nodes[i].ID; seen[id] {
			return fmt.Errorf("CLUSTER NODES: node %s twice", id)
		}
		seen[v.Nodes[i].ID] = true
	}
	return nil
}

func (v *View) addLine(line, askedAddr string) error {
	f := strings.Fields(line)
	if len(f) < lineSlots {
		return fmt.Errorf("%d fields, at least %d", len(f), lineSlots)
	}
	n, flags, err := parseNodeLine(f)
	if err != nil {
		return err
	}
	if flags.myself {
		if v.Myself != "" {
			return errors.New("a second line is the node's own")
		}
		v.Myself = n.ID
	}
	if err := n.parseAddr(f[lineAddr]); err != nil {
		return err
	}
	if flags.myself && (n.Host == "" || flags.noaddr) {
		n.Host, _, _ = splitAddr(askedAddr)
		n.Guessed = true
	}
	known := n.Host != "" && n.Host != "?" && n.Port != 0 && !flags.handshake && (!flags.noaddr || flags.myself)
	at := int16(-1)
	if known {
		n.Addr = net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port)))
		v.Nodes = append(v.Nodes, n)
		at = int16(len(v.Nodes) - 1)
	}
	return v.addSlots(f[lineSlots:], at, n.ID, flags.myself)
}

type lineFlagSet struct{ myself, handshake, noaddr bool }

// parseNodeLine reads everything of a line but its address and slots.
func parseNodeLine(f []string) (n ViewNode, flags lineFlagSet, err error) {
	n.ID = f[lineID]
	if !validID(n.ID) {
		return n, flags, fmt.Errorf("node id %q", clip(n.ID))
	}
	for flag := range strings.SplitSeq(f[lineFlags], ",") {
		switch flag {
		case "myself":
			flags.myself = true
		case "master":
			n.Primary = true
		case "fail":
			n.Failed = true
		case "handshake":
			flags.handshake = true
		case "noaddr":
			flags.noaddr = true
		}
	}
	if id := f[linePrimary]; id != "-" {
		if !validID(id) {
			return n, flags, fmt.Errorf("primary's id %q", clip(id))
		}
		n.PrimaryID = id
	}
	if n.Epoch, err = strconv.ParseUint(f[lineEpoch], 10, 64); err != nil {
		return n, flags, fmt.Errorf("config epoch %q", clip(f[lineEpoch]))
	}
	switch f[lineLink] {
	case "connected":
		n.Linked = true
	case "disconnected":
	default:
		return n, flags, fmt.Errorf("link state %q", clip(f[lineLink]))
	}
	return n, flags, nil
}

// parseAddr reads ip:port@cport[,hostname[,name=value]...]. The IP address may be IPv6 without brackets, or empty; cport may
// be missing, as in old servers.
func (n *ViewNode) parseAddr(field string) error {
	field, rest, _ := strings.Cut(field, ",")
	host, _, _ := strings.Cut(rest, ",")
	if strings.Contains(host, "=") {
		host = "" // a name=value pair where the host name was left out
	}
	if len(host) > maxHost {
		return fmt.Errorf("host name of %d bytes", len(host))
	}
	n.Hostname = host
	addr, _, _ := strings.Cut(field, "@")
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 || colon > maxHost {
		return fmt.Errorf("address %q", clip(addr))
	}
	n.Host = strings.TrimSuffix(strings.TrimPrefix(addr[:colon], "["), "]")
	port := addr[colon+1:]
	if port == "0" {
		return nil // a node without a client port, or not known yet
	}
	var ok bool
	if n.Port, ok = parsePort(port); !ok {
		return fmt.Errorf("port %q", clip(port))
	}
	return nil
}

// addSlots reads the slots of a line: 7, 8-11, [93->-id], [94-<-id]. at is the node's index, -1 if it was left out.
func (v *View) addSlots(fields []string, at int16, id string, myself bool) error {
	for _, f := range fields {
		if strings.HasPrefix(f, "[") {
			if err := v.addOpen(f, id, myself); err != nil {
				return err
			}
			continue
		}
		first, last, ok := parseRange(f)
		if !ok {
			return fmt.Errorf("slots %q", clip(f))
		}
		for slot := first; slot <= last; slot++ {
			if v.owner[slot] >= 0 {
				return fmt.Errorf("slot %d has two owners", slot)
			}
			v.owner[slot] = at
		}
		if at >= 0 {
			v.Nodes[at].Slots += last - first + 1
		}
	}
	return nil
}

// addOpen reads the marker of a slot that the node asked is moving. A node shows them only in its own line.
func (v *View) addOpen(field, id string, myself bool) error {
	inner, ok := strings.CutSuffix(field[1:], "]")
	if !ok || !myself {
		return fmt.Errorf("open slot %q", clip(field))
	}
	open := Open{Source: id}
	number, peer, ok := strings.Cut(inner, "->-")
	open.Target = peer
	if !ok {
		number, peer, ok = strings.Cut(inner, "-<-")
		open = Open{Source: peer, Target: id}
	}
	slot, isSlot := parseSlot(number)
	if !ok || !isSlot || !validID(peer) {
		return fmt.Errorf("open slot %q", clip(field))
	}
	if v.open == nil {
		v.open = make(map[uint16]Open)
	}
	v.open[uint16(slot)] = open
	return nil
}

func parseRange(s string) (first, last int, ok bool) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	first, okFirst := parseSlot(a)
	last, okLast := parseSlot(b)
	return first, last, okFirst && okLast && first <= last
}

func parseSlot(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n < Slots
}

func validID(s string) bool {
	if len(s) != nodeIDLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// clip keeps an error text short, whatever the input.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// Owns tells whether the node that was asked says that it owns the slot.
func (v *View) Owns(slot uint16) bool {
	at := v.owner[slot]
	return at >= 0 && v.Nodes[at].ID == v.Myself
}

// Leaves tells whether the node that was asked says that it is moving the slot to another, key by key, and to which, by
// its ID.
func (v *View) Leaves(slot uint16) (to string, ok bool) {
	open, ok := v.open[slot]
	return open.Target, ok && open.Source == v.Myself
}

// Moving tells whether the node that was asked shows any slot as being moved, key by key, to it or away.
func (v *View) Moving() bool { return len(v.open) > 0 }

// Open tells the two ends of a slot that the node that was asked shows as being moved, key by key.
func (v *View) Open(slot uint16) (Open, bool) {
	open, ok := v.open[slot]
	return open, ok
}

// OpenSlots are the slots that the node that was asked shows as being moved, in no order.
func (v *View) OpenSlots() map[uint16]Open { return v.open }

// Owner is the node that the node that was asked takes for the slot's owner; nil if it knows none, or not its address.
func (v *View) Owner(slot uint16) *ViewNode {
	if at := v.owner[slot%Slots]; at >= 0 {
		return &v.Nodes[at]
	}
	return nil
}

// Node is the line of a node, nil if there is none.
func (v *View) Node(id string) *ViewNode {
	for i := range v.Nodes {
		if v.Nodes[i].ID == id {
			return &v.Nodes[i]
		}
	}
	return nil
}

// OwnerID is the ID of the node that Owner returns, "" for none.
func (v *View) OwnerID(slot uint16) string {
	if n := v.Owner(slot); n != nil {
		return n.ID
	}
	return ""
}
