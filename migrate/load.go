package migrate

import (
	"time"

	"slotproxy/router"
)

// Load is what the data path knows of its clients' work. Implemented by proxy.
type Load interface {
	// Ops are the commands of each slot since the start; they only grow.
	Ops() *[router.Slots]uint64
	// Pulse is what happened since the last call.
	Pulse() Pulse
}

// Pulse is a short while of the data path.
type Pulse struct {
	Span  time.Duration
	Nodes map[string]NodePulse // by address
	// Of all nodes. Errors are those that the proxy made itself: what the coordinator must keep at 0.
	Errors    uint64
	Redirects uint64
	Waiting   []uint16      // slots with a command that no node would serve yet: while one moves, one with several keys
	Held      int64         // commands held by gates right now
	HeldTotal uint64        // commands that gates have held since the start
	LongHold  time.Duration // longest time that a gate has held a command that it has let go since the last call
	P99       time.Duration // of all commands
}

// commands are those of all nodes.
func (p *Pulse) commands() (n uint64) {
	for _, of := range p.Nodes {
		n += of.Commands
	}
	return n
}

// NodePulse is a short while of one node, as the data path sees it.
type NodePulse struct {
	Commands uint64
	P50, P99 time.Duration // from written to answered
	// Over counts the commands that took longer than a limit; more than one in a hundred if P99 is above it. nil: nobody knows.
	Over func(limit time.Duration) uint64
}
