package plan

import (
	"errors"
	"fmt"
	"slices"

	"slotproxy/router"
)

// Reshard moves n slots to a node: from each of the sources in proportion to what it has, as valkey-cli does. Without
// sources it takes them from all other primaries. All nodes are IDs.
func Reshard(s *Snapshot, from []string, to string, n int, c Caps) (*Plan, error) {
	target, err := s.primary(to)
	if err != nil {
		return nil, err
	}
	if n < 1 || n > router.Slots {
		return nil, fmt.Errorf("ERR The number of slots must be between 1 and %d", router.Slots)
	}
	lists := s.slotsOf()
	sources, err := s.sources(from, target, lists)
	if err := errors.Join(err, c.check(s)); err != nil {
		return nil, err
	}
	total := 0
	for _, at := range sources {
		total += len(lists[at])
	}
	if n > total {
		return nil, fmt.Errorf("ERR The sources have %d slots, %d are wanted", total, n)
	}
	names := "all"
	if len(from) > 0 {
		names = s.addrs(sources)
	}
	d, whole := c.most(n, func(n int, c Caps) *draft {
		taken := make([][]uint16, len(sources))
		for i, at := range sources {
			taken[i] = c.movable(s, lists[at])
		}
		return s.collect(taken, target, n)
	})
	slots, _ := d.size()
	return d.capped(fmt.Sprintf("reshard %d slots from %s to %s", n, names, s.Nodes[target].Addr), c, whole,
		fmt.Sprintf("the same command with %d slots goes on", n-slots)), nil
}

// collect gives a node n of the slots in these lists, or all if they have less: from each in proportion to its length.
func (s *Snapshot) collect(lists [][]uint16, target, n int) *draft {
	total := 0
	weights := make([]float64, len(lists))
	for i, list := range lists {
		total += len(list)
		weights[i] = float64(len(list))
	}
	d := newDraft(s)
	for i, share := range apportion(min(n, total), weights) {
		nearTo(lists[i], &s.Owner, target)
		for _, slot := range lists[i][:share] {
			d.give(slot, target)
		}
	}
	return d
}

// sources checks the nodes to take from, each once.
func (s *Snapshot) sources(from []string, target int, lists [][]uint16) ([]int, error) {
	var list []int
	for _, id := range from {
		at, err := s.primary(id)
		switch {
		case err != nil:
			return nil, err
		case at == target:
			return nil, fmt.Errorf("ERR %s is both source and target", s.Nodes[at].Addr)
		case !slices.Contains(list, at):
			list = append(list, at)
		}
	}
	if len(from) > 0 {
		return list, nil
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; i != target && n.Primary && !n.Failed && len(lists[i]) > 0 {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("ERR There is no other primary with slots")
	}
	return list, nil
}

func (s *Snapshot) addrs(at []int) (names string) {
	for i, k := range at {
		if i > 0 {
			names += ","
		}
		names += s.Nodes[k].Addr
	}
	return names
}

// Named moves these slots to a node, from wherever each is. Those that are there already stay.
func Named(s *Snapshot, slots []uint16, to string, c Caps) (*Plan, error) {
	target, err := s.primary(to)
	if err := errors.Join(err, c.check(s)); err != nil {
		return nil, err
	}
	var away []uint16
	for _, slot := range slots {
		if int(slot) >= router.Slots {
			return nil, errors.New("ERR Invalid or out of range slot")
		}
		owner := s.Owner[slot]
		if owner < 0 {
			return nil, fmt.Errorf("ERR Slot %d has no owner: PROXY FIX first", slot)
		}
		if s.Nodes[owner].Failed {
			return nil, fmt.Errorf("ERR Node %s, which has slot %d, has failed", s.Nodes[owner].Addr, slot)
		}
		if int(owner) != target {
			away = append(away, slot)
		}
	}
	slices.Sort(away)
	away = slices.Compact(away)
	d, whole := c.most(len(away), func(n int, c Caps) *draft {
		d := newDraft(s)
		list := c.movable(s, away)
		for _, slot := range list[:min(n, len(list))] {
			d.give(slot, target)
		}
		return d
	})
	return d.capped(fmt.Sprintf("move %s to %s", Ranges(slots), s.Nodes[target].Addr), c, whole, c.again()), nil
}

// Evacuate moves all slots of a node to the other primaries that have slots, so that those with the fewest get the most.
func Evacuate(s *Snapshot, node string, c Caps) (*Plan, error) {
	source, err := s.primary(node)
	if err := errors.Join(err, c.check(s)); err != nil {
		return nil, err
	}
	lists := s.slotsOf()
	var takers []int
	for _, empty := range []bool{false, true} { // empty nodes only when there are no others
		for i := range s.Nodes {
			if n := &s.Nodes[i]; i != source && n.Primary && !n.Failed && (len(lists[i]) == 0) == empty {
				takers = append(takers, i)
			}
		}
		if len(takers) > 0 {
			break
		}
	}
	if len(takers) == 0 {
		return nil, errors.New("ERR There is no other primary that could take the slots")
	}
	d, whole := c.most(len(lists[source]), func(n int, c Caps) *draft {
		d, left := newDraft(s), c.movable(s, lists[source])
		for i, room := range fillUp(min(n, len(left)), lists, takers) {
			nearTo(left, &d.owner, takers[i])
			for _, slot := range left[:room] {
				d.give(slot, takers[i])
			}
			left = left[room:]
		}
		return d
	})
	return d.capped("evacuate "+s.Nodes[source].Addr, c, whole, c.again()), nil
}

// fillUp shares n slots so that the takers end as equal as they can.
func fillUp(n int, lists [][]uint16, takers []int) []int {
	room := make([]int, len(takers))
	for range n {
		least := 0
		for i, at := range takers {
			if len(lists[at])+room[i] < len(lists[takers[least]])+room[least] {
				least = i
			}
		}
		room[least]++
	}
	return room
}

// apportion shares n in proportion to the weights by largest remainders (Hamilton's method); equal remainders go to the
// earlier one. The shares add up to n when a weight is above 0.
func apportion(n int, weights []float64) []int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	shares := make([]int, len(weights))
	if sum <= 0 {
		return shares
	}
	rest := make([]float64, len(weights))
	left := n
	for i, w := range weights {
		exact := float64(n) * w / sum
		shares[i] = int(exact)
		rest[i] = exact - float64(shares[i])
		left -= shares[i]
	}
	for ; left > 0; left-- {
		best := -1
		for i := range rest {
			if weights[i] > 0 && (best < 0 || rest[i] > rest[best]) {
				best = i
			}
		}
		shares[best]++
		rest[best] = -1
	}
	return shares
}

// Ranges writes slots as CLUSTER NODES does, "0-5 9".
func Ranges(slots []uint16) string {
	sorted := slices.Compact(slices.Sorted(slices.Values(slots)))
	text := ""
	for i := 0; i < len(sorted); {
		k := i
		for k+1 < len(sorted) && sorted[k+1] == sorted[k]+1 {
			k++
		}
		if text != "" {
			text += " "
		}
		if text += fmt.Sprint(sorted[i]); k > i {
			text += fmt.Sprint("-", sorted[k])
		}
		i = k + 1
	}
	return text
}
