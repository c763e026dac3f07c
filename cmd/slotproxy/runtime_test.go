package main

import "testing"

func TestASmallHeapGrowsByMoreThanItsHalf(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		alive uint64
		want  int
	}{
		{0, 800}, {2 * mib, 800}, {2*mib + 100, 400}, {4 * mib, 400}, {5 * mib, 200}, {10 * mib, 100}, {17 * mib, 50}, {1 << 40, 50},
	} {
		if got := growth(c.alive); got != c.want {
			t.Errorf("with %d bytes alive: %d %%, want %d %%", c.alive, got, c.want)
		}
		if garbage := c.alive * uint64(growth(c.alive)) / 100; growth(c.alive) > leastGrowth && garbage > room {
			t.Errorf("with %d bytes alive %d are garbage before a collection", c.alive, garbage)
		}
	}
}
