package router

import (
	"strconv"
	"strings"
)

// Node is one server of the cluster as a Table knows it.
type Node struct {
	ID        string // 40 hexadecimal digits
	Addr      string // host:port to dial
	Host      string // as the cluster names it, usually an IP address
	Hostname  string // announced host name, "" if none
	Port      uint16 // as the cluster names it
	Primary   bool
	PrimaryID string // of a replica: the node it follows
	Failed    bool   // most of the nodes asked say that it has failed
	Epoch     uint64 // its config epoch
	Slots     int    // slots it owns in this table
}

// Open names the two ends of a slot that is being moved key by key; an end that no node told is "".
type Open struct{ Source, Target string }

// Table is one picture of the cluster. Nobody changes it once a Keeper has published it.
type Table struct {
	Version uint64          // counts published tables
	Epoch   uint64          // highest config epoch of its nodes
	Owner   [Slots]int16    // index into Nodes, -1 for none
	Nodes   []Node          // by ID
	Open    map[uint16]Open // slots that a primary shows as migrating or importing; nil or empty for none
}

// Node returns the owner of a slot, nil if there is none.
func (t *Table) Node(slot uint16) *Node {
	if at := t.Owner[slot%Slots]; at >= 0 {
		return &t.Nodes[at]
	}
	return nil
}

// Primaries returns the indexes of the primaries that have not failed, those without slots too.
func (t *Table) Primaries() []int {
	var at []int
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Primary && !n.Failed {
			at = append(at, i)
		}
	}
	return at
}

// ByID returns the index of a node, -1 if it is not in the table.
func (t *Table) ByID(id string) int {
	for i := range t.Nodes {
		if t.Nodes[i].ID == id {
			return i
		}
	}
	return -1
}

// ByAddr returns the index of the node with this host:port, which may be the address to dial, the announced one or the
// announced host name; -1 if there is none. Of two nodes at one address a working primary comes first. IPv6 addresses may
// stand with or without brackets.
func (t *Table) ByAddr(addr string) int {
	host, port, ok := splitAddr(addr)
	if !ok {
		return -1
	}
	best, bestRank := -1, 0
	for i := range t.Nodes {
		n := &t.Nodes[i]
		announced := n.Port == port && (n.Host == host || n.Hostname == host)
		if !announced && n.Addr != addr {
			continue
		}
		rank := 1
		if !n.Failed {
			rank += 2
		}
		if n.Primary {
			rank++
		}
		if rank > bestRank {
			best, bestRank = i, rank
		}
	}
	return best
}

// Covered counts the slots that have an owner.
func (t *Table) Covered() int {
	n := 0
	for _, at := range t.Owner {
		if at >= 0 {
			n++
		}
	}
	return n
}

// Unsettled tells that a change is going on or due: a slot is open, has no owner or an owner that has failed.
func (t *Table) Unsettled() bool {
	if len(t.Open) > 0 {
		return true
	}
	for _, at := range t.Owner {
		if at < 0 || t.Nodes[at].Failed {
			return true
		}
	}
	return false
}

// splitAddr splits host:port at the last colon and takes brackets off an IPv6 host. The host is not empty, the port 1 to
// 65535.
func splitAddr(addr string) (host string, port uint16, ok bool) {
	colon := strings.LastIndexByte(addr, ':')
	if colon <= 0 {
		return "", 0, false
	}
	host = addr[:colon]
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	port, ok = parsePort(addr[colon+1:])
	return host, port, ok
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' {
		return 0, false
	}
	return uint16(n), true
}
