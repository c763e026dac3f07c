package machine

import "slices"

// View is where a job stands, for people.
type View struct {
	State, Reason         string
	SlotsTotal, SlotsDone int
	KeysDone, BytesDone   int64
	Retries               int
	Units                 []UnitView
	Blocked               []Block
}

// UnitView is a unit in hand.
type UnitView struct {
	Unit    Unit
	Step    Step
	Attempt int // of this step, from 1
}

// View may be kept: the machine does not change it.
func (m *Machine) View() View {
	v := View{
		State: m.state, Reason: m.reason,
		SlotsTotal: m.slotsTotal, SlotsDone: m.slotsDone,
		KeysDone: m.keysDone, BytesDone: m.bytesDone,
		Retries: m.retries,
		Blocked: slices.Clone(m.blocked),
	}
	for _, u := range m.units {
		c := u.Unit
		c.Slots = slices.Clone(u.Slots)
		v.Units = append(v.Units, UnitView{Unit: c, Step: u.step, Attempt: u.tries + 1})
	}
	return v
}

var stepNames = [...]string{
	Prepare: "prepare", Hold: "hold", Open: "open", Move: "move", Commit: "commit", Release: "release", Tell: "tell",
	Close: "close", Start: "start", Watch: "watch", Cancel: "cancel", Verify: "verify", Look: "look",
}

func (s Step) String() string { return nameOf(stepNames[:], int(s)) }

var outcomeNames = [...]string{
	Done: "done", Again: "again", Unknown: "unknown", NodeLost: "node-lost", Blocked: "blocked", Switch: "switch",
	Foreign: "foreign", Fatal: "fatal",
}

func (o Outcome) String() string { return nameOf(outcomeNames[:], int(o)) }

func nameOf(names []string, i int) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return "?"
}
