package plan

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strings"

	"slotproxy/router"
)

// Resolve finds the node that a person names by its id, the beginning of its id, or host:port. It returns its ID.
func Resolve(s *Snapshot, name string) (string, error) {
	var found []string
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.ID == name || n.Addr == name || hostPort(n) == name {
			return n.ID, nil
		}
		if name != "" && strings.HasPrefix(n.ID, strings.ToLower(name)) {
			found = append(found, n.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("ERR Unknown node %.64s", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("ERR The node id %.40s fits %d nodes", name, len(found))
}

// hostPort is the address under which the cluster knows a node, when it is dialled under another one.
func hostPort(n *Node) string {
	_, port, err := net.SplitHostPort(n.Addr)
	if err != nil || n.Host == "" {
		return n.Addr
	}
	return net.JoinHostPort(n.Host, port)
}

// Fingerprint changes whenever slots change hands, or a node its epoch or role: a plan made before is then out of date.
func Fingerprint(s *Snapshot) string {
	h := fnv.New64a()
	lines := make([]string, 0, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		lines = append(lines, fmt.Sprint(n.ID, n.Primary, n.PrimaryID, n.Epoch))
	}
	slices.Sort(lines)
	fmt.Fprintln(h, lines)
	for slot := range router.Slots {
		fmt.Fprint(h, s.ownerID(slot), " ")
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

func (s *Snapshot) ownerID(slot int) string {
	if i := s.Owner[slot]; i >= 0 {
		return s.Nodes[i].ID
	}
	return ""
}

// index returns where a node is in s.Nodes, -1 if it is not there.
func (s *Snapshot) index(id string) int {
	return slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == id })
}

// primary returns the index of a node that may give or take slots.
func (s *Snapshot) primary(id string) (int, error) {
	i := s.index(id)
	switch {
	case i < 0:
		return 0, fmt.Errorf("ERR Unknown node %.64s", id)
	case !s.Nodes[i].Primary:
		return 0, fmt.Errorf("ERR Node %s is a replica, only primaries have slots", s.Nodes[i].Addr)
	case s.Nodes[i].Failed:
		return 0, fmt.Errorf("ERR Node %s has failed", s.Nodes[i].Addr)
	}
	return i, nil
}

// slotsOf lists the slots of each node, by its index, ascending.
func (s *Snapshot) slotsOf() [][]uint16 {
	lists := make([][]uint16, len(s.Nodes))
	for slot, owner := range s.Owner {
		if owner >= 0 {
			lists[owner] = append(lists[owner], uint16(slot))
		}
	}
	return lists
}

// Shares is what each working primary has, by address.
func Shares(s *Snapshot) []Share { return s.shares(&s.Owner) }

func (s *Snapshot) shares(owner *[router.Slots]int16) []Share {
	at := map[int16]int{}
	var list []Share
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Primary && !n.Failed {
			at[int16(i)] = len(list)
			list = append(list, Share{Node: n.ID, Addr: n.Addr})
		}
	}
	for slot, i := range owner {
		k, known := at[i]
		if !known {
			continue
		}
		sh, st := &list[k], s.stat(slot)
		sh.Slots++
		sh.Keys += st.Keys
		sh.Bytes += st.Bytes
		sh.Ops += st.Ops
	}
	slices.SortFunc(list, func(a, b Share) int { return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Node, b.Node)) })
	return list
}

func (s *Snapshot) stat(slot int) SlotStat {
	if s.Stats == nil {
		return SlotStat{}
	}
	return s.Stats[slot]
}
