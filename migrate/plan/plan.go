package plan

import (
	"time"

	"slotproxy/router"
)

// Snapshot is the cluster as planners see it. Nobody changes it once it is made.
type Snapshot struct {
	Nodes []Node              // primaries and replicas, by ID
	Owner [router.Slots]int16 // index into Nodes, -1 for none
	Stats []SlotStat          // by slot; nil: not known
	// Measures are what earlier jobs took, the newest first; nil: nothing is known, and estimates are assumptions.
	Measures []Measure
	// Engine says which engine will move slots between two nodes, by their IDs; nil: nobody knows.
	Engine func(source, target string) string
}

// Node is one server.
type Node struct {
	ID, Addr, Host string
	Primary        bool
	PrimaryID      string // of a replica
	Failed         bool
	Version        string // "9.1.2"; "" if it was not asked
	Epoch          uint64
	Replicas       int   // online ones, of a primary
	UsedMemory     int64 // bytes
	MaxMemory      int64 // bytes, 0: no limit
}

// SlotStat is what is known of one slot.
type SlotStat struct {
	Keys  int64
	Bytes int64 // estimate, 0: not known
	Ops   int64 // commands in the last minute or so, or the time that they took: a measure to compare slots with; 0: none, or not known
}

// Move is work for one pair of nodes. Source and Target are node IDs.
type Move struct {
	Source string   `json:"source"`
	Target string   `json:"target"`
	Slots  []uint16 `json:"slots"` // ascending
}

// Share is what one primary has, before or after a plan.
type Share struct {
	Node  string `json:"node"`
	Addr  string `json:"addr"`
	Slots int    `json:"slots"`
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes,omitempty"`
	Ops   int64  `json:"ops,omitempty"`
}

// Plan is what a job carries out. It can be saved as JSON, read again and executed while the cluster still has the
// Fingerprint.
type Plan struct {
	Goal        string        `json:"goal"` // as a person would type it, for lists and logs
	Fingerprint string        `json:"fingerprint"`
	Moves       []Move        `json:"moves"`
	Slots       int           `json:"slots"`
	Keys        int64         `json:"keys"`
	Bytes       int64         `json:"bytes,omitempty"`
	Estimate    time.Duration `json:"estimate_ns"`
	EstimateBy  string        `json:"estimate_by,omitempty"` // where it comes from: assumed, or measured by which jobs
	Before      []Share       `json:"before"`
	After       []Share       `json:"after"`
	Warnings    []string      `json:"warnings,omitempty"`
	Capped      string        `json:"capped,omitempty"` // what caps have kept it from, in words; "" when they have not
}
