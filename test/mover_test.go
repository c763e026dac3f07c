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
// and before that one by hand that stays open and half moved for a while; or all at once, by the nodes themselves. The nodes keep other slots: an empty
// primary would become a replica.
type mover struct {
	slots  int           // in one reshard
	atomic bool          // by CLUSTER MIGRATESLOTS
	begin  chan struct{} // closed by start
	done   chan struct{}
	halt   chan struct{} // closed by stop
	once   sync.Once

	// Valid after done.
	moved int // slots
	count int // reshards
	err   error
}

// lingers is how long a slot moved by hand stays half moved: long for everybody who waits for it, well within the redirect budget.
const lingers = time.Second

// newAtomicMover is newMover for nodes that move slots by themselves: Valkey 9.0 and later.
func newAtomicMover(t *testing.T, c *testcluster.Cluster, slots int, d time.Duration, after func()) *mover {
	t.Helper()
	m := &mover{slots: slots, atomic: true}
	m.launch(t, c, d, after)
	return m
}

// newMover moves, once started, until the time is over or stop is called, then brings the slots home and calls after. It always ends a
// move that it began: a killed client would leave slots open.
func newMover(t *testing.T, c *testcluster.Cluster, slots int, d time.Duration, after func()) *mover {
	t.Helper()
	m := &mover{slots: slots}
	m.launch(t, c, d, after)
	return m
}

func (m *mover) launch(t *testing.T, c *testcluster.Cluster, d time.Duration, after func()) {
	m.begin, m.done, m.halt = make(chan struct{}), make(chan struct{}), make(chan struct{})
	go m.run(c, d, after)
	t.Cleanup(func() { m.stop(); <-m.done })
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
		ways := []func(from, to *testcluster.Node) error{
			func(from, to *testcluster.Node) error { return m.linger(ctx, c, slot, from, to) },
			func(from, to *testcluster.Node) error { return m.reshard(ctx, c, from, to) },
		}
		if m.atomic {
			ways = []func(from, to *testcluster.Node) error{
				func(from, to *testcluster.Node) error { return m.migrate(ctx, c, from, to) },
			}
		}
		for _, away := range ways {
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

// migrate lets the source hand its lowest slots over, all in one instant, and looks afterwards whether they are there.
func (m *mover) migrate(ctx context.Context, c *testcluster.Cluster, from, to *testcluster.Node) error {
	if err := c.WaitOK(ctx); err != nil {
		return err
	}
	last := strconv.Itoa(m.slots - 1)
	if _, err := c.Do(from, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "0", last, "NODE", to.ID); err != nil {
		return fmt.Errorf("migrate slots 0 to %s: %w", last, err)
	}
	for state := ""; state != "success"; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("migrate slots 0 to %s: still %s: %w", last, state, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
		job, err := newestMigration(c, from)
		if err != nil {
			return err
		}
		if state = job["state"]; state == "failed" || state == "cancelled" {
			return fmt.Errorf("migrate slots 0 to %s: %v", last, job)
		}
	}
	if err := c.WaitOK(ctx); err != nil {
		return err
	}
	owners, err := c.Owners()
	if err != nil {
		return err
	}
	for slot := range m.slots {
		if owners[slot] != to {
			return fmt.Errorf("slot %d did not move to %s", slot, to.Addr)
		}
	}
	m.moved += m.slots
	m.count++
	return nil
}

// newestMigration is the first entry of CLUSTER GETSLOTMIGRATIONS, its texts by name.
func newestMigration(c *testcluster.Cluster, n *testcluster.Node) (map[string]string, error) {
	reply, err := c.Do(n, "CLUSTER", "GETSLOTMIGRATIONS")
	if err != nil {
		return nil, err
	}
	jobs, _ := reply.([]any)
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s shows no migration", n.Addr)
	}
	fields, _ := jobs[0].([]any)
	job := map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		job[fmt.Sprint(fields[i])] = fmt.Sprint(fields[i+1])
	}
	return job, nil
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
