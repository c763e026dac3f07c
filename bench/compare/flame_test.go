//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

const perfText = `
	ffffffff81686cb5 tcp_sendmsg
	ffffffff8158c0a1 ksys_write
	           71a60 syscall.RawSyscall
	           71cd6 slotproxy/proxy.(*loop[go.shape.int]).flush
	           62bbf runtime.goexit.abi0


	           71cd6 slotproxy/proxy.(*loop[go.shape.int]).flush
	           62bbf runtime.goexit.abi0

	           45aaa slotproxy/resp.Parse<a&b>
	           62bbf runtime.goexit.abi0
`

const tracesText = `File: slotproxy
Type: cpu
Time: 2026-11-21 19:00:00 UTC
Duration: 1.10s, Total samples = 30ms ( 2.73%)
-----------+-------------------------------------------------------
      20ms   internal/runtime/syscall.Syscall6
             syscall.RawSyscall6 (inline)
             slotproxy/proxy.(*loop).run
-----------+-------------------------------------------------------
     1.01s   slotproxy/resp.Parse
             slotproxy/proxy.(*loop).run
-----------+-------------------------------------------------------
`

// shares shows a tree as the count of each way from the root.
func shares(n *frame, above string, in map[string]int64) map[string]int64 {
	path := strings.TrimPrefix(above+";"+n.name, ";")
	in[path] = n.count
	for _, c := range n.calls {
		shares(c, path, in)
	}
	return in
}

func TestStacksOfBothToolsBecomeTheSameTree(t *testing.T) {
	perf, err := readPerf(strings.NewReader(perfText))
	if err != nil {
		t.Fatal(err)
	}
	got := shares(&perf.root, "", map[string]int64{})
	flush := "all;runtime.goexit.abi0;slotproxy/proxy.(*loop[go.shape.int]).flush"
	for path, want := range map[string]int64{"all": 3, flush: 2, flush + ";syscall.RawSyscall;ksys_write;tcp_sendmsg": 1} {
		if got[path] != want {
			t.Errorf("%s: got %d, want %d of %v", path, got[path], want, got)
		}
	}
	traces, err := readTraces(strings.NewReader(tracesText))
	if err != nil {
		t.Fatal(err)
	}
	got = shares(&traces.root, "", map[string]int64{})
	run := "all;slotproxy/proxy.(*loop).run"
	for path, want := range map[string]int64{"all": 1_030_000, run: 1_030_000, run + ";syscall.RawSyscall6;internal/runtime/syscall.Syscall6": 20_000} {
		if got[path] != want {
			t.Errorf("%s: got %d, want %d of %v", path, got[path], want, got)
		}
	}
}

func TestAProfileThatTellsNothingIsRefused(t *testing.T) {
	stripped := strings.Repeat("\t71a60 [unknown]\n\t62bbf runtime.goexit\n\n", 2) + "\t71a60 main.main\n\n"
	for text, want := range map[string]string{"": "empty", "\n\n": "empty", stripped: "2 of 3 samples"} {
		if _, err := readPerf(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want it to say %q", text, err, want)
		}
	}
	if _, err := readTraces(strings.NewReader("-----\n soon x\n")); err == nil {
		t.Error("a stack without a time was taken")
	}
}

func TestAFlameGraphIsOneFileWithoutAScript(t *testing.T) {
	f, err := readPerf(strings.NewReader(perfText))
	if err != nil {
		t.Fatal(err)
	}
	text := f.svg("GET <1>", "a & b")
	for _, no := range []string{"<script", "href", "url(", "NaN", "Parse<a"} {
		if strings.Contains(text, no) {
			t.Errorf("%s is in it", no)
		}
	}
	if got, want := f.summary(), "Blue: the kernel 33 %; orange: slotproxy 67 %; yellow: Go's runtime 0 %; grey: other 0 %"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, want := range []string{
		`<title>tcp_sendmsg: 1 samples, 33.33 %</title><rect class="k"`,
		`flush: 2 samples, 66.67 %</title><rect class="o"`,
		`<title>all: 3 samples, 100.00 %</title>`,
		`GET &lt;1&gt;`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in it:\n%s", want, text)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("tags do not close: %v", err)
		}
	}
}
