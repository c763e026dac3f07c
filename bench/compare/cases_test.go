//go:build linux

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestACaseIsReadAsItIsWritten(t *testing.T) {
	tests := []struct {
		text  string
		want  loadCase
		title string
	}{
		{"GET:1", basic("GET", 0, 1), "GET, pipeline 1"},
		{"MGET100:16", basic("MGET", 100, 16), "MGET100, pipeline 16"},
		{"PUBLISH:16", basic("PUBLISH", 0, 16), "PUBLISH, pipeline 16"},
		{"MIX10:1", basic("MIX", 10, 1), "MIX10, pipeline 1"},
		{"GET:1:rate=50:onekey", loadCase{"GET", 0, 1, 50, 64, 3, 100_000, true, false, 50}, "GET, pipeline 1, at 50 % of saturation, one key"},
		{"SET:100:size=16KiB:clients=1:nodes=12:keys=1000:onekey:tls",
			loadCase{"SET", 0, 100, 1, 16 << 10, 12, 1000, true, true, 0},
			"SET, pipeline 100, values of 16KiB, one client, 12 nodes, 1000 keys in the cluster, one key, TLS"},
	}
	for _, tt := range tests {
		got, err := parseCase(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
		if got.String() != tt.text || got.title() != tt.title {
			t.Errorf("%s is written as %s and %s", tt.text, got, got.title())
		}
	}
}

func TestACaseThatMeansNothingIsRefused(t *testing.T) {
	for text, wrong := range map[string]string{
		"":                   "begins with a command",
		"GET":                "begins with a command",
		"GETT:1":             "no command",
		"GET5:1":             "has no number",
		"MGET:1":             "how many keys",
		"MGET0:1":            "1 to 10000",
		"GET:0":              "pipeline",
		"GET:x":              "pipeline",
		"GET:1:size=0":       "a size is",
		"GET:1:size=1-2":     "a size is",
		"GET:1:size=1GiB":    "a size is",
		"GET:1:clients=0":    "clients",
		"GET:1:clients=9999": "clients",
		"GET:1:nodes=2":      "nodes",
		"GET:1:keys=":        "keys",
		"GET:1:fast":         "no setting",
		"GET:1:rate=0":       "1 to 100",
		"GET:1:rate=101":     "1 to 100",
		"GET:1,,SET:1":       "begins with a command",
	} {
		if list, err := parseCases(text); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: got %v, %v, want it to say %q", text, list, err, wrong)
		}
	}
}

func TestTheSetsHaveWhatTheyPromise(t *testing.T) {
	for set, some := range map[string][]string{
		"quick": {"GET:1", "SET:1", "GET:16", "SET:16"},
		"bars":  {"GET:1", "MULTI:16", "GET:1:clients=8000", "GET:1:nodes=30", "GET:1:clients=1:onekey", "SET:1:size=16KiB"},
		"full": {"GET:1", "GET:100", "SET:16:size=16", "GET:1:size=1MiB", "GET:16:clients=8000", "GET:1:clients=1000", "MGET10:1", "MSET100:1", "MULTI:1",
			"EVALSHA:16", "PUBLISH100:1", "GET:16:tls", "GET:1:nodes=12", "GET:16:nodes=30"},
		"rates":  {"GET:1", "GET:1:rate=10", "GET:1:rate=50", "GET:1:rate=80", "GET:1:rate=10:onekey"},
		"gc":     {"MIX:16", "MIX:1", "MIX10:1"},
		"growth": {"GET:1:clients=4000", "GET:1:nodes=6", "MGET100:1", "GET:1:keys=10000000"},
	} {
		s, err := parseFlags([]string{"-set", set}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range some {
			if !slices.ContainsFunc(s.cases, func(c loadCase) bool { return c.String() == text }) {
				t.Errorf("%s is not in the set %s", text, set)
			}
		}
		if got := distinct(s.cases); len(got) != len(s.cases) {
			t.Errorf("the set %s has %d cases, %d of them different", set, len(s.cases), len(got))
		}
		for _, c := range s.cases {
			if again, err := parseCase(c.String()); err != nil || again != c {
				t.Errorf("%s of the set %s is read as %+v, %v", c, set, again, err)
			}
		}
	}
}

func TestFlagsThatMeanNothingAreRefused(t *testing.T) {
	for args, wrong := range map[string]string{
		"-set most":                    "no set",
		"-cases GET":                   "begins with a command",
		"-rounds -1":                   "rounds",
		"-seconds 0.01":                "seconds",
		"-only nobody":                 "no contender",
		"-adapter none.yaml":           "none.yaml",
		"now":                          "what is",
		"-taskset=maybe":               "maybe",
		"-cases GET:1 -only direct,xx": `"xx"`,
	} {
		if _, err := parseFlags(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: got %v, want it to say %q", args, err, wrong)
		}
	}
}

func TestScenesBeginWithTheDefaultAndGrow(t *testing.T) {
	list, err := parseCases("GET:1:nodes=30,GET:1:keys=10000000,GET:1:keys=1000,GET:1,SET:1")
	if err != nil {
		t.Fatal(err)
	}
	order, by := scenes(list)
	want := []scene{{3, defaultKeys}, {3, 1000}, {3, 10_000_000}, {30, defaultKeys}}
	if !slices.Equal(order, want) || len(by[want[0]]) != 2 {
		t.Errorf("got %v with %v first, want %v", order, by[order[0]], want)
	}
}

func TestOnlyWhoCanIsMeasured(t *testing.T) {
	s, err := parseFlags([]string{"-against", "old"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"GET:1":         "direct,slotproxy 1,slotproxy 2,twemproxy,haproxy,forward,echo,against",
		"GET:1:tls":     "slotproxy 1,slotproxy 2,haproxy,against",
		"MIX10:1":       "direct,slotproxy 1,slotproxy 2,twemproxy,haproxy,forward,against",
		"MULTI:16":      "direct,slotproxy 1,slotproxy 2,haproxy,forward,against",
		"MGET10:1":      "direct,slotproxy 1,slotproxy 2,twemproxy,haproxy,forward,against",
		"GET:1:nodes=6": "direct,slotproxy 1,slotproxy 2,twemproxy,against",
		"GET:1:keys=10": "direct,slotproxy 1,slotproxy 2,against",
	} {
		at, err := parseCase(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range contenders(s) {
			if c.fits(at) {
				got = append(got, c.name)
			}
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: got %s, want %s", text, strings.Join(got, ","), want)
		}
	}
}

func TestTheBarsAskOnlyForWhoIsCompared(t *testing.T) {
	s, err := parseFlags([]string{"-set", "bars", "-against", "old"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	many, err := parseCase("GET:1:clients=8000")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range contenders(s) {
		if s.wanted(c, many) {
			got = append(got, c.name)
		}
	}
	if strings.Join(got, ",") != "slotproxy 1,against" {
		t.Errorf("%s: got %q", many, got)
	}
}

func TestAMachineWithFewDescriptorsSaysSo(t *testing.T) {
	many, err := parseCase("GET:1:clients=8000")
	if err != nil {
		t.Fatal(err)
	}
	list := contenders(&settings{bin: "slotproxy", floor: "floor"})
	for _, c := range list {
		c.program = "" // whether it is there is not the question
		got := c.lacks(many, 10_000)
		if wants := c.name == haproxy || c.name == forward; (got != "") != wants || wants && !strings.Contains(got, "16200") {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
