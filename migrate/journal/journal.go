// Package journal keeps what the coordinator means to do and what it has done, on disk, so that a restart can go on. One
// file a job: a line a record, each with its checksum, synced before the step that it announces is begun.
package journal

import (
	"encoding/json"
	"time"
)

// Unit is slots of one pair of nodes that move together.
type Unit struct {
	ID     int      `json:"id"`
	Source string   `json:"source"` // node id
	Target string   `json:"target"` // node id
	Slots  []uint16 `json:"slots"`
	Engine string   `json:"engine"`           // "atomic" or "legacy"
	Online bool     `json:"online,omitempty"` // legacy, without holding the slots: too many keys for the hold budget
	Keys   int64    `json:"keys,omitempty"`   // estimate

	// Committed: the target owns the slots. Release lets the data path go on there; UnitDone without it was rolled back.
	Committed bool `json:"committed,omitempty"`
	// SourceEpoch is the source's configEpoch when the unit was opened; 0: not known.
	SourceEpoch uint64 `json:"source_epoch,omitempty"`
	// SourceRun is the run_id of the source's process then; "": not known. One that is started again has what its disk has.
	SourceRun string `json:"source_run,omitempty"`
	// Failover: the source is not the one, not in the epoch or not the process that the unit was first opened at. Of a key on
	// both nodes the target's copy counts then, since the new source may lag; else the source's.
	Failover bool `json:"failover,omitempty"`
	// Aside: Target is a sibling of the node that the job moves to, which has these slots instead. What is still to go goes where it
	// was meant to.
	Aside bool `json:"aside,omitempty"`
}

// Kinds of records. Those that end in "ing" are written before the commands that they announce.
const (
	JobCreated     = "job"
	UnitOpening    = "unit-opening"    // before Open or Start
	UnitCommitting = "unit-committing" // before Commit
	UnitCommitted  = "unit-committed"
	UnitClosing    = "unit-closing" // before Close: rolled back
	UnitDone       = "unit-done"    // verified, or rolled back
	UnitBlocked    = "unit-blocked" // given up; nothing of it is open
	Paused         = "paused"
	Resumed        = "resumed"
	Cancelled      = "cancelled"
	Ended          = "ended"
)

// Record is one line of a journal.
type Record struct {
	Seq    int64           `json:"seq"` // given by the journal
	At     time.Time       `json:"at"`  // given by the journal
	Job    string          `json:"job"`
	Kind   string          `json:"kind"`
	Unit   *Unit           `json:"unit,omitempty"`
	State  string          `json:"state,omitempty"`  // of Ended: success, partial, failed, cancelled
	Reason string          `json:"reason,omitempty"` // for people
	Spec   json.RawMessage `json:"spec,omitempty"`   // of JobCreated
}
