package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/proxy"
	"slotproxy/router"
)

// fakeBackend is a proxy in front of two primaries, a replica and an empty primary.
type fakeBackend struct{ table *router.Table }

var (
	idA, idB = strings.Repeat("a", 40), strings.Repeat("b", 40)
	idC, idD = strings.Repeat("c", 40), strings.Repeat("d", 40)
)

func newFakeBackend() fakeBackend {
	t := &router.Table{Nodes: []router.Node{
		{ID: idA, Addr: "127.0.0.1:7000", Primary: true, Slots: 8192, Epoch: 1},
		{ID: idB, Addr: "127.0.0.1:7001", Primary: true, Slots: 8192, Epoch: 2},
		{ID: idC, Addr: "127.0.0.1:7002", PrimaryID: idA, Epoch: 1},
		{ID: idD, Addr: "127.0.0.1:7003", Primary: true},
	}}
	for s := 8192; s < router.Slots; s++ {
		t.Owner[s] = 1
	}
	return fakeBackend{t}
}

func (f fakeBackend) Info(string) string          { return "" }
func (f fakeBackend) Nodes() []router.Node        { return f.table.Nodes }
func (f fakeBackend) Table() *router.Table        { return f.table }
func (f fakeBackend) Clients() []proxy.ClientInfo { return nil }
func (f fakeBackend) Config(string) [][2]string   { return nil }
func (f fakeBackend) Ready() (bool, string)       { return true, "" }

// fakeCluster is a coordinator whose jobs end as they are told, after they were looked at a few times.
type fakeCluster struct {
	admin.Cluster // what a test does not expect panics

	mu      sync.Mutex
	asked   []string
	looks   int    // at the job, until it ends
	ends    string // the job's last state
	waits   string // why the job does not go on until it ends
	bad     bool   // the cluster has a finding
	nothing bool   // plans are empty
	capped  string // what the job's plan has left
	stale   bool   // saved plans are out of date
}

func (f *fakeCluster) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

// last is what was asked since the last call.
func (f *fakeCluster) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := strings.Join(f.asked, "; ")
	f.asked = nil
	return asked
}

func (f *fakeCluster) Plan(_ context.Context, g migrate.Goal) (*plan.Plan, error) {
	text, _ := json.Marshal(g)
	f.note("plan %s", text)
	if g.To == "nosuch" {
		return nil, errors.New("ERR Unknown node nosuch")
	}
	p := &plan.Plan{Goal: "a goal", Fingerprint: "f", Before: []plan.Share{{Node: idA, Addr: "127.0.0.1:7000", Slots: 8192, Keys: 1000}}}
	if !f.nothing {
		p.Slots, p.Keys, p.Bytes, p.Estimate = 3, 1500, 2048, 1200*time.Millisecond
		p.Moves = []plan.Move{{Source: idA, Target: idD, Slots: []uint16{0, 1, 5}}}
		p.After = []plan.Share{{Node: idA, Addr: "127.0.0.1:7000", Slots: 8189, Keys: 900}}
		p.Warnings, p.EstimateBy = []string{"be careful"}, "measured by job 6"
		if g.Caps != (plan.Caps{}) {
			p.Capped = "capped at " + g.Caps.String() + ": the same command goes on"
		}
	}
	return p, nil
}

func (f *fakeCluster) Fits(_ context.Context, p *plan.Plan) error {
	f.note("fits %d slots", p.Slots)
	if f.stale {
		return errors.New("STALEPLAN the cluster has changed")
	}
	return nil
}

func (f *fakeCluster) Start(_ context.Context, p *plan.Plan, o machine.Options, _ string) (string, error) {
	text, _ := json.Marshal(o)
	f.note("start %d slots %s", p.Slots, text)
	return "7", nil
}

func (f *fakeCluster) Jobs() []migrate.Status {
	return []migrate.Status{{ID: "7", Goal: "a goal", State: f.ends}}
}

func (f *fakeCluster) Job(id string) (migrate.Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks--
	s := migrate.Status{
		ID: "7", Goal: "a goal", State: migrate.Running, Reason: f.waits, Created: time.UnixMilli(1), Started: time.UnixMilli(1000),
		SlotsTotal: 3, SlotsDone: 1, KeysTotal: 1500, KeysMoved: 500, BytesMoved: 4096, KeysPerSecond: 100, ETA: 10 * time.Second, Pace: "p99 is high", HeldCommands: 5, Capped: f.capped,
		Units: []migrate.UnitStatus{{Source: idA, Target: idD, Engine: "legacy", Step: "move", Slots: "1"}},
	}
	if f.looks <= 0 && f.ends != "" {
		s.State, s.Reason, s.Finished, s.SlotsDone, s.KeysMoved, s.Pace, s.ETA = f.ends, "", time.UnixMilli(3500), 3, 1500, "", 0
		s.HeldCommands, s.LongestHold, s.Agree = 12, 3400*time.Microsecond, f.ends == migrate.Success
		s.Before, s.After = []plan.Share{{Node: idA, Addr: "127.0.0.1:7000", Slots: 8192, Keys: 1000, Ops: 70}}, []plan.Share{{Node: idA, Addr: "127.0.0.1:7000", Slots: 8189, Keys: 900, Ops: 60}}
		if f.ends == migrate.Failed {
			s.Reason, s.Blocked = "a node is gone", []string{"slot 5: a big key"}
			s.Side = "/state/7.side"
		}
	}
	return s, id == "7"
}

func (f *fakeCluster) Pause(id, _ string) error  { f.note("pause %s", id); return nil }
func (f *fakeCluster) Resume(id, _ string) error { f.note("resume %s", id); return nil }
func (f *fakeCluster) Cancel(id, _ string) error { f.note("cancel %s", id); return nil }

func (f *fakeCluster) report() *migrate.Report {
	r := &migrate.Report{OK: true, Covered: 16384, Agree: true, Shares: []plan.Share{
		{Node: idA, Addr: "127.0.0.1:7000", Slots: 8192, Keys: 1000}, {Node: idB, Addr: "127.0.0.1:7001", Slots: 8192, Keys: 638}, {Node: idD, Addr: "127.0.0.1:7003"},
	}}
	if f.bad {
		r.OK, r.Covered = false, 16383
		r.Findings = []migrate.Finding{{Severity: "error", Kind: "uncovered", Slots: []uint16{5}, Text: "slot 5 has no owner",
			Repair: []string{"127.0.0.1:7000 CLUSTER ADDSLOTS 5"}}}
	}
	return r
}

func (f *fakeCluster) Check(context.Context) (*migrate.Report, error) {
	f.note("check")
	return f.report(), nil
}

func (f *fakeCluster) Fix(_ context.Context, o migrate.FixOptions, _ string) (*migrate.Report, error) {
	f.note("fix %v %s", o.DryRun, o.Orphans)
	r := f.report()
	if !o.DryRun {
		f.bad = false
		r = f.report()
		r.Done = []string{"127.0.0.1:7000 CLUSTER ADDSLOTS 5: OK"}
	}
	return r, nil
}

func (f *fakeCluster) Create(_ context.Context, addrs []string, replicas int, dryRun bool, _ string) ([]string, error) {
	f.note("create %v %d %v", addrs, replicas, dryRun)
	return []string{"a picture"}, nil
}

func (f *fakeCluster) AddNode(_ context.Context, addr, of, _ string) error {
	f.note("add %s %q", addr, of)
	return nil
}
func (f *fakeCluster) DelNode(_ context.Context, node, _ string) error {
	f.note("del %s", node)
	return nil
}

// fakeAdmin serves a fake cluster, and returns its address.
func fakeAdmin(t *testing.T, cfg admin.Config) (*fakeCluster, string) {
	t.Helper()
	f := &fakeCluster{ends: migrate.Success, looks: 1}
	cfg.Address, cfg.Backend, cfg.Cluster, cfg.Log = "127.0.0.1:0", newFakeBackend(), f, slog.New(slog.DiscardHandler)
	s := admin.New(cfg)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return f, s.Addr().String()
}

// atTerminal is an operation of a person who types these lines.
func atTerminal(t *testing.T, addr string, typed ...string) (*operation, *bytes.Buffer) {
	t.Helper()
	c, err := dialAdmin(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	if err := c.hello(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	var screen bytes.Buffer
	in := strings.NewReader(strings.Join(append(typed, ""), "\n"))
	return &operation{
		flags: &clusterFlags{output: outputText}, client: c, out: &screen, talk: &screen, in: bufio.NewReader(in), asks: true,
	}, &screen
}

// waitForLook returns when somebody has looked at the job twice more: the first answer is on the screen then.
func (f *fakeCluster) waitForLook(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	until := f.looks - 2
	f.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		seen := f.looks <= until
		f.mu.Unlock()
		if seen {
			return
		}
	}
	t.Fatal("nobody looks at the job")
}
