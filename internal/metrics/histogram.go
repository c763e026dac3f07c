package metrics

import "time"

// bounds are the upper ends of the buckets. 50 us is about the fastest round trip through proxy and node on loopback,
// 10 s is beyond the default redirect budget; in between the steps are fine where a healthy cluster answers.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, time.Second, 2500 * time.Millisecond, 10 * time.Second,
}

// Histogram counts durations in classic buckets. The zero value is empty. Owned like the Counters it is a part of.
type Histogram struct {
	buckets [len(bounds) + 1]uint64 // not cumulative; the last one is what is longer than every bound
	sum     time.Duration
}

// Observe counts one duration of ns nanoseconds. Most commands end in the first few buckets, so that a scan from the
// short end beats a binary search.
func (h *Histogram) Observe(ns int64) {
	d, i := time.Duration(ns), 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i]++
	h.sum += d
}

// Count is the number of observations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, b := range h.buckets {
		n += b
	}
	return n
}

// Quantile is the upper end of the bucket that holds quantile q (0..1], or 0 without observations. It is for INFO and
// for people; Prometheus interpolates by itself.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := uint64(q * float64(n))
	var seen uint64
	for i, b := range h.buckets[:len(bounds)] {
		if seen += b; seen > rank || seen == n {
			return bounds[i]
		}
	}
	return bounds[len(bounds)-1]
}

func (h *Histogram) addTo(sum *Histogram) {
	addAll(sum.buckets[:], h.buckets[:])
	sum.sum += h.sum
}

// cumulative gives the buckets as Prometheus wants them: each holds all that is not above its bound, in seconds.
func (h *Histogram) cumulative() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	for i, b := range bounds {
		count += h.buckets[i]
		buckets[b.Seconds()] = count
	}
	return count + h.buckets[len(bounds)], h.sum.Seconds(), buckets
}
