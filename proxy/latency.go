package proxy

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"slotproxy/resp"
)

// historyLength is how many samples of an event a server keeps.
const historyLength = 160

// mergeEvents makes one list of the events of all primaries: [name, time, latest, maximum, ...] each.
func mergeEvents(r *request, dst []byte) ([]byte, bool) {
	events, ok := r.entries(4)
	if !ok {
		return dst, false
	}
	var all []value
	for _, e := range events {
		i := slices.IndexFunc(all, func(have value) bool { return bytes.Equal(have.elems[0].text, e.elems[0].text) })
		if i < 0 {
			all = append(all, e)
		} else {
			all[i] = joinEvents(all[i], e)
		}
	}
	return appendFirst(dst, all, len(all)), true
}

// entries are the elements of the lists of all primaries, each of which has at least so many values.
func (r *request) entries(atLeast int) ([]value, bool) {
	lists, ok := r.values()
	if !ok {
		return nil, false
	}
	var all []value
	for _, list := range lists {
		for _, e := range list.elems {
			if len(e.elems) < atLeast {
				return nil, false
			}
			all = append(all, e)
		}
	}
	return all, true
}

// joinEvents takes the newer latest sample and the larger maximum; what a later server adds is a sum.
func joinEvents(a, b value) value {
	if b.elems[1].int() > a.elems[1].int() {
		a, b = b, a
	}
	for i := 3; i < min(len(a.elems), len(b.elems)); i++ {
		n := a.elems[i].int() + b.elems[i].int()
		if i == 3 {
			n = max(a.elems[i].int(), b.elems[i].int())
		}
		a.elems[i].setInt(n)
	}
	return a
}

// mergeHistory makes one history of [time, latency] pairs, oldest first.
func mergeHistory(r *request, dst []byte) ([]byte, bool) {
	all, ok := r.entries(2)
	if !ok {
		return dst, false
	}
	slices.SortStableFunc(all, func(a, b value) int { return cmp.Compare(a.elems[0].int(), b.elems[0].int()) })
	all = all[max(0, len(all)-historyLength):]
	return appendFirst(dst, all, len(all)), true
}

// mergeHistogram adds up the histograms of each command. They are cumulative: calls up to so many microseconds.
func mergeHistogram(r *request, dst []byte) ([]byte, bool) {
	replies, ok := r.values()
	if !ok {
		return dst, false
	}
	var names []string
	byName := map[string][]value{}
	for _, reply := range replies {
		for i := 0; i+1 < len(reply.elems); i += 2 {
			name := string(reply.elems[i].text)
			if byName[name] == nil {
				names = append(names, name)
			}
			byName[name] = append(byName[name], reply.elems[i+1])
		}
	}
	proto := r.sess.profile.key.proto
	dst = resp.AppendMap(dst, len(names), proto)
	for _, name := range names {
		dst = resp.AppendBulkString(dst, name)
		dst = appendHistogram(dst, byName[name], proto)
	}
	return dst, true
}

func appendHistogram(dst []byte, nodes []value, proto int) []byte {
	var calls int64
	var bounds []int64
	var steps [][]value
	for i := range nodes {
		if n := nodes[i].get("calls"); n != nil {
			calls += n.int()
		}
		h := nodes[i].get("histogram_usec")
		if h == nil {
			continue
		}
		steps = append(steps, h.elems)
		for at := 0; at+1 < len(h.elems); at += 2 {
			bounds = append(bounds, h.elems[at].int())
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	dst = resp.AppendMap(dst, 2, proto)
	dst = resp.AppendBulkString(dst, "calls")
	dst = resp.AppendInt(dst, calls)
	dst = resp.AppendBulkString(dst, "histogram_usec")
	dst = resp.AppendMap(dst, len(bounds), proto)
	for _, bound := range bounds {
		var upTo int64
		for _, h := range steps {
			upTo += cumulative(h, bound)
		}
		dst = resp.AppendInt(dst, bound)
		dst = resp.AppendInt(dst, upTo)
	}
	return dst
}

// cumulative is how many calls of one node took at most so long.
func cumulative(steps []value, bound int64) (n int64) {
	for at := 0; at+1 < len(steps) && steps[at].int() <= bound; at += 2 {
		n = steps[at+1].int()
	}
	return n
}

// mergeTexts joins what primaries have to say, each text once. A primary that has nothing to say, which is an error, is
// left out unless all have nothing.
func mergeTexts(r *request, dst []byte) ([]byte, bool) {
	var texts []string
	for _, p := range r.fan.parts {
		if p.reply[0] == '-' {
			continue
		}
		t, ok := infoText(p.reply)
		if !ok {
			return dst, false
		}
		if !slices.Contains(texts, t) {
			texts = append(texts, t)
		}
	}
	if texts == nil {
		return mergeFirst(r, dst)
	}
	return resp.AppendVerbatim(dst, strings.Join(texts, "\n"), r.sess.profile.key.proto), true
}

// mergeFigures makes one MEMORY STATS of all: sums of bytes and counts, averages of ratios and percentages.
func mergeFigures(r *request, dst []byte) ([]byte, bool) {
	maps, ok := r.values()
	if !ok {
		return dst, false
	}
	total := maps[0]
	addFigures(&total, maps[1:])
	if keys, per, data := total.get("keys.count"), total.get("keys.bytes-per-key"), total.get("dataset.bytes"); keys != nil && per != nil && data != nil {
		n := int64(0)
		if keys.int() > 0 {
			n = data.int() / keys.int()
		}
		per.setInt(n)
	}
	return total.append(dst), true
}

// addFigures adds maps to the first, name by name.
func addFigures(total *value, others []value) {
	for i := 0; i+1 < len(total.elems); i += 2 {
		name, v := string(total.elems[i].text), &total.elems[i+1]
		var same []value
		for o := range others {
			if other := others[o].get(name); other != nil && other.kind == v.kind {
				same = append(same, *other)
			}
		}
		joinFigures(v, same)
	}
	// What only another has: a database that the first has no keys in.
	for o := range others {
		for i := 0; i+1 < len(others[o].elems); i += 2 {
			if name := others[o].elems[i]; total.get(string(name.text)) == nil {
				v := others[o].elems[i+1]
				var rest []value
				for _, later := range others[o+1:] {
					if same := later.get(string(name.text)); same != nil && same.kind == v.kind {
						rest = append(rest, *same)
					}
				}
				joinFigures(&v, rest)
				total.elems = append(total.elems, name, v)
			}
		}
	}
}

func joinFigures(v *value, same []value) {
	switch {
	case aggregate(v.kind):
		addFigures(v, same)
	case v.kind == ':':
		n := v.int()
		for i := range same {
			n += same[i].int()
		}
		v.setInt(n)
	default:
		n := v.number()
		for i := range same {
			n += same[i].number()
		}
		v.text = []byte(strconv.FormatFloat(n/float64(1+len(same)), 'g', 17, 64))
	}
}
