package plan

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Caps bound what one plan moves in all, so that a large goal can be reached in several jobs. Keys are those that the snapshot has
// counted. 0 is no bound.
type Caps struct {
	Slots int   `json:"slots,omitempty"`
	Keys  int64 `json:"keys,omitempty"`
}

// String is "500 slots and 10000 keys", "" without a bound.
func (c Caps) String() string {
	var parts []string
	if c.Slots > 0 {
		parts = append(parts, fmt.Sprintf("%d slots", c.Slots))
	}
	if c.Keys > 0 {
		parts = append(parts, fmt.Sprintf("%d keys", c.Keys))
	}
	return strings.Join(parts, " and ")
}

// goal adds the caps to a goal, for lists and logs.
func (c Caps) goal(text string) string {
	if c == (Caps{}) {
		return text
	}
	return text + ", at most " + c.String()
}

// check refuses bounds that nobody can keep.
func (c Caps) check(s *Snapshot) error {
	switch {
	case c.Slots < 0 || c.Keys < 0:
		return errors.New("ERR A cap must be 1 or more")
	case c.Keys > 0 && s.Stats == nil:
		return errors.New("ERR The keys of the slots are not known: they cannot be capped")
	}
	return nil
}

func (c Caps) allow(slots int, keys int64) bool {
	return (c.Slots == 0 || slots <= c.Slots) && (c.Keys == 0 || keys <= c.Keys)
}

// movable leaves out slots that alone have more keys than a plan may move.
func (c Caps) movable(s *Snapshot, slots []uint16) (list []uint16) {
	for _, slot := range slots {
		if c.allow(1, s.stat(int(slot)).Keys) {
			list = append(list, slot)
		}
	}
	return list
}

// most makes a draft that the caps allow, as large as the search finds. draftOf drafts the first n slots of a goal, those of them that
// are movable under the caps it is given; n is how many the whole goal has. whole is the draft of all of them.
func (c Caps) most(n int, draftOf func(n int, c Caps) *draft) (d, whole *draft) {
	whole = draftOf(n, Caps{})
	if c.allow(whole.size()) {
		return whole, whole
	}
	if c.Slots > 0 {
		n = min(n, c.Slots)
	}
	n = sort.Search(n, func(i int) bool { return !c.allow(draftOf(i+1, c).size()) })
	return draftOf(n, c), whole
}

// capped puts into a plan what the caps have kept it from: so many slots and keys. further says how the rest is reached.
func (c Caps) capped(p *Plan, slots int, keys int64, further string) {
	text := "capped at " + c.String() + ": "
	switch {
	case p.Slots == 0:
		text += fmt.Sprintf("each of the %d slots that should move has more keys", slots)
	case slots == 0:
		text += further
	default:
		text += fmt.Sprintf("%d slots with %d keys are left, %s", slots, keys, further)
	}
	p.Capped = text
}

// again is how the rest of most goals is reached.
const again = "the same command goes on"

// again is that, said of what these caps leave: slots with more keys stay out of reach.
func (c Caps) again() string {
	if c.Keys > 0 {
		return again + " with the slots that have no more keys"
	}
	return again
}

// size is what a draft moves.
func (d *draft) size() (slots int, keys int64) {
	for slot, to := range d.owner {
		if to != d.s.Owner[slot] {
			slots++
			keys += d.s.stat(slot).Keys
		}
	}
	return slots, keys
}

// capped makes a plan of a draft, and of what is left to the whole one.
func (d *draft) capped(goal string, c Caps, whole *draft, further string) *Plan {
	p := d.plan(c.goal(goal))
	if d != whole {
		slots, keys := whole.size()
		c.capped(p, slots-p.Slots, keys-p.Keys, further)
	}
	return p
}
