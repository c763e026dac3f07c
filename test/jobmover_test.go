package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// jobMover moves slots between the first two nodes of a cluster by the proxy's own coordinator: away with PROXY RESHARD, and home
// with PROXY REBALANCE, which takes those back that are next to what the first node has.
type jobMover struct {
	cluster *testcluster.Cluster
	admin   string
	engine  string
	slots   int           // that a job moves
	done    chan struct{} // closed when run has returned

	// Owned by who calls away, home or run, then valid after done.
	moved, count int   // slots and jobs
	keys, held   int64 // as the jobs say
	longest      time.Duration
	busy         time.Duration // how long jobs ran, together
	redirects    int64
	retries      int64 // steps that had to be repeated
	err          error
}

func newJobMover(c *testcluster.Cluster, admin, engine string) *jobMover {
	return &jobMover{cluster: c, admin: admin, engine: engine, slots: movedSlots, done: make(chan struct{})}
}

// hot are the slots that will move: the highest of the first node.
func (m *jobMover) hot(t *testing.T) (slots []uint16) {
	t.Helper()
	owners, err := m.cluster.Owners()
	if err != nil {
		t.Fatal(err)
	}
	for slot, owner := range owners {
		if owner == m.cluster.Nodes[0] {
			slots = append(slots, uint16(slot))
		}
	}
	return slots[len(slots)-m.slots:]
}

// run moves slots to and fro until the time is over, and ends with them at home. Then it calls after.
func (m *jobMover) run(d time.Duration, after func()) {
	defer close(m.done)
	defer after()
	for start := time.Now(); m.err == nil && time.Since(start) < d; {
		m.err = m.round()
	}
}

func (m *jobMover) round() error {
	if err := m.away(); err != nil {
		return err
	}
	return m.home()
}

func (m *jobMover) away() error {
	a, b := m.cluster.Nodes[0], m.cluster.Nodes[1]
	return m.job(a, b, "RESHARD", "FROM", a.Addr, "TO", b.Addr, "SLOTS", strconv.Itoa(m.slots))
}

func (m *jobMover) home() error {
	return m.job(m.cluster.Nodes[1], m.cluster.Nodes[0], "REBALANCE", "THRESHOLD", "0.1")
}

// jobLimit is how long one job of these tests may take; it needs a few seconds on an idle machine.
const jobLimit = 2 * time.Minute

// job runs one job to its end and looks whether it did what it says.
func (m *jobMover) job(from, to *testcluster.Node, command ...string) error {
	before, err := m.cluster.Owners()
	if err != nil {
		return err
	}
	start := time.Now()
	st, err := wire.Job(m.admin, jobLimit, append(slices.Clone(command), "ENGINE", m.engine)...)
	if err != nil {
		return fmt.Errorf("%v: %w", command, err)
	}
	m.busy += time.Since(start)
	after, err := m.cluster.Owners()
	if err != nil {
		return err
	}
	moved, meant := 0, 0
	for slot := range before {
		if before[slot] != after[slot] {
			moved++
		}
		if before[slot] == from && after[slot] == to {
			meant++
		}
	}
	// A rebalance may also give the one slot that three nodes cannot share to another of them.
	if done := int(st["slots-done"].Int); meant < m.slots-1 || moved != done {
		return fmt.Errorf("%v: %d slots moved, %d as wanted, %d says the job, %d were wanted", command, moved, meant, done, m.slots)
	}
	if n := st["client-errors"].Int; n != 0 {
		return fmt.Errorf("%v: the job counts %d errors of clients, after %v and %d retries", command, n, time.Since(start), st["retries"].Int)
	}
	m.moved += moved
	m.count++
	m.keys += st["keys-moved"].Int
	m.held += st["held-commands"].Int
	m.redirects += st["redirects"].Int
	m.retries += st["retries"].Int
	m.longest = max(m.longest, time.Duration(st["longest-hold-usec"].Int)*time.Microsecond)
	return nil
}

// check fails the test unless every job did its work and the nodes agree. run must have returned.
func (m *jobMover) check(t *testing.T) {
	t.Helper()
	if m.err != nil {
		t.Error(m.err)
	}
	if m.err == nil && m.count < 2 {
		t.Errorf("%d jobs, want one there and one back", m.count)
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobLimit)
	defer cancel()
	if err := m.cluster.WaitOK(ctx); err != nil {
		t.Error(errors.Join(errors.New("after the last job"), err))
	}
}

func (m *jobMover) String() string {
	return fmt.Sprintf("%d jobs in %v moved %d slots with %d keys (%.0f keys/s); %d commands held, longest hold %v, %d redirects, %d retries",
		m.count, m.busy.Round(time.Millisecond), m.moved, m.keys, float64(m.keys)/max(m.busy.Seconds(), 0.001), m.held,
		m.longest.Round(time.Microsecond), m.redirects, m.retries)
}
