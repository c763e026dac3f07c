package storm

import (
	"context"
	"fmt"
	"time"

	"slotproxy/test/wire"
)

// client runs one class over one connection, with a window of commands in flight.
type client struct {
	party
	make   func() class
	window int // commands in flight
	burst  int // commands in one write

	// Owned by the goroutine of run until it returned.
	conn *wire.Conn
	src  class
	ring []flight // in flight, oldest first
	open bool     // the last command sent is inside a MULTI: what follows is queued
}

type flight struct {
	step
	at time.Time
}

// nonceEvery is the share of commands that nothing but their own reply can answer.
const nonceEvery = 50

func (c *client) run(ctx context.Context) {
	c.begin()
	c.src = c.make()
	defer c.close()
	for ctx.Err() == nil {
		if c.conn == nil {
			if c.conn = c.dial(); c.conn == nil {
				wait(ctx, dialPause)
				continue
			}
		}
		if err := c.turn(); err != nil {
			c.fail(fmt.Sprintf("connection lost: %v", err))
			c.close()
			c.src.reset()
		}
	}
	c.drain()
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn, c.ring, c.open = nil, c.ring[:0], false
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
	if !c.open && c.place.rnd.IntN(nonceEvery) == 0 { // in a MULTI a nonce would be queued
		s = nonce(c.place)
	} else {
		s = c.src.next()
	}
	switch s.args[0] {
	case "MULTI":
		c.open = true
	case "EXEC", "DISCARD":
		c.open = false
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
	f := c.ring[0]
	c.ring[0] = flight{} // lets a big value go
	c.ring = c.ring[1:]
	c.count(f.at)
	return c.judge(f.args, v, f.check(v)), nil
}

// settle reads what is still in flight without checking it, since its expectations stood on the failed command.
func (c *client) settle() error {
	for ; len(c.ring) > 0; c.ring = c.ring[1:] {
		if _, err := c.conn.Read(); err != nil {
			return err
		}
	}
	if c.open { // whatever comes next would be queued; a new connection is not in a MULTI
		c.close()
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
