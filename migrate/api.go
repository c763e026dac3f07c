package migrate

import (
	"time"

	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/migrate/repair"
)

// Goal is what an operator asks for. Nodes are named by id, unique prefix of one, or host:port.
type Goal struct {
	Kind string `json:"kind"` // Reshard, MoveSlots, Rebalance or Evacuate

	From   []string    `json:"from,omitempty"`   // of Reshard; empty: all primaries but To
	To     string      `json:"to,omitempty"`     // of Reshard and MoveSlots
	Slots  int         `json:"slots,omitempty"`  // of Reshard
	Ranges [][2]uint16 `json:"ranges,omitempty"` // of MoveSlots, both ends inclusive

	By        string             `json:"by,omitempty"`        // of Rebalance: "slots" (default), "keys" or "ops"
	Weights   map[string]float64 `json:"weights,omitempty"`   // by node; 1 for those not named; 0 empties a node
	Threshold float64            `json:"threshold,omitempty"` // percent off the ideal below which nothing moves; 2 for slots, 5 else
	UseEmpty  bool               `json:"use_empty,omitempty"` // primaries without slots take part

	Node string `json:"node,omitempty"` // of Evacuate

	Caps plan.Caps `json:"caps,omitzero"` // on what one job moves

	Options machine.Options `json:"-"` // that the job will have, for how long it takes; Start has its own
}

// Kinds of goals.
const (
	Reshard   = "reshard"
	MoveSlots = "move"
	Rebalance = "rebalance"
	Evacuate  = "evacuate"
)

// States of a job, see package machine.
const (
	Running   = machine.Running
	Pausing   = machine.Pausing
	PausedJob = machine.Paused
	Stopping  = machine.Stopping
	Success   = machine.Success
	Partial   = machine.Partial
	Failed    = machine.Failed
	Cancelled = machine.Cancelled
)

// Status is a job as an operator sees it.
type Status struct {
	ID, Goal, State, Reason       string
	Created, Started, Finished    time.Time // zero: not yet
	SlotsTotal, SlotsDone         int
	KeysTotal, KeysMoved          int64 // KeysTotal is what was counted at the start
	BytesMoved                    int64 // estimate
	KeysPerSecond, BytesPerSecond int64
	ETA                           time.Duration // 0: not known, or ended
	Retries                       int
	Pace                          string // why it is not going at full speed; "" when it is

	// What clients of this proxy noticed while the job ran.
	HeldCommands uint64
	LongestHold  time.Duration
	Redirects    uint64
	ClientErrors uint64

	Units   []UnitStatus // in hand now
	Blocked []string     // slots that could not be moved, with the reason, a line each
	Before  []plan.Share
	After   []plan.Share // as measured at the end
	Agree   bool         // at the end all nodes had the same picture, and no slot was open
	Capped  string       // what its plan has left to later ones, see plan.Plan; "" for nothing

	Measures []plan.Measure // of its slots, for the estimates of later plans

	Side string `json:"-"` // file with values that the job could not leave in the cluster; "" for none
}

// UnitStatus is what is in hand.
type UnitStatus struct {
	Source, Target, Engine, Step string
	Slots                        string // "0-5 9"
	Attempt                      int
	For                          time.Duration // in this step
}

// What check and fix say, see package repair.
type (
	Finding    = repair.Finding
	Report     = repair.Report
	FixOptions = repair.Options
)
