package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// benchResult is what these tests look at of slotproxy bench --output json.
type benchResult struct {
	Targets []struct {
		Target string
		Rounds [][]struct {
			Phase      string
			Measures   map[string]float64
			Operations []struct {
				Count, Failed, Missing int64
			}
			Errors map[string]int64
		}
	}
	Overhead []struct{ Measure string }
	Job      struct {
		State string
		Slots int `json:"slots-done"`
	}
}

// benchTime covers a rebalance on a busy machine; one of an almost empty cluster takes some seconds.
const benchTime = 3 * time.Minute

// runBench measures through p and returns the exit code and the result, which is empty when there is none.
func runBench(t *testing.T, p *proxy, args ...string) (code int, r benchResult) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"bench", "--proxy", p.addr, "--admin", p.admin, "--output", "json", "--keys", "3000", "--warmup", "100ms", "--duration", "500ms"}
	cmd := exec.Command(bin, append(all, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	hung := time.AfterFunc(benchTime, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v in:\n%s", err, out.String())
		}
	}
	t.Logf("%s", errs.String())
	return cmd.ProcessState.ExitCode(), r
}

func TestBenchMeasuresTheProxyBesideTheClusterItself(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs())
	want(t, p.dial(t), "+OK", "FLUSHALL")
	code, r := runBench(t, p, "--rounds", "2", "--clients", "10", "--duration", "3s", "--mix", "get=1,set=1,mget10=1,multi=1")
	if code != 0 || len(r.Targets) != 2 || r.Targets[0].Target != "direct" || r.Targets[1].Target != "proxy" {
		t.Fatalf("exit code %d, %+v", code, r)
	}
	for _, target := range r.Targets {
		if len(target.Rounds) != 2 {
			t.Errorf("%s: %d rounds, want 2", target.Target, len(target.Rounds))
		}
		for _, round := range target.Rounds {
			for i, o := range round[0].Operations {
				if o.Count == 0 || o.Failed != 0 || o.Missing != 0 {
					t.Errorf("%s, operation %d: %+v; want some, all of them fine: %v", target.Target, i, o, round[0].Errors)
				}
			}
		}
	}
	// The generator and the nodes are measured with both targets, the proxy with one of them.
	found := map[string]bool{}
	for _, o := range r.Overhead {
		found[o.Measure] = true
	}
	for _, name := range []string{"requests_per_second", "p50_msec", "p99_msec", "p99.9_msec", "cpu_usec_per_request_node", "cpu_usec_per_request_generator"} {
		if !found[name] {
			t.Errorf("the overhead has no %s: %v", name, r.Overhead)
		}
	}
	if _, known := r.Targets[1].Rounds[0][0].Measures["cpu_usec_per_request_proxy"]; !known {
		t.Errorf("the proxy's processor time is not measured: %v", r.Targets[1].Rounds[0][0].Measures)
	}
}

func TestBenchMovesSlotsInTheMiddleAndNobodyFails(t *testing.T) {
	cluster := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t), Empty: 1})
	empty := cluster.Nodes[len(cluster.Nodes)-1]
	p := startProxy(t, cluster.Addrs())
	code, r := runBench(t, p, "--during", "PROXY REBALANCE USEEMPTY", "--rate", "1000", "--clients", "10")
	if code != 0 || len(r.Targets) != 1 || len(r.Targets[0].Rounds) != 1 {
		t.Fatalf("exit code %d, %+v", code, r)
	}
	if r.Job.State != "success" || r.Job.Slots != 4096 {
		t.Errorf("the job is %+v, want success and a quarter of the slots", r.Job)
	}
	owners, err := cluster.Owners()
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, n := range owners {
		if n == empty {
			moved++
		}
	}
	if moved != 4096 {
		t.Errorf("the empty node has %d slots, want 4096", moved)
	}
	phases := r.Targets[0].Rounds[0]
	if len(phases) != 3 || phases[0].Phase != "before" || phases[1].Phase != "during" || phases[2].Phase != "after" {
		t.Fatalf("phases are %+v", phases)
	}
	for _, ph := range phases {
		for _, o := range ph.Operations {
			if o.Count == 0 || o.Failed != 0 {
				t.Errorf("%s: %+v, want some and none failed: %v", ph.Phase, o, ph.Errors)
			}
		}
	}
}

func TestBenchDirectlyFollowsSlotsThatMove(t *testing.T) {
	cluster := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t), Empty: 1})
	p := startProxy(t, cluster.Addrs())
	code, r := runBench(t, p, "--target", "direct", "--during", "PROXY REBALANCE USEEMPTY", "--clients", "4")
	if code != 0 || r.Job.Slots != 4096 {
		t.Errorf("exit code %d, %+v; want 0 and 4096 slots: every MOVED and ASK can be followed", code, r)
	}
}

func TestBenchTellsThatTheCommandInTheMiddleWasRefused(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs())
	if code, _ := runBench(t, p, "--during", "PROXY EVACUATE nosuchnode"); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

func TestBenchTellsThatTheJobInTheMiddleFailed(t *testing.T) {
	cluster := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t), Empty: 1})
	// So slow that it is cancelled long before it could succeed.
	const slow = "PROXY REBALANCE USEEMPTY ENGINE LEGACY MAXKEYS 1"
	p := startProxy(t, cluster.Addrs())
	ended := make(chan error, 1)
	go cancelFirstJob(p, ended)
	code, r := runBench(t, p, "--during", slow, "--clients", "4", "--rate", "500")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if code != 5 || r.Job.State != "cancelled" {
		t.Errorf("exit code %d, the job is %+v; want 5 and cancelled", code, r.Job)
	}
	if len(r.Targets) != 1 || len(r.Targets[0].Rounds[0]) != 3 {
		t.Errorf("the figures are lost: %+v", r.Targets)
	}
}

// cancelFirstJob waits for a job and cancels it.
func cancelFirstJob(p *proxy, ended chan<- error) { ended <- tryCancel(p) }

func tryCancel(p *proxy) error {
	c, err := wire.Dial("tcp", p.admin)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for start := time.Now(); time.Since(start) < benchTime; time.Sleep(20 * time.Millisecond) {
		v, err := c.Do("PROXY", "JOBS")
		if err != nil || v.IsError() {
			return errors.Join(fmt.Errorf("PROXY JOBS: %s", v), err)
		}
		if len(v.Elems) == 0 {
			continue
		}
		v, err = c.Do("PROXY", "CANCEL", v.Elems[0].Fields()["id"].Text)
		if err == nil && v.IsError() {
			err = fmt.Errorf("PROXY CANCEL: %s", v)
		}
		return err
	}
	return errors.New("no job began")
}

func TestBenchSpeaksTLSWithAPasswordToTheProxyAndToTheNodes(t *testing.T) {
	nodes, _ := newTLSFiles(t)
	clients, _ := newTLSFiles(t)
	cluster := testcluster.ForTest(t, testcluster.Options{Version: testcluster.NeedNewest(t), TLS: nodes, Password: canary})
	p, addr := startTLSProxy(t, cluster.Addrs(), clients, "--cluster-password", canary,
		"--cluster-tls=true", "--cluster-tls-ca", nodes.CA, "--cluster-tls-cert", nodes.ClientCert, "--cluster-tls-key", nodes.ClientKey)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("guessed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	through := []string{"--target", "proxy", "--proxy", addr, "--tls", "--tls-ca", clients.CA, "--tls-cert", clients.ClientCert, "--tls-key",
		clients.ClientKey, "--tls-server-name", "localhost"}
	straight := []string{"--target", "direct", "--cluster", cluster.Addrs()[0], "--cluster-tls", "--tls-ca", nodes.CA, "--tls-cert", nodes.ClientCert,
		"--tls-key", nodes.ClientKey, "--tls-server-name", "localhost"}
	for _, tt := range []struct {
		name string
		args []string
		code int
	}{
		{"through the proxy", append(through, "--password-file", secret), 0},
		{"directly", append(straight, "--password-file", secret), 0},
		{"with a wrong password", append(through, "--password-file", wrong), 1},
		{"with authorities that did not sign", append(through, "--password-file", secret, "--tls-ca", nodes.CA), 1},
		{"without TLS to the port that wants it", []string{"--target", "proxy", "--proxy", addr, "--password-file", secret}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, r := runBench(t, p, append(slices.Clone(tt.args), "--clients", "4")...)
			if code != tt.code {
				t.Fatalf("exit code %d, want %d: %+v", code, tt.code, r)
			}
			if tt.code != 0 {
				return
			}
			for _, o := range r.Targets[0].Rounds[0][0].Operations {
				if o.Count == 0 || o.Failed != 0 || o.Missing != 0 {
					t.Errorf("got %+v, want some, none failed, none missing", o)
				}
			}
		})
	}
}

func TestBenchShowsItsProgressToAPersonAtATerminal(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs())
	w := openTerminal(t, nil, "bench", "--proxy", p.addr, "--admin", p.admin, "--keys", "1000", "--warmup", "300ms", "--duration", "1s", "--rounds", "1",
		"--clients", "4")
	w.see(`Writing 1000 keys`)
	w.see(`\x1b\[Kdirect, round 1 of 1, warm-up: \d+ operations/s, 0 failed, \ds left`)
	w.see(`\x1b\[Kdirect, round 1 of 1: \d+ operations/s, 0 failed, \ds left`)
	w.see(`\x1b\[Kproxy, round 1 of 1: \d+ operations/s, 0 failed, \ds left`)
	// The line is gone before the result, which is as it is without a terminal.
	between := w.see(`p99\.9`)
	if last := strings.LastIndex(between, "left"); last >= 0 && !strings.Contains(between[last:], "\r\x1b[K") {
		t.Errorf("the progress stays before the result:\n%q", between[last:])
	}
	w.end(0)
}

func TestBenchAtATerminalEndsWithCtrlC(t *testing.T) {
	p := startProxy(t, sharedCluster(t, testcluster.NeedNewest(t)).Addrs())
	w := openTerminal(t, nil, "bench", "--target", "proxy", "--proxy", p.addr, "--admin", p.admin, "--keys", "1000", "--duration", "1h")
	w.see(`proxy, round 1 of 1: \d+ operations/s`)
	w.press(ctrlC)
	w.end(130)
}
