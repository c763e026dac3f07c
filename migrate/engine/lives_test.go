package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// TestASourceThatIsStartedAgainBringsNoOldCopies has a source that comes back with what it had on disk before keys moved,
// so quickly that nobody takes it for failed.
func TestASourceThatIsStartedAgainBringsNoOldCopies(t *testing.T) {
	onAll(t, func(t *testing.T, v testcluster.Version) {
		r := newRig(t, testcluster.Options{Version: v, NodeTimeout: 60 * time.Second}, nil)
		from, to := r.cl.Nodes[0], r.cl.Nodes[3]
		r.do(from, "SET", key(5, 0), "old")
		r.do(from, "SET", key(5, 1), "stays")
		u := r.unit(1, 5)
		u.SourceRun = r.run(u, machine.Prepare).SourceRun
		r.run(u, machine.Open)
		r.do(from, "SAVE")
		r.do(from, "MIGRATE", to.Host, fmt.Sprint(to.Port), key(5, 0), "0", "5000")
		r.beside(to, "SET", key(5, 0), "new")
		if err := r.cl.Kill(from); err != nil {
			t.Fatal(err)
		}
		if err := r.cl.Restart(from); err != nil {
			t.Fatal(err)
		}
		look := r.await(u, "the source", func(l machine.Result) bool { return l.SourceRun != "" })
		if look.Source != u.Source || look.SourceRun == u.SourceRun {
			t.Fatalf("source %.8s with run %q, before %.8s with %q; want the same in another run", look.Source, look.SourceRun, u.Source, u.SourceRun)
		}
		r.e = r.engine(nil) // one without connections that the start has broken
		if got := r.try(u, machine.Move); got.Outcome != machine.Unknown {
			t.Errorf("a Move that does not know of the start: outcome %d %s, want unknown", got.Outcome, got.Reason)
		}
		u.SourceRun, u.Failover = look.SourceRun, true // as the machine does
		r.runAll(u, gated[2:])
		for n, want := range []string{"new", "stays"} {
			if got := r.do(to, "GET", key(5, n)); got != want {
				t.Errorf("key %d is %v, want %s", n, got, want)
			}
		}
	})
}

// told is a cluster that says what it is told to say: CLUSTER NODES, by address.
type told map[string]string

func (c told) Do(_ context.Context, addr string, commands ...[]string) ([]any, error) {
	out := make([]any, len(commands))
	for i, words := range commands {
		switch line := strings.Join(words, " "); line {
		case "CLUSTER NODES":
			out[i] = c[addr]
		case "INFO server":
			out[i] = "redis_version:7.0.15\r\nrun_id:" + addr + "\r\n"
		case "CLIENT LIST":
			out[i] = ""
		default:
			out[i] = int64(0)
		}
	}
	return out, nil
}

func (c told) Session(context.Context, string) (engine.Session, error) {
	return nil, fmt.Errorf("not in this test")
}
func (c told) Login() (user, password string) { return "", "" }

func TestASlotWhoseOwnerIsDeadIsUnownedThoughOthersBelieveInIt(t *testing.T) {
	ids := []string{strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40), strings.Repeat("d", 40)}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", i+1) }
	// a is the source, b the dead target, c its successor, d a third primary.
	view := func(me int, slots ...string) string {
		var b strings.Builder
		for i, id := range ids {
			flags := "master"
			switch i {
			case me:
				flags = "myself,master"
			case 1:
				flags = "master,fail"
			}
			fmt.Fprintf(&b, "%s %s@1000%d %s - 0 0 %d connected %s\n", id, addr(i), i, flags, i+1, slots[i])
		}
		return b.String()
	}
	tests := []struct {
		name string
		view string // of d
		want bool
	}{
		{"the others believe in the dead target", view(3, "0-6", "7", "8-100", "101-16383"), true},
		{"a third primary claims it", view(3, "0-6", "", "8-100", "7 101-16383"), false},
	}
	for _, tt := range tests {
		nodes := told{addr(0): view(0, "0-6", "7", "8-100", "101-16383"), addr(2): view(2, "0-6", "", "8-100", "101-16383"), addr(3): tt.view}
		table := &router.Table{Version: 1}
		for i, id := range ids {
			table.Nodes = append(table.Nodes, router.Node{ID: id, Addr: addr(i), Host: "127.0.0.1", Port: uint16(i + 1), Primary: true, Failed: i == 1})
		}
		for s := range table.Owner {
			table.Owner[s] = -1
		}
		e := engine.New(engine.Config{Nodes: nodes, Topology: func() *router.Table { return table }})
		u := machine.Unit{ID: 1, Source: ids[0], Target: ids[2], Slots: []uint16{7}, Engine: machine.Legacy}
		got := e.Run(t.Context(), u, machine.Look)
		e.Close()
		if got.Outcome != machine.Done || len(got.Looks) != 1 {
			t.Fatalf("%s: %+v", tt.name, got)
		}
		if l := got.Looks[0]; l.Unowned != tt.want || l.SourceOwns || l.TargetOwns {
			t.Errorf("%s: %+v, want unowned %v", tt.name, l, tt.want)
		}
	}
}
