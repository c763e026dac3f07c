//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/report.md and testdata/report.html")

// fixed is a report of made-up figures: two that fail, one that is missed, one that is far away, and a row of cases that makes lines.
func fixed(t *testing.T) *report {
	t.Helper()
	list, err := parseCases("GET:1,GET:16,MULTI:16,GET:1:clients=1:onekey,GET:1:clients=1000,GET:1:clients=8000,GET:1:size=16KiB,GET:1:nodes=30")
	if err != nil {
		t.Fatal(err)
	}
	s := &settings{set: "bars", rounds: 3, length: 1500 * time.Millisecond}
	r := newReport(s, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), []fact{{"processor", "2 cores, <one> & \"two\""}, {"servers", "valkey-9.1"}})
	r.Cases = list
	m := &measurer{settings: s, samples: map[loadCase]map[string][]sample{}, failed: map[loadCase]map[string]string{}}
	for i, at := range list {
		for j, who := range []string{direct, judged, twoLoops, twem, haproxy, echo} {
			cpu := (1 + float64(i)/8) * []float64{0, 5, 5.5, 7, 8, 4}[j] / float64(at.pipeline)
			for round := range 3 {
				one := sample{cpu: cpu, nodes: 6, rate: 120_000 / (1 + float64(i)), p50: 300, p99: 900, rss: 20.4, peak: 21.6}
				one.cpu *= 1 + float64(round)/100
				put(m.samples, at, who, append(m.samples[at][who], one))
			}
		}
	}
	delete(m.samples[list[2]], twem)
	delete(m.samples, list[7])
	put(m.failed, list[2], echo, "1 of 2 failed, 1 of them because of: ERR <unknown>\nand more")
	for _, who := range []string{direct, judged, twoLoops, twem, haproxy, echo} {
		for _, at := range list {
			f := newFigures(m.samples[at][who], at)
			if f.Failed = m.failed[at][who]; f.Rounds > 0 || f.Failed != "" {
				r.add(at, who, f)
			}
		}
	}
	r.Notes = []string{"forward with 8000 clients needs 16200 file descriptors, a process may have 1024 (ulimit -Hn)"}
	r.judge(bySet)
	return r
}

func TestTheReportIsAsItWas(t *testing.T) {
	r := fixed(t)
	page, err := r.html()
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"report.md": r.markdown(), "report.html": page} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is another one (go test ./bench/compare -update writes it):\n%s", name, firstDifference(got, string(want)))
		}
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "got  " + a[i] + "\nwant " + b[i]
		}
	}
	return "one of them goes on"
}

func TestThePageIsOneFileThatAnyBrowserReads(t *testing.T) {
	page, err := fixed(t).html()
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"<script", "<link", "src=", "url(", "http://", "https://", "ZgotmplZ", "NaN", "Inf", "<unknown>"} {
		if strings.Contains(page, no) {
			t.Errorf("%s is in it", no)
		}
	}
	if strings.Count(page, "<svg") < 3 || !strings.Contains(page, `class="line s1"`) {
		t.Errorf("%d drawings, or none with lines", strings.Count(page, "<svg"))
	}
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(page, "<!DOCTYPE html>")))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("tags do not close: %v", err)
		}
	}
}

func TestBarsAreJudgedByMedians(t *testing.T) {
	get, err := parseCase("GET:1")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name            string
		ours, haproxy   []float64
		whole           bool
		measured, found bool
		met             bool
	}{
		{"below", []float64{5, 6, 7}, []float64{10, 10, 10}, false, true, true, true},
		{"just there", []float64{75}, []float64{100}, false, true, true, true},
		{"above, though the best round is below", []float64{5, 8, 9}, []float64{10, 10, 10}, false, true, true, false},
		{"not measured in a set that is not about bars", []float64{5}, nil, false, false, false, true},
		{"not measured where bars are what it is about", []float64{5}, nil, true, false, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReport(&settings{}, time.Time{}, nil)
			for who, list := range map[string][]float64{judged: tt.ours, haproxy: tt.haproxy} {
				var samples []sample
				for _, v := range list {
					samples = append(samples, sample{cpu: v, rate: 1})
				}
				if len(samples) > 0 {
					r.add(get, who, newFigures(samples, get))
				}
			}
			r.judge(map[bool]string{true: bySet}[tt.whole])
			var found bool
			for _, v := range r.Bars {
				if v.Text != "GET, of haproxy" {
					continue
				}
				found = true
				if v.Measured != tt.measured || v.Met != tt.met {
					t.Errorf("got %+v", v)
				}
			}
			if found != tt.found || !tt.whole && r.met() != tt.met {
				t.Errorf("found %v, met %v", found, r.met())
			}
		})
	}
}

func TestTheBarOfMGETComparesKeysAndNotCommands(t *testing.T) {
	r := newReport(&settings{}, time.Time{}, nil)
	for _, c := range []struct {
		at   loadCase
		rate float64
	}{{basic("GET", 0, 1), 100_000}, {basic("MGET", 100, 1), 10_000}} {
		r.add(c.at, judged, newFigures([]sample{{cpu: 1, rate: c.rate}}, c.at))
	}
	r.judge("")
	for _, v := range r.Bars {
		if strings.Contains(v.Text, "MGET") && (v.Got < 0.099 || v.Got > 0.101 || !v.Met) {
			t.Errorf("a million keys a second beside a hundred thousand: got %+v", v)
		}
	}
	if len(r.Bars) != 1 {
		t.Errorf("got %d bars, want one", len(r.Bars))
	}
}

func TestAFailureOfOursIsABarThatIsMissed(t *testing.T) {
	get := basic("GET", 0, 1)
	r := newReport(&settings{}, time.Time{}, nil)
	ours := newFigures([]sample{{cpu: 1, rate: 1}}, get)
	ours.Failed = "a reply is missing"
	r.add(get, judged, ours)
	r.add(get, haproxy, newFigures([]sample{{cpu: 10, rate: 1}}, get))
	r.judge(bySet)
	if r.met() {
		t.Errorf("met: %+v", r.Bars)
	}
}

func TestABarOfMicrosecondsIsTheDifferenceOfTheMedians(t *testing.T) {
	slow, err := parseCase("GET:1:rate=10")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ours []float64
		met  bool
		says string
	}{
		{[]float64{130, 139, 150}, true, "39.000 (20.000-60.000) us"},
		{[]float64{130, 141, 150}, false, "41.000 (20.000-60.000) us"},
	} {
		r := newReport(&settings{}, time.Time{}, nil)
		r.Cases = []loadCase{slow}
		for who, list := range map[string][]float64{judged: tt.ours, direct: {90, 100, 110}} {
			var samples []sample
			for _, v := range list {
				samples = append(samples, sample{p50: v, p99: 2 * v, rate: 1, late: 7})
			}
			r.add(slow, who, newFigures(samples, slow))
		}
		r.judge(byRate)
		if len(r.Bars) != 1 || r.Bars[0].Met != tt.met || r.barTable()[1][2] != tt.says || r.barTable()[1][1] != "40 us" {
			t.Errorf("%v beside 100: got %+v, shown as %q", tt.ours, r.Bars, r.barTable()[1])
		}
		text := r.markdown()
		for _, want := range []string{"above direct", fmt.Sprintf("%+.0f", tt.ours[1]-100), "no multiples", "an open load"} {
			if !strings.Contains(text, want) {
				t.Errorf("it does not say %q:\n%s", want, text)
			}
		}
	}
}

func TestBarsOfTheCollectorStandAlone(t *testing.T) {
	r := newReport(&settings{}, time.Time{}, nil)
	r.Cases = gcCases()
	for i, at := range r.Cases {
		c := collections{cycles: 30, pause: []float64{0.0002, 0.0011, 0.0004}[i], share: []float64{0.1, 0.2, 1.5}[i]}
		r.add(at, judged, newFigures([]sample{{cpu: 1, rate: 1, collector: c}}, at))
	}
	r.judge(byGC)
	var got []string
	for i, v := range r.Bars {
		if !v.Measured {
			t.Errorf("%s is not measured", v.Text)
		}
		if !v.Met {
			got = append(got, strings.Join(r.barTable()[i+1][1:4], " "))
		}
	}
	if len(r.Bars) != 6 || strings.Join(got, ", ") != "1 ms 1.100 ms MISSED, 1 % 1.500 % MISSED" {
		t.Errorf("%d bars, missed: %q", len(r.Bars), got)
	}
}
