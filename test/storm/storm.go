package storm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"slotproxy/test/wire"
)

// Options of a run. The zero value of every field but Dial has a stated meaning.
type Options struct {
	Dial    func() (net.Conn, error) // connects to the endpoint
	Clients int                      // per class; 0: 4
	Hot     []uint16                 // slots that are moved meanwhile; empty: 0 to 199
	Ballast int                      // further keys per hot slot, which hold it open longer; 0: 20, negative: none
	Heavy   int                      // further keys in each of the few slots where many clients meet
	Classes []string                 // names; empty: all
	Name    string                   // prefix of every key; empty: one made from the clock
	Seed    uint64                   // of every random choice; 0: 1
	OnStart func()                   // called once the ballast is there and the clients begin; nil: nothing
	OnFault func()                   // called by clients at each error and violation, from any goroutine
}

// makers names the classes. Each has a make, for clients that keep a window of commands in flight, or a cast, for talks.
var makers = []struct {
	name string
	make func(*place, *shared) class
	cast func(*troupe)
	big  bool // 1 MiB values must not pile up
	keys int  // shared keys in a slot
}{
	{name: "counter", make: newCounter},
	{name: "pair", make: newPair},
	{name: "slot", make: newOneSlot},
	{name: "spread", make: newSpread},
	{name: "big", make: newBig, big: true},
	{name: "list", make: newList},
	{name: "shared", make: newShared, keys: 1},
	{name: "multi", make: newMulti},
	{name: "evalsha", make: newEvalsha, keys: 2},
	{name: "watch", cast: castWatchers, keys: 1},
	{name: "queue", cast: castBelts},
	{name: "pubsub", cast: castChannels},
	{name: "shardpubsub", cast: castShardChannels},
	{name: "scan", cast: castSweepers},
}

// Classes are the names of all classes.
func Classes() []string {
	out := make([]string, len(makers))
	for i, m := range makers {
		out[i] = m.name
	}
	return out
}

// windows are the pipeline depths in use: none, one round's worth, more than one read of a proxy is likely to hold.
var windows = []int{64, 1, 16, 256}

// shared is what the clients of one class have in common: keys that all of them add to.
type shared struct {
	keys  []string
	acked []atomic.Int64 // the sum of what was acknowledged for each
	doubt atomic.Bool    // a client lost count, so the sum proves nothing
}

// ClassReport sums up one class.
type ClassReport struct {
	Name                    string
	Ops, Errors, Violations int64
	Latency                 *hdrhistogram.Histogram // microseconds, from the append to the reply
	Longest                 time.Duration           // the longest silence that one client saw
}

// Report is the outcome of a run.
type Report struct {
	Elapsed time.Duration
	Classes []ClassReport
	Samples []string // the first errors and violations of each client
}

// Run storms until ctx ends, then checks what must be left in the data. The error tells that the run itself could not be set up.
func Run(ctx context.Context, opt Options) (Report, error) {
	opt.fill()
	conn, err := opt.Dial()
	if err != nil {
		return Report{}, fmt.Errorf("storm: %w", err)
	}
	w := wire.New(conn)
	defer func() { _ = w.Close() }()
	ballast := opt.ballast()
	if opt.wants("scan") {
		ballast = append(ballast, opt.fixed()...)
	}
	if err := load(w, ballast); err != nil {
		return Report{}, err
	}
	runners, sums := opt.runners()
	if len(runners) == 0 {
		return Report{}, errors.New("storm: no such class")
	}
	if opt.OnStart != nil {
		opt.OnStart()
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, c := range runners {
		wg.Go(func() { c.run(ctx) })
	}
	wg.Wait()
	r := join(runners)
	r.Elapsed = time.Since(start)
	// The set-up connection may have been closed meanwhile by an idle limit or a fault that is counted already.
	if conn, err = opt.Dial(); err != nil {
		return r, fmt.Errorf("storm: %w", err)
	}
	last := wire.New(conn)
	defer func() { _ = last.Close() }()
	r.Classes = append(r.Classes, verifySums(last, sums, &r), verifyBallast(last, ballast, &r))
	return r, nil
}

func (o *Options) fill() {
	if o.Clients == 0 {
		o.Clients = 4
	}
	if len(o.Hot) == 0 {
		for s := range uint16(200) {
			o.Hot = append(o.Hot, s)
		}
	}
	if o.Ballast == 0 {
		o.Ballast = 20
	}
	if o.Name == "" {
		o.Name = "storm" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
}

// runners are all parties of the storm, with what the classes share.
func (o *Options) runners() (out []runner, sums []*shared) {
	for k, m := range makers {
		if !o.wants(m.name) {
			continue
		}
		sh := o.newShared(m.name, m.keys)
		sums = append(sums, sh)
		tr := &troupe{opt: o, class: m.name, shared: sh, seed: uint64(k * 1000)}
		if m.cast != nil {
			m.cast(tr)
			out = append(out, tr.runners...)
			continue
		}
		n := o.Clients
		if m.big {
			n = (n + 1) / 2 // two of them move more bytes than all others together
		}
		for i := range n {
			c := &client{party: tr.party(), window: windows[i%len(windows)]}
			c.make = func() class { return m.make(c.place, sh) }
			if m.big {
				c.window = 1 + i%2
			}
			c.burst = max(c.window/4, 1)
			out = append(out, c)
		}
	}
	return out, sums
}

func (o *Options) wants(name string) bool {
	for _, c := range o.Classes {
		if c == name {
			return true
		}
	}
	return len(o.Classes) == 0
}

// busySlots are few, so that many clients meet in each, and who opens one of them for long holds up many.
const busySlots = 8

func (o *Options) busy(i int) uint16 { return o.Hot[i*len(o.Hot)/busySlots] }

func (o *Options) newShared(class string, perSlot int) *shared {
	s := &shared{acked: make([]atomic.Int64, busySlots*perSlot)}
	for i := range busySlots * perSlot {
		s.keys = append(s.keys, fmt.Sprintf("{%s}%s:%s:%d", Tag(o.busy(i/perSlot)), o.Name, class, i))
	}
	return s
}

// verifySums compares what all clients added to with what was acknowledged.
func verifySums(w *wire.Conn, sums []*shared, r *Report) ClassReport {
	out := ClassReport{Name: "sums"}
	for _, s := range sums {
		for i, key := range s.keys {
			want := s.acked[i].Load()
			if want == 0 || s.doubt.Load() {
				continue
			}
			out.Ops++
			v, err := w.Do("GET", key)
			switch {
			case err != nil || v.IsError():
				out.Errors++
				r.sample(fmt.Sprintf("sums: GET %s: %v %v", key, v, err))
			case v.Text != strconv.FormatInt(want, 10):
				out.Violations++
				r.sample(fmt.Sprintf("sums: %s is %s, acknowledged is %d", key, v, want))
			}
		}
	}
	return out
}

func (o *Options) ballast() []string {
	var keys []string
	for _, slot := range o.Hot {
		for i := range max(o.Ballast, 0) {
			keys = append(keys, fmt.Sprintf("{%s}%s:ballast:%d", Tag(slot), o.Name, i))
		}
	}
	for s := range busySlots {
		for i := range o.Heavy {
			keys = append(keys, fmt.Sprintf("{%s}%s:heavy:%d", Tag(o.busy(s)), o.Name, i))
		}
	}
	return keys
}

func ballastValue(key string) string { return "ballast of " + key + strings.Repeat(".", 64) }

// chunk bounds what is in flight while ballast is written and read.
const chunk = 500

func load(w *wire.Conn, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), chunk)
		for _, k := range keys[:n] {
			w.Append("SET", k, ballastValue(k))
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("storm: ballast: %w", err)
		}
		for range n {
			v, err := w.Read()
			if err != nil {
				return fmt.Errorf("storm: ballast: %w", err)
			}
			if v.IsError() {
				return fmt.Errorf("storm: ballast: %s", v)
			}
		}
		keys = keys[n:]
	}
	return nil
}

func verifyBallast(w *wire.Conn, keys []string, r *Report) ClassReport {
	out := ClassReport{Name: "ballast"}
	for len(keys) > 0 {
		n := min(len(keys), chunk)
		for _, k := range keys[:n] {
			w.Append("GET", k)
		}
		err := w.Flush()
		for _, k := range keys[:n] {
			var v wire.Value
			if err == nil {
				v, err = w.Read()
			}
			out.Ops++
			switch {
			case err != nil || v.IsError():
				out.Errors++
				r.sample(fmt.Sprintf("ballast: GET %s: %v %v", k, v, err))
			case v.Null || v.Text != ballastValue(k):
				out.Violations++
				r.sample(fmt.Sprintf("ballast: %s is %s", k, v))
			}
		}
		keys = keys[n:]
	}
	return out
}
