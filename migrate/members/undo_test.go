package members_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
	"slotproxy/migrate/members"
	"slotproxy/router"
)

// hooked asks a test before each command.
type hooked struct {
	engine.Nodes
	before func(addr string, command []string) error
}

func (h hooked) Do(ctx context.Context, addr string, commands ...[]string) ([]any, error) {
	for _, c := range commands {
		if err := h.before(addr, c); err != nil {
			return nil, err
		}
	}
	return h.Nodes.Do(ctx, addr, commands...)
}

var errBroken = errors.New("broken")

// breaks makes the first command that has this word fail.
func breaks(word string) func(string, []string) error {
	broken := false
	return func(_ string, command []string) error {
		if broken || !slices.Contains(command, word) {
			return nil
		}
		broken = true
		return errBroken
	}
}

func TestAClusterThatCouldNotBeMadeCanBeMadeAgain(t *testing.T) {
	v := testcluster.NeedNewest(t)
	nodes := bare(t, v, 4)
	src := cluster.NewSource(cluster.Config{Password: "secret"})
	defer src.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	seats := []members.Seat{
		{Addr: nodes[0].Addr, First: 0, Last: 5000}, {Addr: nodes[1].Addr, First: 5001, Last: 10000},
		{Addr: nodes[2].Addr, First: 10001, Last: router.Slots - 1}, {Addr: nodes[3].Addr, Of: nodes[0].Addr},
	}
	create := func(word string) error {
		return (&members.Registrar{Nodes: hooked{src, breaks(word)}, Say: t.Logf}).Create(ctx, seats)
	}
	for _, trouble := range []struct {
		command string
		changed int // nodes
	}{{"ADDSLOTSRANGE", 1}, {"SET-CONFIG-EPOCH", 1}, {"MEET", 4}} {
		err := create(trouble.command)
		if !errors.Is(err, errBroken) {
			t.Fatalf("%s fails: %v", trouble.command, err)
		}
		for i, n := range nodes {
			if named := strings.Contains(err.Error(), n.Addr); named != (i < trouble.changed) {
				t.Errorf("%s fails: %v; node %d is named: %v", trouble.command, err, i, named)
			}
			if i < trouble.changed { // as it says
				if _, err := n.Do("CLUSTER", "RESET", "HARD"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, left := range []struct {
		command []string
		says    string
	}{{[]string{"ADDSLOTS", "16000"}, "has 1 slots"}, {[]string{"SET-CONFIG-EPOCH", "7"}, "has an epoch"}} {
		if _, err := nodes[2].Do(append([]string{"CLUSTER"}, left.command...)...); err != nil {
			t.Fatal(err)
		}
		if err := create(""); err == nil || !strings.Contains(err.Error(), left.says) {
			t.Errorf("a node with %v: %v, want %q", left.command, err, left.says)
		}
		if _, err := nodes[2].Do("CLUSTER", "RESET", "HARD"); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(""); err != nil {
		t.Error(err)
	}
}

// dead answers for a cluster in which one node does not answer.
type dead struct {
	engine.Nodes
	addr  string
	views map[string]string // CLUSTER NODES by address
}

func (d dead) Do(_ context.Context, addr string, commands ...[]string) ([]any, error) {
	if addr == d.addr {
		return nil, errBroken
	}
	replies := make([]any, len(commands))
	for i, c := range commands {
		if replies[i] = "OK"; c[1] == "NODES" {
			replies[i] = d.views[addr]
		}
	}
	return replies, nil
}

func TestANodeThatHasFailedNeedNotBeToldThatItIsRemoved(t *testing.T) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	table := &router.Table{Nodes: []router.Node{
		{ID: a, Addr: "127.0.0.1:1", Primary: true, Slots: router.Slots}, {ID: b, Addr: "127.0.0.1:2", PrimaryID: a},
	}}
	r := &members.Registrar{Nodes: dead{addr: "127.0.0.1:2", views: map[string]string{
		"127.0.0.1:1": a + " 127.0.0.1:1@10001 myself,master - 0 0 1 connected 0-16383\n",
	}}}
	for _, failed := range []bool{true, false} {
		table.Nodes[1].Failed = failed
		skipped, err := r.Remove(context.Background(), table, b)
		if told := len(skipped) == 0; err != nil || told != failed {
			t.Errorf("failed %v: %v, not told: %v", failed, err, skipped)
		}
	}
}
