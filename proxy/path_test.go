package proxy

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// pathBench is a loop without sockets: 50 clients with 16 commands each, three nodes, keys all over the slots. What is left is
// what the proxy itself does for a command; bench/compare.sh measures the whole.
type pathBench struct {
	l       *loop
	clients []*session
	nodes   []*nodeConn
	batches [][]byte
	value   []byte // the reply to a command
	in      []byte
}

func newPathBench(b testing.TB, command func(dst []byte, key string) []byte, value string) *pathBench {
	p, err := New(Config{Loops: 1})
	if err != nil {
		b.Fatal(err)
	}
	p.scripts.add([]byte(getScript), true)
	w := &pathBench{l: p.loops[0], value: []byte(value)}
	for i := range 3 {
		n := w.l.nodeAt(fmt.Sprintf("10.0.0.%d:6379", i+1))
		c := n.newConn(w.l.plain)
		c.ready, c.attached, c.served = true, true, true
		n.conns = append(n.conns, c)
		w.nodes = append(w.nodes, c)
		w.l.primaries = append(w.l.primaries, n)
	}
	for slot := range w.l.slots {
		w.l.owners.set(uint16(slot), w.l.primaries[slot*3/router.Slots])
	}
	for i := range 50 {
		s := &session{id: uint64(i + 1), profile: w.l.plain, authed: true, window: 1024}
		s.conn = conn{l: w.l, owner: s, fd: -1, side: metrics.SideClient}
		w.clients = append(w.clients, s)
	}
	w.l.plain.multiUntil = 1 // it may
	for i := range 1000 {
		var batch []byte
		for j := range 16 {
			batch = command(batch, fmt.Sprintf("key:%012d", (i*16+j)*7919%100_000))
		}
		w.batches = append(w.batches, batch)
	}
	return w
}

// round lets every client send a batch, and every node answer all of it.
func (w *pathBench) round(i int) {
	w.l.now += 1e5
	for j, s := range w.clients {
		batch := w.batches[(i*len(w.clients)+j)%len(w.batches)]
		s.arrived(batch, len(batch))
	}
	w.answer()
}

// answer writes what is to be written, and lets every node answer all of it.
func (w *pathBench) answer() {
	w.written()
	for _, c := range w.nodes {
		w.in = w.in[:0]
		for i := range c.queue.n {
			r := c.queue.at(i)
			for range r.lead {
				w.in = append(w.in, queuedReply...)
			}
			if r.nonce {
				w.in = append(w.in, r.buf[len(r.buf)-len("$16\r\n\r\n")-nonceDigits:]...)
			} else {
				w.in = append(w.in, w.value...)
			}
		}
		c.arrived(w.in, len(w.in))
	}
	w.written()
}

// written stands for the writes to all sockets.
func (w *pathBench) written() {
	for side, list := range w.l.dirty {
		for _, c := range list {
			c.dirty = false
		}
		w.l.dirty[side] = list[:0]
	}
	for _, c := range w.nodes {
		w.flush(&c.conn)
	}
	for _, s := range w.clients {
		w.flush(&s.conn)
	}
}

func (w *pathBench) flush(c *conn) {
	c.sent += uint64(c.out.size)
	c.out.wrote(&w.l.pool, c.out.size)
}

func BenchmarkPath(b *testing.B) {
	value := strings.Repeat("v", 64)
	bulk := string(resp.AppendBulkString(nil, value))
	for _, bc := range []struct {
		name    string
		command func(dst []byte, key string) []byte
		reply   string
	}{
		{"GET", func(dst []byte, key string) []byte { return resp.AppendCommandStrings(dst, "GET", key) }, bulk},
		{"SET", func(dst []byte, key string) []byte { return resp.AppendCommandStrings(dst, "SET", key, value) }, "+OK\r\n"},
		{"MULTI block of four", func(dst []byte, key string) []byte {
			dst = resp.AppendCommandStrings(resp.AppendCommandStrings(dst, "MULTI"), "SET", key, value)
			return resp.AppendCommandStrings(resp.AppendCommandStrings(dst, "GET", key), "EXEC")
		}, "*2\r\n+OK\r\n" + bulk},
		{"PUBLISH", func(dst []byte, key string) []byte { return resp.AppendCommandStrings(dst, "PUBLISH", key, value) }, ":0\r\n"},
		{"EVALSHA", func(dst []byte, key string) []byte {
			return resp.AppendCommandStrings(dst, "EVALSHA", sha(getScript), "1", key)
		}, bulk},
	} {
		b.Run(bc.name, func(b *testing.B) {
			w := newPathBench(b, bc.command, bc.reply)
			for i := range 10 {
				w.round(i)
			}
			b.ReportAllocs()
			before, rounds := processorTime(b), 0
			for b.Loop() {
				w.round(rounds)
				rounds++
			}
			spent := processorTime(b) - before
			b.ReportMetric(float64(spent.Nanoseconds())/float64(rounds*len(w.clients)*16), "cpu-ns/command")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what this process has used: other processes of a shared machine do not count.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
