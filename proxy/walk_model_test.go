package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testnode"
	"slotproxy/resp"
	"slotproxy/router"
)

// moving is a model of two nodes between which one slot goes to and fro. It takes a step of a move, or several, now and then
// before a node looks at a command that concerns the slot, so in a short time a walk meets every step at every place. What a
// walk does not promise to see, a slot that goes away and comes back while one page is asked for, does not happen.
type moving struct {
	t       *testing.T
	set     *testnode.Set
	ordered bool
	atomic  bool
	hot     int // the slot
	odds    int // a step is taken once in so many commands

	mu    sync.Mutex
	rnd   *rand.Rand
	keys  map[string]int // where each is
	names []string       // of the keys of all slots, in the order of their slots
	slots map[int][]string
	from  int // who has the slot, or had it at the beginning of the move
	phase int
	owner [2]int // of the slot, as each node sees it
	steps int

	passed int         // commands
	recent [within]int // steps before the last of them
}

const (
	atRest = iota
	opened
	handedOver // the target knows it, the source does not yet
)

func newMoving(t *testing.T, m *moving, seed uint64) (addr string) {
	t.Helper()
	m.t, m.set, m.rnd, m.keys = t, testnode.NewSet(t, 2), rand.New(rand.NewPCG(seed, 1)), map[string]int{}
	m.hot = 700 // of the first node, with neighbours on both sides
	for i := range 60 {
		m.add(fmt.Sprintf("k%d", i))
	}
	for slot := m.hot - 20; slot < m.hot+20; slot += 5 {
		for i := range 8 {
			m.add(fmt.Sprintf("{%s}%d", slotTags()[slot], i))
		}
	}
	slices.SortStableFunc(m.names, func(a, b string) int { return slotOf(a) - slotOf(b) })
	m.slots = map[int][]string{}
	for _, k := range m.names {
		m.slots[slotOf(k)] = append(m.slots[slotOf(k)], k)
	}
	version := "7.0.0"
	if m.ordered {
		version = "8.0.0"
	}
	for i := range 2 {
		n := m.set.Node(i)
		n.Every("HELLO", introduces(version))
		n.Every("SCAN ...", testnode.Answer(func(c testnode.Command) string { return m.scan(i, c.Args) }))
		n.Every("TYPE *", testnode.Answer(func(c testnode.Command) string { return m.kind(i, c.Args[1], c.Asking) }))
		n.Every("CLUSTER COUNTKEYSINSLOT *", testnode.Answer(func(c testnode.Command) string {
			return fmt.Sprintf(":%d\r\n", len(m.inSlot(i, c.Args[2])))
		}))
		n.Every("CLUSTER GETKEYSINSLOT * *", testnode.Answer(func(c testnode.Command) string {
			return string(bulks(m.inSlot(i, c.Args[2])))
		}))
	}
	_, addr = serve(t, Config{Loops: 1, Info: func() ServerFace { return ServerFace{Name: "redis", Version: version} }}, m.set.Addrs()...)
	return addr
}

// introduces is the reply of a node of this version to HELLO.
func introduces(version string) testnode.Action {
	return testnode.Raw(string(bulks([]string{"server", "redis", "version", version})))
}

func (m *moving) add(key string) {
	m.names = append(m.names, key)
	m.keys[key] = 0
	if slotOf(key) >= router.Slots/2 {
		m.keys[key] = 1
	}
}

func bulks(keys []string) []byte {
	b := resp.AppendArray(nil, len(keys))
	for _, k := range keys {
		b = resp.AppendBulkString(b, k)
	}
	return b
}

const (
	// within is more commands than concern the slot from the first to the last about one page, or from its source to its
	// target.
	within = 14
	// mostSteps is how many steps there are within so many commands: one less than lead from a node that has just handed the
	// slot over to the same node when it begins to do so again. So it does not go and come back within them.
	mostSteps = 8
)

// passLocked lets steps happen, or not. The caller holds mu.
func (m *moving) passLocked() {
	at := m.passed % within
	m.passed++
	m.recent[at] = 0
	allowed := mostSteps
	for _, n := range m.recent {
		allowed -= n
	}
	if m.atomic { // one step leads there, the next one back
		allowed = allowed / mostSteps
	}
	if allowed <= 0 || m.rnd.IntN(m.odds) > 0 {
		return
	}
	for range 1 + m.rnd.IntN(allowed) {
		m.stepLocked()
		m.recent[at]++
	}
}

func (m *moving) stepLocked() {
	m.steps++
	to := 1 - m.from
	switch {
	case m.atomic:
		m.moveKeys(len(m.keys), to)
		m.owner = [2]int{to, to}
		m.set.Give(m.hot, to)
		m.from = to
	case m.phase == atRest:
		m.set.OpenSlot(m.hot, to)
		m.phase = opened
	case m.phase == opened:
		if m.moveKeys(2, to) == 0 {
			m.owner[to], m.phase = to, handedOver
		}
	default:
		m.owner[m.from] = to
		m.set.Give(m.hot, to)
		m.from, m.phase = to, atRest
	}
}

func (m *moving) moveKeys(most, to int) (moved int) {
	for _, k := range m.slots[m.hot] {
		if m.keys[k] != to && moved < most {
			m.keys[k] = to
			moved++
		}
	}
	return moved
}

func (m *moving) inSlot(at int, number string) (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slot, _ := strconv.Atoi(number)
	if slot == m.hot {
		m.passLocked()
	}
	for _, k := range m.slots[slot] {
		if m.keys[k] == at {
			keys = append(keys, k)
		}
	}
	return keys
}

// kind answers TYPE, with a redirect if need be.
func (m *moving) kind(at int, key string, asking bool) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	slot := slotOf(key)
	where, known := m.keys[key]
	here := known && where == at
	if slot == m.hot {
		m.passLocked()
		here = known && m.keys[key] == at
		switch importing := m.phase == opened && at != m.from; {
		case m.owner[at] != at && !(importing && asking):
			return fmt.Sprintf("-MOVED %d %s\r\n", slot, m.set.Node(m.owner[at]).Addr())
		case m.phase != atRest && at == m.from && !here:
			return fmt.Sprintf("-ASK %d %s\r\n", slot, m.set.Node(1-at).Addr())
		}
	} else if owner := slot / (router.Slots / 2); owner != at {
		return fmt.Sprintf("-MOVED %d %s\r\n", slot, m.set.Node(owner).Addr())
	}
	if here {
		return "+string\r\n"
	}
	return "+none\r\n"
}

// scan answers SCAN as a server does that keeps its keys by slot, or in one table. The place of a key in a table is the same
// on both nodes.
func (m *moving) scan(at int, args []string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passLocked()
	cursor, _ := strconv.Atoi(args[1])
	slot, inner, count, match := 0, cursor, 10, "*"
	if m.ordered {
		slot, inner = cursor%router.Slots, cursor/router.Slots
	}
	for i := 2; i+1 < len(args); i += 2 {
		if strings.EqualFold(args[i], "count") {
			count, _ = strconv.Atoi(args[i+1])
		} else if strings.EqualFold(args[i], "match") {
			match = args[i+1]
		}
	}
	var page, taken []string // looked at, and such as match
	for i, k := range m.names {
		s := slotOf(k)
		switch {
		case m.keys[k] != at, m.ordered && (s < slot || s == slot && i < inner), !m.ordered && i < inner:
			continue
		case len(page) < count:
			page = append(page, k)
			if globMatch([]byte(match), []byte(k)) {
				taken = append(taken, k)
			}
			continue
		case m.ordered && i > 0 && s == slotOf(page[len(page)-1]):
			return pageOf(i*router.Slots+s, taken)
		case m.ordered:
			return pageOf(s, taken)
		}
		return pageOf(i, taken)
	}
	return pageOf(0, taken)
}

func pageOf(cursor int, page []string) string {
	return "*2\r\n" + string(resp.AppendBulkString(nil, itoa(cursor))) + string(bulks(page))
}

// modelTime is how long each row runs: code that proves only behind a page, or takes the way back for the way to the target, is
// found in a tenth of it.
const modelTime = 2 * time.Second

func TestNoStepOfAMoveHidesAKeyFromASweep(t *testing.T) {
	for _, tc := range []struct {
		name            string
		ordered, atomic bool
	}{
		{"servers that keep keys by slot", true, false},
		{"servers that keep keys by slot and move slots at once", true, true},
		{"servers that keep keys in one table", false, false},
		{"servers that keep keys in one table and move slots at once", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, seed := &moving{ordered: tc.ordered, atomic: tc.atomic, odds: 3}, uint64(time.Now().UnixNano())
			c := connect(t, newMoving(t, m, seed))
			all, pattern := map[string]bool{}, "{"+slotTags()[m.hot]+"}*"
			for _, k := range m.names {
				all[k] = true
			}
			for start, round := time.Now(), 0; time.Since(start) < modelTime && !t.Failed(); round++ {
				m.mu.Lock()
				m.odds = []int{2, 3, 5, 10}[round/4%4]
				m.mu.Unlock()
				want, match := all, "*"
				if round/16%2 > 0 { // quicker, as it goes to the one slot at once
					want, match = only(all, pattern[:len(pattern)-1]), pattern
				}
				count := []string{"3", "20", "5000", ""}[round%4]
				what := fmt.Sprintf("round %d, seed %d, steps once in %d, COUNT %q, MATCH %s", round, seed, m.odds, count, match)
				if count != "" {
					wantAll(t, what, c.sweep([]string{"SCAN"}, []string{"COUNT", count, "MATCH", match}, nil), want)
					continue
				}
				got := counted(texts(c.ask("KEYS", match)))
				wantAll(t, what+", KEYS", got, want)
				for key, n := range got {
					if n > 1 {
						t.Errorf("%s: KEYS has %s %d times", what, key, n)
					}
				}
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.steps < 10 {
				t.Errorf("%d steps of moves, want many", m.steps)
			}
		})
	}
}
