package migrate

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

var errDead = errors.New("the coordinator is dead")

// mortal is a coordinator's way to nodes and disk that ends at a random moment, as kill -9 ends it: nothing is sent or
// written any more, and the reply to what was sent last may not have come.
type mortal struct {
	engine.Nodes
	left atomic.Int64 // commands
	died chan struct{}
}

func newMortal(n engine.Nodes, commands int64) *mortal {
	m := &mortal{Nodes: n, died: make(chan struct{})}
	m.left.Store(commands)
	return m
}

// pass says whether something may still be sent, and whether its reply comes.
func (m *mortal) pass() (sent, heard bool) {
	left := m.left.Add(-1)
	if left == 0 {
		close(m.died)
	}
	return left >= 0, left > 0
}

func (m *mortal) do(send func() ([]any, error)) ([]any, error) {
	sent, heard := m.pass()
	if !sent {
		return nil, errDead
	}
	replies, err := send()
	if !heard {
		return nil, errDead
	}
	return replies, err
}

func (m *mortal) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	return m.do(func() ([]any, error) { return m.Nodes.Do(ctx, addr, commands...) })
}

func (m *mortal) Session(ctx context.Context, addr string) (engine.Session, error) {
	if m.left.Load() <= 0 {
		return nil, errDead
	}
	s, err := m.Nodes.Session(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &mortalSession{s, m}, nil
}

type mortalSession struct {
	engine.Session
	m *mortal
}

func (s *mortalSession) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	return s.m.do(func() ([]any, error) { return s.Session.Do(ctx, commands...) })
}

// mortalFile is the journal's.
type mortalFile struct {
	journal.File
	m *mortal
}

func (f mortalFile) WriteAt(p []byte, at int64) (int, error) {
	if f.m.left.Load() <= 0 {
		return 0, errDead
	}
	return f.File.WriteAt(p, at)
}

func (f mortalFile) Truncate(size int64) error {
	if f.m.left.Load() <= 0 {
		return errDead
	}
	return f.File.Truncate(size)
}

func TestAJobSurvivesThatItsCoordinatorIsKilledAgainAndAgain(t *testing.T) {
	each(t, func(t *testing.T, v testcluster.Version, engine string) {
		r := newRig(t, testcluster.Options{Version: v}, 20_000)
		random := rand.New(rand.NewPCG(1, 2))
		id, st := "", Status{}
		const lives = 15
		for life := range lives + 1 {
			m := newMortal(r.src, 20+random.Int64N(150))
			if life == lives {
				m.left.Store(1 << 40)
			}
			r.c = r.coordinatorWith(r.dir, m)
			if id == "" {
				m.left.Store(1 << 40)
			}
			r.c.store.Wrap = func(f journal.File) journal.File { return mortalFile{f, m} }
			r.stop = r.background(r.c.Run)
			if id == "" {
				id = r.begin(r.c, Goal{Kind: Reshard, To: r.empty().Addr, Slots: 600}, machine.Options{Engine: engine, UnitSlots: 16, HoldBudget: 1})
				m.left.Store(20 + random.Int64N(150))
			}
			select {
			case <-m.died:
			case <-r.c.job(id).done:
				st, _ = r.c.Job(id)
			}
			r.stop()
			if life < lives && !st.Finished.IsZero() {
				if m.left.Load() > 0 {
					t.Logf("done in life %d", life+1)
					break
				}
				st = Status{} // it ended because it was dead
			}
		}
		if st.State != Success || st.SlotsDone != 600 {
			t.Errorf("got %s (%s), %d of 600 slots", st.State, st.Reason, st.SlotsDone)
		}
		r.sound()
	})
}

func TestAJobIsPausedAndCancelledOnRealServers(t *testing.T) {
	each(t, func(t *testing.T, v testcluster.Version, engine string) {
		r := newRig(t, testcluster.Options{Version: v}, 20_000).start()
		o := machine.Options{Engine: engine, UnitSlots: 16, HoldBudget: 1, MaxKeysPerSecond: 4000}
		id := r.begin(r.c, Goal{Kind: Reshard, To: r.empty().Addr, Slots: 1000}, o)
		some := func(s Status) bool { return s.SlotsDone > 10 || !s.Finished.IsZero() }
		r.wait(r.c, id, "under way", some)
		if err := r.c.Pause(id, "test"); err != nil {
			t.Fatal(err)
		}
		paused := r.wait(r.c, id, "paused", func(s Status) bool { return s.State == PausedJob })
		r.sound()
		if len(paused.Units) > 0 || paused.SlotsDone >= 1000 {
			t.Errorf("paused, it has %v in hand and %d of 1000 slots done", paused.Units, paused.SlotsDone)
		}
		if err := r.c.Resume(id, "test"); err != nil {
			t.Fatal(err)
		}
		r.wait(r.c, id, "further", func(s Status) bool { return s.SlotsDone > paused.SlotsDone+10 || !s.Finished.IsZero() })
		if err := r.c.Cancel(id, "test"); err != nil {
			t.Fatal(err)
		}
		st := r.ended(r.c, id)
		if st.State != Cancelled || st.SlotsDone <= paused.SlotsDone {
			t.Errorf("cancelled: %s (%s), %d slots done", st.State, st.Reason, st.SlotsDone)
		}
		r.sound()
		if n := st.After[slotsAt(st, r.empty().ID)].Slots; n != st.SlotsDone {
			t.Errorf("%d slots are done, and the target has %d", st.SlotsDone, n)
		}
	})
}

func slotsAt(st Status, node string) int {
	for i, s := range st.After {
		if s.Node == node {
			return i
		}
	}
	return 0
}

func TestAJobStopsWhenSomebodyElseReshards(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: testcluster.NeedNewest(t)}, 20_000).start()
	o := machine.Options{Engine: machine.Legacy, MaxKeysPerSecond: 500}
	id := r.begin(r.c, Goal{Kind: Reshard, To: r.empty().Addr, Slots: 2000}, o)
	r.wait(r.c, id, "under way", func(s Status) bool { return s.SlotsDone > 0 || !s.Finished.IsZero() })
	// An operator's hand: a slot that our job does not touch.
	table := r.keeper.Table()
	a, b := r.cl.Nodes[0], r.cl.Nodes[1]
	slot := "0"
	if table.Node(0).ID != a.ID {
		a, b = r.cl.Node(table.Node(0).ID), a
	}
	_, err := b.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", a.ID)
	if err != nil {
		t.Fatal(err)
	}
	st := r.ended(r.c, id)
	if st.State != Failed || !strings.Contains(st.Reason, "FOREIGN_COORDINATOR") {
		t.Errorf("got %s (%s)", st.State, st.Reason)
	}
	p, err := r.c.Plan(context.Background(), Goal{Kind: Evacuate, Node: r.empty().ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Start(context.Background(), p, machine.Options{}, "test"); err == nil || !strings.HasPrefix(err.Error(), "FOREIGN_COORDINATOR") {
		t.Errorf("the next job, a moment later: %v", err)
	}
}

func TestAJobAndAnotherCoordinatorDoNotMix(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: testcluster.NeedNewest(t)}, 10_000).start()
	other := r.coordinator(t.TempDir())
	r.background(other.Run)
	id := r.begin(r.c, Goal{Kind: Reshard, To: r.empty().Addr, Slots: 1000}, machine.Options{Engine: machine.Legacy, MaxKeysPerSecond: 500})
	p, err := other.Plan(context.Background(), Goal{Kind: Reshard, To: r.empty().Addr, Slots: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Start(context.Background(), p, machine.Options{}, "test"); err == nil {
		t.Error("two jobs run at the same time")
	}
	if st := r.ended(r.c, id); st.State != Success {
		t.Errorf("got %s (%s)", st.State, st.Reason)
	}
	id = r.begin(other, Goal{Kind: Evacuate, Node: r.empty().ID}, machine.Options{Engine: machine.Legacy})
	if st := r.ended(other, id); st.State != Success {
		t.Errorf("the other one, later: %s (%s)", st.State, st.Reason)
	}
	r.sound()
}

func TestWhileValkeyCLIReshardsNoJobStarts(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: testcluster.NeedNewest(t)}, 20_000).start()
	ctx, cancel := context.WithTimeout(context.Background(), realTimeout)
	defer cancel()
	moved := make(chan error, 1)
	go func() {
		_, err := r.cl.Reshard(ctx, r.cl.Nodes[0], r.cl.Nodes[1], 500)
		moved <- err
	}()
	refused := false
	for done := false; !done; {
		select {
		case err := <-moved:
			if err != nil {
				t.Fatal(err)
			}
			done = true
			continue
		default:
		}
		p, err := r.c.Plan(ctx, Goal{Kind: Reshard, From: []string{r.cl.Nodes[2].ID}, To: r.empty().Addr, Slots: 10})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := r.cl.Nodes[0].Do("CLUSTER", "NODES")
		if err != nil || !strings.Contains(raw.(string), "->-") {
			continue // it has not begun, or is between two slots
		}
		if _, err := r.c.Start(ctx, p, machine.Options{}, "test"); err == nil {
			t.Error("a job has started in the middle of it")
			break
		}
		refused = true
	}
	if !refused {
		t.Error("nothing was refused")
	}
	r.sound()
}

func TestAJobOutlivesItsSource(t *testing.T) {
	all := testcluster.Need(t)
	for _, v := range slices.Compact([]testcluster.Version{all[0], all[len(all)-1]}) { // the oldest one forgets open slots
		t.Run(string(v), func(t *testing.T) {
			r := newRig(t, testcluster.Options{Version: v, Replicas: 1}, 20_000).start()
			o := machine.Options{Engine: machine.Legacy, MaxKeysPerSecond: 1000}
			source := r.cl.Nodes[0]
			id := r.begin(r.c, Goal{Kind: Reshard, From: []string{source.ID}, To: r.empty().Addr, Slots: 3000}, o)
			r.wait(r.c, id, "under way", func(s Status) bool { return s.SlotsDone > 100 || !s.Finished.IsZero() })
			if err := r.cl.Kill(source); err != nil {
				t.Fatal(err)
			}
			st := r.ended(r.c, id)
			if st.State != Success || st.SlotsDone != 3000 {
				t.Errorf("got %s (%s), %d of 3000 slots", st.State, st.Reason, st.SlotsDone)
			}
			if err := r.cl.Restart(source); err != nil {
				t.Fatal(err)
			}
			r.sound()
		})
	}
}
