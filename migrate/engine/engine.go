// Package engine does one step of a unit on real nodes. Steps may be repeated; each says truthfully whether something may
// have happened. It knows the commands and texts of all server versions, and nothing of jobs.
package engine

import (
	"context"
	"time"
)

// ServerError is an error reply of a node, without the leading '-'. The command was answered: it is not in doubt.
type ServerError string

func (e ServerError) Error() string { return string(e) }

// Nodes reaches nodes as the control plane's user. Implemented by internal/cluster.
type Nodes interface {
	// Do runs commands on one node, written together, and returns their replies in order: string, int64, nil, []any or
	// ServerError. An error means that the connection failed or ctx ended: all of them may have been executed.
	// The connection is shared, so the commands must be short.
	Do(ctx context.Context, addr string, commands ...[]string) ([]any, error)
	// Session opens a connection that nobody else uses: for SELECT, and for MIGRATE, which keeps its connection busy.
	Session(ctx context.Context, addr string) (Session, error)
	// Login is what nodes have to present to each other, for MIGRATE's AUTH2; empty without a password.
	Login() (user, password string)
}

// Session is a connection of one's own. Not safe for concurrent use. After an error it is of no use but for Close.
type Session interface {
	Do(ctx context.Context, commands ...[]string) ([]any, error)
	Close()
}

// Gate is the data path's side of a move. Slots of one call may be held by one holder at a time.
type Gate interface {
	// Hold stops the data path from sending commands of the slots, and returns when none of them is in flight in any loop.
	// It never waits longer than ctx; with an error nothing is held. After limit the gate opens by itself, whatever has
	// become of the holder. An error with a method Permanent that says true comes each time: the limit is not allowed, say.
	Hold(ctx context.Context, slots []uint16, limit time.Duration) error
	// Extend makes a hold of these slots last for limit from now on, or for as long as it may, and returns for how long. It never
	// opens in between. With an error it may have opened already.
	Extend(slots []uint16, limit time.Duration) (time.Duration, error)
	// Release lets what is held go on: at the node with this address, which owns the slots now, or where it would have gone
	// for "". Slots that are not held change their owner too.
	Release(slots []uint16, owner string)
	// Waiting tells whether commands wait for one of the slots because its keys are on two nodes.
	Waiting(slots []uint16) bool
}

// Pacer slows a move down. Safe for concurrent use.
type Pacer interface {
	// Batch is how much one MIGRATE may carry now.
	Batch() (keys int, bytes int64)
	// Wait returns when a batch of this size may go, or ctx ends. It asks again and again whether clients wait for the keys:
	// then they go at once. waited is nil when nobody can.
	Wait(ctx context.Context, source, target string, keys int, bytes int64, waited func() bool) error
	// Hold returns when another gate may be closed for what gates have held of late, at once when clients wait for the keys, and in
	// any case after about a second: whatever has begun must come to its end.
	Hold(ctx context.Context, waited func() bool)
	// Moved tells how long a batch took.
	Moved(source, target string, keys int, bytes int64, took time.Duration)
}
