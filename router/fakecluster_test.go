package router

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeCluster is a Source whose nodes say what a test wants.
type fakeCluster struct {
	mu    sync.Mutex
	says  map[string][]string      // guarded by mu: by address, the lines of CLUSTER NODES; absent: connection refused
	slow  map[string]time.Duration // guarded by mu: how long a node takes; past the end of ctx it fails
	hangs map[string]time.Duration // guarded by mu: the same for a Source that does not look at ctx
	asked []string                 // guarded by mu: addresses in the order they were asked
}

func (f *fakeCluster) Nodes(ctx context.Context, addr string) ([]byte, error) {
	f.mu.Lock()
	f.asked = append(f.asked, addr)
	lines, up := f.says[addr]
	slow, hangs := f.slow[addr], f.hangs[addr]
	f.mu.Unlock()
	time.Sleep(hangs)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(slow):
	}
	if !up {
		return nil, errors.New("connection refused")
	}
	return nodesText(lines...), nil
}

// set makes a node say something; without lines it is down.
func (f *fakeCluster) set(addr string, lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.says == nil {
		f.says = make(map[string][]string)
	}
	delete(f.says, addr)
	if len(lines) > 0 {
		f.says[addr] = lines
	}
}

func (f *fakeCluster) delay(addr string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow == nil {
		f.slow = make(map[string]time.Duration)
	}
	f.slow[addr] = d
}

func (f *fakeCluster) hang(addr string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs = map[string]time.Duration{addr: d}
}

// forget returns who was asked since the last call.
func (f *fakeCluster) forget() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

const (
	addrA = "10.0.0.1:7000"
	addrB = "10.0.0.2:7000"
	addrC = "10.0.0.3:7000"
	addrD = "10.0.0.4:7000"
)

// say makes A, B and C tell that each owns the given slots; the first number is its epoch.
func (f *fakeCluster) say(a, b, c string) {
	line := func(addr, flags, s string) string {
		epoch, slots, _ := strings.Cut(s, " ")
		return addr + flags + " - 0 0 " + epoch + " connected " + slots
	}
	as := func(me int) []string {
		flags := []string{"master", "master", "master"}
		flags[me] = "myself,master"
		return []string{line(lineA, flags[0], a), line(lineB, flags[1], b), line(lineC, flags[2], c)}
	}
	f.set(addrA, as(0)...)
	f.set(addrB, as(1)...)
	f.set(addrC, as(2)...)
}

// whole is a quiet cluster of three.
func whole() *fakeCluster {
	f := &fakeCluster{}
	f.say("1 0-5000", "2 5001-10000", "3 10001-16383")
	return f
}

// running is a keeper at work inside a synctest bubble.
type running struct {
	*Keeper
	*fakeCluster
	published int
}

// keep starts a keeper and waits for its first look.
func keep(t *testing.T, f *fakeCluster, cfg KeeperConfig) *running {
	r := &running{fakeCluster: f}
	if cfg.Seeds == nil {
		cfg.Seeds = []string{addrA}
	}
	cfg.OnTable = func(*Table) { r.published++ }
	r.Keeper = NewKeeper(f, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // Run to the end of the test
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	return r
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // the bubble's clock: takes no time
	synctest.Wait()
}
