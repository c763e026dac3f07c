package metrics

import "time"

// Extra is what a scrape shows besides the counters of the loops: the state of the process and of its picture of the
// cluster at that moment. The zero value stands for a proxy that has no slot table yet.
type Extra struct {
	Version, Revision, GoVersion string

	Loops    int
	Draining bool

	MaxClients   int
	BufferBudget int64 // bytes; 0 without a budget

	HasTable    bool
	TableAge    time.Duration // since a node last answered a question about the topology
	TableEpoch  uint64
	Published   uint64 // tables published
	Slots       SlotStates
	Nodes       []NodeInfo
	Asked       Questions
	ReloadOK    bool
	ReloadedAt  time.Time // of the last configuration that was taken over
	Certificate []Certificate
	Moves       Moves
}

// NodeInfo is one node of the cluster.
type NodeInfo struct {
	Addr    string
	Primary bool
	Failed  bool
	Slots   int
}

// Questions counts what nodes were asked about the topology.
type Questions struct{ Answered, Failed uint64 }

// Certificate is a TLS certificate in use.
type Certificate struct {
	Where    string // "listener" or "cluster"
	NotAfter time.Time
}

// SlotStates counts slots by SlotState.
type SlotStates [numSlotStates]int

// Moves counts what the coordinator has done since the start of the process.
type Moves struct {
	Running                               bool // a job is under way
	Paused                                bool // it rests until an operator resumes it
	SlotsLeft                             int  // of it
	Succeeded, Partial, Failed, Cancelled uint64
	Slots, Keys, Bytes                    uint64
	Holds, Retries                        uint64
}
