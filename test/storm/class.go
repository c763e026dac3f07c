package storm

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"slotproxy/test/wire"
)

// step is one command with the check of its reply; check returns "" or what is wrong, also about an error reply.
type step struct {
	args  []string
	check func(wire.Value) string
}

// class yields the commands of one client, one at a time, for ever. reset forgets every expectation after an error: the next
// step must not depend on what came before, so it uses new keys.
type class interface {
	next() step
	reset()
}

// place chooses where a client's keys lie.
type place struct {
	rnd  *rand.Rand
	hot  []uint16
	name string // unique per run, class and client: keys of different clients never meet
	n    int
	home uint16 // the slot of a client that stays, a busy one
	stay bool   // half of the clients stay in one slot: their commands are surely in flight when it opens
}

// fresh is a key prefix never used before, in a hot slot; every key that begins with it lies in that slot.
func (p *place) fresh() string {
	slot := p.home
	if !p.stay {
		slot = p.hot[p.rnd.IntN(len(p.hot))]
	}
	return p.in(slot)
}

func (p *place) in(slot uint16) string {
	p.n++
	return fmt.Sprintf("{%s}%s:%d", Tag(slot), p.name, p.n)
}

// scattered is a fresh key, in a hot slot or anywhere, half and half.
func (p *place) scattered() string {
	if p.rnd.IntN(2) == 0 {
		return p.in(p.hot[p.rnd.IntN(len(p.hot))])
	}
	return p.in(uint16(p.rnd.IntN(slots)))
}

func wantInt(n int64) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.Kind == ':' && v.Int == n {
			return ""
		}
		return fmt.Sprintf("got %s, want :%d", v, n)
	}
}

func wantOK(v wire.Value) string {
	if v.Kind == '+' && v.Text == "OK" {
		return ""
	}
	return fmt.Sprintf("got %s, want +OK", v)
}

func wantBulk(s string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.Kind == '$' && !v.Null && v.Text == s {
			return ""
		}
		return fmt.Sprintf("got %s, want %q", v, s[:min(len(s), 80)])
	}
}

// wantList compares an array of bulks; "\x00" in want stands for a null.
func wantList(want []string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.Kind != '*' || v.Null || len(v.Elems) != len(want) {
			return fmt.Sprintf("got %s, want %d elements", v, len(want))
		}
		for i, e := range v.Elems {
			switch {
			case want[i] == null && e.Null:
			case want[i] != null && !e.Null && e.Text == want[i]:
			default:
				return fmt.Sprintf("element %d: got %s, want %q", i, e, want[i])
			}
		}
		return ""
	}
}

const null = "\x00"

// rounds turns rounds of several commands into a stream of single ones.
type rounds struct {
	steps []step
	round func() []step
	drop  func()
}

func (q *rounds) next() step {
	if len(q.steps) == 0 {
		q.steps = q.round()
	}
	s := q.steps[0]
	q.steps = q.steps[1:]
	return s
}

func (q *rounds) reset() {
	q.steps = nil
	if q.drop != nil {
		q.drop()
	}
}

// newCounter: INCR on one key counts by one, whatever happens to its slot. Sooner or later the key is deleted, which must tell
// that it was there, and the client goes to another.
func newCounter(p *place, _ *shared) class {
	const most = 20000 // INCRs before a new key; a client that stays keeps its key through several moves of its slot
	key, n := "", int64(0)
	q := &rounds{drop: func() { key = "" }}
	q.round = func() []step {
		if key == "" {
			key, n = p.fresh(), 0
		}
		if n == most || !p.stay && n > 0 && n%1000 == 0 {
			old := key
			key, n = p.fresh(), 0
			return []step{{[]string{"DEL", old}, wantInt(1)}}
		}
		n++
		return []step{{[]string{"INCR", key}, wantInt(n)}}
	}
	return q
}

// newPair: SET, GET pairs in one pipeline; a GET sees the SET before it and no later one.
func newPair(p *place, _ *shared) class {
	key, n := "", 0
	q := &rounds{drop: func() { key = "" }}
	q.round = func() []step {
		if key == "" || n%500 == 499 {
			key = p.fresh()
		}
		n++
		value := p.name + "|" + strconv.Itoa(n)
		return []step{
			{[]string{"SET", key, value}, wantOK},
			{[]string{"GET", key}, wantBulk(value)},
			{[]string{"APPEND", key, "+"}, wantInt(int64(len(value) + 1))},
			{[]string{"GET", key}, wantBulk(value + "+")},
		}
	}
	return q
}

// newOneSlot: multi-key commands on new keys of one slot, the ones that a half-moved slot answers with TRYAGAIN, between
// single-key commands on the same keys, which it does not.
func newOneSlot(p *place, _ *shared) class {
	q := &rounds{}
	q.round = func() []step {
		k := p.fresh()
		a, b, c := k+"a", k+"b", k+"c"
		va, vb, vc := a+"=1", b+"=1", c+"=1"
		return []step{
			{[]string{"DEL", a, b, c}, wantInt(0)},
			{[]string{"MSET", a, va, b, vb, c, vc}, wantOK},
			{[]string{"APPEND", b, "+"}, wantInt(int64(len(vb) + 1))},
			{[]string{"MGET", a, b, c}, wantList([]string{va, vb + "+", vc})},
			{[]string{"SET", c, "new"}, wantOK},
			{[]string{"EXISTS", a, b, c, a}, wantInt(4)},
			{[]string{"MGET", c, a}, wantList([]string{"new", va})},
			{[]string{"RENAME", a, b}, wantOK},
			{[]string{"MGET", a, b}, wantList([]string{null, va})},
			{[]string{"DEL", b, c}, wantInt(2)},
		}
	}
	return q
}

// newSpread: multi-key commands over many slots, which a proxy has to take apart and put together again.
func newSpread(p *place, _ *shared) class {
	const width = 8
	q := &rounds{}
	q.round = func() []step {
		keys, values, nulls := make([]string, width), make([]string, width), make([]string, width)
		mset := []string{"MSET"}
		for i := range keys {
			keys[i] = p.scattered()
			values[i] = "v:" + keys[i]
			nulls[i] = null
			mset = append(mset, keys[i], values[i])
		}
		with := func(name string) []string { return append([]string{name}, keys...) }
		return []step{
			{mset, wantOK},
			{with("MGET"), wantList(values)},
			{with("EXISTS"), wantInt(width)},
			{[]string{"APPEND", keys[3], "!"}, wantInt(int64(len(values[3]) + 1))},
			{with("TOUCH"), wantInt(width)},
			{[]string{"GET", keys[3]}, wantBulk(values[3] + "!")},
			{with([]string{"DEL", "UNLINK"}[p.n%2]), wantInt(width)},
			{with("MGET"), wantList(nulls)},
		}
	}
	return q
}

// bigBody is shared by all big values; each begins with its own header, so a mix-up shows.
var bigBody = func() string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}()

// newBig: values of 1 MiB there and back.
func newBig(p *place, _ *shared) class {
	q := &rounds{}
	q.round = func() []step {
		key := p.fresh()
		head := key + "|" + strconv.Itoa(p.rnd.IntN(1<<30)) + "|"
		value := head + bigBody[len(head):]
		return []step{
			{[]string{"SET", key, value}, wantOK},
			{[]string{"GET", key}, wantBulk(value)},
			{[]string{"GETRANGE", key, "0", strconv.Itoa(len(head) - 1)}, wantBulk(head)},
			{[]string{"STRLEN", key}, wantInt(int64(len(value)))},
			{[]string{"DEL", key}, wantInt(1)},
		}
	}
	return q
}

// newList: pushes to both ends; each reply is the length, and the list itself shows the order at the end.
func newList(p *place, _ *shared) class {
	const pushes = 40
	q := &rounds{}
	q.round = func() []step {
		key := p.fresh()
		var left, right []string
		out := make([]step, 0, pushes+3)
		for i := range pushes {
			x := strconv.Itoa(i)
			cmd := "RPUSH"
			if p.rnd.IntN(2) == 0 {
				cmd, left = "LPUSH", append([]string{x}, left...)
			} else {
				right = append(right, x)
			}
			out = append(out, step{[]string{cmd, key, x}, wantInt(int64(i + 1))})
		}
		all := append(left, right...)
		return append(out,
			step{[]string{"LRANGE", key, "0", "-1"}, wantList(all)},
			step{[]string{"LPOP", key}, wantBulk(all[0])},
			step{[]string{"DEL", key}, wantInt(1)})
	}
	return q
}

// newShared: counters that all clients of the class share. One client's replies only rise, and in the end the counter is the
// number of acknowledged INCRs.
func newShared(p *place, s *shared) class {
	last := make([]int64, len(s.keys))
	q := &rounds{}
	q.drop = func() { s.doubt.Store(true) }
	q.round = func() []step {
		i := p.rnd.IntN(len(s.keys))
		return []step{{[]string{"INCR", s.keys[i]}, func(v wire.Value) string {
			if v.Kind != ':' || v.Int <= last[i] {
				return fmt.Sprintf("got %s, want more than :%d", v, last[i])
			}
			last[i] = v.Int
			s.acked[i].Add(1)
			return ""
		}}}
	}
	return q
}

// nonce is a PING or ECHO that only its own reply can answer.
func nonce(p *place) step {
	text := p.name + "|" + strconv.FormatUint(p.rnd.Uint64(), 36)
	name := "PING"
	if strings.HasSuffix(text, "a") || strings.HasSuffix(text, "b") {
		name = "ECHO"
	}
	return step{[]string{name, text}, wantBulk(text)}
}
