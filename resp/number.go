package resp

import "math"

// ParseInt reads a canonical decimal integer: no sign but '-', no leading zeros,
// no "-0", nothing around it, within 64 bits. It is the rule by which servers read
// lengths; a more lenient reader can be made to see other boundaries than theirs.
func ParseInt(b []byte) (int64, bool) {
	digits := b
	negative := len(b) > 1 && b[0] == '-'
	if negative {
		digits = b[1:]
	}
	// 19 digits fit in 64 unsigned bits, 20 need not.
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	if digits[0] == '0' {
		return 0, len(b) == 1
	}
	var v uint64
	for _, c := range digits {
		d := uint64(c - '0')
		if c < '0' || d > 9 {
			return 0, false
		}
		v = v*10 + d
	}
	if negative {
		return -int64(v), v <= 1<<63
	}
	return int64(v), v <= math.MaxInt64
}

// digits is the number of decimal digits of n >= 0.
func digits(n int) int {
	d := 1
	for ; n > 9; n /= 10 {
		d++
	}
	return d
}
