package load

import "time"

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
