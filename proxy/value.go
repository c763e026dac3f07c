package proxy

import (
	"bytes"
	"strconv"

	"slotproxy/resp"
)

// value is a reply taken apart, for merges that have to look into it. Its bytes are those of the reply.
type value struct {
	kind  byte
	null  bool    // a null of RESP2
	text  []byte  // of a scalar: the line without its type, or the payload
	elems []value // of an aggregate; a map has its keys and values by turns
}

// maxDepth bounds the nesting of a value. The deepest reply that is merged, LATENCY HISTOGRAM, has three levels.
const maxDepth = 8

// parseValue takes a whole reply apart. It reports false for one that is nested too deeply or broken.
func parseValue(reply []byte) (value, bool) {
	v, n, ok := parseAt(reply, maxDepth)
	return v, ok && n == len(reply)
}

func parseAt(b []byte, depth int) (v value, n int, ok bool) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 1 || depth == 0 {
		return v, 0, false
	}
	v.kind, v.text, n = b[0], b[1:end], end+2
	if !sized(v.kind) && !aggregate(v.kind) {
		return v, n, true
	}
	size, ok := resp.ParseInt(v.text)
	if !ok || size > int64(len(b)) {
		return v, n, false
	}
	v.text, v.null = nil, size < 0
	switch {
	case v.null:
		return v, n, true
	case sized(v.kind):
		end := n + int(size)
		if end+2 > len(b) {
			return v, n, false
		}
		v.text = b[n:end]
		return v, end + 2, true
	case v.kind == '%':
		size *= 2
	}
	v.elems = make([]value, 0, min(size, 1024)) // more only as they come
	for range size {
		e, used, ok := parseAt(b[n:], depth-1)
		if !ok {
			return v, n, false
		}
		v.elems = append(v.elems, e)
		n += used
	}
	return v, n, true
}

func sized(kind byte) bool     { return kind == '$' || kind == '=' || kind == '!' }
func aggregate(kind byte) bool { return kind == '*' || kind == '%' || kind == '~' || kind == '>' }

// append writes the value as a reply.
func (v *value) append(dst []byte) []byte {
	dst = append(dst, v.kind)
	switch {
	case v.null:
		dst = append(dst, "-1"...)
	case sized(v.kind):
		dst = strconv.AppendInt(dst, int64(len(v.text)), 10)
		dst = append(dst, "\r\n"...)
		dst = append(dst, v.text...)
	case aggregate(v.kind):
		n := len(v.elems)
		if v.kind == '%' {
			n /= 2
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	default:
		dst = append(dst, v.text...)
	}
	dst = append(dst, "\r\n"...)
	for i := range v.elems {
		dst = v.elems[i].append(dst)
	}
	return dst
}

// number is the value of an integer, or of a real number in whichever form the protocol has it.
func (v *value) number() float64 {
	n, _ := strconv.ParseFloat(string(v.text), 64) // 0 for what is none
	return n
}

func (v *value) int() int64 { return int64(v.number()) }

// setInt makes an integer of the value.
func (v *value) setInt(n int64) { v.kind, v.text = ':', strconv.AppendInt(nil, n, 10) }

// get finds the value of a key in a map, or in an array that stands for one; nil without it.
func (v *value) get(key string) *value {
	for i := 0; i+1 < len(v.elems); i += 2 {
		if string(v.elems[i].text) == key {
			return &v.elems[i+1]
		}
	}
	return nil
}

// values takes the replies of all parts apart.
func (r *request) values() ([]value, bool) {
	vs := make([]value, len(r.fan.parts))
	for i, p := range r.fan.parts {
		v, ok := parseValue(p.reply)
		if !ok || !aggregate(v.kind) {
			return nil, false
		}
		vs[i] = v
	}
	return vs, true
}

// arguments are those of the command that r carries.
func (r *request) arguments() [][]byte {
	var p resp.Parser
	if n, err := p.Next(r.buf, &resp.AfterAuth); err != nil || n == 0 {
		return nil
	}
	return p.Args
}
