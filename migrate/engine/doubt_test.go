package engine_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

// tap is a way to nodes on which a test sees what is sent and what comes back.
type tap struct {
	*cluster.Source
	heard func(addr string, commands [][]string, replies []any)
}

func (w tap) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	r, err := w.Source.Do(ctx, addr, commands...)
	if err == nil {
		w.heard(addr, commands, r)
	}
	return r, err
}

func (w tap) Session(ctx context.Context, addr string) (engine.Session, error) {
	s, err := w.Source.Session(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{s, addr, w}, nil
}

type tapped struct {
	engine.Session
	addr string
	w    tap
}

func (s *tapped) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	r, err := s.Session.Do(ctx, commands...)
	if err == nil {
		s.w.heard(s.addr, commands, r)
	}
	return r, err
}

// tapRig is a rig whose engines are heard.
func tapRig(t *testing.T, g engine.Gate, heard func(r *rig, addr string, commands [][]string, replies []any)) *rig {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1", NodeTimeout: 30 * time.Second}, nil)
	r.e = r.engine(func(c *engine.Config) {
		c.Nodes = tap{r.src, func(addr string, commands [][]string, replies []any) { heard(r, addr, commands, replies) }}
		if g != nil {
			c.Gate = g
		}
	})
	return r
}

// TestAKeyThatIsDeletedWhenTheGateOpensDoesNotComeBack has a target that hangs until MIGRATE has given up, with the keys in
// its socket, and a client that deletes one as soon as it may.
func TestAKeyThatIsDeletedWhenTheGateOpensDoesNotComeBack(t *testing.T) {
	g := &stopGate{}
	var frozen atomic.Bool
	r := tapRig(t, g, func(r *rig, _ string, commands [][]string, replies []any) {
		for i, c := range commands {
			if e, failed := replies[i].(engine.ServerError); c[0] == "MIGRATE" && failed && strings.HasPrefix(string(e), "IOERR") && frozen.Swap(false) {
				time.AfterFunc(50*time.Millisecond, func() { _ = r.cl.Thaw(r.cl.Nodes[3]) })
			}
		}
	})
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Hold, machine.Open})
	frozen.Store(true)
	if err := r.cl.Freeze(to); err != nil {
		t.Fatal(err)
	}
	gone, deleted := key(5, 7), make(chan any, 1)
	stop := make(chan struct{})
	go deleteBehind(r, g, gone, stop, deleted)
	r.run(u, machine.Move)
	r.runAll(u, gated[4:])
	close(stop)
	if n := <-deleted; n == int64(1) {
		delete(dumps, gone)
		if r.do(to, "EXISTS", gone) != int64(0) {
			t.Error("a key that was deleted on the source came back on the target")
		}
	}
	r.same(to, dumps)
}

// deleteBehind deletes a key on the first node once the gate is open.
func deleteBehind(r *rig, g *stopGate, key string, stop chan struct{}, reply chan<- any) {
	for g.held.Load() {
		select {
		case <-stop:
			reply <- nil
			return
		case <-time.After(time.Millisecond):
		}
	}
	v, _ := r.cl.Nodes[0].Do("DEL", key)
	reply <- v
}

// TestARestoreThatTheNetworkHasKeptBackFindsNoConnection has a connection of a MIGRATE that has been idle for long when the
// unit is looked at, and then brings a key.
func TestARestoreThatTheNetworkHasKeptBackFindsNoConnection(t *testing.T) {
	r := newRig(t, testcluster.Options{Version: "valkey-9.1"}, nil)
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 2)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
	late, err := net.Dial("tcp", to.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	_ = late.SetDeadline(time.Now().Add(20 * time.Second))
	restore := func(key, payload string) (string, error) {
		_, _ = fmt.Fprintf(late, "*4\r\n$14\r\nRESTORE-ASKING\r\n$%d\r\n%s\r\n$1\r\n0\r\n$%d\r\n%s\r\n", len(key), key, len(payload), payload)
		b := make([]byte, 100)
		n, err := late.Read(b)
		return string(b[:n]), err
	}
	if reply, err := restore(key(5, 0), "no payload"); err != nil || !strings.HasPrefix(reply, "-ERR") {
		t.Fatalf("%q, %v", reply, err)
	}
	idle := func() bool {
		return strings.Contains(r.do(to, "CLIENT", "LIST", "IDLE", "2").(string), "cmd=restore-asking")
	}
	for end := time.Now().Add(15 * time.Second); !idle() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	r.e = r.engine(nil) // one that does not know what was sent before
	r.run(u, machine.Look)
	if reply, err := restore(key(5, 1), dumps[key(5, 1)]); err == nil {
		t.Errorf("a RESTORE that came after the look was answered %q", reply)
	}
}

func TestAKeyThatComesWhileASlotIsClosedOpensItAgain(t *testing.T) {
	var closing atomic.Bool
	var counts atomic.Int64
	r := tapRig(t, nil, func(r *rig, addr string, commands [][]string, _ []any) {
		if closing.Load() && addr == r.cl.Nodes[3].Addr && commands[len(commands)-1][1] == "COUNTKEYSINSLOT" && counts.Add(1) == 2 {
			r.beside(r.cl.Nodes[3], "SET", key(5, 99), "late")
		}
	})
	dumps := r.fill(r.cl.Nodes[0], []uint16{5}, 3)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Open})
	closing.Store(true)
	if got := r.e.Run(context.Background(), u, machine.Close); got.Outcome != machine.Unknown {
		t.Errorf("a slot with a key on the target was closed: outcome %d: %s", got.Outcome, got.Reason)
	}
	closing.Store(false)
	look := r.run(u, machine.Look)
	if l := look.Looks[0]; !l.Migrating || !l.Importing || l.TargetKeys != 1 {
		t.Errorf("after it: %+v", l)
	}
	r.runAll(u, gated[3:])
	r.same(r.cl.Nodes[3], dumps)
	if v := r.do(r.cl.Nodes[3], "GET", key(5, 99)); v != "late" {
		t.Errorf("what was written late is %v", v)
	}
}

func TestBatchesAfterARestartAreBoundedByBytes(t *testing.T) {
	var largest atomic.Int64
	r := tapRig(t, nil, func(_ *rig, _ string, commands [][]string, _ []any) {
		for _, c := range commands {
			if i := slices.Index(c, "KEYS"); c[0] == "MIGRATE" && i >= 0 {
				largest.Store(max(largest.Load(), int64(len(c)-i-1)))
			}
		}
	})
	from := r.cl.Nodes[0]
	for n := range 30 {
		r.do(from, "SET", key(5, n), strings.Repeat("x", 200<<10))
	}
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Open, machine.Move}) // as another process has prepared it
	if n := largest.Load(); n < 1 || n > 10 {
		t.Errorf("a MIGRATE carried %d keys of 200 KiB, want some and at most 10", n)
	}
}

// TestAKeyThatIsDeletedDoesNotComeBackFromATargetThatHangsForLong has a target that hangs for longer than a gate is closed for a
// move, a unit that waits for it meanwhile as the machine lets it, and a client that deletes a key as soon as it may.
func TestAKeyThatIsDeletedDoesNotComeBackFromATargetThatHangsForLong(t *testing.T) {
	g := &stopGate{}
	r := newRig(t, testcluster.Options{Version: "valkey-9.1", NodeTimeout: 60 * time.Second}, func(c *engine.Config) { c.Gate = g })
	from, to := r.cl.Nodes[0], r.cl.Nodes[3]
	dumps := r.fill(from, []uint16{5}, 20)
	u := r.unit(1, 5)
	r.runAll(u, []machine.Step{machine.Prepare, machine.Hold, machine.Open})
	if err := r.cl.Freeze(to); err != nil {
		t.Fatal(err)
	}
	thaw := time.AfterFunc(5*time.Second, func() { _ = r.cl.Thaw(to) })
	defer thaw.Stop()
	gone, deleted := key(5, 7), make(chan any, 1)
	stop := make(chan struct{})
	go deleteBehind(r, g, gone, stop, deleted)
	if got := r.e.Run(t.Context(), u, machine.Move); got.Outcome == machine.Done {
		t.Fatalf("keys move to a node that hangs: %+v", got)
	}
	look := machine.Result{}
	for end := time.Now().Add(time.Minute); look.Outcome != machine.Done && time.Now().Before(end); {
		if look = r.e.Run(t.Context(), u, machine.Look); look.Outcome != machine.Done {
			r.run(u, machine.Release)
		}
	}
	r.runAll(u, gated[1:])
	close(stop)
	if n := <-deleted; n == int64(1) {
		t.Error("the gate was open before the keys in doubt were resolved")
		delete(dumps, gone)
		if r.do(to, "EXISTS", gone) != int64(0) {
			t.Error("a key that was deleted on the source came back on the target")
		}
	}
	r.same(to, dumps)
	if g.held.Load() {
		t.Error("the gate is still closed")
	}
}
