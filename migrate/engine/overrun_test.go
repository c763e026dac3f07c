package engine_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// deafGate does not close while clients are busy.
type deafGate struct {
	stopGate
	busy atomic.Bool
}

func (g *deafGate) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	if g.busy.Load() {
		return errors.New("not drained")
	}
	return g.stopGate.Hold(ctx, slots, limit)
}

// lossy loses the answer to one MIGRATE.
type lossy struct {
	tap
	lost *atomic.Bool
}

func (w lossy) Session(ctx context.Context, addr string) (engine.Session, error) {
	s, err := w.tap.Session(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &lossySession{s, w.lost}, nil
}

type lossySession struct {
	engine.Session
	lost *atomic.Bool
}

func (s *lossySession) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	r, err := s.Session.Do(ctx, commands...)
	if err == nil && commands[0][0] == "MIGRATE" && !s.lost.Swap(true) {
		return nil, errors.New("connection lost")
	}
	return r, err
}

func TestAKeyOnBothNodesIsPutAsideWhenAClientDeletesItAfterALostAnswer(t *testing.T) {
	for range 5 { // a busy machine may have the key moved before the client comes
		if deletesAfterALostAnswer(t) {
			return
		}
	}
	t.Error("no client was in time")
}

// deletesAfterALostAnswer reports false when the key was not on both nodes any more when the client came.
func deletesAfterALostAnswer(t *testing.T) bool {
	g := &deafGate{}
	g.busy.Store(true)
	var lost atomic.Bool
	r := newRig(t, testcluster.Options{Version: "valkey-9.1", NodeTimeout: 30 * time.Second}, nil)
	r.e = r.engine(func(c *engine.Config) {
		c.Nodes = lossy{tap{r.src, func(string, [][]string, []any) {}}, &lost}
		c.Gate = g
	})
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	u.Online = true
	r.runAll(u, online[:2])
	gone := key(5, 7)
	r.beside(to, "RESTORE", gone, "0", dumps[gone]) // as a RESTORE that arrives though MIGRATE has given up
	for _, s := range []machine.Step{machine.Move, machine.Look, machine.Move} {
		got := r.e.Run(t.Context(), u, s)
		t.Logf("step %d: outcome %d %s", s, got.Outcome, got.Reason)
	}
	if n, _ := from.Do("DEL", gone); n != int64(1) || !lost.Load() {
		return false
	}
	g.busy.Store(false)
	r.runAll(u, online[2:])
	if len(r.side) != 1 || r.side[0].Key != gone { // the others have just moved
		t.Errorf("%s came back, and what was put aside is %+v", gone, r.side)
	}
	return true
}

// TestKeysAreComparedHoweverLongThatTakes has values whose comparison takes longer than the gate may be closed.
func TestKeysAreComparedHoweverLongThatTakes(t *testing.T) {
	for _, c := range []struct {
		name     string
		dump     time.Duration // to read a value
		whatever time.Duration // to read any number of them
		attempts int
		aside    int
	}{
		{"some at a time are fast enough", 100 * time.Millisecond, 0, 7, 0},
		{"not even one is", 0, 400 * time.Millisecond, 10, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &cappedGate{}
			r := newRig(t, testcluster.Options{Version: "valkey-9.1", NodeTimeout: 30 * time.Second}, nil)
			slow := func(_ string, commands [][]string, _ []any) {
				dumps := 0
				for _, cmd := range commands {
					if cmd[0] == "DUMP" {
						dumps++
					}
				}
				if dumps > 0 {
					time.Sleep(c.whatever + time.Duration(dumps)*c.dump)
				}
			}
			r.e = r.engine(func(cfg *engine.Config) {
				cfg.Nodes, cfg.Gate, cfg.Limits.Gate = tap{r.src, slow}, g, 500*time.Millisecond
			})
			from, to := r.cl.Nodes[0], r.cl.Nodes[3]
			dumps := r.fill(from, []uint16{5}, 5)
			u := r.unit(1, 5)
			r.runAll(u, []machine.Step{machine.Prepare, machine.Hold, machine.Open})
			for n := range 5 {
				r.beside(to, "RESTORE", key(5, n), "0", dumps[key(5, n)])
			}
			attempts := 1
			for ; r.e.Run(t.Context(), u, machine.Move).Outcome == machine.Again && attempts < 20; attempts++ {
				for _, s := range []machine.Step{machine.Release, machine.Hold, machine.Open} {
					r.e.Run(t.Context(), u, s)
				}
			}
			if attempts > c.attempts {
				t.Errorf("%d attempts, want at most %d", attempts, c.attempts)
			}
			if len(r.side) != c.aside {
				t.Errorf("put aside: %+v", r.side)
			}
			r.runAll(u, gated[4:])
			r.same(to, dumps)
		})
	}
}

// cappedGate is held for 750 ms at most, as the proxy's with a redirect_budget of a second.
type cappedGate struct {
	stopGate
	until time.Time
}

func (g *cappedGate) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	g.until = time.Now().Add(750 * time.Millisecond)
	return g.stopGate.Hold(ctx, slots, limit)
}

func (g *cappedGate) Extend(slots []uint16, d time.Duration) (time.Duration, error) {
	return g.stopGate.Extend(slots, min(d, time.Until(g.until)))
}

func TestAGateThatIsStillClosedIsNotOpenedForKeysInDoubt(t *testing.T) {
	g := &lateGate{}
	var once atomic.Bool
	r := tapRig(t, g, func(r *rig, _ string, commands [][]string, _ []any) {
		sent := slices.ContainsFunc(commands, func(c []string) bool { return c[0] == "MIGRATE" })
		if sent && commands[len(commands)-1][0] != "MIGRATE" && !once.Swap(true) { // what is left is less than a comparison may take
			time.Sleep(time.Until(time.Unix(0, g.closed.Load()).Add(1800 * time.Millisecond)))
		}
	})
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Hold, machine.Open})
	gone := key(5, 7)
	r.beside(to, "RESTORE", gone, "0", dumps[gone])
	deleted := any(nil)
	g.opened = func() { deleted, _ = from.Do("DEL", gone) } // of a client that the gate holds; the error is ASK
	r.run(u, machine.Move)
	g.opened = nil
	r.runAll(u, gated[4:])
	if deleted == int64(1) || !once.Load() {
		t.Errorf("the gate was opened while %s was on both nodes, or nothing took long (%v)", gone, once.Load())
	}
}

// lateGate cannot be held for longer than it was closed for at first.
type lateGate struct {
	briefGate
	closed atomic.Int64
	opened func()
}

func (g *lateGate) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	err := g.briefGate.Hold(ctx, slots, limit)
	g.closed.Store(time.Now().UnixNano())
	return err
}

func (g *lateGate) Release(slots []uint16, owner string) {
	was := g.held.Load()
	g.briefGate.Release(slots, owner)
	if was && owner == "" && g.opened != nil {
		g.opened()
	}
}

func TestAWriteIsNotLostBehindAFailoverWhenTheGateCannotBeClosed(t *testing.T) {
	writes := 0
	written := key(5, 7)
	var acknowledged any
	r := tapRig(t, &busyGate{}, func(r *rig, addr string, commands [][]string, _ []any) {
		if from := r.cl.Nodes[0]; addr == from.Addr && commands[len(commands)-1][0] == "DUMP" {
			writes++
			r.do(from, "SET", written, strconv.Itoa(writes))
			acknowledged = r.do(from, "DUMP", written)
		}
	})
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	u.Online, u.Failover = true, true
	r.runAll(u, online[:2])
	r.beside(to, "RESTORE", written, "0", dumps[written])
	r.run(u, machine.Move)
	if writes == 0 || !slices.ContainsFunc(r.side, func(p engine.Pair) bool { return p.Key == written && p.Source == acknowledged }) {
		t.Errorf("after %d writes the last one is nowhere, put aside is %+v", writes, r.side)
	}
}
