package resp

import (
	"bytes"
	"testing"
)

// Sizes: 64-byte values are what bench/ compares the proxies with; keys and the
// pipeline of 16 are valkey-benchmark's.
var (
	benchGet  = AppendCommandStrings(nil, "GET", "key:000000000042")
	benchSet  = AppendCommand(nil, []byte("SET"), []byte("key:000000000042"), bytes.Repeat([]byte("x"), 64))
	benchPipe = bytes.Repeat(benchGet, 16)
)

func benchmarkParse(b *testing.B, input []byte, commands int) {
	b.ReportAllocs()
	b.SetBytes(int64(len(input)))
	var p Parser
	for b.Loop() {
		for rest := input; len(rest) > 0; {
			n, err := p.Next(rest, &AfterAuth)
			if n == 0 || err != nil {
				b.Fatal(n, err)
			}
			rest = rest[n:]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*commands), "ns/command")
}

func BenchmarkParseGet(b *testing.B)        { benchmarkParse(b, benchGet, 1) }
func BenchmarkParseSet64(b *testing.B)      { benchmarkParse(b, benchSet, 1) }
func BenchmarkParsePipeline16(b *testing.B) { benchmarkParse(b, benchPipe, 16) }

func benchmarkFrame(b *testing.B, input []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(input)))
	var f Framer
	for b.Loop() {
		if n, done, err := f.Feed(input); n != len(input) || !done || err != nil {
			b.Fatal(n, done, err)
		}
	}
}

func BenchmarkFrameBulk64(b *testing.B) {
	benchmarkFrame(b, AppendBulk(nil, bytes.Repeat([]byte("x"), 64)))
}

func BenchmarkFrameOK(b *testing.B) { benchmarkFrame(b, []byte("+OK\r\n")) }

func BenchmarkFrameArray100(b *testing.B) {
	reply := AppendArray(nil, 100)
	for range 100 {
		reply = AppendBulk(reply, bytes.Repeat([]byte("x"), 64))
	}
	benchmarkFrame(b, reply)
}

func BenchmarkSkipBulk64(b *testing.B) {
	reply := AppendBulk(nil, bytes.Repeat([]byte("x"), 64))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := Skip(reply); n != len(reply) || err != nil {
			b.Fatal(n, err)
		}
	}
}
