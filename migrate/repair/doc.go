// Package repair says what is wrong with a cluster, and puts it right. It decides from what each node says of itself, from
// epochs and from the journal; never from who has the most keys.
//
//	look (twice) --> picture --> rows.go, the repair table --> Findings with the commands
//	                                                              |
//	                                                Fix: --> actions, one after the other --> look again
//
// A slot is only touched when both looks show the same, and no key that exists once is ever deleted, unless an operator
// asked for it with "delete".
//
// Who owns a slot, and is asked by clients, has its current values. What another node has of it counts in two cases only:
//
//	the owner has taken over from the source of a move     the target's copies count: the owner may have missed that keys went
//	the slot is still open, and keys have gone to a target  what neither the owner nor the meant target has is on its way there
//
// An owner that has taken over from the target is not one of them: what it does not have was deleted there, or lost with the
// failover, and nobody can tell which. Keys that the old target has kept stay where they are, as orphans. See kin.go.
package repair

import (
	"context"
	"log/slog"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// Finding is one thing that is wrong with a cluster.
type Finding struct {
	Severity string   `json:"severity"` // "error" or "warning"
	Kind     string   `json:"kind"`     // a row of the repair table, see docs/migration.md
	Slots    []uint16 `json:"slots,omitempty"`
	Node     string   `json:"node,omitempty"` // address
	Text     string   `json:"text"`
	Repair   []string `json:"repair,omitempty"` // what Fix would send, "host:port COMMAND ..."; empty: nothing automatic
}

// Report is the outcome of a check or of a repair.
type Report struct {
	OK       bool         `json:"ok"` // no finding with severity error
	Covered  int          `json:"covered"`
	Agree    bool         `json:"agree"` // all nodes have the same picture
	Findings []Finding    `json:"findings,omitempty"`
	Shares   []plan.Share `json:"shares"`
	Done     []string     `json:"done,omitempty"` // what Fix has sent, with the outcome
}

// Options bound a repair.
type Options struct {
	DryRun  bool
	Orphans string // keys on a node that does not own their slot: "keep" (or ""), "merge" or "delete"
}

// Doctor examines one cluster. Its methods may be called at the same time, but for Fix.
type Doctor struct {
	Nodes    engine.Nodes
	Topology func() *router.Table // where nodes are dialled; nil or a nil table: Seeds
	Seeds    []string             // addresses to begin with when there is no table
	Run      func(ctx context.Context, u machine.Unit, s machine.Step) machine.Result
	// Meant says where the journal wanted a slot to go, "" when it knows nothing of it. nil: there is no journal.
	Meant func(slot uint16) (target string)
	// Failover says that the source of this unit, as it is now, is not what it was when the journal's unit was opened; see
	// journal.Unit. nil: there is no journal.
	Failover func(u journal.Unit) bool
	// Keep writes a value that is about to be dropped because the other copy counts; nil: nothing is dropped.
	Keep   func(node string, db int, key, payload string) error
	Settle time.Duration // between the two looks; 0: a second, in which gossip passes a change on
	Log    *slog.Logger
}

func (d *Doctor) settle() time.Duration {
	if d.Settle == 0 {
		return time.Second
	}
	return d.Settle
}

// pause waits, or returns when ctx ends.
func pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
