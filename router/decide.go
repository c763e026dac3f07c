package router

import "bytes"

// Decision says where the keys of one command live. The zero value is that of a command without keys.
type Decision struct {
	Slot    uint16 // slot of the first key
	HasSlot bool   // there is a key
	Cross   bool   // the keys lie in two slots or more
	Multi   bool   // there are two different keys or more: an open slot may answer TRYAGAIN
}

// Decide finds the keys of a command and their slot. It appends their positions to keys[:0] and returns that slice; it
// allocates only when the slice is too small. Arguments of the wrong form give no slot: any node knows the right error.
func Decide(r *Rule, args [][]byte, keys []int) (d Decision, _ []int) {
	if at := r.oneKey; at > 0 && at < len(args) {
		return Decision{Slot: Slot(args[at]), HasSlot: true}, append(keys[:0], at)
	}
	keys, ok := r.Keys(args, keys[:0])
	if !ok || len(keys) == 0 {
		return Decision{}, keys[:0]
	}
	first := args[keys[0]]
	d = Decision{Slot: Slot(first), HasSlot: true}
	for _, at := range keys[1:] {
		if bytes.Equal(args[at], first) {
			continue
		}
		d.Multi = true
		if Slot(args[at]) != d.Slot {
			d.Cross = true
			break
		}
	}
	return d, keys
}
