package storm

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"slotproxy/test/wire"
)

// client runs one class over one connection.
type client struct {
	opt    *Options
	class  string
	make   func() class
	place  *place
	proto  int // 2 or 3
	window int // commands in flight
	burst  int // commands in one write

	// Owned by the goroutine of run until it returned.
	conn *wire.Conn
	src  class
	ring []flight // in flight, oldest first
	stat classStat
}

type flight struct {
	step
	at time.Time
}

type classStat struct {
	ops, errors, violations int64
	latency                 *hdrhistogram.Histogram // microseconds
	samples                 []string
	last                    time.Time
	longest                 time.Duration // the longest time without a reply
}

// nonceEvery is the share of commands that nothing but their own reply can answer.
const nonceEvery = 50

// maxSamples bounds what a failing run prints.
const maxSamples = 5

func (c *client) run(ctx context.Context) {
	c.stat.latency = hdrhistogram.New(1, 60_000_000, 2)
	c.src = c.make()
	defer c.close()
	for ctx.Err() == nil {
		if c.conn == nil && !c.connect() {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // an endpoint that refuses is an error already, not one per microsecond
			}
			continue
		}
		if err := c.turn(); err != nil {
			c.fail(fmt.Sprintf("connection lost: %v", err))
			c.close()
			c.src.reset()
		}
	}
	c.drain()
}

func (c *client) connect() bool {
	nc, err := c.opt.Dial()
	if err != nil {
		c.fail(fmt.Sprintf("dial: %v", err))
		return false
	}
	c.conn = wire.New(nc)
	c.stat.last = time.Now()
	if c.proto != 3 {
		return true
	}
	v, err := c.conn.Do("HELLO", "3")
	if err != nil || v.Kind != '%' {
		c.fail(fmt.Sprintf("HELLO 3: %v %v", v, err))
		c.close()
		return false
	}
	return true
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn, c.ring = nil, c.ring[:0]
}

// turn writes one burst and reads as many replies as leave the window open for the next one, so the pipeline never drains.
func (c *client) turn() error {
	for range c.burst {
		c.send()
	}
	if err := c.conn.Flush(); err != nil {
		return err
	}
	for len(c.ring) > c.window-c.burst || c.conn.Buffered() > 0 && len(c.ring) > 0 {
		clean, err := c.receive()
		if err != nil {
			return err
		}
		if !clean {
			return c.settle()
		}
	}
	return nil
}

func (c *client) send() {
	s := step{}
	if c.place.rnd.IntN(nonceEvery) == 0 {
		s = nonce(c.place)
	} else {
		s = c.src.next()
	}
	c.conn.Append(s.args...)
	c.ring = append(c.ring, flight{s, time.Now()})
}

// receive reads and checks one reply; clean is false when later expectations can no longer be trusted.
func (c *client) receive() (clean bool, err error) {
	v, err := c.conn.Read()
	if err != nil {
		return false, fmt.Errorf("%s: %w", describe(c.ring[0].args), err)
	}
	now := time.Now()
	f := c.ring[0]
	c.ring[0] = flight{} // lets a big value go
	c.ring = c.ring[1:]
	c.stat.ops++
	c.stat.longest = max(c.stat.longest, now.Sub(c.stat.last))
	c.stat.last = now
	_ = c.stat.latency.RecordValue(max(now.Sub(f.at).Microseconds(), 1)) // out of range only beyond a minute
	if v.IsError() {
		c.fail(fmt.Sprintf("%s: %s", describe(f.args), v))
		return false, nil
	}
	if problem := f.check(v); problem != "" {
		c.stat.violations++
		c.sample("violation", fmt.Sprintf("%s: %s", describe(f.args), problem))
		return false, nil
	}
	return true, nil
}

// settle reads what is still in flight without checking it, since its expectations stood on the failed command.
func (c *client) settle() error {
	for ; len(c.ring) > 0; c.ring = c.ring[1:] {
		if _, err := c.conn.Read(); err != nil {
			return err
		}
	}
	c.src.reset()
	return nil
}

// drain checks the replies that are still due at the end of the run.
func (c *client) drain() {
	for c.conn != nil && len(c.ring) > 0 {
		clean, err := c.receive()
		if err != nil {
			c.fail(fmt.Sprintf("connection lost: %v", err))
			return
		}
		if !clean {
			_ = c.settle() // the failure is counted
			return
		}
	}
}

func (c *client) fail(text string) {
	c.stat.errors++
	c.sample("error", text)
}

func (c *client) sample(what, text string) {
	if len(c.stat.samples) < maxSamples {
		c.stat.samples = append(c.stat.samples, fmt.Sprintf("%s %s: %s", c.place.name, what, text))
	}
	if c.opt.OnFault != nil {
		c.opt.OnFault()
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
