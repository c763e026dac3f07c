package proxy

import "math"

// The union of HyperLogLogs that do not lie on one server, and its estimate. Pure functions; the format is the servers'.
//
//	"HYLL" | encoding 0 dense, 1 sparse | 3 unused | 8 cached count | registers
//
// Dense: 16384 registers of 6 bits, the lowest bits first. Sparse: 00xxxxxx zeros, 01xxxxxx yyyyyyyy many zeros,
// 1vvvvvxx a value repeated.
const (
	hllRegisters = 1 << 14
	hllHeader    = 16
	hllBits      = 6
	hllDense     = hllHeader + hllRegisters*hllBits/8
	hllMost      = 64 - 14 // the highest value of a register but one
)

// registers is the union of HyperLogLogs. The zero value is empty.
type registers [hllRegisters]uint8

// merge takes in a HyperLogLog as it is stored, or gives the error that a server gives.
func (r *registers) merge(b []byte) (text string) {
	if len(b) < hllHeader || string(b[:4]) != "HYLL" || b[4] > 1 || b[4] == 0 && len(b) != hllDense {
		return errTextNoHLL
	}
	if b[4] == 0 {
		r.mergeDense(b[hllHeader:])
		return ""
	}
	if !r.mergeSparse(b[hllHeader:]) {
		return errTextBadHLL
	}
	return ""
}

func (r *registers) mergeDense(b []byte) {
	for i := range r {
		bit := i * hllBits
		v := uint(b[bit/8]) >> (bit % 8)
		if bit/8+1 < len(b) {
			v |= uint(b[bit/8+1]) << (8 - bit%8)
		}
		r[i] = max(r[i], uint8(v&(1<<hllBits-1)))
	}
}

// mergeSparse reports whether the runs cover the registers exactly.
func (r *registers) mergeSparse(b []byte) bool {
	at := 0
	for i := 0; i < len(b); i++ {
		switch op := b[i]; {
		case op&0xc0 == 0:
			at += int(op&0x3f) + 1
		case op&0x80 == 0:
			if i++; i == len(b) {
				return false
			}
			at += int(op&0x3f)<<8 + int(b[i]) + 1
		default:
			n, v := int(op&3)+1, op>>2&0x1f+1
			if at+n > hllRegisters {
				return false
			}
			for ; n > 0; n-- {
				r[at] = max(r[at], v)
				at++
			}
		}
	}
	return at == hllRegisters
}

// count estimates the number of elements as the servers do: "New cardinality estimation algorithms for HyperLogLog
// sketches", Otmar Ertl, arXiv:1702.01284.
func (r *registers) count() uint64 {
	var histogram [64]int
	for _, v := range r {
		histogram[v]++
	}
	const m = float64(hllRegisters)
	z := m * hllTau((m-float64(histogram[hllMost+1]))/m)
	for j := hllMost; j >= 1; j-- {
		z += float64(histogram[j])
		z *= 0.5
	}
	z += m * hllSigma(float64(histogram[0])/m)
	const alpha = 0.721347520444481703680 // 0.5/ln(2)
	return uint64(math.Round(alpha * m * m / z))
}

func hllSigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for last := z - 1; last != z; {
		x *= x
		last = z
		z += x * y
		y += y
	}
	return z
}

func hllTau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for last := z - 1; last != z; {
		x = math.Sqrt(x)
		last = z
		y *= 0.5
		z -= math.Pow(1-x, 2) * y
	}
	return z / 3
}
