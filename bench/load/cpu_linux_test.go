package load

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheProcessorTimeOfAProcessIsThatOfTheKernelsBooks(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
		_ = randomText([]Size{{1, 1000, 1}})
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		t.Fatal(err)
	}
	kernel := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	// The books are in ticks on some kernels, and a test's own time goes on.
	if after <= before || (kernel-after).Abs() > time.Second {
		t.Errorf("%v, then %v; the kernel says %v", before, after, kernel)
	}
	const nobody = 1 << 22 // the most that a kernel numbers is below
	if got, err := cpuTime(nobody); err == nil {
		t.Errorf("a process that does not exist has used %v", got)
	}
}
