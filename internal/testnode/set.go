package testnode

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Slots is the number of hash slots of a cluster.
const Slots = 16384

// Set is several nodes that tell one story: the slot map from which each node's CLUSTER NODES is made.
type Set struct {
	mu    sync.Mutex
	nodes []*Node    // not changed after NewSetOn
	owner [Slots]int // index of a node, -1: nobody
	epoch []int      // config epoch of each node
	line  []announced
	open  map[int][2]int // slot -> source and target while it is open
}

// announced is what CLUSTER NODES says of a node beside its slots.
type announced struct {
	host, hostname string
	port           int
	flags          string // "master", "master,fail", "slave"
	primary        int    // index, of a replica
	link           string
	hidden         bool // the others do not know it
}

// NewSet starts n primaries on 127.0.0.1 which share the slots evenly, the first one the lowest.
func NewSet(tb testing.TB, n int) *Set {
	tb.Helper()
	hosts := make([]string, n)
	for i := range hosts {
		hosts[i] = "127.0.0.1"
	}
	return NewSetOn(tb, hosts...)
}

// NewSetOn starts one primary per host, each of which must be a loopback address of this machine.
func NewSetOn(tb testing.TB, hosts ...string) *Set {
	tb.Helper()
	s := &Set{open: map[int][2]int{}}
	s.mu.Lock() // a node that listens may be asked before the last one does
	defer s.mu.Unlock()
	for i, h := range hosts {
		n := newNode(tb, s, i, h)
		s.nodes = append(s.nodes, n)
		s.epoch = append(s.epoch, i+1)
		s.line = append(s.line, announced{host: h, port: n.port, flags: "master", primary: -1, link: "connected"})
	}
	for slot := range s.owner {
		s.owner[slot] = slot * len(hosts) / Slots
	}
	return s
}

func (s *Set) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.nodes)
}

// Node is the i-th node.
func (s *Set) Node(i int) *Node { return s.nodes[i] }

// Addrs are the addresses of all nodes.
func (s *Set) Addrs() []string {
	out := make([]string, len(s.nodes))
	for i, n := range s.nodes {
		out[i] = n.Addr()
	}
	return out
}

// Owner is the node that the map gives a slot to, or nil.
func (s *Set) Owner(slot int) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.owner[slot]; i >= 0 {
		return s.nodes[i]
	}
	return nil
}

// Give changes the owner of a slot, on all nodes at once and with a new epoch; node -1: nobody.
func (s *Set) Give(slot, node int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner[slot] = node
	delete(s.open, slot)
	if node < 0 {
		return
	}
	highest := 0
	for _, e := range s.epoch {
		highest = max(highest, e)
	}
	s.epoch[node] = highest + 1
}

// OpenSlot shows a slot as migrating at its owner and as importing at target.
func (s *Set) OpenSlot(slot, target int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[slot] = [2]int{s.owner[slot], target}
}

// Fail shows a node with these flags ("master,fail") and link state ("disconnected") in every other node's view.
func (s *Set) Fail(node int, flags, link string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line[node].flags, s.line[node].link = flags, link
}

// Replica makes a node a replica of another, which takes all its slots.
func (s *Set) Replica(node, primary int) {
	s.mu.Lock()
	s.line[node].flags, s.line[node].primary = "slave", primary
	var slots []int
	for slot, o := range s.owner {
		if o == node {
			slots = append(slots, slot)
		}
	}
	s.mu.Unlock()
	for _, slot := range slots {
		s.Give(slot, primary)
	}
}

// Promote makes a replica a primary that owns everything its primary had, which becomes its replica with these flags.
func (s *Set) Promote(node int, flagsOfOld string) {
	s.mu.Lock()
	old := s.line[node].primary
	s.line[node].flags, s.line[node].primary = "master", -1
	s.line[old].flags, s.line[old].primary = flagsOfOld, node
	if strings.HasPrefix(flagsOfOld, "master") {
		s.line[old].primary = -1
	}
	var slots []int
	for slot, o := range s.owner {
		if o == old {
			slots = append(slots, slot)
		}
	}
	s.mu.Unlock()
	for _, slot := range slots {
		s.Give(slot, node)
	}
}

// Announce changes how CLUSTER NODES names a node; an empty host is what a node shows of itself before it knows better.
func (s *Set) Announce(node int, host string, port int, hostname string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.line[node]
	l.host, l.port, l.hostname = host, port, hostname
}

// Hide takes a node out of the others' CLUSTER NODES, or brings it back: one that has not joined yet.
func (s *Set) Hide(node int, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line[node].hidden = hidden
}

// Nodes is the text of CLUSTER NODES as the node self gives it.
func (s *Set) Nodes(self int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for i, n := range s.nodes {
		l := s.line[i]
		if l.hidden && i != self {
			continue
		}
		flags, primary := l.flags, "-"
		if i == self {
			flags = "myself," + strings.TrimSuffix(flags, ",fail")
		}
		if l.primary >= 0 {
			primary = s.nodes[l.primary].id
		}
		name := fmt.Sprintf("%s:%d@%d", l.host, l.port, l.port%10000+10000) // nobody dials the bus port; it only has to be a port
		if l.hostname != "" {
			name += "," + l.hostname
		}
		fmt.Fprintf(&b, "%s %s %s %s 0 0 %d %s", n.id, name, flags, primary, s.epoch[i], l.link)
		for _, r := range s.rangesLocked(i) {
			b.WriteString(" " + r)
		}
		if i == self {
			s.openLocked(&b, i)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *Set) rangesLocked(node int) []string {
	var out []string
	for slot := 0; slot < Slots; slot++ {
		if s.owner[slot] != node {
			continue
		}
		first := slot
		for slot+1 < Slots && s.owner[slot+1] == node {
			slot++
		}
		if first == slot {
			out = append(out, fmt.Sprint(first))
			continue
		}
		out = append(out, fmt.Sprintf("%d-%d", first, slot))
	}
	return out
}

func (s *Set) openLocked(b *strings.Builder, node int) {
	for slot, ends := range s.open {
		switch node {
		case ends[0]:
			fmt.Fprintf(b, " [%d->-%s]", slot, s.nodes[ends[1]].id)
		case ends[1]:
			fmt.Fprintf(b, " [%d-<-%s]", slot, s.nodes[ends[0]].id)
		}
	}
}
