package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"slotproxy/router"
)

// Functions gives primaries that join a cluster the functions of the others: a client loads them once, as on one server,
// and a slot may move to a node that was not there then. Nothing is ever replaced. Its methods belong to one goroutine,
// but for Adopt.
type Functions struct {
	src    *Source
	log    *slog.Logger
	tables chan *router.Table // Adopt to Run; the newest one only

	settled map[string]bool // ids of primaries that need nothing more
}

const (
	// emptyDump is the longest FUNCTION DUMP without a library: a version and a checksum.
	emptyDump = 10
	// retryFunctions is how soon a node that could not be asked or supplied is tried again.
	retryFunctions = time.Second
)

// NewFunctions returns one that does nothing before Run.
func NewFunctions(src *Source, log *slog.Logger) *Functions {
	return &Functions{src: src, log: log, tables: make(chan *router.Table, 1), settled: map[string]bool{}}
}

// Adopt hands over a new table; it does not wait. Only one goroutine may call it.
func (f *Functions) Adopt(t *router.Table) {
	select {
	case <-f.tables: // not looked at yet, and old now
	default:
	}
	f.tables <- t
}

// Run supplies the nodes of each table until ctx ends.
func (f *Functions) Run(ctx context.Context) {
	var table *router.Table
	again := time.NewTicker(retryFunctions)
	defer again.Stop()
	done := true
	for {
		select {
		case <-ctx.Done():
			return
		case table = <-f.tables:
		case <-again.C:
			if done {
				continue
			}
		}
		done = f.supply(ctx, table)
	}
}

// supply looks at the primaries that are new, and reports whether all of them have what they need.
func (f *Functions) supply(ctx context.Context, t *router.Table) (done bool) {
	var fresh, others []*router.Node
	settled := map[string]bool{}
	for _, i := range t.Primaries() {
		n := &t.Nodes[i]
		if f.settled[n.ID] {
			settled[n.ID] = true
			others = append(others, n)
		} else {
			fresh = append(fresh, n)
		}
	}
	f.settled = settled // who has left, or was a primary, is new when it comes back
	var empty []*router.Node
	var dump string
	serving, unread := owners(t), false // unread: a node may have functions that the ones which were read have not
	for _, n := range fresh {
		d, err := f.src.functions(ctx, n.Addr)
		switch {
		case err != nil:
			f.log.Debug("functions not read", "node", n.Addr, "err", err)
			unread = unread || serving[n]
		case len(d) <= emptyDump:
			empty = append(empty, n)
		default:
			dump = d
			f.settled[n.ID] = true
		}
	}
	for i := 0; dump == "" && len(empty) > 0 && i < len(others); i++ {
		d, err := f.src.functions(ctx, others[i].Addr)
		switch {
		case err != nil:
			f.log.Debug("functions not read", "node", others[i].Addr, "err", err)
			unread = unread || serving[others[i]]
		case len(d) > emptyDump:
			dump = d
		}
	}
	for _, n := range empty {
		f.settled[n.ID] = dump == "" && !unread || dump != "" && f.restore(ctx, n.Addr, dump)
	}
	for _, n := range fresh {
		if !f.settled[n.ID] {
			return false
		}
	}
	return true
}

// owners are the nodes that have slots: a client's functions were loaded there.
func owners(t *router.Table) map[*router.Node]bool {
	all := map[*router.Node]bool{}
	for _, i := range t.Owner {
		if i >= 0 {
			all[&t.Nodes[i]] = true
		}
	}
	return all
}

func (f *Functions) restore(ctx context.Context, addr, dump string) bool {
	if _, err := f.src.do(ctx, addr, "FUNCTION", "RESTORE", dump); err != nil {
		f.log.Warn("a new primary did not take the functions of the others", "node", addr, "err", err)
		return false
	}
	f.log.Info("a new primary has the functions of the others", "node", addr, "count", len(dump))
	return true
}

// functions returns what FUNCTION DUMP gives on a node.
func (s *Source) functions(ctx context.Context, addr string) (string, error) {
	m, err := s.do(ctx, addr, "FUNCTION", "DUMP")
	if err != nil {
		return "", err
	}
	dump, err := m.ToString()
	if err != nil {
		return "", fmt.Errorf("FUNCTION DUMP on %s: %w", addr, err)
	}
	return dump, nil
}
