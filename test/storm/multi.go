package storm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"slotproxy/test/wire"
)

func wantStatus(text string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.Kind == '+' && v.Text == text {
			return ""
		}
		return fmt.Sprintf("got %s, want +%s", v, text)
	}
}

func wantError(text string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.IsError() && v.Text == text {
			return ""
		}
		return fmt.Sprintf("got %s, want -%s", v, text)
	}
}

func wantErrorPrefix(code string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.IsError() && strings.HasPrefix(v.Text, code+" ") {
			return ""
		}
		return fmt.Sprintf("got %s, want -%s ...", v, code)
	}
}

// wantAll compares an array element by element.
func wantAll(checks ...func(wire.Value) string) func(wire.Value) string {
	return func(v wire.Value) string {
		if v.Kind != '*' || v.Null || len(v.Elems) != len(checks) {
			return fmt.Sprintf("got %s, want %d elements", v, len(checks))
		}
		for i, e := range v.Elems {
			if problem := checks[i](e); problem != "" {
				return fmt.Sprintf("element %d: %s", i, problem)
			}
		}
		return ""
	}
}

// block is a transaction: its commands are queued, then end is said.
func block(end string, reply func(wire.Value) string, queued ...[]string) []step {
	out := []step{{[]string{"MULTI"}, wantOK}}
	for _, args := range queued {
		out = append(out, step{args, wantStatus("QUEUED")})
	}
	return append(out, step{[]string{end}, reply})
}

// newMulti: transactions over the keys of one slot, among single commands on the same keys. One that was discarded, or that holds a
// command which could not be queued, leaves no trace; one in which a command fails does the rest.
func newMulti(p *place, _ *shared) class {
	a, b, n := "", "", ""
	count, round := int64(0), 0
	q := &rounds{drop: func() { a = "" }}
	q.round = func() (out []step) {
		if round++; a == "" || round%200 == 0 {
			k := p.fresh()
			a, b, n, count = k+"a", k+"b", k+"n", 0
		}
		va, vb := fmt.Sprintf("%s=%d", a, round), fmt.Sprintf("%s=%d", b, round)
		set := []string{"MSET", a, va, b, vb}
		count++
		out = block("EXEC", wantAll(wantOK, wantInt(count), wantBulk(va)), set, []string{"INCR", n}, []string{"GET", a})
		never := []string{"SET", a, "never"}
		switch round % 8 {
		case 1:
			out = append(out, block("DISCARD", wantOK, never, []string{"INCR", n})...)
		case 3:
			broken := block("EXEC", wantError("EXECABORT Transaction discarded because of previous errors."), never, []string{"INCR", n})
			wrong := step{[]string{"SET", a}, wantError("ERR wrong number of arguments for 'set' command")}
			out = append(out, broken[0], broken[1], wrong, broken[2], broken[3])
		case 5:
			count++
			out = append(out, block("EXEC", wantAll(wantBulk("inside"), wantErrorPrefix("WRONGTYPE"), wantInt(count)),
				[]string{"ECHO", "inside"}, []string{"LPUSH", a, "x"}, []string{"INCR", n})...)
		case 6:
			out = append(out, block("EXEC", wantAll())...)
		}
		count++
		return append(out,
			step{[]string{"INCR", n}, wantInt(count)},
			step{[]string{"MGET", a, b}, wantList([]string{va, vb})})
	}
	return q
}

// watcher adds one to counters that all clients of the class share, by WATCH, GET and a transaction that sets the sum. A nil EXEC is
// tried again; in the end a counter is the number of transactions that went through.
type watcher struct {
	place *place
	sh    *shared
	last  []int64
	since time.Time // of the last success; zero: none yet
}

func newWatcher(p *place, sh *shared) *watcher {
	return &watcher{place: p, sh: sh, last: make([]int64, len(sh.keys))}
}

func (w *watcher) reset() { w.sh.doubt.Store(true) }

// mostLost is how long transactions may keep coming to nothing: contention of a few clients and a slot that rests half moved for a
// second explain much less.
const mostLost = 10 * time.Second

func (w *watcher) turn(_ context.Context, t *talker) (bool, error) {
	i := w.place.rnd.IntN(len(w.sh.keys))
	key := w.sh.keys[i]
	n := int64(0)
	_, err := t.ask(step{[]string{"WATCH", key}, wantOK}, step{[]string{"GET", key}, func(v wire.Value) string {
		if !v.Null {
			n, _ = strconv.ParseInt(v.Text, 10, 64)
		}
		if v.IsError() || n < w.last[i] {
			return fmt.Sprintf("got %s, want %d or more", v, w.last[i])
		}
		return ""
	}})
	if err != nil {
		return false, err
	}
	switch w.place.rnd.IntN(20) {
	case 0:
		_, err = t.ask(step{[]string{"UNWATCH"}, wantOK})
		return true, err
	case 1:
		_, err = t.ask(block("DISCARD", wantOK, []string{"SET", key, "-1"})...)
		return true, err
	}
	done := false
	_, err = t.ask(block("EXEC", func(v wire.Value) string {
		if v.Null {
			return ""
		}
		done = true
		return wantAll(wantOK)(v)
	}, []string{"SET", key, strconv.FormatInt(n+1, 10)})...)
	if err != nil {
		return false, err
	}
	now := time.Now()
	switch {
	case done:
		w.last[i], w.since = n+1, now
		w.sh.acked[i].Add(1)
	case w.since.IsZero():
		w.since = now
	case now.Sub(w.since) > mostLost:
		t.violate(fmt.Sprintf("no EXEC went through for %v", mostLost))
		w.since = now
	}
	return true, nil
}
