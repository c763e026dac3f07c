package test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// mover moves slots between the first two nodes of a cluster, away and back: two hundred of them, or fewer, with the version's own command line client,
// and before that one by hand that stays open and half moved for a while. The nodes keep other slots: an empty primary would become a replica.
type mover struct {
	slots int           // in one reshard
	begin chan struct{} // closed by start
	done  chan struct{}
	halt  chan struct{} // closed by stop
	once  sync.Once

	// Valid after done.
	moved int // slots
	count int // reshards
	err   error
}

// lingers is how long a slot moved by hand stays half moved: long for everybody who waits for it, well within the redirect budget.
const lingers = time.Second

// newMover moves, once started, until the time is over or stop is called, then brings the slots home and calls after. It always ends a
// move that it began: a killed client would leave slots open.
func newMover(t *testing.T, c *testcluster.Cluster, slots int, d time.Duration, after func()) *mover {
	t.Helper()
	m := &mover{slots: slots, begin: make(chan struct{}), done: make(chan struct{}), halt: make(chan struct{})}
	go m.run(c, d, after)
	t.Cleanup(func() { m.stop(); <-m.done })
	return m
}

func (m *mover) start() { close(m.begin) }

func (m *mover) stop() { m.once.Do(func() { close(m.halt) }) }

func (m *mover) run(c *testcluster.Cluster, d time.Duration, after func()) {
	defer close(m.done)
	defer after()
	select {
	case <-m.begin:
	case <-m.halt:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d+2*time.Minute)
	defer cancel()
	a, b := c.Nodes[0], c.Nodes[1]
	for start, slot := time.Now(), 0; time.Since(start) < d; slot = (slot + movedSlots/8) % movedSlots { // a slot of shared counters
		for _, away := range []func(from, to *testcluster.Node) error{
			func(from, to *testcluster.Node) error { return m.linger(ctx, c, slot, from, to) },
			func(from, to *testcluster.Node) error { return m.reshard(ctx, c, from, to) },
		} {
			if m.err = away(a, b); m.err == nil {
				m.err = away(b, a)
			}
			if m.err != nil || m.stopped() {
				return
			}
		}
	}
}

func (m *mover) stopped() bool {
	select {
	case <-m.halt:
		return true
	default:
		return false
	}
}

func (m *mover) reshard(ctx context.Context, c *testcluster.Cluster, from, to *testcluster.Node) error {
	n, err := c.Reshard(ctx, from, to, m.slots)
	m.moved += n
	m.count++
	return err
}

// linger moves one slot as clients do it, but rests in the middle.
func (m *mover) linger(ctx context.Context, c *testcluster.Cluster, slot int, from, to *testcluster.Node) error {
	if err := c.WaitOK(ctx); err != nil {
		return err
	}
	number := strconv.Itoa(slot)
	for _, step := range []struct {
		node *testcluster.Node
		args []string
	}{
		{to, []string{"CLUSTER", "SETSLOT", number, "IMPORTING", from.ID}},
		{from, []string{"CLUSTER", "SETSLOT", number, "MIGRATING", to.ID}},
	} {
		if _, err := c.Do(step.node, step.args...); err != nil {
			return fmt.Errorf("%v: %w", step.args, err)
		}
	}
	if _, err := migrateKeys(c, number, from, to, 15); err != nil {
		return err
	}
	select {
	case <-time.After(lingers):
	case <-m.halt:
	}
	for {
		n, err := migrateKeys(c, number, from, to, 100)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	for _, n := range []*testcluster.Node{to, from, c.Nodes[2]} {
		if _, err := c.Do(n, "CLUSTER", "SETSLOT", number, "NODE", to.ID); err != nil {
			return fmt.Errorf("hand over slot %d: %w", slot, err)
		}
	}
	m.moved++
	return nil
}

// migrateKeys moves at most so many keys of a slot and tells how many there were to move.
func migrateKeys(c *testcluster.Cluster, slot string, from, to *testcluster.Node, most int) (int, error) {
	reply, err := c.Do(from, "CLUSTER", "GETKEYSINSLOT", slot, strconv.Itoa(most))
	if err != nil {
		return 0, err
	}
	keys, _ := reply.([]any)
	if len(keys) == 0 {
		return 0, nil
	}
	args := []string{"MIGRATE", to.Host, strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}
	for _, k := range keys {
		args = append(args, k.(string))
	}
	if _, err := c.Do(from, args...); err != nil { // NOKEY, all deleted meanwhile, is no error
		return 0, fmt.Errorf("MIGRATE of slot %s: %w", slot, err)
	}
	return len(keys), nil
}

func (m *mover) wait(t *testing.T) int {
	t.Helper()
	<-m.done
	if m.err != nil {
		t.Fatal(m.err)
	}
	if m.stopped() { // the storm has found what it looked for
		return m.moved
	}
	if m.count < 2 || m.moved < m.count*m.slots {
		t.Fatalf("%d slots moved in %d reshards, want %d each", m.moved, m.count, m.slots)
	}
	return m.moved
}
