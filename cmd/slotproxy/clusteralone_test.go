package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/config"
	"slotproxy/internal/testcluster"
	"slotproxy/migrate"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
)

// strangers are nodes that belong to no cluster.
func strangers(t *testing.T, count int) []*testcluster.Node {
	t.Helper()
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3, Empty: count - 3})
	for _, n := range cl.Nodes {
		if _, err := n.Do("CLUSTER", "RESET", "HARD"); err != nil {
			t.Fatal(err)
		}
	}
	return cl.Nodes
}

func TestAClusterIsMadeAndReshardedWithoutAProxy(t *testing.T) {
	testcluster.NeedNewest(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	nodes := strangers(t, 4)
	addrs := []string{nodes[0].Addr, nodes[1].Addr, nodes[2].Addr}
	step := func(says string, args ...string) {
		t.Helper()
		code, out, errs := run(append([]string{"cluster"}, args...)...)
		if code != exitOK || !strings.Contains(out, says) {
			t.Fatalf("%v: code %d, want 0 and %q\n%s%s", args, code, says, out, errs)
		}
	}
	step("Primary[2] -> Slots 10922 - 16383, "+addrs[2], append([]string{"create", "--dry-run"}, addrs...)...)
	step("[OK] All 16384 slots covered.", append([]string{"create", "--yes"}, addrs...)...)
	here := func(args ...string) []string { return append(args, "--cluster", addrs[1]) }
	step("[OK] All nodes agree about slots configuration.", here("check")...)
	for i := range 500 {
		key := fmt.Sprint("key:", i)
		for _, n := range nodes[:3] {
			if _, err := n.Do("SET", key, "v"); err == nil {
				break
			}
		}
	}
	step("OK", here("add-node", nodes[3].Addr)...)
	step("Job 1: success", here("reshard", "--from", "all", "--to", nodes[3].Addr, "--slots", "300", "--yes")...)
	step("| 300 slots |", here("info")...)
	step("Job 2: success", here("evacuate", nodes[3].Addr, "--yes")...)
	step("success", here("jobs")...)
	step("OK", here("del-node", nodes[3].Addr, "--yes")...)
	step("(using node "+addrs[1]+")", here("check")...)
	step("500 keys in 3 primaries", here("info")...)
}

// interrupt begins a job that would take an hour and leaves it as a crash does.
func interrupt(t *testing.T, node, target string) {
	t.Helper()
	sources := config.Sources{Env: os.Environ(), Flags: map[string][]string{"cluster": {node}}}
	s, err := newStandalone(t.Context(), sources, io.Discard, purpose{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	s.cut = true
	c, err := s.start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.do(t.Context(), strings.Fields("PROXY MOVE SLOTSRANGE 0 4000 TO "+target+" ENGINE LEGACY MAXKEYS 1 PARALLEL 1")...); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if j, _ := s.moves.Job("1"); j.SlotsDone > 0 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the job does not begin: %+v", j)
		}
	}
}

func TestAnInterruptedJobIsKnownFromEachNodeAndGoesOnOnlyForWhoWantsIt(t *testing.T) {
	testcluster.NeedNewest(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3, Empty: 1})
	for i := range 3000 {
		_, _ = cl.Nodes[0].Do("SET", fmt.Sprint("key:", i), "v") // those of its slots
	}
	flags := []string{"--cluster", cl.Nodes[0].Addr}
	_, port, _ := net.SplitHostPort(cl.Nodes[0].Addr)
	interrupt(t, "localhost:"+port, cl.Nodes[3].Addr) // a name that no node knows
	other := []string{"--cluster", cl.Nodes[1].Addr}
	slots := func() string {
		_, out, _ := run(append([]string{"cluster", "slots"}, other...)...)
		return out
	}
	before := slots()
	for _, tt := range []struct {
		args, says string
		code       int
	}{
		{"jobs", "interrupted", exitOK}, {"job", "interrupted", exitOK}, {"evacuate " + cl.Nodes[0].Addr + " --dry-run", "Moving", exitOK},
		{"nodes", cl.Nodes[0].Addr, exitOK},
	} {
		if code, out, errs := run(append(append([]string{"cluster"}, strings.Fields(tt.args)...), other...)...); code != tt.code || !strings.Contains(out, tt.says) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.says, out, errs)
		}
	}
	if after := slots(); after != before {
		t.Errorf("looking has moved slots:\n%s\nbefore\n%s", after, before)
	}
	if code, out, errs := run(append([]string{"cluster", "cancel"}, other...)...); code != exitOK || !strings.Contains(out, "OK") {
		t.Errorf("cancel: code %d\n%s%s", code, out, errs)
	}
	if _, out, errs := run(append([]string{"cluster", "jobs"}, flags...)...); !strings.Contains(out, "cancelled") {
		t.Errorf("behind cancel the jobs are\n%s%s", out, errs)
	}
}

func TestAWrongPasswordIsToldAtOnceAndInWords(t *testing.T) {
	testcluster.NeedNewest(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3, Password: "secret"})
	begun := time.Now()
	code, out, errs := run("cluster", "check", cl.Nodes[0].Addr, "--cluster-password", "wrong")
	if code != exitFailure || !strings.Contains(errs, "WRONGPASS") || strings.Contains(errs, "{") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	if took := time.Since(begun); took >= tableTime {
		t.Errorf("it took %s", took)
	}
}

func TestTheFolderOfAClusterIsFoundFromEachOfItsNodes(t *testing.T) {
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	at := func(id string) string { return config.StateFolder(env, id) }
	used := func(id string, ago time.Duration) {
		t.Helper()
		when := time.Now().Add(-ago)
		if err := errors.Join(os.MkdirAll(at(id), 0o700), os.Chtimes(at(id), when, when)); err != nil {
			t.Fatal(err)
		}
	}
	ids := []string{"a", "b", "c", "d"}
	want := func(situation, id string) {
		t.Helper()
		if got := stateFolderOf(ids, env); got != at(id) {
			t.Errorf("%s: got %s, want %s", situation, got, at(id))
		}
	}
	want("none is there", "a")
	used("x", 0)
	want("one of another cluster", "a")
	used("c", 3*time.Hour)
	want("one of another node", "c")
	used("a", 4*time.Hour)
	want("an older one of the node that is named", "c")
	used("b", 2*time.Hour)
	want("the one that was used last", "b")
	leaveJob(t, at("d"), "x")
	want("a job of a cluster that a node was in before", "b")
	leaveJob(t, at("a"), "b")
	used("a", 5*time.Hour)
	want("an interrupted job in the one that was used first", "a")
	leaveJob(t, at("c"), "x", "d")
	want("two interrupted jobs", "c")
	if got := stateFolderOf(ids, nil); got != config.NoState {
		t.Errorf("without a home: got %s", got)
	}
	if got := stateFolderOf(nil, env); got != config.NoState {
		t.Errorf("without a cluster: got %s", got)
	}
}

// leaveJob makes a folder with a job that was begun on these primaries and has not ended.
func leaveJob(t *testing.T, dir string, nodes ...string) {
	t.Helper()
	p := &plan.Plan{Goal: "a goal"}
	for _, id := range nodes {
		p.Before = append(p.Before, plan.Share{Node: id})
	}
	text, _ := json.Marshal(map[string]any{"plan": p})
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	j, err := store.Create("1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(journal.Record{Kind: journal.JobCreated, Spec: text}), j.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// A pipe whose reader has gone must not end the process with its folder left behind.
func TestNobodyNeedsToReadTheOutput(t *testing.T) {
	s, err := newStandalone(t.Context(), config.Sources{Env: []string{"TMPDIR=" + t.TempDir()}, Flags: map[string][]string{
		"cluster": {"127.0.0.1:1"}, "state_dir": {config.NoState},
	}}, io.Discard, purpose{found: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	if !signal.Ignored(syscall.SIGPIPE) {
		t.Error("SIGPIPE ends the process")
	}
}

func TestAJobThatCannotGoOnIsWaitedForAloudAndNotForEver(t *testing.T) {
	const foreign, elsewhere = "FOREIGN_COORDINATOR is at work", "OTHERCLUSTER job 7 was begun on another cluster"
	tests := []struct {
		name, word, waits string
		ends              string // the job's last state after some looks, "" for never
		patience          time.Duration
		says, fails       string
	}{
		{"another coordinator stays", "pause", foreign, "", time.Millisecond, "Job 7 does not go on: " + foreign + "\n", "pause has no effect, job 7 does not go on: " + foreign},
		{"it goes in time", "cancel", foreign, migrate.Cancelled, time.Hour, "Job 7 does not go on: " + foreign + "\nOK\n", ""},
		{"of another cluster", "pause", elsewhere, "", time.Hour, "", "pause has no effect, job 7 does not go on: " + elsewhere},
		{"of another cluster, given up", "cancel", elsewhere, migrate.Cancelled, time.Hour, "Job 7 does not go on: " + elsewhere + "\nOK\n", ""},
		{"at work for long", "cancel", "", migrate.Cancelled, 0, "OK\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, addr := fakeAdmin(t, admin.Config{})
			f.ends, f.waits, f.looks = tt.ends, tt.waits, 4
			o, screen := atTerminal(t, addr)
			err := o.settle(t.Context(), "7", tt.word, tt.patience)
			if got := fmt.Sprint(err); (err != nil || tt.fails != "") && got != tt.fails {
				t.Errorf("it ends with %s, want %q", got, tt.fails)
			}
			if screen.String() != tt.says {
				t.Errorf("it says\n%swant\n%s", screen, tt.says)
			}
		})
	}
}

func TestAnInterruptedJobOfAnotherClusterCanOnlyBeCancelled(t *testing.T) {
	testcluster.NeedNewest(t)
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3})
	dir := t.TempDir()
	leaveJob(t, dir, "x")
	for _, tt := range []struct {
		word, says string
		code       int
	}{{"pause", "pause has no effect, job 1 does not go on: OTHERCLUSTER", exitFailure}, {"cancel", "OK", exitOK}, {"job", "cancelled", exitOK}} {
		if code, out, errs := run("cluster", tt.word, "--cluster", cl.Nodes[0].Addr, "--state-dir", dir); code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", tt.word, code, tt.code, tt.says, out, errs)
		}
	}
}

func TestWhoKeepsAnInterruptedJobFromGoingOnIsNamed(t *testing.T) {
	testcluster.NeedNewest(t)
	cl := testcluster.ForTest(t, testcluster.Options{Primaries: 3})
	for _, n := range cl.Nodes {
		rival, err := net.Dial("tcp", n.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer rival.Close()
		_, _ = io.WriteString(rival, "CLIENT SETNAME slotproxy-coord:other:1\r\n")
	}
	dir := t.TempDir()
	leaveJob(t, dir, cl.Nodes[0].ID)
	code, out, errs := run("cluster", "cancel", "--cluster", cl.Nodes[0].Addr, "--state-dir", dir)
	if says := "job 1 does not go on: FOREIGN_COORDINATOR"; code != exitFailure || !strings.Contains(errs, says) {
		t.Errorf("code %d, want %d and %q\n%s%s", code, exitFailure, says, out, errs)
	}
}

func TestEachOrderWithoutAProxyIsInTheLogAsThatOfAnAdminPortIs(t *testing.T) {
	for _, tt := range []struct {
		name, command string
		look          bool
		says          string
	}{
		{"an order", "PROXY CANCEL 7", false, `info  admin command session=1 command="PROXY CANCEL 7" by=admin@unix` + "\n"},
		{"a question", "PROXY JOBS", false, ""},
		{"a plan of who only looks", "PROXY FIX DRYRUN", true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			s, err := newStandalone(t.Context(), config.Sources{Env: []string{"TMPDIR=" + t.TempDir()}, Flags: map[string][]string{
				"cluster": {"127.0.0.1:1"}, "state_dir": {config.NoState},
			}}, &stderr, purpose{found: true, look: tt.look})
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.start(t.Context())
			if err != nil {
				s.stop()
				t.Fatal(err)
			}
			_, _ = c.do(t.Context(), strings.Fields(tt.command)...) // there is neither a job nor a cluster
			c.close()
			s.stop()
			var told string
			for line := range strings.Lines(stderr.String()) {
				if strings.Contains(line, "admin") {
					told += line
				}
			}
			if !strings.HasSuffix(told, tt.says) || (told == "") != (tt.says == "") {
				t.Errorf("the log says %q, want %q", told, tt.says)
			}
		})
	}
}

func TestWhatNeverBeganIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	s, err := newStandalone(t.Context(), config.Sources{Flags: map[string][]string{
		"cluster": {"127.0.0.1:1"}, "state_dir": {dir},
	}}, io.Discard, purpose{found: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = os.RemoveAll(s.dir) // there is no place for the socket
	if _, err := s.start(t.Context()); err == nil {
		t.Fatal("it starts without a socket")
	}
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took >= restTime {
		t.Errorf("the end took %s", took)
	}
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
}
