package router

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Build makes one table of what several nodes say.
//
// A slot belongs to the node with the highest config epoch of those that somebody says own it, and nobody owns a slot who
// says himself, in his own view, that he does not: a node serves what it believes to own and nothing else. A node belongs to
// the cluster if most views list it or if it was asked itself. Views of nodes that do not know the others are left out; of
// two clusters the one with more slots counts.
func Build(views []*View) (*Table, error) {
	views = oneCluster(views)
	if len(views) == 0 {
		return nil, errors.New("build table: no node answered")
	}
	m := newMerger(views)
	if len(m.nodes) == 0 || len(m.nodes) > maxNodes {
		return nil, fmt.Errorf("build table: %d nodes, want 1 to %d", len(m.nodes), maxNodes)
	}
	t := &Table{Nodes: m.nodes}
	for slot := range t.Owner {
		t.Owner[slot] = m.owner(slot)
	}
	t.Open = m.openSlots(t)
	t.recount()
	return t, nil
}

// recount brings the figures that follow from owners and nodes up to date.
func (t *Table) recount() {
	t.Epoch = 0
	for i := range t.Nodes {
		t.Nodes[i].Slots = 0
		t.Epoch = max(t.Epoch, t.Nodes[i].Epoch)
	}
	for _, at := range t.Owner {
		if at >= 0 {
			t.Nodes[at].Slots++
		}
	}
}

// oneCluster leaves one view a node, and of several clusters the one with most slots: a seed may be an empty node that was
// never met, or one that was reset and knows only itself.
func oneCluster(views []*View) []*View {
	var anchor *View
	most := -1
	var distinct []*View
	for _, v := range views {
		if v == nil || slices.ContainsFunc(distinct, func(d *View) bool { return d.Myself == v.Myself }) {
			continue
		}
		distinct = append(distinct, v)
		if n := v.covered(); n > most {
			anchor, most = v, n
		}
	}
	return slices.DeleteFunc(distinct, func(v *View) bool {
		return v != anchor && !v.lists(anchor.Myself) && !anchor.lists(v.Myself)
	})
}

func (v *View) covered() int {
	n := 0
	for i := range v.Nodes {
		n += v.Nodes[i].Slots
	}
	return n
}

func (v *View) lists(id string) bool {
	return slices.ContainsFunc(v.Nodes, func(n ViewNode) bool { return n.ID == id })
}

// merger holds the views while a table is made of them.
type merger struct {
	views []*View
	nodes []Node    // of the table
	index [][]int16 // by view and view's node: index into nodes, -1 for a node that was left out
	own   []int     // by node: its own view, -1 if it was not asked
}

// gathered is what the views say about one node.
type gathered struct {
	best    *ViewNode // the line to believe
	listed  int       // views that list it
	failed  int       // views that call it failed
	hasView bool
}

func newMerger(views []*View) *merger {
	m := &merger{views: views}
	byID := make(map[string]*gathered)
	for _, v := range views {
		for i := range v.Nodes {
			n := &v.Nodes[i]
			g := byID[n.ID]
			if g == nil {
				g = &gathered{}
				byID[n.ID] = g
			}
			g.add(n, n.ID == v.Myself)
		}
	}
	for _, g := range byID {
		if g.hasView || 2*g.listed > len(views) {
			m.nodes = append(m.nodes, g.node())
		}
	}
	m.nodes = onePerAddr(m.nodes, byID)
	slices.SortFunc(m.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	m.link()
	return m
}

// onePerAddr leaves one node at each address. A server that was reset comes back under a new ID, while the others remember
// the old one for a while.
func onePerAddr(nodes []Node, byID map[string]*gathered) []Node {
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), -cmp.Compare(byID[a.ID].presence(), byID[b.ID].presence()),
			-cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.ID, b.ID))
	})
	return slices.CompactFunc(nodes, func(a, b Node) bool { return a.Addr == b.Addr })
}

// presence is the higher the surer a node is there.
func (g *gathered) presence() int {
	switch {
	case g.hasView:
		return 2
	case 2*g.failed <= g.listed:
		return 1
	}
	return 0
}

// add takes in one line. A node knows best itself what it is; of the others the one that knows the highest epoch does.
func (g *gathered) add(n *ViewNode, own bool) {
	g.listed++
	if n.Failed {
		g.failed++
	}
	switch {
	case g.best == nil:
		g.best = n
	case own:
		g.best = withAddr(n, g.best)
	case g.hasView:
		g.best = withAddr(g.best, n)
	case n.Epoch > g.best.Epoch:
		g.best = n
	}
	g.hasView = g.hasView || own
}

// withAddr returns n, or if n had to guess its own address a copy that has the address which another node knows.
func withAddr(n, other *ViewNode) *ViewNode {
	if !n.Guessed || other.Guessed {
		return n
	}
	cp := *n
	cp.Addr, cp.Host, cp.Port, cp.Guessed = other.Addr, other.Host, other.Port, false
	return &cp
}

func (g *gathered) node() Node {
	n := g.best.Node
	n.Failed = 2*g.failed > g.listed
	return n
}

// link fills index and own.
func (m *merger) link() {
	at := make(map[string]int16, len(m.nodes))
	m.own = make([]int, len(m.nodes))
	for i := range m.nodes {
		at[m.nodes[i].ID] = int16(i)
		m.own[i] = -1
	}
	m.index = make([][]int16, len(m.views))
	for w, v := range m.views {
		m.index[w] = make([]int16, len(v.Nodes))
		for i := range v.Nodes {
			n, kept := at[v.Nodes[i].ID]
			if !kept {
				n = -1
			}
			m.index[w][i] = n
			if kept && v.Nodes[i].ID == v.Myself {
				m.own[n] = w
			}
		}
	}
}

// claim returns who owns a slot according to one view, and the config epoch of the claim.
func (m *merger) claim(view, slot int) (node int16, epoch uint64) {
	at := m.views[view].owner[slot]
	if at < 0 {
		return -1, 0
	}
	return m.index[view][at], m.views[view].Nodes[at].Epoch
}

// owner decides about one slot.
func (m *merger) owner(slot int) int16 {
	best, bestEpoch, bestOwn := int16(-1), uint64(0), false
	for view := range m.views {
		node, epoch := m.claim(view, slot)
		if node < 0 {
			continue
		}
		own := m.own[node] == view
		if !own && m.denies(node, slot) {
			continue
		}
		wins := best < 0 || epoch > bestEpoch || epoch == bestEpoch && (own && !bestOwn || own == bestOwn && node < best)
		if wins {
			best, bestEpoch, bestOwn = node, epoch, own
		}
	}
	return best
}

// denies tells whether a node says in its own view that it does not own the slot.
func (m *merger) denies(node int16, slot int) bool {
	view := m.own[node]
	if view < 0 {
		return false
	}
	said, _ := m.claim(view, slot)
	return said != node
}

// openSlots collects the slots that are being moved. What the source says counts. The target counts where the source was
// not asked: servers keep marks that mean nothing any more, and a slot that stays open for ever would stay slow for ever.
func (m *merger) openSlots(t *Table) map[uint16]Open {
	var all map[uint16]Open
	for _, v := range m.views {
		for slot, open := range v.open {
			owner := t.Node(slot)
			if owner == nil || owner.ID != open.Source {
				continue
			}
			fromSource := v.Myself == open.Source
			if !fromSource && m.own[t.Owner[slot]] >= 0 {
				continue
			}
			if all == nil {
				all = make(map[uint16]Open)
			}
			all[slot] = open
		}
	}
	return all
}
