package config

import (
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxAutoLoops is as many as pay without being asked for: each loop has its own connections to each node.
	maxAutoLoops = 8
	// memoryShare of the memory limit is for buffers. The rest is for the Go runtime, which lets the heap grow to twice
	// what is in use, and for what is not a buffer.
	memoryShare = 4
	// fallbackBudget stands where the memory of the machine cannot be read.
	fallbackBudget = 1 << 30
)

// resolve replaces automatic values by what they are on this machine, and for the user that env is of.
func (c *Config) resolve(env map[string]string) {
	if c.Loops.Count == 0 {
		c.Loops.Count = min(max(1, runtime.GOMAXPROCS(0)/2), maxAutoLoops)
	}
	if c.Limits.BufferBudget == 0 {
		c.Limits.BufferBudget = bufferBudget(memoryLimit())
		// One client at its limit must fit, on however small a machine.
		c.Limits.BufferBudget = max(c.Limits.BufferBudget, c.Limits.OutHard)
	}
	if c.Migrate.StateDir == "" {
		c.Migrate.StateDir = c.stateDir(env)
	}
}

// stateDir is where a proxy keeps what must outlive it: the folder that systemd made for it, else one of its own in the
// user's home. Several proxies of one user have several folders, told apart by where they listen.
func (c *Config) stateDir(env map[string]string) string {
	// systemd separates several folders by colons; one is ours.
	if first, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); strings.HasPrefix(first, "/") {
		return first
	}
	return stateFolder(env, c.ownAddress())
}

// stateFolder is the folder of one proxy, or of whatever has a name, among the user's; NoState when there is no home.
func stateFolder(env map[string]string, name string) string {
	base := env["XDG_STATE_HOME"]
	if !strings.HasPrefix(base, "/") { // its specification says that others are to be ignored
		if !strings.HasPrefix(env["HOME"], "/") {
			return NoState
		}
		base = filepath.Join(env["HOME"], ".local", "state")
	}
	if name == "" {
		return NoState
	}
	return filepath.Join(base, "slotproxy", strings.NewReplacer("/", "_", ":", "_", "[", "", "]", "").Replace(name))
}

// StateFolder is the usual folder for the journal of a coordinator without a proxy, by the cluster that it works on;
// NoState for a user without a home.
func StateFolder(env []string, cluster string) string {
	return stateFolder(Sources{Env: env}.variables(), "cluster-"+cluster)
}

// ownAddress is a listener that a proxy has again after a restart; "" for none.
func (c *Config) ownAddress() string {
	for _, addr := range slices.Concat(c.Listen.TCP, c.Listen.TLS) {
		if _, port, err := net.SplitHostPort(addr); err == nil && strings.Trim(port, "0") != "" {
			return addr
		}
	}
	return c.Listen.Unix
}

func bufferBudget(limit int64) int {
	if limit == 0 {
		return fallbackBudget
	}
	return int(limit/memoryShare) &^ (mib - 1) // whole MiB read better
}

// memoryLimit is the least of GOMEMLIMIT, the container's limit and the machine's memory; 0 when none is known.
func memoryLimit() int64 {
	least := int64(0)
	for _, n := range []int64{
		debug.SetMemoryLimit(-1), // reads it
		fileNumber("/sys/fs/cgroup/memory.max"),
		fileNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
		machineMemory("/proc/meminfo"),
	} {
		if n > 0 && n != math.MaxInt64 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// fileNumber reads a file that holds one number; "max" and all else is 0.
func fileNumber(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// machineMemory reads "MemTotal: 16318480 kB" from a file like /proc/meminfo.
func machineMemory(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "MemTotal:" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}
