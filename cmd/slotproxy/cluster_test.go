package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slotproxy/internal/admin"
	"slotproxy/migrate"
)

// updateScreens rewrites what people see: go test ./cmd/slotproxy -run Screen -update
var updateScreens = flag.Bool("update", false, "rewrite testdata/screens")

// sameScreen compares with a file that was looked at when it changed.
func sameScreen(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "screens", name+".txt")
	if *updateScreens {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", file, got, want)
	}
}

func TestCommandLinesBecomeAdminCommands(t *testing.T) {
	const planned, begun = `plan {"kind":"rebalance"}`, `start 3 slots {}`
	tests := []struct {
		line  string
		code  int
		asked string
		says  string
	}{
		{"reshard --from a,b --to c --slots 5 --yes", 0, `plan {"kind":"reshard","from":["a","b"],"to":"c","slots":5}; ` + begun, "Job 7: success after 2.5s"},
		{"reshard --from a --from b --to c --slots 5 -y", 0, `plan {"kind":"reshard","from":["a","b"],"to":"c","slots":5}; ` + begun, ""},
		{"reshard --from all --to c --slots 5 --yes", 0, `plan {"kind":"reshard","to":"c","slots":5}; ` + begun, ""},
		{"reshard --from all --to c --slots 5", exitUsage, `plan {"kind":"reshard","to":"c","slots":5}`, "--yes is missing"},
		{"reshard --to c", exitUsage, "", "missing: --from, --slots; there is no terminal"},
		{"reshard --from all --to nosuch --slots 5 --yes", exitFailure, `plan {"kind":"reshard","to":"nosuch","slots":5}`, "ERR Unknown node nosuch"},
		{"move 0-99 200 --to c --yes", 0, `plan {"kind":"move","to":"c","ranges":[[0,99],[200,200]]}; ` + begun, ""},
		{"move 0-99", exitUsage, "", "--to"},
		{"move 99-0 --to c", exitFailure, "", "ERR start slot number 99 is greater than end slot number 0"},
		{"rebalance --dry-run", 0, planned, "Moving 3 slots from 127.0.0.1:7000 to 127.0.0.1:7003: 0-1 5"},
		{"rebalance --simulate", 0, planned, "be careful"},
		{"rebalance --detach --yes", 0, planned + "; " + begun, "\n7\n"},
		{"rebalance --weight a=2 --weight b=0.5,c=0 --use-empty-masters --threshold 3.5 --by keys --dry-run", 0,
			`plan {"kind":"rebalance","by":"keys","weights":{"a":2,"b":0.5,"c":0},"threshold":3.5,"use_empty":true}`, ""},
		{"rebalance --weight a=1 b=2 c=0 --dry-run", 0, `plan {"kind":"rebalance","weights":{"a":1,"b":2,"c":0}}`, ""},
		{"rebalance --threshold 0 --dry-run", 0, `plan {"kind":"rebalance","threshold":1e-9}`, ""},
		{"rebalance --cap-slots 3 --cap-keys 1500 --max-keys 9 --yes", 0,
			`plan {"kind":"rebalance","caps":{"slots":3,"keys":1500}}; start 3 slots {"max_keys_per_second":9}`,
			"[WARNING] capped at 3 slots and 1500 keys: the same command goes on"},
		{"evacuate a --cap-slots 3 --dry-run", 0, `plan {"kind":"evacuate","node":"a","caps":{"slots":3}}`, "in about 1.2s (measured by job 6)."},
		{"evacuate a --cap-slots -3 --dry-run", exitFailure, "", "value must between 1 and 16384"},
		{"rebalance x:1 y:1", exitUsage, "", "one node of the cluster"},
		{"rebalance x:1", exitUsage, "", "x:1 stands for --cluster"},
		{"check x:1", exitUsage, "", "x:1 stands for --cluster"},
		{"check --search-multiple-owners", 0, "check", "[OK]"},
		{"rebalance --weight a", exitUsage, "", "--weight wants node=weight"},
		{"rebalance --timeout 5 --pipeline 10 --replace --dry-run", 0, planned, "no effect"},
		{"evacuate a --yes --engine legacy --hold 40ms --max-keys 9 --max-bytes 10 --parallel 2 --allow-blocking", 0,
			`plan {"kind":"evacuate","node":"a"}; start 3 slots {"engine":"legacy","hold_budget":40000000,"parallel":2,"max_keys_per_second":9,"max_bytes_per_second":10,"allow_blocking":true}`, ""},
		{"evacuate", exitUsage, "", "evacuate wants a node"},
		{"pause 7", 0, "pause 7", "OK"}, {"resume", 0, "resume 7", "OK"}, {"cancel 7", 0, "cancel 7", "OK"},
		{"job", 0, "", "12 commands were held"},
		{"job 8", exitFailure, "", "ERR Unknown job 8"},
		{"jobs", 0, "", "a goal"},
		{"check", 0, "check", "[OK] All 16384 slots covered."},
		{"fix", 0, "fix true keep", "OK"},
		{"create a:1 b:1 --replicas 1 --yes", 0, "create [a:1 b:1] 1 true; create [a:1 b:1] 1 false", "a picture"},
		{"create a:1", exitUsage, "create [a:1] 0 true", "--yes is missing"},
		{"add-node a:1 x:1", exitUsage, "", "x:1 stands for --cluster"},
		{"del-node x:1 a", exitUsage, "", "x:1 stands for --cluster"},
		{"add-node a:1", 0, `add a:1 ""`, "OK"},
		{"add-node a:1 --replica", 0, `add a:1 "` + idB + `"`, "OK"},
		{"add-node a:1 --replica --master-id x", 0, `add a:1 "x"`, "OK"},
		{"del-node a", exitUsage, "", "--yes is missing"},
		{"del-node a --yes", 0, "del a", "OK"},
		{"check --output xml", exitUsage, "", "text or json"},
		{"nosuch", exitUsage, "", `unknown command "nosuch"`},
	}
	f, addr := fakeAdmin(t, admin.Config{})
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			code, out, errs := run(append([]string{"cluster", "--admin", addr}, strings.Fields(tt.line)...)...)
			if code != tt.code || !strings.Contains(out+errs, tt.says) {
				t.Errorf("code %d, want %d and %q\n%s%s", code, tt.code, tt.says, out, errs)
			}
			if got := f.last(); got != tt.asked {
				t.Errorf("asked for\n %s, want\n %s", got, tt.asked)
			}
		})
	}
}

func TestAJobsEndIsTheExitCode(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	for state, want := range map[string]int{migrate.Success: exitOK, migrate.Partial: exitJob, migrate.Failed: exitJob, migrate.Cancelled: exitJob} {
		f.mu.Lock()
		f.ends, f.looks, f.capped = state, 2, "capped at 3 slots"
		f.mu.Unlock()
		if code, out, errs := run("cluster", "watch", "--admin", addr); code != want || !strings.Contains(out, "Job 7: "+state) ||
			strings.Contains(out, "All nodes agree") != (want == exitOK) || strings.Contains(out, "kept in /state/7.side") != (state == migrate.Failed) || !strings.Contains(out, "[WARNING] capped at 3 slots\n") {
			t.Errorf("%s: code %d, want %d\n%s%s", state, code, want, out, errs)
		}
	}
}

func TestAJobUnderWayShowsWhatClientsNotice(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	f.ends, f.capped = "", "capped at 3 slots" // it never ends
	if code, out, errs := run("cluster", "job", "7", "--admin", addr); code != 0 || !strings.Contains(out, "Clients: 5 commands were held") ||
		!strings.Contains(out, "[WARNING] capped at 3 slots\n") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestAClusterWithFindingsEndsInOne(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	f.bad = true
	for _, args := range [][]string{{"check"}, {"check", "-o", "json"}} {
		if code, out, errs := run(append([]string{"cluster", "--admin", addr}, args...)...); code != exitFailure || !strings.Contains(out, "slot 5 has no owner") {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errs)
		}
	}
	code, out, errs := run("cluster", "--admin", addr, "fix", "--yes")
	if code != 0 || !strings.Contains(out, "CLUSTER ADDSLOTS 5: OK") {
		t.Errorf("fix: code %d\n%s%s", code, out, errs)
	}
}

func TestASavedPlanIsExecutedAsItIs(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	file := filepath.Join(t.TempDir(), "plan.json")
	if code, out, errs := run("cluster", "--admin", addr, "rebalance", "--dry-run", "--save-plan", file); code != 0 {
		t.Fatalf("code %d\n%s%s", code, out, errs)
	}
	f.last()
	if code, out, errs := run("cluster", "--admin", addr, "rebalance", "--plan", file, "--yes"); code != 0 {
		t.Fatalf("code %d\n%s%s", code, out, errs)
	}
	if got, want := f.last(), "fits 3 slots; start 3 slots {}"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for _, goal := range []string{"rebalance --threshold 3", "reshard --slots 5", "move 5", "move --to a", "evacuate a", "evacuate --cap-slots 5", "rebalance --cap-keys 5"} {
		code, _, errs := run(append([]string{"cluster", "--admin", addr, "--plan", file, "--yes"}, strings.Fields(goal)...)...)
		if code != exitUsage || f.last() != "" {
			t.Errorf("%s beside a plan: code %d, %s", goal, code, errs)
		}
	}
	f.stale = true
	if code, _, errs := run("cluster", "--admin", addr, "rebalance", "--plan", file, "--dry-run"); code != exitFailure || !strings.Contains(errs, "STALEPLAN") {
		t.Errorf("an old plan, to look at: code %d, %s", code, errs)
	}
	f.last()
	for _, text := range []string{"[]", `{"hello":1}`, `{"ok":true,"findings":[]}`, `{"fingerprint":"f","slots":3}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := run("cluster", "--admin", addr, "rebalance", "--plan", file, "--yes"); code != exitFailure || !strings.Contains(errs, "is no plan") {
			t.Errorf("%s: code %d, %s", text, code, errs)
		}
	}
}

// With JSON as the result, people read what they are asked about beside it.
func TestNobodyIsAskedAboutWhatIsNotShown(t *testing.T) {
	for _, tt := range []struct {
		name, shows string
		run         func(o *operation) error
	}{
		{"a plan", "Moving 3 slots", func(o *operation) error { return o.carryOut(t.Context(), &planFlags{}, []string{"REBALANCE"}) }},
		{"a repair", "CLUSTER ADDSLOTS 5", func(o *operation) error { return o.fix(t.Context(), "keep", false) }},
	} {
		f, addr := fakeAdmin(t, admin.Config{})
		f.bad = true
		o, screen := atTerminal(t, addr, "no")
		var result bytes.Buffer
		o.flags.output, o.out = outputJSON, &result
		if err := tt.run(o); !errors.Is(err, errRefused) || !strings.Contains(screen.String(), tt.shows) || result.Len() > 0 {
			t.Errorf("%s: %v, the screen is %q, the result %q", tt.name, err, screen.String(), result.String())
		}
	}
}

func TestANothingToDoIsNoJob(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	f.nothing = true
	if code, out, errs := run("cluster", "--admin", addr, "rebalance"); code != 0 || !strings.Contains(out, "Nothing to move.") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestPasswordsOfTheAdminPort(t *testing.T) {
	_, addr := fakeAdmin(t, admin.Config{Password: "a", Viewer: "v"})
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "a\n", "view": "v", "bad": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, file, user, variable string
		code                       int
		says                       string
	}{
		{"none", "", "admin", "", exitFailure, "NOAUTH"},
		{"a file", "good", "admin", "", exitOK, "OK"},
		{"a wrong one", "bad", "admin", "", exitFailure, "WRONGPASS"},
		{"a variable", "", "admin", "a", exitOK, "OK"},
		{"a user who may not", "view", "viewer", "", exitFailure, "NOPERM"},
		{"no file", "nosuch", "admin", "", exitUsage, "nosuch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SLOTPROXY_ADMIN_PASSWORD", tt.variable)
			args := []string{"cluster", "pause", "7", "--admin", addr, "--user", tt.user}
			if tt.file != "" {
				args = append(args, "--password-file", filepath.Join(dir, tt.file))
			}
			if code, out, errs := run(args...); code != tt.code || !strings.Contains(out+errs, tt.says) {
				t.Errorf("code %d, want %d and %q\n%s%s", code, tt.code, tt.says, out, errs)
			}
		})
	}
}

func TestWhatIsNoAdminPortIsSaid(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for _, answer := range []string{"", "SSH-2.0-x\r\n", "*99999999999\r\n", "$999999999\r\n", strings.Repeat("x", 100000), strings.Repeat("*1\r\n", 100)} {
		served := make(chan struct{})
		go func() {
			defer close(served)
			if c, err := ln.Accept(); err == nil {
				_, _ = c.Write([]byte(answer))
				_ = c.Close()
			}
		}()
		if code, _, errs := run("cluster", "jobs", "--admin", ln.Addr().String()); code != exitFailure || errs == "" {
			t.Errorf("%.20q: code %d, %s", answer, code, errs)
		}
		<-served
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	if code, _, errs := run("cluster", "jobs", "--admin", addr); code != exitFailure || !strings.Contains(errs, "--admin names its admin port") {
		t.Errorf("nobody listens: code %d, %s", code, errs)
	}
}

func TestScreens(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	tests := []struct {
		name string
		args string
	}{
		{"info", "info"}, {"nodes", "nodes"}, {"slots", "slots"}, {"check", "check"}, {"plan", "rebalance --dry-run"},
		{"rebalance", "rebalance --yes"}, {"plan.json", "rebalance --dry-run -o json"}, {"job.json", "rebalance --yes -o json"},
		{"nodes.json", "nodes -o json"}, {"check.json", "check -o json"}, {"detach.json", "rebalance --yes --detach -o json"},
		{"help", "--help"}, {"help-rebalance", "rebalance --help"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.mu.Lock()
			f.looks = 2
			f.mu.Unlock()
			_, out, errs := run(append([]string{"cluster", "--admin", addr}, strings.Fields(tt.args)...)...)
			if strings.HasSuffix(tt.name, ".json") && !json.Valid([]byte(out)) {
				t.Errorf("not JSON: %s", out)
			}
			sameScreen(t, tt.name, strings.ReplaceAll(out+errs, addr, "ADMIN"))
		})
	}
}

func TestQuestionsAreValkeyCLIs(t *testing.T) {
	tests := []struct {
		name  string
		typed []string
		asked string
		err   error
	}{
		{"all", []string{"3", idD, "all", "yes"}, `plan {"kind":"reshard","from":["all"],"to":"` + idD + `","slots":3}`, nil},
		{"some", []string{"0", "x", "3", "nosuch", idC, "dddd", "nosuch", "dddd", "aa", "127.0.0.1:7001", "done", "yes"}, "", nil},
		{"none", []string{"3", "dddd", "done"}, "", errors.New("no source nodes given, operation aborted")},
		{"a no", []string{"3", "dddd", "all", "no"}, "", errRefused},
		{"hung up", []string{"3"}, "", errors.New("no answer: EOF")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, addr := fakeAdmin(t, admin.Config{})
			o, screen := atTerminal(t, addr, tt.typed...)
			w := &reshardWords{}
			err := o.reshardAsk(t.Context(), w)
			if err == nil {
				err = o.carryOut(t.Context(), &planFlags{}, []string{"RESHARD", "FROM", strings.Join(w.from, " "), "TO", w.to, "SLOTS", "3"})
			}
			if got, want := errorText(err), errorText(tt.err); got != want {
				t.Errorf("got error %q, want %q", got, want)
			}
			if began := strings.Contains(f.last(), "start"); began != (tt.err == nil) {
				t.Errorf("a job began: %v", began)
			}
			sameScreen(t, "ask-"+strings.ReplaceAll(tt.name, " ", "-"), screen.String())
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Whoever stops watching must not think that the job has stopped.
func TestCtrlCEndsTheWatchingOnly(t *testing.T) {
	f, addr := fakeAdmin(t, admin.Config{})
	f.ends = "" // never
	o, screen := atTerminal(t, addr)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- o.watch(ctx, "7") }()
	f.waitForLook(t)
	cancel()
	err := <-watched
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != exitInterrupt || !strings.Contains(err.Error(), "job 7 goes on") || !strings.Contains(err.Error(), "cluster cancel 7") {
		t.Errorf("got %v", err)
	}
	if got := f.last(); got != "" {
		t.Errorf("asked for %s", got)
	}
	if !strings.Contains(screen.String(), "slots 1/3") {
		t.Errorf("the screen is %q", screen.String())
	}
}

func TestABarFitsItsTerminal(t *testing.T) {
	j := &jobView{State: "running", SlotsTotal: 16384, SlotsDone: 8192, KeysTotal: 123456789, KeysMoved: 12345678, BytesMoved: 1 << 33, KeysPerSecond: 99999, ETA: 3e6}
	if got, want := j.bar(), "[##########..........]  50%  slots 8192/16384  keys 12.3M/123.5M  8.0 GiB  100.0k keys/s  ETA 50m0s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, width := range []int{0, 1, 2, 40, 79, 200} {
		if got := fit(j.bar(), width); width > 1 && len(got) >= width {
			t.Errorf("%d columns: %d characters", width, len(got))
		}
	}
}
