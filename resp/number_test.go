package resp

import (
	"fmt"
	"math"
	"testing"
)

func TestParseIntTakesCanonicalIntegersOnly(t *testing.T) {
	good := []int64{0, 1, 9, 10, 99, 100, 1234567890, math.MaxInt32, math.MaxInt64, math.MaxInt64 - 1}
	for _, n := range good {
		for _, n := range []int64{n, -n, -n - 1} {
			if got, ok := ParseInt(fmt.Append(nil, n)); got != n || !ok {
				t.Errorf("ParseInt(%d) = %d, %v", n, got, ok)
			}
		}
	}
	bad := []string{
		"", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "--1", "1-", "1_000", "x", "\x00", "1\x00", "\xff", ":", "/",
		"9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "18446744073709551617",
		"99999999999999999999", "9999999999999999999", "-9999999999999999999", "11111111111111111111111111", "\u0661",
	}
	for _, s := range bad {
		if got, ok := ParseInt([]byte(s)); ok {
			t.Errorf("ParseInt(%q) = %d, want refused", s, got)
		}
	}
}
