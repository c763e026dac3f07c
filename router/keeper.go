package router

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Source asks one node of the cluster for CLUSTER NODES. It must return soon after ctx ends.
type Source interface {
	Nodes(ctx context.Context, addr string) ([]byte, error)
}

// Cause says why somebody doubts the table.
type Cause uint8

// The causes.
const (
	Moved    Cause = iota + 1 // a node named another owner for the slot
	Ask                       // a slot is being moved
	Lost                      // a connection to the node broke or could not be made
	ReadOnly                  // the node is a replica now
	Down                      // the node says that the cluster is down, or that it loads or lost its primary
	Retry                     // TRYAGAIN
)

// Hint is one doubt about the table.
type Hint struct {
	Cause   Cause
	Slot    uint16
	HasSlot bool
	Addr    string
}

// KeeperConfig configures a Keeper.
type KeeperConfig struct {
	Seeds    []string
	Interval time.Duration
	MinGap   time.Duration
	Timeout  time.Duration
	Map      func(addr string) string
	Log      *slog.Logger
	OnTable  func(*Table)
}

// Keeper is the one writer of tables.
type Keeper struct {
	src   Source
	cfg   KeeperConfig
	table atomic.Pointer[Table]
}

// NewKeeper returns a keeper that does nothing until Run.
func NewKeeper(src Source, cfg KeeperConfig) *Keeper { return &Keeper{src: src, cfg: cfg} }

// Run keeps the table until ctx ends.
func (k *Keeper) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Table returns the newest table, nil before the first.
func (k *Keeper) Table() *Table { return k.table.Load() }

// Hint tells the keeper of a doubt. It never blocks.
func (k *Keeper) Hint(h Hint) {}
