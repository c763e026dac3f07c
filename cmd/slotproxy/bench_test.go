package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/bench/load"
	"slotproxy/internal/testcluster"
)

func TestBenchRefusesWhatMakesNoSense(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--target", "all"}, "--target is direct, proxy or both"},
		{[]string{"--output", "xml"}, "--output is text or json"},
		{[]string{"--ratio", "1"}, "--ratio is SET:GET"},
		{[]string{"--ratio", "0:0"}, "--ratio is SET:GET"},
		{[]string{"--read", "1.5"}, "--read is 0 to 1"},
		{[]string{"--read", "0.5", "--mix", "get=1"}, "one of --ratio, --read, --mix and --command"},
		{[]string{"--mix", "get=x"}, "a weight is a number"},
		{[]string{"--mix", "mget=1"}, "--mix knows"},
		{[]string{"--mix", "hget=1"}, "--mix knows"},
		{[]string{"--distribution", "normal"}, "--distribution"},
		{[]string{"--size", "large"}, "--size"},
		{[]string{"--clients", "0"}, "at least 1"},
		{[]string{"--rate", "0"}, "at least 1"},
		{[]string{"--rounds", "-1"}, "--rounds"},
		{[]string{"--duration", "1us"}, "--duration"},
		{[]string{"--during", "PROXY REBALANCE", "--target", "both"}, "one target"},
		{[]string{"--tls-cert", "x"}, "--tls-key"},
		{[]string{"--tls-ca", "/nosuch/file", "--target", "direct", "--cluster", "127.0.0.1:1"}, "--tls-ca"},
		{[]string{"--proxy", "nohost"}, "--proxy is host:port"},
		{[]string{"--target", "direct", "--cluster", "127.0.0.1:1,node"}, "--cluster is host:port"},
		{[]string{"--resp", "9"}, "--resp is 2 or 3"},
		{[]string{"--mix", "get=0"}, "a weight is 1 to"},
		{[]string{"--clients", "2000", "--threads", "1000"}, "threads: 1 to"},
		{[]string{"--target", "direct", "--cluster", "127.0.0.1:1", "--hdr", "/nosuch/folder/out.hlog"}, "--hdr: open /nosuch"},
		{[]string{"extra"}, "unknown command"},
	} {
		var out, errs bytes.Buffer
		if code := execute(append([]string{"bench"}, tt.args...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%q: code %d, want %d; it must say %q:\n%s", tt.args, code, exitUsage, tt.says, errs.String())
		}
	}
}

func TestBenchWithoutAServerSaysSo(t *testing.T) {
	var out, errs bytes.Buffer
	code := execute([]string{"bench", "--target", "direct", "--cluster", "127.0.0.1:1", "--fill=false"}, &out, &errs)
	if code != exitFailure || !strings.Contains(errs.String(), "127.0.0.1:1") {
		t.Errorf("code %d, want %d and the address:\n%s", code, exitFailure, errs.String())
	}
}

func TestAMixIsReadAndARatioToo(t *testing.T) {
	given := func(flags ...string) func(string) bool {
		return func(f string) bool { return slices.Contains(flags, f) }
	}
	for _, tt := range []struct {
		flags benchFlags
		want  string
	}{
		{benchFlags{ratio: "1:10", given: given()}, "GET*10 SET*1"},
		{benchFlags{ratio: "1:0", given: given("ratio")}, "SET*1"},
		{benchFlags{read: 0.9, given: given("read")}, "GET*900 SET*100"},
		{benchFlags{read: 1, given: given("read")}, "GET*1000"},
		{benchFlags{mix: "get=8,SET,mget10=3,mset2=1,multi=2,publish=1", given: given("mix")}, "GET*8 SET*1 MGET10*3 MSET2*1 MULTI*2 PUBLISH*1"},
		{benchFlags{command: "lpush {key} {value}", given: given("command")}, "LPUSH*1"},
	} {
		ops, err := tt.flags.operations()
		if err != nil {
			t.Errorf("%+v: %v", tt.flags, err)
		}
		var got []string
		for _, o := range ops {
			got = append(got, o.Name+"*"+strconv.Itoa(o.Weight))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("got %v, want %s", got, tt.want)
		}
	}
}

func TestTheComparisonTellsMediansAndWhatIsNotKnown(t *testing.T) {
	round := func(count int64, used time.Duration) *load.Result {
		return &load.Result{Phases: []load.Phase{{Name: "all", Length: time.Second, Ops: []load.OpResult{{Name: "GET", Count: count}},
			CPU: []load.ProcessTime{{Process: load.Process{Role: load.Node}, Used: used}}}}}
	}
	rounds := []*load.Result{round(100, time.Millisecond), round(300, 3*time.Millisecond), round(200, 4*time.Millisecond)}
	if got, known := measures[0].spread(rounds, 0); !known || got != (load.Spread{Median: 200, Min: 100, Max: 300}) {
		t.Errorf("throughput is %+v, %v", got, known)
	}
	cpu := cpuMeasure("", load.Node)
	if got, known := cpu.spread(rounds, 0); !known || got != (load.Spread{Median: 10, Min: 10, Max: 20}) {
		t.Errorf("processor time of the nodes is %+v, %v", got, known)
	}
	proxy := cpuMeasure("", load.Proxy)
	if got, known := proxy.spread(rounds, 0); known {
		t.Errorf("processor time of a proxy that nobody has measured is %+v", got)
	}
	rounds[1].Phases[0].CPU[0].Used = -1
	if got, known := cpu.spread(rounds, 0); known {
		t.Errorf("of a node that has ended it is %+v", got)
	}
}

// benchDoc runs slotproxy bench on a real cluster and returns what it wrote as JSON.
func benchDoc(t *testing.T, args ...string) *benchJSON {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"bench", "--output", "json", "--keys", "2000", "--warmup", "50ms", "--duration", "300ms", "--rounds", "1"}, args...)
	if code := execute(args, &out, &errs); code != exitOK {
		t.Fatalf("%q: code %d\n%s%s", args, code, out.String(), errs.String())
	}
	var doc benchJSON
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	return &doc
}

func TestBenchOfARealClusterDirectly(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t)})
	hdr := filepath.Join(t.TempDir(), "out.hlog")
	if err := os.WriteFile(hdr, []byte(strings.Repeat("of an earlier run\n", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	doc := benchDoc(t, "--target", "direct", "--cluster", cl.Addrs()[0], "--mix", "get=5,set=1,mget10=1,mset10=1,multi=1,publish=1", "--clients", "8",
		"--pipeline", "4", "--threads", "2", "--hdr", hdr)
	if s := doc.Settings; len(s.Operations) != 6 || s.Operations[2].Name != "MGET10" || s.Operations[0].Weight != 5 || s.Rounds != 1 ||
		s.RESP != 2 || s.TLS || s.Bound || !s.Filled || s.Machine.Processors < 1 || s.Machine.System == "" {
		t.Errorf("the settings do not tell what was measured: %+v", s)
	}
	p := doc.Targets[0].Rounds[0][0]
	if len(p.Ops) != 6 || len(p.Errors) != 0 || p.Measures["requests_per_second"] <= 0 {
		t.Errorf("got %+v", p)
	}
	for _, o := range p.Ops {
		if o.Count == 0 || o.Failed != 0 || o.Missing != 0 || o.Latency["p50"] <= 0 {
			t.Errorf("%+v: want some, none failed, none without a value", o)
		}
	}
	if _, known := p.Measures["cpu_usec_per_request_node"]; !known {
		t.Errorf("the nodes on this machine are not measured: %v", p.Measures)
	}
	if text, err := os.ReadFile(hdr); err != nil || strings.Count(string(text), "Tag=direct.all.") != 6 || strings.Contains(string(text), "earlier") {
		t.Errorf("the histogram log has not its six lines: %v\n%.500s", err, text)
	}
}
