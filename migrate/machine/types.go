package machine

import (
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
)

// Unit is slots of one pair of nodes that move together; see journal.Unit.
type Unit = journal.Unit

// Engines, see journal.Unit.Engine.
const (
	Auto   = ""
	Atomic = "atomic" // CLUSTER MIGRATESLOTS, Valkey 9.0 and later on both ends
	Legacy = "legacy" // SETSLOT and MIGRATE
)

// Step is what the engine can do with a unit. Every step may be repeated: what is done already is passed over.
type Step uint8

// Steps of the legacy engine in their order, then those of the atomic one, then those of both.
const (
	Prepare Step = iota + 1 // look only: the source owns all, the target has no key of them, nothing is open
	Hold                    // the data path sends nothing more for the slots, and nothing is in flight
	Open                    // IMPORTING on the target, MIGRATING on the source, both confirmed
	Move                    // keys, until the source has none of the slots
	Commit                  // SETSLOT NODE on the target; its own view and its epoch are confirmed
	Release                 // the data path goes on, at the target if Unit.Committed, else at the source; also when nothing is held
	Tell                    // SETSLOT NODE on the source and the other primaries
	Close                   // SETSLOT STABLE on both: roll back; refused when the target has a key of the slots

	Start  // CLUSTER MIGRATESLOTS
	Watch  // until the nodes have done or given up; holds and releases by itself when the stream does not converge
	Cancel // CLUSTER CANCELSLOTMIGRATIONS, never in the states of hand-over

	// Verify: all nodes that are not failed agree, the replicas of both too; nothing is open; no key is left behind, on the source's replicas
	// neither, nor on the way to them: one that is promoted with keys would keep them.
	Verify
	// Look: where do the slots stand? Result.Looks. Done only when no command of an earlier step of the slots can be executed
	// any more: what a node may still have in its buffers would change what was seen.
	Look
)

// Outcome is how a step ended.
type Outcome uint8

// Outcomes.
const (
	Done     Outcome = iota + 1
	Again            // not done, nothing has changed: the same step later (busy, NOREPLICAS, TRYAGAIN, not drained in time)
	Unknown          // perhaps done, perhaps in part: Look before anything else
	NodeLost         // a node does not answer or is no primary any more: Look until there is a successor
	// Blocked: these slots cannot be moved now, others may: big key, orphans, no memory on the target. Of Verify: all is
	// well, but a failover of the source has left keys behind that only an operator can judge.
	Blocked
	Switch  // this engine cannot do it here: the other one should
	Foreign // somebody else is moving slots of these nodes: stop the job
	Fatal   // no step of this job can succeed
)

// SlotLook is where one slot stands, as the nodes themselves say.
type SlotLook struct {
	Slot                   uint16
	SourceOwns, TargetOwns bool // each in its own view
	Migrating, Importing   bool // between the shards of source and target, whichever of their nodes the mark names
	OtherOpen              bool // open to or from a third shard
	Unowned                bool // no working primary claims it in its own view
	// Beside is another primary of the target's shard that owns it, "" for none: a target that was cut off and its replica that took
	// over from it are both primaries, if each has slots that the other had not heard of.
	Beside                 string
	SourceKeys, TargetKeys int64
}

// Result is the answer to one Run.
type Result struct {
	Unit    int
	Step    Step
	Attempt int
	Outcome Outcome
	Reason  string // for people, unless Done
	Keys    int64  // moved in this step
	Most    int64  // keys that the next stream of the unit's pair may have, for the sake of clients; of a Watch that is Done; 0: no bound
	Bytes   int64
	Took    time.Duration
	Looks   []SlotLook // of Look
	// Source and Target are the primaries of the two shards now, of Look; they differ from the unit's after a failover.
	Source, Target string
	SourceEpoch    uint64 // configEpoch of the source, of Prepare and Look; 0: not known
	SourceRun      string // run_id of the source, of Prepare and Look; "": not known
}

// Event is an input of the machine: Result, Woken, Command or Trouble.
type Event any

// Woken comes after an effect Wait.
type Woken struct{ Unit, Attempt int }

// Command is what an operator wants: "pause", "resume" or "cancel". "rest" is a pause that ends with this machine: one that is
// restored goes on.
type Command struct{ Word string }

// Trouble stops the job from outside: another coordinator, a lost lease, a journal that cannot be written. No step that
// changes the cluster is begun after it, except Tell if MayTell. Steps that run are waited for, gates are released.
type Trouble struct {
	Reason    string
	MayTell   bool // nobody else is at work: slots that have been committed may still be told to all nodes
	NoJournal bool // nothing can be written any more: there are no Appends after this
}

// Effect is an output of the machine: Append, Run, Wait or Ended. Effects of one list are begun in order; those behind an
// Append only once it is durable.
type Effect any

// Append makes records durable.
type Append struct{ Records []journal.Record }

// Run lets the engine do one step of a unit; the answer is exactly one Result with the same Unit, Step and Attempt. One
// that was not begun, because an Append before it failed, is answered Again, after the Trouble. Attempt counts the Runs and
// Waits of a unit, so an answer that is late by a restart of the step is known.
type Run struct {
	Unit    Unit
	Step    Step
	Attempt int
}

// Wait asks for Woken after a while.
type Wait struct {
	Unit, Attempt int
	For           time.Duration
}

// Ended is the last effect: Success, Partial, Failed or Cancelled.
type Ended struct{ State, Reason string }

// Options bound a job. Zero fields get the defaults.
type Options struct {
	Engine     string        `json:"engine,omitempty"`      // Auto, Atomic or Legacy
	HoldBudget time.Duration `json:"hold_budget,omitempty"` // longest hold that is planned for: 25 ms
	Parallel   int           `json:"parallel,omitempty"`    // units at once: 4; one for each source, three for each target
	UnitSlots  int           `json:"unit_slots,omitempty"`  // most slots of an atomic unit: 256
	UnitKeys   int64         `json:"unit_keys,omitempty"`   // most keys of an atomic unit: 100 000
	// MaxKeysPerSecond and MaxBytesPerSecond bound a job; 0: no bound. They are the pacer's.
	MaxKeysPerSecond  int64 `json:"max_keys_per_second,omitempty"`
	MaxBytesPerSecond int64 `json:"max_bytes_per_second,omitempty"`
	AllowBlocking     bool  `json:"allow_blocking,omitempty"` // move keys that stop their nodes for longer than allowed
}

// Spec is a job before its first step.
type Spec struct {
	ID      string
	Plan    *plan.Plan
	Keys    []int64 // by slot; nil: not known
	Options Options
	// Engines says what each pair can do, by source and target: Atomic or Legacy. It does not change with Options.
	Engines func(source, target string) string `json:"-"`
}
