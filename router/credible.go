package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var errFewerSlots = errors.New("table refused: fewer slots have an owner, and most primaries were not heard")

// credible tells whether next may replace old. What most primaries say always may. A minority, which may be cut off from the
// others, must not take slots away nor go back to an owner with a lower epoch, unless the old owner itself was heard: then
// its word is in next. heard has the IDs of the nodes that were asked and answered.
func credible(old, next *Table, heard map[string]bool) error {
	if old == nil {
		return nil
	}
	if next.heardMost(heard) {
		return nil
	}
	if next.Covered() < old.Covered() {
		return errFewerSlots
	}
	for slot := range old.Owner {
		before, after := old.Node(uint16(slot)), next.Node(uint16(slot))
		if before == nil || after == nil || before.ID == after.ID || heard[before.ID] {
			continue
		}
		if after.Epoch < before.Epoch {
			return fmt.Errorf("table refused: slot %d goes back from epoch %d to %d, and most primaries were not heard",
				slot, before.Epoch, after.Epoch)
		}
	}
	return nil
}

// heardMost tells whether more than half of the primaries that own slots were asked; of all primaries if none owns any.
func (t *Table) heardMost(heard map[string]bool) bool {
	all, yes := 0, 0
	empty := t.Covered() == 0
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if !n.Primary || n.Slots == 0 && !empty {
			continue
		}
		all++
		if heard[n.ID] {
			yes++
		}
	}
	return 2*yes > all
}

// equal compares everything but the version.
func (t *Table) equal(o *Table) bool {
	return slices.Equal(t.Nodes, o.Nodes) && t.Owner == o.Owner && maps.Equal(t.Open, o.Open)
}

// moved counts the slots that have another owner than before.
func moved(old, next *Table) int {
	if old == nil {
		return next.Covered()
	}
	n := 0
	for slot := range uint16(Slots) {
		a, b := old.Node(slot), next.Node(slot)
		if (a == nil) != (b == nil) || a != nil && a.ID != b.ID {
			n++
		}
	}
	return n
}
