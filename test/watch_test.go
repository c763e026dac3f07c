package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bystander is an ordinary client that works all the while and notices when something is slow or wrong.
type bystander struct {
	stop    chan struct{}
	done    chan struct{}
	err     error         // valid after done
	longest time.Duration // valid after done
	count   int
}

func watchBystander(t *testing.T, addr string) *bystander {
	t.Helper()
	b := &bystander{stop: make(chan struct{}), done: make(chan struct{})}
	c := dialAddr(t, addr)
	go func() {
		defer close(b.done)
		for {
			select {
			case <-b.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			b.count++
			value := strconv.Itoa(b.count)
			start := time.Now()
			c.Append("SET", "bystander", value)
			c.Append("GET", "bystander")
			if b.err = c.Flush(); b.err != nil {
				return
			}
			for _, want := range []string{"+OK", strconv.Quote(value)} {
				v, err := c.Read()
				if err != nil || v.String() != want {
					b.err = fmt.Errorf("got %v %v, want %s", v, err, want)
					return
				}
			}
			b.longest = max(b.longest, time.Since(start))
		}
	}()
	return b
}

func (b *bystander) check(t *testing.T) { t.Helper(); b.checkWithin(t, time.Second) }

func (b *bystander) checkWithin(t *testing.T, limit time.Duration) {
	t.Helper()
	close(b.stop)
	<-b.done
	if b.err != nil || b.count == 0 || b.longest > limit {
		t.Errorf("another client: %d rounds, %v, longest %v, want no error and at most %v", b.count, b.err, b.longest, limit)
	}
}

// checkIdle fails when a proxy without traffic goes on working.
func checkIdle(t *testing.T, p *proxy) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		before := cpuTime(t, p)
		time.Sleep(500 * time.Millisecond)
		if used := cpuTime(t, p) - before; used > 50*time.Millisecond {
			return fmt.Errorf("an idle proxy used %v of processor time in half a second", used)
		}
		return nil
	})
}

// usage is what /proc says of a process's memory, in bytes.
type usage struct{ rss, peak int }

func memory(t *testing.T, p *proxy) (u usage) {
	t.Helper()
	for line := range strings.Lines(string(read(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "VmRSS:":
			u.rss = kb << 10
		case "VmHWM:":
			u.peak = kb << 10
		}
	}
	return u
}

// cpuTime is the processor time a proxy has used, from the ticks of /proc/PID/stat (10 ms each on Linux).
func cpuTime(t *testing.T, p *proxy) time.Duration {
	t.Helper()
	text := string(read(t, fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)))
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func available(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb << 10
		}
	}
	return 0
}
