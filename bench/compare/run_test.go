//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

// built builds a command of this module.
func built(t *testing.T, name, from string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	// Without its profile, so that the packages in the build cache will do.
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-pgo=off", "-o", file, from).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return file
}

func TestMeasuringOnRealServersLeavesBothFiles(t *testing.T) {
	out := t.TempDir()
	s, err := parseFlags([]string{
		"-cases", "GET:1,PUBLISH3:1", "-only", "direct,slotproxy 1,echo", "-rounds", "2", "-seconds", "0.4", "-out", out,
		"-version", string(testcluster.NeedNewest(t)), "-bin", built(t, "slotproxy", "../../cmd/slotproxy"), "-floor", built(t, "floor", "../floor"),
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if _, err := run(t.Context(), s, &said); err != nil { // whether a bar is met says nothing on a busy machine
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "compare-*-cases.*"))
	if err != nil || len(files) != 2 {
		t.Errorf("got %q, %v, want a page and a Markdown file", files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"GET, pipeline 1", "PUBLISH3, pipeline 1", "slotproxy 1", "direct", "echo"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not say %s", filepath.Base(f), want)
			}
		}
	}
	if strings.Contains(said.String(), "failed") || !strings.Contains(said.String(), "GET, of the echo") {
		t.Errorf("it said:\n%s", said.String())
	}
}

func TestRatesAndTheCollectorAreMeasuredOnRealServers(t *testing.T) {
	s, err := parseFlags([]string{
		"-cases", "GET:1:rate=5,MIX2:1", "-only", "direct,slotproxy 1", "-rounds", "1", "-seconds", "0.4", "-out", "",
		"-version", string(testcluster.NeedNewest(t)), "-bin", built(t, "slotproxy", "../../cmd/slotproxy"), "-floor", "unused",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMeasurer(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	slow, mix := s.cases[0], s.cases[1]
	// A machine that keeps up with a twentieth has answered about as many as were due.
	wanted := m.saturation[slow.saturating()] / 20
	for _, who := range []string{direct, judged} {
		if list := m.samples[slow][who]; len(list) != 1 || list[0].rate > wanted*1.5 || list[0].rate < wanted/10 || list[0].late == 0 {
			t.Errorf("%s: got %+v, %s, want about %.0f commands/s", who, list, m.failed[slow][who], wanted)
		}
	}
	// Whether there was something to collect in this time is another question.
	if list := m.samples[mix][judged]; len(list) != 1 || m.failed[mix][judged] != "" {
		t.Errorf("the collector: got %+v, %s", list, m.failed[mix][judged])
	}
}

func TestAnAdaptersProxyIsMeasuredAndOneThatDoesNotStartDoesNotEndTheRun(t *testing.T) {
	floor := built(t, "floor", "../floor")
	var list []*adapter
	for _, text := range []string{
		"name: broken\nkind: one\nstart: ['false', '{port}']\n",
		"name: copies\nkind: one\nstart: [" + floor + ", -listen, '127.0.0.1:{port}', -forward, '{node}']\n",
	} {
		a, err := parseAdapter([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	s, err := parseFlags([]string{
		"-cases", "GET:1", "-only", "echo", "-rounds", "1", "-seconds", "0.4", "-out", "",
		"-version", string(testcluster.NeedNewest(t)), "-floor", floor,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.adapters, s.only = list, []string{"broken", "copies"}
	var said strings.Builder
	if _, err := run(t.Context(), s, &said); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"broken failed: broken does not serve: it has ended: exit status 1", "| copies "} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
}
