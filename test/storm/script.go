package storm

import (
	"crypto/sha1"
	"fmt"
	"strconv"

	"slotproxy/test/wire"
)

// transfer moves an amount from one balance to another and returns both. It reads both before it writes, so a slot that has only one
// of them must not run it.
const transfer = `local a, b = tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(redis.call('GET', KEYS[2]) or 0)
redis.call('SET', KEYS[1], a - ARGV[1])
redis.call('SET', KEYS[2], b + ARGV[1])
return {a - ARGV[1], b + ARGV[1]}`

var transferSHA = fmt.Sprintf("%x", sha1.Sum([]byte(transfer)))

// newEvalsha: transfers between two balances of the client's own, whose reply is known, and between two that all clients of the class
// share, whose sum is. In the end the shared ones are the sum of all acknowledged transfers.
func newEvalsha(p *place, sh *shared) class {
	a, b := "", ""
	own, round := int64(0), 0
	q := &rounds{}
	q.drop = func() { a = ""; sh.doubt.Store(true) }
	q.round = func() (out []step) {
		if round++; a == "" || round%500 == 0 {
			k := p.fresh()
			a, b, own = k+"a", k+"b", 0
			out = append(out, step{[]string{"SCRIPT", "LOAD", transfer}, wantBulk(transferSHA)})
		}
		amount := int64(1 + p.rnd.IntN(9))
		number := strconv.FormatInt(amount, 10)
		name, script := "EVALSHA", transferSHA
		if round%10 == 0 {
			name, script = "EVAL", transfer
		}
		own += amount
		i := 2 * p.rnd.IntN(len(sh.keys)/2)
		common := func(v wire.Value) string {
			if v.Kind != '*' || len(v.Elems) != 2 || v.Elems[0].Kind != ':' || v.Elems[0].Int+v.Elems[1].Int != 0 || v.Elems[1].Int < amount {
				return fmt.Sprintf("got %s, want two balances of sum 0", v)
			}
			sh.acked[i].Add(-amount)
			sh.acked[i+1].Add(amount)
			return ""
		}
		return append(out,
			step{[]string{name, script, "2", a, b, number}, wantAll(wantInt(-own), wantInt(own))},
			step{[]string{"GET", b}, wantBulk(strconv.FormatInt(own, 10))},
			step{[]string{name, script, "2", sh.keys[i], sh.keys[i+1], number}, common},
			step{[]string{"MGET", a, b}, wantList([]string{strconv.FormatInt(-own, 10), strconv.FormatInt(own, 10)})})
	}
	return q
}
