package admin

import "slotproxy/resp"

// reply collects the answer to one command in the protocol of its reader. A map
// or array must be followed by as many items as it was announced with.
type reply struct {
	b     []byte
	proto int // 2 or 3
}

func (r *reply) ok()                    { r.simple("OK") }
func (r *reply) simple(s string)        { r.b = resp.AppendSimple(r.b, s) }
func (r *reply) fail(s string)          { r.b = resp.AppendError(r.b, s) }
func (r *reply) text(s string)          { r.b = resp.AppendBulkString(r.b, s) }
func (r *reply) prose(s string)         { r.b = resp.AppendVerbatim(r.b, s, r.proto) }
func (r *reply) number(n int64)         { r.b = resp.AppendInt(r.b, n) }
func (r *reply) flag(v bool)            { r.b = resp.AppendBool(r.b, v, r.proto) }
func (r *reply) array(n int)            { r.b = resp.AppendArray(r.b, n) }
func (r *reply) dict(n int)             { r.b = resp.AppendMap(r.b, n, r.proto) }
func (r *reply) pair(key, v string)     { r.text(key); r.text(v) }
func (r *reply) count(k string, n int)  { r.text(k); r.number(int64(n)) }
func (r *reply) long(k string, n int64) { r.text(k); r.number(n) }
func (r *reply) truth(k string, v bool) { r.text(k); r.flag(v) }

func (r *reply) list(key string, items []string) {
	r.text(key)
	r.array(len(items))
	for _, item := range items {
		r.text(item)
	}
}
