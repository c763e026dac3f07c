package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Phases of a demo.
const (
	phaseFilling = iota - 1 // not looked at
	phaseBefore
	phaseDuring
	phaseAfter
	phases
)

// demoResult is what clients noticed in one phase.
type demoResult struct {
	took   []time.Duration
	errors int
	wrong  int    // values that were not the last that was written
	first  string // what was wrong first
}

// quantile is the time that q of the commands took at most. took is sorted.
func (r *demoResult) quantile(q float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[int(q*float64(len(r.took)-1))].Round(10 * time.Microsecond)
}

// demoLoad is clients who read and write, each its own keys, so that each knows what it must find.
type demoLoad struct {
	addr    string
	size    demoSize
	phase   atomic.Int32
	clients []*demoUser
	running sync.WaitGroup
	cancel  context.CancelFunc // ends the clients; nil before start
}

func newDemoLoad(addr string, size demoSize) *demoLoad {
	l := &demoLoad{addr: addr, size: size}
	l.phase.Store(phaseFilling)
	for i := range size.clients {
		l.clients = append(l.clients, &demoUser{
			load: l, number: i, versions: make([]int, size.keys), dice: rand.New(rand.NewPCG(uint64(i), 0)), filled: make(chan error, 1),
		})
	}
	return l
}

// start returns when all clients have written their keys once.
func (l *demoLoad) start(ctx context.Context) error {
	ctx, l.cancel = context.WithCancel(ctx)
	for _, c := range l.clients {
		l.running.Add(1)
		go c.run(ctx)
	}
	var errs []error
	for _, c := range l.clients {
		errs = append(errs, <-c.filled)
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(fmt.Errorf("fill the cluster: %w", err), l.stop())
	}
	return nil
}

func (l *demoLoad) enter(phase int32) { l.phase.Store(phase) }

// stop ends the clients. results come after it.
func (l *demoLoad) stop() error {
	l.cancel()
	l.running.Wait()
	return nil
}

func (l *demoLoad) results() []demoResult {
	all := make([]demoResult, phases)
	for _, c := range l.clients {
		for i := range c.seen {
			r, more := &all[i], &c.seen[i]
			r.took = append(r.took, more.took...)
			r.errors += more.errors
			r.wrong += more.wrong
			if r.first == "" {
				r.first = more.first
			}
		}
	}
	for i := range all {
		slices.Sort(all[i].took)
	}
	return all
}

// demoUser is one client. It belongs to its goroutine until stop has returned.
type demoUser struct {
	load     *demoLoad
	number   int
	versions []int // of its keys: what it has written last
	dice     *rand.Rand
	filled   chan error // one value: its keys are there, or not
	conn     *adminClient
	seen     [phases]demoResult
}

func (c *demoUser) run(ctx context.Context) {
	defer c.load.running.Done()
	err := c.fill(ctx)
	c.filled <- err
	if err != nil {
		return
	}
	defer c.hangUp()
	tick := time.NewTicker(c.load.size.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.work(ctx)
		}
	}
}

func (c *demoUser) hangUp() {
	if c.conn != nil {
		c.conn.close()
		c.conn = nil
	}
}

func (c *demoUser) connect(ctx context.Context) (err error) {
	if c.conn != nil {
		return nil
	}
	if c.conn, err = dialAdmin(ctx, c.load.addr); err != nil {
		return err
	}
	return c.conn.hello(ctx, "", "")
}

func (c *demoUser) key(i int) string { return fmt.Sprintf("demo:%d:%d", c.number, i) }

// value is as long as usual ones are, and tells its version.
func (c *demoUser) value(i int) string {
	return strconv.Itoa(c.versions[i]) + ":" + strings.Repeat("x", 100)
}

func (c *demoUser) fill(ctx context.Context) error {
	if err := c.connect(ctx); err != nil {
		return err
	}
	for i := range c.versions {
		if _, err := c.conn.do(ctx, "SET", c.key(i), c.value(i)); err != nil {
			return err
		}
	}
	return nil
}

// work is one command.
func (c *demoUser) work(ctx context.Context) {
	i, write := c.dice.IntN(len(c.versions)), c.dice.IntN(5) == 0
	words := []string{"GET", c.key(i)}
	if write {
		c.versions[i]++
		words = []string{"SET", c.key(i), c.value(i)}
	}
	phase := c.load.phase.Load()
	begun := time.Now()
	err := c.connect(ctx)
	var got any
	if err == nil {
		got, err = c.conn.do(ctx, words...)
	}
	took := time.Since(begun)
	if phase == phaseFilling || ctx.Err() != nil {
		return
	}
	r := &c.seen[phase]
	r.took = append(r.took, took)
	switch {
	case err != nil:
		r.errors++
		r.note("%s: %v", words[0], err)
		var said serverError
		if !errors.As(err, &said) {
			c.hangUp()
		}
	case !write && got != c.value(i):
		r.wrong++
		r.note("%s is %.20v, not %.20v", words[1], got, c.value(i))
	}
}

func (r *demoResult) note(format string, args ...any) {
	if r.first == "" {
		r.first = fmt.Sprintf(format, args...)
	}
}
