package test

import (
	"strconv"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

func TestZZ(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs()[:1])
	for _, keys := range []int{1048575, 1048575} {
		for _, by := range []bool{false} {
			var b *bystander
			if by {
				b = watchBystander(t, p.addr)
			}
			c := p.dial(t)
			args := []string{"DEL"}
			for i := range keys {
				args = append(args, "m"+strconv.Itoa(i))
			}
			s := time.Now()
			v := do(t, c, args...)
			t.Log(keys, by, v, time.Since(s))
			if by {
				b.check(t)
				t.Log(b.longest)
			}
		}
	}
}
