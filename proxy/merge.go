package proxy

import (
	"slotproxy/resp"
	"slotproxy/router"
)

// mergeFn appends one reply made of those of r's parts; none of them is an error. It reports false when they are not
// of the kind that it expects.
type mergeFn func(r *request, dst []byte) ([]byte, bool)

var mergers = map[router.Merge]mergeFn{
	router.MergeSum:    mergeSum,
	router.MergeMin:    mergeLeast,
	router.MergeMax:    mergeMost,
	router.MergeOK:     mergeFirst,
	router.MergeFirst:  mergeFirst,
	router.MergeArrays: mergeArrays,
	router.MergeMGet:   mergeMGet,
	router.MergeRandom: mergeRandom,
	router.MergeInfo:   mergeInfo,
	router.MergeLeasts: mergeLeasts,
	router.MergePubsub: mergePubsub,
	router.MergeNone:   mergeFirst,

	router.MergeLog:       mergeLog,
	router.MergeLogLen:    mergeLogLen,
	router.MergeLogReset:  mergeLogReset,
	router.MergeACLLog:    mergeACLLog,
	router.MergeDelUser:   mergeDelUser,
	router.MergeEvents:    mergeEvents,
	router.MergeHistory:   mergeHistory,
	router.MergeHistogram: mergeHistogram,
	router.MergeTexts:     mergeTexts,
	router.MergeFigures:   mergeFigures,
}

func mergeFirst(r *request, dst []byte) ([]byte, bool) {
	return append(dst, r.fan.parts[0].reply...), true
}

func integer(reply []byte) (int64, bool) {
	if len(reply) < 4 || reply[0] != ':' {
		return 0, false
	}
	return resp.ParseInt(reply[1 : len(reply)-2])
}

// fold joins integer replies.
func fold(r *request, dst []byte, join func(a, b int64) int64) ([]byte, bool) {
	total, ok := integer(r.fan.parts[0].reply)
	for _, p := range r.fan.parts[1:] {
		n, good := integer(p.reply)
		ok = ok && good
		total = join(total, n)
	}
	return resp.AppendInt(dst, total), ok
}

func add(a, b int64) int64   { return a + b }
func least(a, b int64) int64 { return min(a, b) }
func most(a, b int64) int64  { return max(a, b) }

func mergeSum(r *request, dst []byte) ([]byte, bool)   { return fold(r, dst, add) }
func mergeLeast(r *request, dst []byte) ([]byte, bool) { return fold(r, dst, least) }
func mergeMost(r *request, dst []byte) ([]byte, bool)  { return fold(r, dst, most) }

// mergeLeasts makes one array of the smallest integers.
func mergeLeasts(r *request, dst []byte) ([]byte, bool) {
	var least []int64
	for i, p := range r.fan.parts {
		values := elements(p.reply)
		for at, v := range values {
			n, ok := resp.ParseInt(v)
			if !ok || i > 0 && len(values) != len(least) {
				return dst, false
			}
			if i == 0 {
				least = append(least, n)
			} else {
				least[at] = min(least[at], n)
			}
		}
	}
	dst = resp.AppendArray(dst, len(least))
	for _, n := range least {
		dst = resp.AppendInt(dst, n)
	}
	return dst, true
}

// mergeArrays puts the elements of all arrays one behind the other.
func mergeArrays(r *request, dst []byte) ([]byte, bool) {
	total := 0
	for _, p := range r.fan.parts {
		_, count, _, ok := resp.AggHeader(p.reply)
		if !ok {
			return dst, false
		}
		total += max(count, 0)
	}
	dst = resp.AppendArray(dst, total)
	for _, p := range r.fan.parts {
		_, _, n, _ := resp.AggHeader(p.reply)
		dst = append(dst, p.reply[n:]...)
	}
	return dst, true
}

// mergeMGet puts the values back into the order of the client's keys. Each part's values stand in the order in which
// its keys stood in the command, so one cursor a part is enough.
func mergeMGet(r *request, dst []byte) ([]byte, bool) {
	f := r.fan
	for _, p := range f.parts {
		kind, count, n, ok := resp.AggHeader(p.reply)
		if !ok || kind != '*' || count != p.args {
			return dst, false
		}
		p.cursor = n
	}
	dst = resp.AppendArray(dst, len(f.order))
	for _, ref := range f.order {
		p := f.parts[ref.part]
		n, err := resp.Skip(p.reply[p.cursor:])
		if err != nil || n == 0 {
			return dst, false
		}
		dst = append(dst, p.reply[p.cursor:p.cursor+n]...)
		p.cursor += n
	}
	return dst, true
}
