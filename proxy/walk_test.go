package proxy

import (
	"strconv"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/router"
)

// keysBySlot makes a node answer SCAN like one that keeps its keys by slot and has only this one.
func keysBySlot(n *testnode.Node, key string) {
	n.Every("SCAN ...", testnode.Answer(func(c testnode.Command) string {
		if cursor, _ := strconv.Atoi(c.Args[1]); key == "" || cursor%router.Slots > slotOf(key) {
			return pageOf(0, nil)
		}
		return pageOf(0, []string{key})
	}))
}

func ordered() ServerFace { return ServerFace{Name: "valkey", Version: "9.1.0"} }
func inTable() ServerFace { return ServerFace{Name: "redis", Version: "7.0.0"} }

func TestAnOpenSlotWhoseTargetIsUnknownEndsAWalkWhenTheBudgetIsSpent(t *testing.T) {
	for _, command := range []string{"KEYS {t}*", "SCAN 0 MATCH {t}*"} {
		s := script(t, Config{Loops: 1, Info: ordered, Limits: Limits{RedirectBudget: 300 * time.Millisecond}})
		keysBySlot(s.owner, "{t}a")
		s.owner.Every("TYPE *", testnode.Ask(s.slot, "127.0.0.1:1"))
		s.send(command)
		s.want("-")
		if n := len(s.owner.Seen("SCAN ...")); n < 3 || n > 30 { // after 1, 2, 4 ... 64 ms
			t.Errorf("%s: the node saw %d pages asked for, want some, with pauses", command, n)
		}
	}
}

func TestAUserWithoutProofSweepsAnOpenSlotAsTheTableShowsIt(t *testing.T) {
	s := script(t, Config{Loops: 1, Info: ordered})
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("TYPE *", testnode.Error("NOPERM this user has no permissions to run the 'type' command"))
		keysBySlot(n, "")
		if n == s.next {
			s.set.OpenSlot(s.slot, i)
		}
	}
	keysBySlot(s.owner, "{t}a")
	keysBySlot(s.next, "{t}b")
	s.until("the slot is open", func(l *loop) bool { return len(l.table.Open) == 1 })
	want := map[string]bool{"{t}a": true, "{t}b": true}
	wantAll(t, "SCAN", s.sweep([]string{"SCAN"}, nil, nil), want)
	wantAll(t, "KEYS", counted(texts(s.ask("KEYS", "*"))), want)
}

func TestKeysGivesEachKeyOnceToAUserWithoutCluster(t *testing.T) {
	s := script(t, Config{Loops: 1, Info: inTable})
	x := tagOf(s, s.owner, 0)
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("HELLO", introduces("7.0.0"))
		n.Every("CLUSTER COUNTKEYSINSLOT *", testnode.Error("NOPERM this user has no permissions to run the 'cluster|countkeysinslot' command"))
		n.Every("CLUSTER NODES", testnode.Default())
		n.Every("TYPE *", testnode.Raw("+none\r\n"))
		n.Every("SCAN ...", testnode.Raw(pageOf(0, nil)))
	}
	s.owner.Every("SCAN ...", testnode.Answer(func(c testnode.Command) string {
		if c.Args[1] == "0" {
			return pageOf(5, []string{"{t}a", x, "{t}b"})
		}
		return pageOf(0, []string{x, "{t}a", "{t}c"})
	}))
	got := counted(texts(s.ask("KEYS", "*")))
	wantAll(t, "KEYS", got, map[string]bool{"{t}a": true, "{t}b": true, "{t}c": true, x: true})
	for key, n := range got {
		if n > 1 {
			t.Errorf("KEYS has %s %d times", key, n)
		}
	}
}

func TestARandomKeyIsNotWhatIsLeftOfAMove(t *testing.T) {
	for _, tc := range []struct {
		name, owner, kind, want string
	}{
		{"the owner has another", "{t}new", "none", "$6\r\n{t}new"},
		{"it is nowhere else", "", "none", "$-1"},
		{"it is just arriving", "", "string", "$6\r\n{t}old"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1})
			for i := range 3 {
				s.set.Node(i).Every("RANDOMKEY", testnode.Raw("$-1\r\n"))
				s.set.Node(i).Every("DBSIZE", number(1000))
			}
			s.owner.Every("TYPE {t}old", testnode.Raw("+"+tc.kind+"\r\n"))
			s.next.Every("RANDOMKEY", testnode.Bulk("{t}old"))
			if tc.owner != "" {
				s.owner.Every("RANDOMKEY", testnode.Bulk(tc.owner))
			}
			for range 10 {
				s.send("RANDOMKEY")
				s.want(tc.want)
			}
		})
	}
}

func TestACursorHoldsAllOfAPlace(t *testing.T) {
	for _, p := range []place{
		{slot: 0, tag: 1}, {slot: 5}, {slot: router.Slots - 1, target: true, tag: 1<<tagBits - 1}, {slot: 7, target: true, tag: 3, cursor: 9},
		{slot: 7, wide: true, tag: 3, cursor: 9}, {slot: 7, leaving: true, tag: 3, cursor: 1<<32 - 1}, {slot: 7, tag: 3, cursor: 1},
	} {
		if n := p.encode(); n>>63 != 0 || decodePlace(n) != p {
			t.Errorf("%+v: cursor %d is %+v", p, n, decodePlace(n))
		}
	}
	if n := (place{slot: router.Slots}).encode(); n != 0 {
		t.Errorf("the end is %d, want 0", n)
	}
}
