package migrate

import (
	"context"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
)

func testPacer(o machine.Options) *pacer {
	double := func(base time.Duration) time.Duration { return 2*base + time.Millisecond }
	return newPacer(o, double, func(node string) string { return node + ":1" })
}

func TestBatchesTakeAFewMilliseconds(t *testing.T) {
	tests := []struct {
		name        string
		keys        int
		bytes       int64
		took        time.Duration
		least, most int // keys of the batch that follows
	}{
		{"small keys on an idle node", 500, 50_000, 4 * time.Millisecond, 300, 450},
		{"a fast node stays within the bound", 500, 50_000, time.Millisecond / 2, mostKeys, mostKeys},
		{"a slow node", 500, 50_000, 100 * time.Millisecond, leastKeys, leastKeys},
		{"big keys do not go below the least", 1, 50 << 20, 500 * time.Millisecond, leastKeys, leastKeys},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPacer(machine.Options{})
			for range 40 {
				p.Moved("a", "b", tt.keys, tt.bytes, tt.took)
			}
			if keys, bytes := p.Batch(); keys < tt.least || keys > tt.most || bytes < leastBytes || bytes > mostBytes {
				t.Errorf("a batch of %d keys, %d bytes, want %d to %d keys", keys, bytes, tt.least, tt.most)
			}
		})
	}
}

func TestAJobKeepsToItsBounds(t *testing.T) {
	tests := []struct {
		name   string
		o      machine.Options
		reason string
	}{
		{"keys", machine.Options{MaxKeysPerSecond: 1000}, "max_keys_per_second"},
		{"bytes", machine.Options{MaxBytesPerSecond: 100_000}, "max_bytes_per_second"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPacer(tt.o)
			began := time.Now()
			for range 4 { // 400 keys of 100 bytes are 0.4 s, less a tenth of credit
				if err := p.Wait(context.Background(), "a", "b", 100, 10_000, nil); err != nil {
					t.Fatal(err)
				}
				if p.reason() != "" && p.reason() != tt.reason {
					t.Errorf("slowed by %q, want %q", p.reason(), tt.reason)
				}
			}
			if took := time.Since(began); took < 250*time.Millisecond {
				t.Errorf("400 keys took %s", took)
			}
		})
	}
}

func TestKeysThatClientsWaitForAreNotSlowedDown(t *testing.T) {
	p := testPacer(machine.Options{MaxKeysPerSecond: 10})
	p.held("a", time.Now().Add(time.Minute))
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for range 100 { // a hundred seconds' worth
		if err := p.Wait(ctx, "a", "b", 10, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.held("a", time.Time{})
	p.mu.Lock()
	pause := p.pauseLocked(p.laneLocked("a"), time.Now().Add(strictWait), "a", "b")
	p.mu.Unlock()
	if pause < 30*time.Second {
		t.Errorf("the debt of 1000 keys at 10 each second is %s", pause)
	}
	p.hurry()
	p.settle(ctx, &machine.Unit{Source: "a"})
	if ctx.Err() != nil {
		t.Error("a job that is cancelled waits for its debts")
	}
}

func TestKeysOfAHalfMovedSlotThatClientsWaitForAreNotSlowedDown(t *testing.T) {
	p := testPacer(machine.Options{MaxKeysPerSecond: 10})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	done := make(chan error, 1)
	go waitFor(ctx, p, done)
	select {
	case err := <-done:
		t.Fatalf("nothing slows down: %v", err)
	case <-time.After(3 * waitPiece / 2):
	}
	p.want(map[string]bool{"c": true})
	p.want(map[string]bool{"a": true}) // while it waits already
	if err := <-done; err != nil {
		t.Fatalf("a batch that clients wait for is slowed down: %v", err)
	}
	p.want(map[string]bool{}) // the command is just being tried again
	if waitFor(ctx, p, done); <-done != nil {
		t.Error("the next batch is slowed down")
	}
	p.Moved("a", "b", 100, 1000, time.Second)
	if keys, _ := p.Batch(); keys != leastKeys {
		t.Errorf("a batch of a slow node has %d keys, want %d", keys, leastKeys)
	}
	p.mu.Lock()
	p.nodes["a"].since = p.nodes["a"].since.Add(-overdueAfter)
	p.mu.Unlock()
	if keys, _ := p.Batch(); keys != mostKeys {
		t.Errorf("a batch that clients have waited for long has %d keys, want %d", keys, mostKeys)
	}
}

// waitFor waits for a batch of a thousand seconds' worth.
func waitFor(ctx context.Context, p *pacer, done chan<- error) {
	done <- p.Wait(ctx, "a", "b", 10_000, 100, nil)
}

func pulseOf(addr string, p99 time.Duration) *Pulse {
	return &Pulse{Nodes: map[string]NodePulse{addr: {Commands: 1000, P99: p99}}}
}

func TestSlowClientsSlowTheJobAndCalmLetsItGo(t *testing.T) {
	p := testPacer(machine.Options{})
	p.compare(map[string]time.Duration{"a:1": time.Millisecond, "b:1": time.Millisecond})
	p.Moved("a", "b", 100, 1000, time.Millisecond)
	p.Moved("c", "b", 100, 1000, time.Millisecond)
	share := func(node string) float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.nodes[node].share
	}
	p.feel(pulseOf("a:1", 2900*time.Microsecond))
	if share("a") != 1 || p.reason() != "" {
		t.Fatalf("below the limit: share %v, %q", share("a"), p.reason())
	}
	p.feel(pulseOf("a:1", 4*time.Millisecond))
	p.feel(pulseOf("a:1", 2900*time.Microsecond))
	p.feel(pulseOf("a:1", 4*time.Millisecond))
	if share("a") != 1 || p.reason() != "" {
		t.Fatalf("slow now and then: share %v, %q", share("a"), p.reason())
	}
	p.feel(pulseOf("a:1", 4*time.Millisecond))
	if share("a") != 0.5 || share("c") != 1 || !strings.Contains(p.reason(), "p99 of a:1 is 4ms, above 3ms") {
		t.Fatalf("a slow source: shares %v and %v, %q", share("a"), share("c"), p.reason())
	}
	p.feel(pulseOf("b:1", 4*time.Millisecond))
	p.feel(pulseOf("b:1", 4*time.Millisecond))
	if share("c") != 0.5 {
		t.Errorf("a slow target leaves a source at %v", share("c"))
	}
	p.Moved("a", "b", 100, 1000, 10*time.Millisecond)
	p.mu.Lock()
	rest := time.Until(p.nodes["a"].free)
	p.mu.Unlock()
	if rest <= 0 {
		t.Error("after a batch a slow source gets no rest")
	}
	for range 40 {
		p.mu.Lock()
		for _, l := range p.nodes {
			l.changed = l.changed.Add(-calmFor)
		}
		p.mu.Unlock()
		p.feel(&Pulse{})
	}
	if share("a") != 1 || p.reason() != "" {
		t.Errorf("after a calm while: share %v, %q", share("a"), p.reason())
	}
	for range 100 {
		p.mu.Lock()
		p.nodes["a"].changed = time.Time{}
		p.mu.Unlock()
		p.feel(pulseOf("a:1", time.Second))
	}
	if share("a") < leastShare/2 {
		t.Errorf("share %v stands still", share("a"))
	}
}

func TestWhatAnEarlierJobHasLearnedOfASourceIsForJobsThatItIsASourceOf(t *testing.T) {
	first := testPacer(machine.Options{})
	for range 40 {
		first.Moved("a", "b", 100, 1000, time.Second)
	}
	first.Moved("gone", "b", 100, 1000, time.Second)
	there := func(node string) string { return map[string]string{"a": "a:1", "b": "b:1"}[node] }
	back := testPacer(machine.Options{})
	back.addr = there
	back.compare(map[string]time.Duration{"": time.Millisecond})
	back.inherit(first)
	back.Moved("b", "a", 100, 1000, time.Millisecond)
	if keys, _ := back.Batch(); keys == leastKeys {
		t.Errorf("a slow source of another job keeps batches at %d keys", keys)
	}
	for range slowPulses {
		back.feel(pulseOf("a:1", time.Second))
	}
	if share := back.nodes["b"].share; share != 0.5 {
		t.Errorf("a slow target that was a source leaves the source at %v", share)
	}
	again := testPacer(machine.Options{})
	again.addr = there
	again.inherit(back)
	for _, l := range again.past {
		l.changed = l.changed.Add(-calmFor)
	}
	if again.recover(&Pulse{}); again.past["b"].share <= 0.5 {
		t.Errorf("a calm while leaves a source of an earlier job at %v", again.past["b"].share)
	}
	if rate := again.laneLocked("a").keyRate; rate > startKeyRate/2 || len(again.past) != 1 {
		t.Errorf("the slow source is taken for one of %v keys a second; %d other nodes are remembered, want 1", rate, len(again.past))
	}
}

func TestOneSlowPulseOfAJobIsNoReasonWhateverTheOneBeforeItSaw(t *testing.T) {
	old := testPacer(machine.Options{})
	old.feel(pulseOf("a:1", time.Second))
	p := testPacer(machine.Options{})
	p.inherit(old)
	p.Moved("a", "b", 100, 1000, time.Millisecond)
	if p.feel(pulseOf("a:1", time.Second)); p.reason() != "" {
		t.Errorf("it slows down: %q", p.reason())
	}
}

func TestAShortageSlowsDownAndNeverStops(t *testing.T) {
	p := testPacer(machine.Options{})
	p.short("b", "a replica of b is behind")
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	began := time.Now()
	err := p.Wait(ctx, "a", "b", 1, 1, nil)
	if took := time.Since(began); err != nil || took < strictWait || p.reason() != "a replica of b is behind" {
		t.Errorf("a batch goes after %s, %v, %q; want %s, and the reason", took, err, p.reason(), strictWait)
	}
	p.settle(ctx, &machine.Unit{Source: "a", Target: "b", Engine: machine.Atomic})
	if took := time.Since(began); ctx.Err() != nil || took < strictWait+longestRest {
		t.Errorf("a stream begins after %s, %v; want %s more", took, ctx.Err(), longestRest)
	}
	p.short("b", "")
	if err := p.Wait(context.Background(), "a", "b", 1, 1, nil); err != nil || p.reason() != "" {
		t.Errorf("afterwards: %v, %q", err, p.reason())
	}
}

func TestReplicasThatAreBehindAreSeen(t *testing.T) {
	info := engine.ReadInfo("master_repl_offset:100000000\r\nslave0:ip=1,port=2,state=online,offset=100000000,lag=0\r\n" +
		"slave1:ip=1,port=3,state=wait_bgsave,offset=0,lag=0\r\n")
	if got := lagging("a:1", info); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
	info["slave0"] = "ip=1,port=2,state=online,offset=1000,lag=9"
	if got := lagging("a:1", info); got != "a replica of a:1 is 95 MiB behind" {
		t.Errorf("got %q", got)
	}
}

func TestAJobHoldsFewEnoughCommandsForTheirP99(t *testing.T) {
	p := testPacer(machine.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	p.gated(8, 1000)
	p.settle(ctx, &machine.Unit{Source: "a"}) // as many as may
	p.gated(1000, 1000)
	settled := make(chan struct{})
	go settleFor(ctx, p, &machine.Unit{Source: "a"}, settled)
	select {
	case <-settled:
		t.Fatal("every command was held, and the next gate closes at once")
	case <-time.After(waitPiece):
	}
	if why := p.reason(); why != "clients wait for gates" {
		t.Errorf("the job says that it waits for %q", why)
	}
	p.gated(0, 1_000_000)
	<-settled
}

func TestAJobGoesOnHoweverManyCommandsItHolds(t *testing.T) {
	p := testPacer(machine.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	p.gated(1_000_000, 1_000_000)
	for range 3 {
		p.settle(ctx, &machine.Unit{Source: "a"})
	}
	if ctx.Err() != nil {
		t.Error("a job whose slots are all that clients ask for stands still")
	}
}

func settleFor(ctx context.Context, p *pacer, u *machine.Unit, done chan<- struct{}) {
	p.settle(ctx, u)
	close(done)
}

func TestAHalfMovedSlotWaitsForItsGateUntilClientsWaitForTheSlot(t *testing.T) {
	p := testPacer(machine.Options{MaxKeysPerSecond: 1})
	p.gated(1000, 1000)
	p.keyDebt = 1000 // is waited for elsewhere
	calls := 0
	during := ""
	p.Hold(t.Context(), func() bool { calls++; during = p.reason(); return calls == 3 })
	if calls != 3 || during != whyHeld || p.reason() != "" {
		t.Errorf("it was asked %d times whether commands wait, want 3; it waits for %q, and afterwards for %q", calls, during, p.reason())
	}
	began := time.Now()
	p.Hold(t.Context(), func() bool { return false })
	if took := time.Since(began); took < heldLimit {
		t.Errorf("a gate closes after %s though every command was held, want %s", took, heldLimit)
	}
	p.hurry()
	p.Hold(t.Context(), func() bool { t.Error("a job that is to end waits"); return true })
}
