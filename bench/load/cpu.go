package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Process is one whose processor time a load costs.
type Process struct {
	Name string
	Role string // results are summed by role: Proxy, Node
	PID  int
}

// Roles of processes. Generator is this one, which is always measured.
const (
	Proxy     = "proxy"
	Node      = "node"
	Generator = "generator"
)

// tick is the unit of /proc/PID/stat, the same on all systems that Go runs on.
const tick = time.Second / 100

// cpuTime is utime and stime of all threads of a process, those that have ended too.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses, and may hold both.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // as proc(5) counts, of which two are cut off
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	var sum int64
	for _, f := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// cpuTimes are those of all processes, -1 for one that has ended.
func cpuTimes(list []Process) []time.Duration {
	times := make([]time.Duration, len(list))
	for i, p := range list {
		var err error
		if times[i], err = cpuTime(p.PID); err != nil {
			times[i] = -1
		}
	}
	return times
}
