//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// raiseFiles raises the number of descriptors to the most that is allowed, and tells it. The Go runtime does it for itself, but gives
// the old limit to the processes that it starts, unless a program has set it.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("setrlimit", err)
	}
	const enough = 1 << 30 // where there is no limit, what fits an int everywhere
	return int(min(limit.Cur, enough)), nil
}

// cores are who runs where; the zero value is for everybody everywhere.
type cores struct{ proxies, servers, load []int }

// splitCores divides those that this process may use, and moves it to its own.
func splitCores() (cores, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return cores{}, os.NewSyscallError("sched_getaffinity", err)
	}
	var all []int
	for cpu := 0; len(all) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	if len(all) < 4 {
		return cores{}, fmt.Errorf("-taskset needs four cores, there are %d", len(all))
	}
	c := divide(all)
	return c, pin(os.Getpid(), c.load)
}

// divide gives proxies a half, servers and load a quarter each.
func divide(all []int) cores {
	quarter := len(all) / 4
	return cores{proxies: all[2*quarter:], servers: all[quarter : 2*quarter], load: all[:quarter]}
}

// pin keeps the threads of a process, and those that they will start, on some cores.
func pin(pid int, on []int) error {
	if len(on) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range on {
		set.Set(cpu)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}

// onCores makes a command run on some cores from its first instruction: programs count them when they start.
func onCores(on []int, command []string) []string {
	if len(on) == 0 {
		return command
	}
	list := make([]string, len(on))
	for i, cpu := range on {
		list[i] = strconv.Itoa(cpu)
	}
	return append([]string{"taskset", "-c", strings.Join(list, ",")}, command...)
}

// keepAwake keeps the processors from sleeping until sleep is called.
func keepAwake(ctx context.Context, floor string) (sleep func(), err error) {
	c := exec.CommandContext(ctx, floor, "-awake")
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = c.Process.Kill() // it has ended, or does now
		_ = c.Wait()         // of a process that was killed
	}, nil
}

// resetPeak has the kernel count VmHWM anew.
func resetPeak(pid int) {
	if pid > 0 {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // without it the peak is that of the process's life
	}
}

var memoryLine = regexp.MustCompile(`(?m)^(VmRSS|VmHWM):\s+(\d+) kB$`)

// memory is what a process holds now and held at most, in MiB; 0 for no process.
func memory(pid int) (rss, peak float64) {
	if pid <= 0 {
		return 0, 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0 // it has ended, and the load says so
	}
	for _, m := range memoryLine.FindAllStringSubmatch(string(text), -1) {
		kib, _ := strconv.ParseFloat(m[2], 64) // digits
		if m[1] == "VmRSS" {
			rss = kib / 1024
		} else {
			peak = kib / 1024
		}
	}
	return rss, peak
}

// fact is a line about the machine.
type fact struct{ Name, Value string }

// facts are what a reader must know to judge figures.
func (m *measurer) facts(ctx context.Context) []fact {
	list := []fact{
		{"processor", fmt.Sprintf("%d cores, %s", runtime.NumCPU(), field("/proc/cpuinfo", `(?m)^model name\s*: (.+)$`, "unknown"))},
		{"memory", gib(field("/proc/meminfo", `(?m)^MemTotal:\s+(\d+) kB$`, "0"))},
		{"system", field("/etc/os-release", `(?m)^PRETTY_NAME="?([^"\n]+)"?$`, "unknown") + ", Linux " + field("/proc/sys/kernel/osrelease", `(?m)^(.+)$`, "unknown")},
		{"built with", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
	}
	for _, c := range m.list {
		if c.name == twoLoops { // the program of the one before
			continue
		}
		if v := c.version(ctx); v != "" {
			list = append(list, fact{c.name, v})
		}
	}
	if m.settings.awake {
		list = append(list, fact{"processors", "kept from sleeping by loops of the lowest priority"})
	}
	if m.taskset {
		list = append(list, fact{"cores", fmt.Sprintf("load %v, servers %v, proxies %v", m.cores.load, m.cores.servers, m.cores.proxies)})
	}
	return append(list, fact{"load average before", loadAverage()})
}

// field is what an expression finds in a file.
func field(file, expression, otherwise string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return otherwise
	}
	m := regexp.MustCompile(expression).FindSubmatch(text)
	if m == nil {
		return otherwise
	}
	return string(m[1])
}

func gib(kib string) string {
	n, _ := strconv.ParseFloat(kib, 64) // digits
	return fmt.Sprintf("%.0f GiB", n/(1<<20))
}

func loadAverage() string { return field("/proc/loadavg", `^(\S+ \S+ \S+)`, "unknown") }
