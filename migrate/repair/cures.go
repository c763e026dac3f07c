package repair

import (
	"slices"
	"strings"
)

// cure is what Fix does about a problem, or about several that want the same.
type cure struct {
	of      string // the key of its finding
	actions []action
}

// slotCures are all that Fix would do about slots, the orphans among them if the operator says so. Cures that differ in nothing
// but their slots are one: a node that has lost all of them gets them in one command, and one epoch.
func slotCures(list []problem, o Options) []cure {
	var all []cure
	alike := map[string]int{}
	for _, x := range list {
		c := cure{x.key(), x.row.repair(x.s)}
		if x.row.kind == "orphans" && o.Orphans != "" && o.Orphans != "keep" {
			c.actions = x.s.orphanActions(o.Orphans == "delete")
		}
		if len(c.actions) == 0 {
			continue
		}
		shape := c.shape()
		if i, known := alike[shape]; known && shape != "" {
			all[i].join(c)
			continue
		}
		alike[shape] = len(all)
		all = append(all, c)
	}
	return all
}

// shape is the same for cures that can be one, "" for those that are their slot's alone.
func (c cure) shape() string {
	text := c.of
	for _, a := range c.actions {
		switch {
		case a.yield != nil:
			text += " " + a.at.addr + " yields to " + a.yield.addr
		case len(a.command) == 0:
			return ""
		default:
			text += " " + a.at.addr + " " + strings.Join(a.command, " ")
		}
	}
	return text
}

// join takes over the slots of a cure of the same shape.
func (c *cure) join(other cure) {
	for i, a := range other.actions {
		c.actions[i].slots = append(c.actions[i].slots, a.slots...)
	}
}

// orphanActions brings keys to the owner of their slot, or deletes them.
func (s *slotState) orphanActions(drop bool) []action {
	var list []action
	for _, n := range s.holders {
		if drop {
			list = append(list, s.setslot(n, "IMPORTING", s.owner.id), action{at: n, slot: s.slot, drop: true}, s.closing(n, s.owner.id))
		} else {
			list = append(list, s.bring(n, s.owner)...)
		}
	}
	return list
}

// nodeCures are all that Fix would do about nodes.
func nodeCures(p *picture) []cure {
	var all []cure
	for _, n := range p.nodes {
		if n.primary() && slices.ContainsFunc(n.exports, export.stuck) {
			all = append(all, cure{actions: []action{{at: n, command: []string{"CLUSTER", "CANCELSLOTMIGRATIONS"}}}})
		}
	}
	return all
}
