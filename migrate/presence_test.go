package migrate

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func testPresence(f *fakeCluster, name string) *presence {
	return &presence{nodes: f, topology: f.table, name: name, log: slog.New(slog.DiscardHandler), posts: map[string]*post{}}
}

func TestAPresenceFindsWhoElseMovesSlots(t *testing.T) {
	me := presenceName("me", 7)
	tests := []struct {
		name   string
		client fakeClient
		want   string // "" for nobody
	}{
		{"an application", fakeClient{name: "app", cmd: "get"}, ""},
		{"somebody who sets slots", fakeClient{cmd: "cluster|setslot"}, "CLUSTER SETSLOT"},
		{"somebody who moves keys", fakeClient{name: "x", cmd: "migrate"}, "MIGRATE"},
		{"somebody who starts a stream", fakeClient{cmd: "cluster|migrateslots"}, "CLUSTER MIGRATESLOTS"},
		{"somebody who did it long ago", fakeClient{cmd: "migrate", idle: 15}, ""},
		{"a proxy's control connection", fakeClient{name: "slotproxy-control", cmd: "cluster|setslot"}, ""},
		{"another coordinator", fakeClient{id: 1, name: presenceName("you", 1), cmd: "ping"}, "slotproxy-coord:you:1"},
		{"another one that is silent", fakeClient{id: 1, name: presenceName("you", 1), idle: 20}, ""},
		{"one whose name begins like ours", fakeClient{id: 1, name: presenceName("me2", 1)}, "slotproxy-coord:me2:1"},
		{"our predecessor", fakeClient{id: 1, name: presenceName("me", 6)}, ""},
		{"our successor", fakeClient{id: 1, name: presenceName("me", 8)}, "slotproxy-coord:me:8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster(3)
			f.nextID = 10
			f.clients[f.addr(1)] = []fakeClient{tt.client}
			p := testPresence(f, me)
			err := p.enter(context.Background())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want nobody", err)
			case tt.want != "" && (!errors.Is(err, errForeign) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err == nil {
				p.leave()
			}
			for addr, list := range f.clients {
				if len(list) > 0 && list[0] != tt.client || len(list) > 1 {
					t.Errorf("%s still has %v", addr, list)
				}
			}
		})
	}
}

func TestOfTwoCoordinatorsThatBeginTogetherOneWins(t *testing.T) {
	for range 5 { // each takes the loser's way out
		f := newFakeCluster(4)
		all := []*presence{testPresence(f, presenceName("a", 1)), testPresence(f, presenceName("b", 1))}
		errs := make([]error, len(all))
		var entering sync.WaitGroup
		for i, p := range all {
			entering.Go(func() { errs[i] = p.enter(context.Background()) })
		}
		entering.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("the outcome is %v and %v", errs[0], errs[1])
		}
		for _, p := range all {
			p.leave()
		}
	}
}

func TestWhoWasThereFirstStays(t *testing.T) {
	f := newFakeCluster(3)
	first, second := testPresence(f, presenceName("a", 1)), testPresence(f, presenceName("b", 1))
	if err := first.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer first.leave()
	if err := second.tryEnter(context.Background()); !errors.Is(err, errForeign) {
		t.Fatalf("the second gets %v", err)
	}
	// The second is still to be seen, and the first must not give way to it.
	for id := range first.posts {
		first.posts[id].looked = time.Time{}
	}
	if err := first.fresh(context.Background(), f.ids[0], f.ids[1]); err != nil {
		t.Errorf("the first gives way: %v", err)
	}
	second.leave()
}

func TestNothingIsBegunWithoutAFreshLook(t *testing.T) {
	f := newFakeCluster(3)
	p := testPresence(f, presenceName("a", 1))
	if err := p.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer p.leave()
	f.with(func() { f.clients[f.addr(0)] = append(f.clients[f.addr(0)], fakeClient{id: 99, cmd: "migrate"}) })
	if err := p.fresh(context.Background(), f.ids[0], f.ids[1]); err != nil {
		t.Errorf("a look of a moment ago counts no longer: %v", err)
	}
	p.mu.Lock()
	p.posts[f.ids[0]].looked = time.Now().Add(-goodFor - time.Second)
	p.mu.Unlock()
	if err := p.fresh(context.Background(), f.ids[0], f.ids[1]); !errors.Is(err, errForeign) {
		t.Errorf("an old look still counts: %v", err)
	}
	f.with(func() { f.down[f.addr(2)] = true })
	if err := p.fresh(context.Background(), f.ids[1], f.ids[2]); err == nil {
		t.Error("a node that cannot be seen is taken for free of others")
	}
}
