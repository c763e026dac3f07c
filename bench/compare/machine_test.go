//go:build linux

package main

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestProxiesInheritAllDescriptorsThatAreAllowed(t *testing.T) {
	files, err := raiseFiles()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -n").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != strconv.Itoa(files) && got != "unlimited" {
		t.Errorf("a child may have %s descriptors, want %d", got, files)
	}
}

func TestCoresAreGivenToWhoMustHaveThem(t *testing.T) {
	command := []string{"proxy", "-p"}
	if got := onCores(nil, command); !slices.Equal(got, command) {
		t.Errorf("without cores: %q", got)
	}
	if got := onCores([]int{2, 3}, command); !slices.Equal(got, []string{"taskset", "-c", "2,3", "proxy", "-p"}) {
		t.Errorf("with two: %q", got)
	}
	list := make([]int, 9)
	for i := range list {
		list[i] = 10 + i
	}
	c := divide(list)
	if len(c.load) != 2 || len(c.servers) != 2 || len(c.proxies) != 5 || slices.Contains(c.proxies, c.load[0]) {
		t.Errorf("nine cores are divided as %+v", c)
	}
}

func TestMemoryIsThatOfTheProcess(t *testing.T) {
	resetPeak(os.Getpid())
	if rss, peak := memory(os.Getpid()); rss < 1 || peak < 1 {
		t.Errorf("this process holds %v MiB, at most %v", rss, peak)
	}
	if rss, peak := memory(0); rss != 0 || peak != 0 {
		t.Errorf("no process holds %v MiB, at most %v", rss, peak)
	}
}
