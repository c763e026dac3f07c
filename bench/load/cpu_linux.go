package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the user and system time of all threads of a process, those that have ended too. It reads the processor clock that the
// kernel keeps for each process, clock_getcpuclockid(3), as /proc/PID/stat counts in hundredths of a second only.
func cpuTime(pid int) (time.Duration, error) {
	const scheduler = 2 // what the clock counts: the time in which the process ran
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &ts); err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
