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
	TableAge    time.Duration // since the last time that the cluster's answer was looked at
	TableEpoch  uint64
	Published   uint64 // tables published
	Slots       [numSlotStates]int
	Nodes       []NodeInfo
	Refreshes   []RefreshCount
	ReloadOK    bool
	ReloadedAt  time.Time // of the last configuration that was taken over
	Certificate []Certificate
}

// NodeInfo is one node of the cluster.
type NodeInfo struct {
	Addr    string
	Primary bool
	Failed  bool
	Slots   int
}

// RefreshCount counts looks at the cluster's topology. Trigger and Result come from the router's own constants.
type RefreshCount struct {
	Trigger, Result string
	Count           uint64
}

// Certificate is a TLS certificate in use.
type Certificate struct {
	Where    string // "listener" or "cluster"
	NotAfter time.Time
}
