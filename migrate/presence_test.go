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
	return &presence{nodes: f, topology: f.table, name: name, own: newOwnIDs(), log: slog.New(slog.DiscardHandler), posts: map[string]*post{}}
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
		{"our predecessor, whose node has not noticed its end", fakeClient{id: 1, name: presenceName("me", 6)}, "slotproxy-coord:me:6"},
		{"our predecessor, some time after its end", fakeClient{id: 1, name: presenceName("me", 6), idle: 15}, ""},
		{"one with a copy of our folder", fakeClient{id: 1, name: me}, me + " is at work on this cluster: a proxy with a copy"},
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

// stop makes a presence and what nodes know of it as old as a process that was stopped for so long.
func (f *fakeCluster) stop(p *presence, span time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = p.looked.Add(-span)
	for _, o := range p.posts {
		o.looked, o.shown = o.looked.Add(-span), o.shown.Add(-span)
	}
	f.with(func() {
		for _, list := range f.clients {
			for i := range list {
				if list[i].name == p.name {
					list[i].idle += int(span.Seconds())
				}
			}
		}
	})
}

func TestWhoWasStoppedGivesWayToWhoBeganMeanwhile(t *testing.T) {
	tests := []struct {
		name string
		look func(p *presence, f *fakeCluster) error
	}{
		{"before a step", func(p *presence, f *fakeCluster) error { return p.fresh(context.Background(), f.ids[0], f.ids[1]) }},
		{"before a command within a step", func(p *presence, f *fakeCluster) error {
			_, err := guard{f, p}.Do(context.Background(), f.addr(0), []string{"CLUSTER", "SETSLOT", "1", "NODE", f.ids[1]})
			return err
		}},
		{"at the next beat", func(p *presence, _ *fakeCluster) error {
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			told := make(chan string, 1)
			p.run(ctx, func(reason string) { told <- reason }, make(chan struct{}))
			select {
			case reason := <-told:
				return foreignError(reason)
			default:
				return nil
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster(3)
			first, second := testPresence(f, presenceName("a", 1)), testPresence(f, presenceName("b", 1))
			if err := first.enter(context.Background()); err != nil {
				t.Fatal(err)
			}
			defer first.leave()
			f.stop(first, aliveFor)
			if err := second.enter(context.Background()); err != nil {
				t.Fatalf("the first is silent, and the second gets %v", err)
			}
			defer second.leave()
			if err := tt.look(first, f); !errors.Is(err, errForeign) {
				t.Errorf("the first goes on: %v", err)
			}
			if err := second.each(context.Background(), second.look); err != nil {
				t.Fatal(err)
			}
			if err := second.verdict(); err != nil {
				t.Errorf("the second gives way to the first: %v", err)
			}
			second.leave()
			if _, err := (guard{f, first}).Do(context.Background(), f.addr(0), []string{"CLUSTER", "SETSLOT", "1", "STABLE"}); !errors.Is(err, errForeign) {
				t.Errorf("the first goes on when the second is done: %v", err)
			}
		})
	}
}

func TestWhoWasStoppedAloneGoesOn(t *testing.T) {
	f := newFakeCluster(3)
	p := testPresence(f, presenceName("a", 1))
	if err := p.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer p.leave()
	f.with(func() { // nodes may notice late that an old connection was closed
		for addr, list := range f.clients {
			f.late[addr] = append(f.late[addr], list...)
		}
	})
	f.stop(p, aliveFor)
	if err := p.fresh(context.Background(), f.ids[0], f.ids[1]); err != nil {
		t.Error(err)
	}
	if err := p.awake(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestWhoMissesAReplyIsNotItsOwnRival(t *testing.T) {
	for _, losing := range []string{"CLIENT ID", "CLIENT SETNAME", "CLIENT LIST"} {
		t.Run(losing, func(t *testing.T) {
			f := newFakeCluster(1)
			p := testPresence(f, presenceName("a", 1))
			f.losing, f.lingers = losing, true
			if err := p.enter(context.Background()); err == nil {
				t.Fatal("nobody noticed the lost reply")
			}
			if err := p.tryEnter(context.Background()); err != nil {
				t.Fatalf("at the second attempt: %v", err)
			}
			defer p.leave()
			if err := p.verdict(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOnlyWhatChangesTheClusterIsGuarded(t *testing.T) {
	tests := []struct {
		command string
		want    bool
	}{
		{"CLUSTER NODES", false}, {"CLUSTER countkeysinslot 7", false}, {"INFO", false}, {"EXISTS k", false}, {"PING", false}, {"SELECT 0", false},
		{"CLUSTER SETSLOT 7 STABLE", true}, {"cluster setslot 7 STABLE", true}, {"CLUSTER FORGET x", true}, {"CLUSTER BUMPEPOCH", true},
		{"CLUSTER MIGRATESLOTS", true}, {"CLUSTER NEWCOMMAND", true}, {"CLUSTER", true}, {"MIGRATE h 1 k 0 9", true}, {"UNLINK k", true},
	}
	for _, tt := range tests {
		if got := risky(strings.Fields(tt.command)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.command, got, tt.want)
		}
	}
}
