package load

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAThreadOfTheLoadIsWokenOnTimeAndIsOrdinaryAfterwards(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := slack()
	ordinary := punctual()
	if got := slack(); got != 1 {
		t.Errorf("the kernel may be %d ns late, want 1", got)
	}
	ordinary()
	if got := slack(); got != before {
		t.Errorf("afterwards it may be %d ns late, want %d as before", got, before)
	}
}
