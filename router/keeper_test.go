package router

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gap is a little more than the time between two refreshes.
const gap = defaultMinGap + time.Millisecond

func TestFirstTableComesFromAnySeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{Seeds: []string{"10.0.0.8:1", "10.0.0.9:1", addrB}})
		table := r.Table()
		if table == nil || table.Version != 1 || table.Covered() != Slots || r.published != 1 {
			t.Fatalf("table %+v after %d publishes, want the first, whole", table, r.published)
		}
	})
}

func TestNoTableUntilSomebodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{}
		var lines bytes.Buffer // written by the keeper, read when it waits
		r := keep(t, f, KeeperConfig{Seeds: []string{addrA, addrB}, Log: slog.New(slog.NewTextHandler(&lines, nil))})
		pass(10 * time.Second)
		if r.Table() != nil {
			t.Fatalf("table %+v out of nothing", r.Table())
		}
		if log := lines.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "connection refused") {
			t.Errorf("the log says %q, want once why no node answers", log)
		}
		f.say("1 0-5000", "2 5001-10000", "3 10001-16383")
		pass(2 * time.Second)
		if r.Table() == nil {
			t.Fatal("no table two seconds after the cluster came up")
		}
	})
}

func TestQuietClusterIsAskedOnceAnIntervalAndNothingIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		r.forget()
		pass(10 * time.Second)
		if n := len(r.forget()); n < 24 || n > 36 {
			t.Errorf("%d questions in 10 s, want about three a second", n)
		}
		if r.published != 1 {
			t.Errorf("%d publishes, want 1", r.published)
		}
	})
}

func TestHintLeadsToATableEvenIfNothingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		r.Hint(Hint{Cause: Lost, Addr: addrB})
		pass(gap)
		if v := r.Table().Version; v != 2 {
			t.Errorf("version %d one gap after the hint, want 2", v)
		}
	})
}

func TestStormOfHintsCostsOneRefreshAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		r.forget()
		for range 1000 {
			for slot := range uint16(100) {
				r.Hint(Hint{Cause: Moved, Slot: slot, HasSlot: true, Addr: addrA})
			}
			pass(time.Millisecond)
		}
		if n := len(r.forget()); n > 11*askUsually {
			t.Errorf("%d questions in one second, want at most 11 times %d", n, askUsually)
		}
		if r.published > 12 {
			t.Errorf("%d publishes in one second, want at most 12", r.published)
		}
	})
}

func TestMovedSlotIsFoundThroughItsNewOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		r.say("1 0-6 8-5000", "9 7 5001-10000", "3 10001-16383")
		r.forget()
		r.Hint(Hint{Cause: Moved, Slot: 7, HasSlot: true, Addr: addrB})
		pass(gap)
		if got := ownerOf(r.Table(), 7); got != "b" {
			t.Errorf("slot 7 belongs to %s, want b", got)
		}
		if asked := r.forget(); !slices.Contains(asked, addrB) || !slices.Contains(asked, addrA) {
			t.Errorf("asked %v, want the new and the old owner among them", asked)
		}
	})
}

func TestMovedThatComesWhileNodesAreAskedIsNewerThanTheirWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := whole()
		r := keep(t, f, KeeperConfig{})
		for _, addr := range []string{addrA, addrB, addrC} {
			f.delay(addr, 20*time.Millisecond)
		}
		r.Hint(Hint{Cause: Lost, Addr: addrC})
		pass(gap) // the nodes are thinking
		r.Hint(Hint{Cause: Moved, Slot: 7, HasSlot: true, Addr: addrB})
		pass(30 * time.Millisecond)
		table := r.Table()
		if table.Version != 2 || ownerOf(table, 7) != "b" {
			t.Errorf("version %d gives slot 7 to %s, want 2 and b", table.Version, ownerOf(table, 7))
		}
		checkTable(t, table)
		pass(time.Second)
		if got := ownerOf(r.Table(), 7); got != "a" {
			t.Errorf("slot 7 belongs to %s, want a: all nodes say so, asked after the hint", got)
		}
	})
}

func TestAddressesOutsideTheClusterAreNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		for _, addr := range []string{"169.254.169.254:80", "[::1]:22", "?:7000", "", "10.0.0.1:7001"} {
			r.Hint(Hint{Cause: Moved, Slot: 7, HasSlot: true, Addr: addr})
			r.Hint(Hint{Cause: Lost, Addr: addr})
			pass(gap)
		}
		for _, addr := range r.forget() {
			if !slices.Contains([]string{addrA, addrB, addrC}, addr) {
				t.Errorf("asked %q, which is no node", addr)
			}
		}
		if got := ownerOf(r.Table(), 7); got != "a" {
			t.Errorf("slot 7 belongs to %s, want a", got)
		}
	})
}

func TestFrozenNodeDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := whole()
		r := keep(t, f, KeeperConfig{})
		f.delay(addrC, time.Hour)
		r.say("1 0-6 8-5000", "9 7 5001-10000", "3 10001-16383")
		r.Hint(Hint{Cause: Moved, Slot: 7, HasSlot: true, Addr: addrB})
		pass(gap + defaultMinGap/2)
		if got := ownerOf(r.Table(), 7); got != "b" {
			t.Errorf("slot 7 belongs to %s, want b within a gap and a half", got)
		}
		r.forget()
		r.Hint(Hint{Cause: Retry, Slot: 7, HasSlot: true, Addr: addrB})
		pass(gap)
		if asked := r.forget(); slices.Contains(asked, addrC) {
			t.Errorf("asked %v, want the frozen node left alone for a while", asked)
		}
	})
}

func TestNodeThatHangsIsNotAskedTwiceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := whole()
		r := keep(t, f, KeeperConfig{})
		f.hang(addrC, 20*time.Second)
		r.forget()
		pass(10 * time.Second)
		if n := count(r.forget(), addrC); n != 1 {
			t.Errorf("%d questions to a node whose first is not answered, want 1", n)
		}
	})
}

func TestReplicaThatTakesOverIsAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{}
		replica := lineD + "slave $A 0 0 1 connected"
		b, c := "master - 0 0 2 connected 5001-10000", "master - 0 0 3 connected 10001-16383"
		f.set(addrA, lineA+"myself,master - 0 0 1 connected 0-5000", lineB+b, lineC+c, replica)
		r := keep(t, f, KeeperConfig{})
		// A is gone; D has taken over and nobody but itself knows.
		f.set(addrA)
		f.set(addrB, lineA+"master,fail - 0 0 1 disconnected 0-5000", lineB+"myself,"+b, lineC+c, replica)
		f.set(addrC, lineA+"master,fail - 0 0 1 disconnected 0-5000", lineB+b, lineC+"myself,"+c, replica)
		f.set(addrD, lineA+"master,fail - 0 0 1 disconnected", lineB+b, lineC+c, lineD+"myself,master - 0 0 4 connected 0-5000")
		r.Hint(Hint{Cause: Lost, Addr: addrA})
		pass(gap)
		if got := ownerOf(r.Table(), 7); got != "d" {
			t.Errorf("slot 7 belongs to %s one gap after the connection broke, want d", got)
		}
	})
}

func TestLostOwnerIsWatchedUntilItIsReplacedOrAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := whole()
		r := keep(t, f, KeeperConfig{})
		r.set(addrA)
		r.Hint(Hint{Cause: Lost, Addr: addrA})
		pass(2500 * time.Millisecond)
		r.say("1", "9 0-10000", "3 10001-16383")
		r.set(addrA)
		pass(gap)
		if got := ownerOf(r.Table(), 7); got != "b" {
			t.Errorf("slot 7 belongs to %s, want b one gap after the change, without a further hint", got)
		}
		r.say("1", "9 0-10000", "3 10001-16383")
		r.Hint(Hint{Cause: Lost, Addr: addrB}) // only a connection: the node answers
		pass(3 * time.Second)
		r.forget()
		pass(10 * time.Second)
		if n := count(r.forget(), addrB); n > 12 {
			t.Errorf("%d questions in 10 quiet seconds, want one an interval", n)
		}
	})
}

func TestFailedOwnerIsWatchedClosely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{}
		f.set(addrB, lineA+"master,fail - 0 0 1 disconnected 0-5000", lineB+"myself,master - 0 0 2 connected 5001-16383")
		r := keep(t, f, KeeperConfig{Seeds: []string{addrB}})
		pass(time.Second)
		f.set(addrB, lineA+"slave $B 0 0 1 disconnected", lineB+"myself,master - 0 0 2 connected 0-16383")
		pass(gap)
		if got := ownerOf(r.Table(), 7); got != "b" {
			t.Errorf("slot 7 belongs to %s, want b one gap after the change, without a hint", got)
		}
	})
}

func TestSlotStaysOpenUntilItsOwnerSaysOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		r.set(addrA) // the source does not answer for a moment, and nobody else can know
		r.Hint(Hint{Cause: Ask, Slot: 7, HasSlot: true, Addr: addrA})
		pass(2 * time.Second)
		if table := r.Table(); table.Version < 2 || table.Open[7].Source != idA {
			t.Errorf("version %d, open slots %v, want slot 7 open at A", table.Version, table.Open)
		}
		r.say("1 0-5000", "2 5001-10000", "3 10001-16383")
		pass(2 * time.Second)
		if open := r.Table().Open; len(open) != 0 {
			t.Errorf("open slots %v, want none: the owner says so", open)
		}
	})
}

func TestEveryOwnerOfAnOpenSlotIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		for slot := range uint16(100) {
			r.Hint(Hint{Cause: Ask, Slot: slot * 150, HasSlot: true})
		}
		r.forget()
		pass(gap)
		asked := r.forget()
		for _, addr := range []string{addrA, addrB, addrC} {
			if !slices.Contains(asked, addr) {
				t.Errorf("asked %v, want %s too", asked, addr)
			}
		}
	})
}

func TestSlotThatStaysOpenIsWatchedLessAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{}
		f.set(addrA, lineA+"myself,master - 0 0 1 connected 0-16383 [7->-$B]", lineB+"master - 0 0 2 connected")
		r := keep(t, f, KeeperConfig{})
		r.forget()
		pass(time.Second)
		if n := count(r.forget(), addrA); n < 9 {
			t.Errorf("%d questions in the first second, want one a gap", n)
		}
		pass(time.Minute)
		r.forget()
		pass(10 * time.Second)
		if n := count(r.forget(), addrA); n > 12 {
			t.Errorf("%d questions in 10 s after a minute, want one an interval", n)
		}
	})
}

func count(list []string, item string) (n int) {
	for _, s := range list {
		if s == item {
			n++
		}
	}
	return n
}

func TestMinorityCannotTakeSlotsAwayOrGoBack(t *testing.T) {
	tests := []struct {
		name string
		says []string // of C, the only one that answers
	}{
		{"fewer slots", []string{lineA + "master - 0 0 1 connected 0-5000", lineB + "master - 0 0 2 connected", lineC + "myself,master - 0 0 3 connected 10001-16383"}},
		{"an owner of the past", []string{lineA + "master - 0 0 1 connected 0-10000", lineB + "master - 0 0 2 connected", lineC + "myself,master - 0 0 3 connected 10001-16383"}},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			r := keep(t, whole(), KeeperConfig{})
			r.set(addrA)
			r.set(addrB)
			r.set(addrC, tt.says...)
			r.Hint(Hint{Cause: Down, Addr: addrC})
			pass(5 * time.Second)
			if table := r.Table(); ownerOf(table, 7000) != "b" || table.Version != 1 {
				t.Errorf("%s: version %d gives slot 7000 to %s, want the old table", tt.name, table.Version, ownerOf(table, 7000))
			}
			r.say("1 0-10000", "2", "3 10001-16383")
			pass(2 * time.Second)
			if got := ownerOf(r.Table(), 7000); got != "a" {
				t.Errorf("%s: slot 7000 belongs to %s, want a: now all say so", tt.name, got)
			}
		})
	}
}

func TestMajorityIsBelievedWhateverItSays(t *testing.T) {
	tests := []struct{ name, a, b, c, want string }{
		{"slots were taken away", "1 0-5000", "2", "3 10001-16383", "-"},
		{"epochs began anew", "0 0-10000", "0", "0 10001-16383", "a"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			r := keep(t, whole(), KeeperConfig{})
			r.say(tt.a, tt.b, tt.c)
			r.set(addrB) // the owner itself is not heard
			pass(2 * time.Second)
			if got := ownerOf(r.Table(), 7000); got != tt.want {
				t.Errorf("%s: slot 7000 belongs to %s, want %s", tt.name, got, tt.want)
			}
		})
	}
}

func TestHintsOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := keep(t, whole(), KeeperConfig{})
		for _, addr := range []string{addrA, addrB, addrC} {
			r.set(addr)
		}
		r.Hint(Hint{Cause: Lost, Addr: addrA})
		pass(3 * time.Second)
		if r.published != 1 {
			t.Errorf("%d publishes during the outage, want none", r.published-1)
		}
		r.say("1 0-5000", "2 5001-10000", "3 10001-16383")
		pass(2 * time.Second)
		if r.published < 2 {
			t.Error("nothing published after the outage, want an answer to the hint")
		}
	})
}

func TestManyChangesInARowAreToldOnceASecond(t *testing.T) {
	tests := []struct {
		name    string
		changes int // a tenth of a second apart
		want    []string
	}{
		{"none", 0, []string{"tables=1 count=16384"}},
		{"one", 1, []string{"tables=1 count=16384", "tables=1 count=1"}},
		{"two", 2, []string{"tables=1 count=16384", "tables=1 count=1", "tables=1 count=1"}},
		{"twenty", 20, []string{"tables=1 count=16384", "tables=1 count=1", "tables=10 count=10", "tables=9 count=9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines bytes.Buffer // written by the keeper, read when it waits
				log := slog.New(slog.NewTextHandler(&lines, nil))
				r := keep(t, whole(), KeeperConfig{Log: log, Interval: time.Hour})
				pass(3 * time.Second)
				for i := range tt.changes {
					r.say(fmt.Sprintf("%d %d-5000", 10+i, i+1), fmt.Sprintf("%d 0-%d 5001-10000", 11+i, i), "3 10001-16383")
					r.Hint(Hint{Cause: Moved, Slot: uint16(i), HasSlot: true, Addr: addrB})
					pass(defaultMinGap)
				}
				pass(3 * time.Second)
				var got []string
				for line := range strings.Lines(lines.String()) {
					_, what, _ := strings.Cut(line, " tables=")
					what, _, _ = strings.Cut(what, " cause=")
					got = append(got, "tables="+what)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("the log tells\n%swant %q", &lines, tt.want)
				}
			})
		})
	}
}

func TestAddressesAreMapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := whole()
		for i, addr := range []string{addrA, addrB, addrC} {
			f.set("127.0.0.1:700"+string(rune('0'+i)), f.says[addr]...)
			f.set(addr) // not to be reached under the announced address
		}
		inside := map[string]string{addrA: "127.0.0.1:7000", addrB: "127.0.0.1:7001", addrC: "127.0.0.1:7002"}
		r := keep(t, f, KeeperConfig{
			Seeds: []string{"127.0.0.1:7000"},
			Map:   func(addr string) string { return inside[addr] },
		})
		pass(5 * time.Second)
		table := r.Table()
		if n := table.Node(7); n.Addr != "127.0.0.1:7000" || table.ByAddr(addrA) != table.ByAddr("127.0.0.1:7000") {
			t.Errorf("node of slot 7: %+v, want its mapped address, and to be found under both", n)
		}
		for _, addr := range r.forget() {
			if !strings.HasPrefix(addr, "127.0.0.1:") {
				t.Errorf("asked %s, want only mapped addresses", addr)
			}
		}
	})
}

func TestRunNeedsASeed(t *testing.T) {
	if err := NewKeeper(&fakeCluster{}, KeeperConfig{}).Run(t.Context()); err == nil {
		t.Error("Run without seeds succeeds, want an error")
	}
}

func TestHintsFromManyGoroutinesAreBounded(t *testing.T) {
	k := NewKeeper(&fakeCluster{}, KeeperConfig{Seeds: []string{addrA}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				k.Hint(Hint{Cause: Cause(1 + i%6), Slot: uint16(i), HasSlot: true, Addr: string(rune('a'+i%26)) + ":1"})
			}
		})
	}
	wg.Wait()
	h := k.hints
	if len(h.moved) > Slots || len(h.ask) > maxNoted || len(h.lost) > maxNoted || len(h.slots) > maxNoted {
		t.Errorf("%d moved, %d to ask, %d lost, %d slots: not bounded", len(h.moved), len(h.ask), len(h.lost), len(h.slots))
	}
}
