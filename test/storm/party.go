package storm

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"slotproxy/test/wire"
)

// party is what everybody in a storm has, whatever he does: a class, a place for keys, a protocol, statistics.
type party struct {
	opt   *Options
	class string
	place *place
	proto int // 2 or 3

	stat classStat // owned by the goroutine of run until it returned
}

// runner is a party that works until the storm is over.
type runner interface {
	run(ctx context.Context)
	who() *party
}

func (p *party) who() *party { return p }

type classStat struct {
	ops, errors, violations int64
	latency                 *hdrhistogram.Histogram // microseconds
	samples                 []string
	last                    time.Time
	longest                 time.Duration // the longest time without a reply
}

// maxSamples bounds what a failing run prints.
const maxSamples = 5

// dialPause is between two attempts: an endpoint that refuses is an error already, not one per microsecond.
const dialPause = 50 * time.Millisecond

func (p *party) begin() {
	p.stat.latency = hdrhistogram.New(1, 60_000_000, 2)
	p.stat.last = time.Now()
}

// dial connects in the party's protocol; nil after a failure, which is counted.
func (p *party) dial() *wire.Conn {
	nc, err := p.opt.Dial()
	if err != nil {
		p.fail(fmt.Sprintf("dial: %v", err))
		return nil
	}
	conn := wire.New(nc)
	p.stat.last = time.Now()
	if p.proto != 3 {
		return conn
	}
	v, err := conn.Do("HELLO", "3")
	if err != nil || v.Kind != '%' {
		p.fail(fmt.Sprintf("HELLO 3: %v %v", v, err))
		_ = conn.Close()
		return nil
	}
	return conn
}

// count is one reply, to a command that was sent at that time.
func (p *party) count(sent time.Time) {
	now := time.Now()
	p.stat.ops++
	p.stat.longest = max(p.stat.longest, now.Sub(p.stat.last))
	p.stat.last = now
	_ = p.stat.latency.RecordValue(max(now.Sub(sent).Microseconds(), 1)) // out of range only beyond a minute
}

// judge counts what is wrong with a reply: an error that was not due, or a reply that could not be.
func (p *party) judge(args []string, v wire.Value, problem string) (clean bool) {
	switch {
	case problem == "":
		return true
	case v.IsError():
		p.fail(fmt.Sprintf("%s: %s", describe(args), v))
	default:
		p.violate(fmt.Sprintf("%s: %s", describe(args), problem))
	}
	return false
}

func (p *party) fail(text string) {
	p.stat.errors++
	p.sample("error", text)
}

func (p *party) violate(text string) {
	p.stat.violations++
	p.sample("violation", text)
}

func (p *party) sample(what, text string) {
	if len(p.stat.samples) < maxSamples {
		p.stat.samples = append(p.stat.samples, fmt.Sprintf("%s %s: %s", p.place.name, what, text))
	}
	if p.opt.OnFault != nil {
		p.opt.OnFault()
	}
}

// wait is a pause that the end of the storm cuts short.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func describe(args []string) string {
	const most = 60 // enough to see command and key
	out := ""
	for i, a := range args {
		if i > 0 {
			out += " "
		}
		out += a[:min(len(a), most)]
		if len(out) > 2*most {
			return out[:2*most] + "..."
		}
	}
	return out
}
