package proxy

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/metrics"
	"slotproxy/internal/testnode"
	"slotproxy/resp"
	"slotproxy/router"
)

// The steps of a command one by one; those of parsing and framing are in package resp, those of deciding in package router, and
// BenchmarkPath is all of them together.

// BenchmarkForward is a GET from the decision to the node's output, and its reply from the node's bytes to the client's output.
func BenchmarkForward(b *testing.B) {
	bulk := string(resp.AppendBulkString(nil, strings.Repeat("v", 64)))
	w := newPathBench(b, func(dst []byte, key string) []byte { return resp.AppendCommandStrings(dst, "GET", key) }, bulk)
	w.round(0)
	s, batch := w.clients[0], w.batches[0]
	n, err := s.parser.Next(batch, &resp.AfterAuth)
	if err != nil {
		b.Fatal(err)
	}
	rule := w.l.cmds.Lookup(s.parser.Args)
	raw := batch[:n]
	b.ReportAllocs()
	sent := 0
	for b.Loop() {
		r := s.request(rule, raw)
		r.slot, r.hasSlot = 7, true
		s.sendInOrder(r)
		if sent++; sent%16 == 0 {
			w.answer()
		}
	}
	w.answer()
}

// mgetBench is a client with an MGET of n keys over all slots.
func mgetBench(b *testing.B, n int) (w *pathBench, command []byte) {
	args, _ := mgetOf(n)
	one := string(resp.AppendBulkString(resp.AppendArray(nil, 1), strings.Repeat("v", 64)))
	return newPathBench(b, func(dst []byte, key string) []byte { return resp.AppendCommandStrings(dst, "GET", key) }, one), resp.AppendCommandStrings(nil, args...)
}

// BenchmarkSplitAndMerge is an MGET of keys that lie in as many slots: cut up, sent to three nodes, and put together.
func BenchmarkSplitAndMerge(b *testing.B) {
	for _, keys := range []int{10, 100} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			w, command := mgetBench(b, keys)
			s := w.clients[0]
			b.ReportAllocs()
			for b.Loop() {
				w.l.now += 1e5
				s.arrived(command, len(command))
				w.answer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
		})
	}
}

// BenchmarkMerge is the last step of that: the replies lie there.
func BenchmarkMerge(b *testing.B) {
	const keys = 100
	r := &request{fan: &fanout{merge: mergeMGet}, rule: &router.Rule{}}
	reply := resp.AppendBulkString(resp.AppendArray(nil, 1), strings.Repeat("v", 64))
	for i := range keys {
		r.fan.parts = append(r.fan.parts, &request{args: 1, reply: reply})
		r.fan.order = append(r.fan.order, partRef{part: uint32(i)})
	}
	dst := make([]byte, 0, keys*len(reply))
	b.ReportAllocs()
	for b.Loop() {
		if out := mergeReplies(r, dst); len(out) < keys*64 {
			b.Fatalf("%q", out)
		}
	}
}

// BenchmarkFlush is one write of 16 replies, system call included, to a socket whose other end is read.
func BenchmarkFlush(b *testing.B) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	p, err := New(Config{Loops: 1})
	if err != nil {
		b.Fatal(err)
	}
	l := p.loops[0]
	s := &session{authed: true, profile: l.plain}
	s.conn = conn{l: l, owner: s, fd: fds[0], side: metrics.SideClient}
	reply := resp.AppendBulkString(nil, strings.Repeat("v", 64))
	in := make([]byte, 16*len(reply))
	b.ReportAllocs()
	for b.Loop() {
		for range 16 {
			s.write(reply)
		}
		l.settleOutput()
		if n, err := syscall.Read(fds[1], in); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkLoopback is the whole path over sockets, with scripted nodes at the end: it shows allocations and gross changes. What
// a command costs is measured by bench/compare, where the nodes are processes of their own.
func BenchmarkLoopback(b *testing.B) {
	set := testnode.NewSet(b, 3)
	value := strings.Repeat("v", 64)
	for i := range 3 {
		set.Node(i).Every("GET ...", testnode.Bulk(value))
	}
	_, addr := serve(b, Config{Loops: 1}, set.Addrs()...)
	for _, pipeline := range []int{1, 16} {
		b.Run(fmt.Sprint("pipeline ", pipeline), func(b *testing.B) {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			c := &client{t: b, Conn: nc}
			request := bytes.Repeat(resp.AppendCommandStrings(nil, "GET", "key"), pipeline)
			reply := make([]byte, pipeline*len(resp.AppendBulkString(nil, value)))
			sent := 0
			if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				c.exchange(request, reply)
				if sent++; sent%1000 == 0 {
					for i := range 3 {
						set.Node(i).Forget() // it notes what it has seen
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pipeline), "ns/command")
		})
	}
}
