//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slotproxy/internal/testcluster"
)

// enter starts a load of one phase.
func enter(t *testing.T, cfg Config) *Run {
	t.Helper()
	cfg.Begin = "all"
	r, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually polls.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// The same stall of the same server. What is due by the clock shows it in the percentile that it deserves; a client that waits for its
// reply sends nothing meanwhile, so that one command is slow and the stall is all but invisible.
func TestAStallShowsInAnOpenLoadAndHidesInAClosedOne(t *testing.T) {
	const stall, length = 300 * time.Millisecond, time.Second
	run := func(rate float64, backlog int) *Phase {
		s := newServer(t, nil)
		r := enter(t, Config{Target: Target{Addr: s.addr}, Clients: 1, Rate: rate, Backlog: backlog})
		begun := time.Now()
		eventually(t, "commands before the stall", func() bool { return s.commands.Load() > 100 })
		s.stall(stall)
		eventually(t, "the end", func() bool { return time.Since(begun) > length && s.commands.Load() > 1000 })
		return &r.Stop().Phases[0]
	}
	// With a backlog of one nothing can be sent during the stall, and what is sent is answered fast: only when it was due tells.
	for _, backlog := range []int{0, 1} {
		open := run(2000, backlog)
		all := open.All()
		if got := all.Quantile(90); got < stall/4 {
			t.Errorf("open load, backlog %d: p90 is %v after a stall of %v in about %v, want at least a quarter of it", backlog, got, stall, length)
		}
		// 2000 a second: some 600 were due while nothing was answered.
		if due := 2000 * open.Length.Seconds(); float64(all.Count) < 0.95*due || float64(all.Count) > 1.05*due {
			t.Errorf("open load, backlog %d: %d operations in %v, want the %.0f that were due", backlog, all.Count, open.Length, due)
		}
	}
	closed := run(0, 0)
	all := closed.All()
	if got := all.Quantile(90); got >= stall/4 {
		t.Errorf("closed load: p90 of %d is %v, want the stall of %v to be hidden: this test shows nothing", all.Count, got, stall)
	}
	if got := time.Duration(all.Latency.Max()); got < stall*9/10 {
		t.Errorf("closed load: the slowest took %v, want the stall of %v", got, stall)
	}
}

func TestAnOpenLoadSendsThoughNothingIsAnsweredButNotWithoutBound(t *testing.T) {
	s := newServer(t, nil)
	r, err := Start(t.Context(), Config{Target: Target{Addr: s.addr}, Clients: 10, Rate: 5000, Backlog: 100, Wait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.gate.Lock()
	if err := r.Enter("all"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	eventually(t, "half a second", func() bool { return time.Since(begun) > 500*time.Millisecond })
	res := r.Stop()
	s.gate.Unlock()
	p := &res.Phases[0]
	all := p.All()
	sent := p.Errors["no answer in time"] // some of the backlog were due before the phase began
	if sent == 0 || sent > 100 {
		t.Errorf("%d operations were sent, want the backlog of 100: %v", sent, p.Errors)
	}
	if all.Failed < 1000 || p.Unsent != all.Failed-sent {
		t.Errorf("%d failed, %d were not sent; want those that were due, all but %d not sent", all.Failed, p.Unsent, sent)
	}
	if got := all.Quantile(50); got < 100*time.Millisecond {
		t.Errorf("p50 is %v: what was never answered must count as long as it was waited for", got)
	}
}

func TestRepliesAreCountedByWhatTheyAre(t *testing.T) {
	s := newServer(t, func(words []string) string {
		switch words[0] {
		case "GET":
			return "$-1\r\n"
		case "SET":
			return "-OOM no room\r\n"
		}
		return "*2\r\n$1\r\na\r\n$-1\r\n"
	})
	r := enter(t, Config{Target: Target{Addr: s.addr}, Ops: []Op{Get(1), Set(1), MGet(1, 2)}, Count: 3000, Clients: 4, Threads: 2, Pipeline: 7})
	<-r.Done()
	p := &r.Stop().Phases[0]
	get, set, mget := &p.Ops[0], &p.Ops[1], &p.Ops[2]
	if get.Count+set.Failed+mget.Count != 3000 || s.commands.Load() != 3000 {
		t.Errorf("got %d+%d+%d operations, the server %d; want 3000", get.Count, set.Failed, mget.Count, s.commands.Load())
	}
	if get.Missing != get.Count || mget.Missing != 0 || set.Count != 0 {
		t.Errorf("GET %d of %d missing, MGET %d; SET %d fine", get.Missing, get.Count, mget.Missing, set.Count)
	}
	if p.Errors["OOM no room"] != set.Failed || set.Failed == 0 || len(p.Errors) != 1 {
		t.Errorf("errors are %v, want the server's words %d times", p.Errors, set.Failed)
	}
}

func TestALostServerIsErrorsAndNoStormAndTheLoadGoesOnWhenItIsBack(t *testing.T) {
	s := newServer(t, nil)
	r := enter(t, Config{Target: Target{Addr: s.addr}, Clients: 4})
	eventually(t, "commands", func() bool { return s.commands.Load() > 10 })
	_ = s.ln.Close()
	s.drop()
	eventually(t, "an error", func() bool { _, failed := r.Progress(); return failed > 0 })
	begun := time.Now()
	eventually(t, "a while", func() bool { return time.Since(begun) > 300*time.Millisecond })
	if _, failed := r.Progress(); failed > 1000 {
		t.Errorf("%d errors in %v of four clients, want pauses between them", failed, time.Since(begun))
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
	s.work.Go(s.accept)
	before := s.commands.Load()
	eventually(t, "commands again", func() bool { return s.commands.Load() > before+10 })
	if p := &r.Stop().Phases[0]; p.All().Failed == 0 || len(p.Errors) == 0 || !strings.Contains(r.Trouble(), s.addr) {
		t.Errorf("%d failed: %v; trouble %q", p.All().Failed, p.Errors, r.Trouble())
	}
}

func TestARefusedLoginIsToldBeforeTheLoadBegins(t *testing.T) {
	s := newServer(t, func(words []string) string { return "-WRONGPASS invalid username-password pair\r\n" })
	_, err := Start(t.Context(), Config{Target: Target{Addr: s.addr, User: "u", Password: "p"}})
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v, want the server's words", err)
	}
}

// nodesText is CLUSTER NODES of two nodes that own a half of the slots each.
func nodesText(self string, a, b *server) string {
	line := func(s *server, id, slots string) string {
		_, port, _ := net.SplitHostPort(s.addr)
		flags := "master"
		if s.addr == self {
			flags = "myself,master"
		}
		return fmt.Sprintf("%s 127.0.0.1:%s@1%s %s - 0 0 1 connected %s\n", strings.Repeat(id, 40), port, port[1:], flags, slots)
	}
	text := line(a, "a", "0-8191") + line(b, "b", "8192-16383")
	return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
}

func TestADirectClientKnowsTheSlotsAndFollowsRedirects(t *testing.T) {
	var a, b *server
	asked := map[string]bool{} // of a connection to b, one at a time
	moved := func(words []string) string {
		if words[0] == "CLUSTER" {
			return nodesText(a.addr, a, b)
		}
		return "+OK\r\n"
	}
	a = newServer(t, func(words []string) string {
		if words[0] == "GET" { // all that a has are moving
			return "-ASK 7 " + b.addr + "\r\n"
		}
		return moved(words)
	})
	b = newServer(t, func(words []string) string {
		switch {
		case words[0] == "ASKING":
			asked["now"] = true
			return "+OK\r\n"
		case words[0] == "GET" && asked["now"]:
			delete(asked, "now")
			return "$1\r\nv\r\n"
		case words[0] == "CLUSTER":
			return nodesText(b.addr, a, b)
		case words[0] == "SET":
			return "-MOVED 16000 " + a.addr + "\r\n"
		}
		return "$1\r\nw\r\n"
	})
	r := enter(t, Config{Target: Target{Seeds: []string{a.addr}}, Ops: []Op{Get(1), Set(1)}, Clients: 1, Count: 400})
	<-r.Done()
	p := &r.Stop().Phases[0]
	if all := p.All(); all.Count != 400 || all.Failed != 0 {
		t.Errorf("%d fine, %d failed: %v", all.Count, all.Failed, p.Errors)
	}
	if p.Follows < 100 {
		t.Errorf("%d redirects followed, want one for about every third operation", p.Follows)
	}
	if b.stop(); len(asked) != 0 { // its goroutines have ended, so nobody writes to the map
		t.Error("an ASKING without its command")
	}
}

func TestKeysOfManySlotsAreSplitForAClusterAndNotForAProxy(t *testing.T) {
	var a, b *server
	answer := func(words []string) string {
		if words[0] == "CLUSTER" {
			return nodesText(a.addr, a, b)
		}
		return fmt.Sprintf("*%d\r\n%s", len(words)-1, strings.Repeat("$1\r\nv\r\n", len(words)-1))
	}
	a, b = newServer(t, answer), newServer(t, answer)
	for _, tt := range []struct {
		name   string
		target Target
		least  int64
		most   int64
	}{
		{"a cluster", Target{Seeds: []string{a.addr}}, 950, 1000},
		{"one server", Target{Addr: b.addr}, 100, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := a.commands.Load() + b.commands.Load()
			r := enter(t, Config{Target: tt.target, Ops: []Op{MGet(1, 10)}, Count: 100, Clients: 1})
			<-r.Done()
			p := &r.Stop().Phases[0]
			if all := p.All(); all.Count != 100 || all.Failed != 0 {
				t.Errorf("%d fine, %d failed: %v", all.Count, all.Failed, p.Errors)
			}
			got := a.commands.Load() + b.commands.Load() - before
			if tt.name == "a cluster" {
				got-- // CLUSTER NODES
			}
			if got < tt.least || got > tt.most {
				t.Errorf("%d commands for 100 MGET of 10 keys, want %d to %d", got, tt.least, tt.most)
			}
		})
	}
}

func TestBoundClientsSpeakToOneNodeAndUseItsKeys(t *testing.T) {
	var a, b *server
	answer := func(words []string) string {
		if words[0] == "CLUSTER" {
			return nodesText(a.addr, a, b)
		}
		return "+OK\r\n"
	}
	a, b = newServer(t, answer), newServer(t, answer)
	r := enter(t, Config{Target: Target{Seeds: []string{a.addr}}, Clients: 10, Count: 1000, Threads: 2, Bound: true})
	<-r.Done()
	a.mu.Lock()
	b.mu.Lock()
	links := len(a.conns) + len(b.conns)
	b.mu.Unlock()
	a.mu.Unlock()
	if p := &r.Stop().Phases[0]; p.All().Count != 1000 || b.commands.Load() == 0 || a.commands.Load() < 2 {
		t.Errorf("%d fine, %v; the nodes got %d and %d", p.All().Count, p.Errors, a.commands.Load(), b.commands.Load())
	}
	if links != 11 { // and the one of CLUSTER NODES
		t.Errorf("%d connections of ten bound clients, want one each and one for the slots", links)
	}
}

func TestMoreClientsThanDescriptorsAreRefusedBeforeTheyConnect(t *testing.T) {
	var a, b *server
	a, b = newServer(t, func([]string) string { return nodesText(a.addr, a, b) }), newServer(t, nil)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	clients := min(int(limit.Cur/2)+1, maxClients)
	if clients == maxClients {
		t.Logf("the limit of %d is beyond every load", limit.Cur)
		return
	}
	if _, err := Start(t.Context(), Config{Target: Target{Seeds: []string{a.addr}}, Clients: clients}); err == nil || !strings.Contains(err.Error(), "file descriptors") {
		t.Errorf("%d clients of two nodes, %d descriptors: got %v", clients, limit.Cur, err)
	}
}

func TestLargeValuesGoBothWaysPlainAndWithTLS(t *testing.T) {
	files, err := testcluster.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secure, err := files.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	value := strings.Repeat("v", size)
	answer := func(words []string) string {
		switch {
		case words[0] == "GET":
			return fmt.Sprintf("$%d\r\n%s\r\n", size, value)
		case words[0] == "SET" && len(words[2]) == size:
			return "+OK\r\n"
		}
		return "-ERR " + words[0] + "\r\n"
	}
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": secure} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if config != nil {
				ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			s := serverOn(t, ln, answer)
			r := enter(t, Config{Target: Target{Addr: s.addr, TLS: config}, Ops: []Op{Get(1), Set(1)}, Sizes: []Size{{size, size, 1}}, Count: 100, Clients: 3, Pipeline: 4})
			<-r.Done()
			if p := &r.Stop().Phases[0]; p.All().Count != 100 || p.All().Failed != 0 {
				t.Errorf("%d fine, %d failed: %v", p.All().Count, p.All().Failed, p.Errors)
			}
		})
	}
}

func TestFillWritesEveryKeyOnce(t *testing.T) {
	seen := make(chan string, 2000)
	s := newServer(t, func(words []string) string {
		seen <- words[1]
		return "+OK\r\n"
	})
	if err := Fill(context.Background(), Config{Target: Target{Addr: s.addr}, Keys: 1001, Threads: 3}); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for range len(seen) {
		keys[<-seen] = true
	}
	if len(keys) != 1001 || !keys["bench:000000000000"] || !keys["bench:000000001000"] {
		t.Errorf("%d keys were written, want 1001", len(keys))
	}
}

func TestKeysThatCannotBeFilledAreAnError(t *testing.T) {
	n := 0
	s := newServer(t, func([]string) string {
		if n++; n == 1 {
			return "-OOM no room\r\n"
		}
		return "+OK\r\n"
	})
	err := Fill(t.Context(), Config{Target: Target{Addr: s.addr}, Keys: 100, Clients: 1})
	if err == nil || !strings.Contains(err.Error(), "1 keys were not written") || !strings.Contains(err.Error(), "OOM no room") {
		t.Errorf("got %v, want the one key and the server's words", err)
	}
}

func TestPhasesAreKeptApartAndTheGeneratorIsMeasured(t *testing.T) {
	s := newServer(t, nil)
	r, err := Start(t.Context(), Config{Target: Target{Addr: s.addr, Name: "x"}, Rate: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "during", "after"} {
		if err := r.Enter(name); err != nil {
			t.Fatal(err)
		}
		from, _ := r.Progress()
		eventually(t, "operations", func() bool { n, _ := r.Progress(); return n > from+100 })
	}
	res := r.Stop()
	if len(res.Phases) != 3 || res.Target != "x" {
		t.Fatalf("got %d phases of %q", len(res.Phases), res.Target)
	}
	for _, p := range res.Phases {
		if p.All().Count < 50 {
			t.Errorf("%s has %d operations, want about 100", p.Name, p.All().Count)
		}
		if len(p.CPU) != 1 || p.CPU[0].Role != Generator || p.CPU[0].Used < 0 {
			t.Errorf("%s: processor time is %v", p.Name, p.CPU)
		}
	}
}
