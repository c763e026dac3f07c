package storm

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"slotproxy/test/wire"
)

// fixedKeys is the number of keys that every sweep must see; half of them lie in hot slots.
const fixedKeys = 4000

// fixed are these keys; each ends with its number.
func (o *Options) fixed() []string {
	keys := make([]string, fixedKeys)
	for i := range keys {
		slot := uint16(i * (slots / fixedKeys))
		if i%2 == 0 {
			slot = o.Hot[i%len(o.Hot)]
		}
		keys[i] = fmt.Sprintf("{%s}%s:fixed:%d", Tag(slot), o.Name, i)
	}
	return keys
}

// sweeper runs SCAN from one end to the other, again and again, while keys come and go around the fixed ones.
type sweeper struct {
	place *place
	name  string // of the run

	cursor string
	more   []string // arguments after the cursor, the same for one sweep
	seen   [fixedKeys]bool
	left   int // fixed keys not seen yet
	calls  int
	sweeps int
}

func newSweeper(p *place, name string) *sweeper {
	s := &sweeper{place: p, name: name}
	s.reset()
	return s
}

func (s *sweeper) reset() {
	s.cursor, s.seen, s.left, s.calls = "0", [fixedKeys]bool{}, fixedKeys, 0
	s.more = nil
	if n := s.place.rnd.IntN(4); n > 0 {
		s.more = append(s.more, "COUNT", []string{"", "100", "1000", "5000"}[n])
	}
	switch s.place.rnd.IntN(4) {
	case 0:
		s.more = append(s.more, "MATCH", "*"+s.name+":fixed:*")
	case 1:
		s.more = append(s.more, "TYPE", "string")
	}
}

// mostCalls is more than any sweep needs: as many calls as there are slots, and the keys ten by ten.
const mostCalls = 100_000

func (s *sweeper) turn(ctx context.Context, t *talker) (bool, error) {
	if ctx.Err() != nil && s.sweeps > 0 {
		return true, nil
	}
	_, err := t.ask(step{append([]string{"SCAN", s.cursor}, s.more...), s.check})
	if err != nil || s.cursor != "0" {
		return false, err
	}
	s.sweeps++
	s.reset()
	return true, nil
}

func (s *sweeper) check(v wire.Value) string {
	if v.Kind != '*' || len(v.Elems) != 2 || v.Elems[0].Kind != '$' || v.Elems[1].Kind != '*' {
		return fmt.Sprintf("got %s, want a cursor and keys", v)
	}
	if cursor, err := strconv.ParseUint(v.Elems[0].Text, 10, 64); err != nil || cursor>>63 != 0 {
		return fmt.Sprintf("cursor %s does not fit 63 bits", v.Elems[0])
	}
	for _, key := range v.Elems[1].Elems {
		_, number, ok := strings.Cut(key.Text, s.name+":fixed:")
		if !ok {
			continue
		}
		if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < fixedKeys && !s.seen[i] {
			s.seen[i] = true
			s.left--
		}
	}
	s.calls++
	s.cursor = v.Elems[0].Text
	switch {
	case s.cursor != "0" && s.calls > mostCalls:
		return fmt.Sprintf("no end after %d calls", s.calls)
	case s.cursor == "0" && s.left > 0:
		return fmt.Sprintf("the sweep %q missed %d of %d keys, slots %v", s.more, s.left, fixedKeys, s.missing())
	}
	return ""
}

// missing are the slots of the first keys that were not seen.
func (s *sweeper) missing() []uint16 {
	const most = 10 // enough to see whether they are the hot ones
	var out []uint16
	o := Options{Hot: s.place.hot, Name: s.name}
	for i, key := range o.fixed() {
		if !s.seen[i] && len(out) < most {
			out = append(out, Slot(key[1:strings.IndexByte(key, '}')]))
		}
	}
	return out
}
