package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// The commands that read keys of several slots: fetch all, combine here. LMPOP and ZMPOP ask one key after the other.

// isWrongType says that a key holds another kind of value than the command wants.
func isWrongType(reply []byte) bool { return bytes.HasPrefix(reply, wrongTypeCode) }

var wrongTypeCode = []byte("-WRONGTYPE ")

func beginSets(e *emulation) { e.fetch(combineSets, "SMEMBERS") }

// combineSets answers SUNION, SINTER, SDIFF and SINTERCARD.
func combineSets(e *emulation, got [][]byte) {
	limit, text := 0, ""
	if e.r.rule.Name == "sintercard" {
		limit, text = limitOption(e.rest())
	}
	if text != "" {
		e.fail(text)
		return
	}
	values := e.values(got)
	if e.failed(values) {
		return
	}
	sets := make([][][]byte, len(values))
	for i, v := range values {
		sets[i] = elements(v)
	}
	var all [][]byte
	switch e.r.rule.Name {
	case "sunion":
		all = unite(sets)
	case "sdiff":
		all = subtract(sets)
	case "sinter":
		all = intersect(sets, 0)
	default:
		e.say(resp.AppendInt(nil, int64(len(intersect(sets, limit)))))
		return
	}
	out := resp.AppendSet(nil, len(all), e.proto())
	for _, m := range all {
		out = resp.AppendBulk(out, m)
	}
	e.say(out)
}

func beginScores(e *emulation) { e.fetch(fetchPlainSets, "ZRANGE", "0", "-1", "WITHSCORES") }

// fetchPlainSets reads the sorted sets, and asks for those that are plain sets, whose members count with score 1.
func fetchPlainSets(e *emulation, got [][]byte) {
	e.scores = make([]scores, len(got))
	plain := false
	for i, g := range got {
		if g[0] != '-' {
			e.scores[i] = scoresOf(g, e.proto())
			continue
		}
		if !isWrongType(g) {
			e.say(clone(g))
			return
		}
		plain = true
		key := e.firstKeyAt(i)
		e.scores[i] = nil
		e.read(key, []byte("SMEMBERS"), key)
	}
	e.next = takePlainSets
	if !plain {
		combineScores(e)
	}
}

// firstKeyAt is the key whose reply stood at place i.
func (e *emulation) firstKeyAt(i int) []byte {
	for k, at := range e.place {
		if at == i {
			return e.key(k)
		}
	}
	return nil
}

func takePlainSets(e *emulation, got [][]byte) {
	if e.failed(got) { // neither: the keys were asked in their order, so it is the error that a server gives
		return
	}
	for i := range e.scores {
		if e.scores[i] != nil {
			continue
		}
		e.scores[i] = make(scores, 0)
		for _, m := range elements(got[0]) {
			e.scores[i] = append(e.scores[i], scored{member: m, score: 1})
		}
		got = got[1:]
	}
	combineScores(e)
}

// combineScores answers ZUNION, ZINTER, ZDIFF and ZINTERCARD.
func combineScores(e *emulation) {
	name := e.r.rule.Name
	o, text := scoreOptions(name, e.rest(), len(e.keys))
	if text != "" {
		e.fail(text)
		return
	}
	sources := make([]source, len(e.place))
	for i, at := range e.place {
		sources[i] = source{scores: e.scores[at], weight: o.weight(i)}
	}
	var all scores
	switch name {
	case "zunion":
		all = uniteScores(sources, o.join)
	case "zdiff":
		all = subtractScores(sources)
	default:
		all = intersectScores(sources, o.join)
	}
	if name == "zintercard" {
		n := len(all)
		if o.limit > 0 {
			n = min(n, o.limit)
		}
		e.say(resp.AppendInt(nil, int64(n)))
		return
	}
	all.sort()
	e.say(all.reply(o.withScores, e.proto(), e.l.p.cfg.Info()))
}

func beginPFCount(e *emulation) { e.fetch(combineCounts, "GET") }

func combineCounts(e *emulation, got [][]byte) {
	var all registers
	for _, v := range e.values(got) {
		switch {
		case v[0] == '-':
			e.say(clone(v))
			return
		case isNull(v):
		default:
			if text := all.merge(scalar(v)); text != "" {
				e.fail(text)
				return
			}
		}
	}
	e.say(resp.AppendInt(nil, int64(all.count())))
}

func beginLCS(e *emulation) { e.fetch(combineLCS, "GET") }

func combineLCS(e *emulation, got [][]byte) {
	var texts [2][]byte
	for i, v := range e.values(got)[:2] {
		switch {
		case isWrongType(v):
			e.fail(errTextLCSType)
			return
		case v[0] == '-':
			e.say(clone(v))
			return
		case !isNull(v):
			texts[i] = scalar(v)
		}
	}
	o, text := lcsOptions(e.args[3:])
	if text == "" && (len(texts[0])+1)*(len(texts[1])+1) > e.l.limits.EmulateBytes/4 {
		text = errTextEmulateBytes
	}
	if text != "" {
		e.fail(text)
		return
	}
	e.say(lcs(texts[0], texts[1], o, e.proto()))
}

// beginXRead asks for each stream by itself.
func beginXRead(e *emulation) {
	n := len(e.keys)
	for i := range n {
		at := e.keys[i]
		args := append(append([][]byte(nil), e.args[:e.keys[0]]...), e.args[at], e.args[at+n])
		e.read(e.args[at], args...)
	}
	e.next = joinStreams
}

// joinStreams puts the streams that have something new one behind the other.
func joinStreams(e *emulation, got [][]byte) {
	if e.failed(got) {
		return
	}
	total, body := 0, []byte(nil)
	for _, g := range got {
		if isNull(g) {
			continue
		}
		_, count, at, ok := resp.AggHeader(g)
		if !ok {
			e.fail(repliesDiffer(e.r.rule))
			return
		}
		total += count
		body = append(body, g[at:]...)
	}
	switch {
	case total == 0:
		e.say(resp.AppendNullArray(nil, e.proto()))
	case e.proto() == 3:
		e.say(append(resp.AppendMap(nil, total, 3), body...))
	default:
		e.say(append(resp.AppendArray(nil, total), body...))
	}
}

func beginPop(e *emulation) {
	key := e.key(e.at)
	e.write(key, append([][]byte{e.args[0], []byte("1"), key}, e.rest()...)...)
	e.next = popped
}

// popped goes on with the next key while there was nothing to pop.
func popped(e *emulation, got [][]byte) {
	e.at++
	if !isNull(got[0]) || e.at == len(e.keys) {
		e.say(clone(got[0]))
		return
	}
	e.forget()
	beginPop(e)
}

// limitOption reads LIMIT as a server does.
func limitOption(args [][]byte) (limit int, text string) {
	for ; len(args) > 0; args = args[2:] {
		if len(args) < 2 || !bytes.EqualFold(args[0], []byte("limit")) {
			return 0, errTextSyntax
		}
		n, ok := resp.ParseInt(args[1])
		if !ok || n < 0 {
			return 0, errTextNegativeLimit
		}
		limit = int(n)
	}
	return limit, ""
}
