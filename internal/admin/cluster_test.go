package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/migrate"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/resp"
)

// fakeCluster notes what it is asked, in words.
type fakeCluster struct {
	Cluster // what a test does not expect panics

	mu    sync.Mutex
	asked []string
	fails error
	stuck chan struct{} // closed when Check has begun to wait for its context
}

func (f *fakeCluster) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.fails
}

// last is what was asked since the last call.
func (f *fakeCluster) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := strings.Join(f.asked, "; ")
	f.asked = nil
	return asked
}

var (
	share    = []plan.Share{{Node: "aaaa", Addr: "127.0.0.1:7000", Slots: 5, Keys: 6, Bytes: 7, Ops: 8}}
	goodPlan = plan.Plan{
		Goal: "move 0-2,9", Fingerprint: "f", Slots: 4, Keys: 40, Bytes: 400, Estimate: 1500 * time.Millisecond, EstimateBy: "measured by job 6", Capped: "capped at 4 slots",
		Moves:  []plan.Move{{Source: "aaaa", Target: "bbbb", Slots: []uint16{0, 1, 2, 9}}},
		Before: share, Warnings: []string{"careful"},
	}
	goodJob = migrate.Status{
		ID: "7", Goal: "move 0-2,9", State: migrate.Running, Created: time.UnixMilli(1000), Started: time.UnixMilli(2000),
		SlotsTotal: 4, SlotsDone: 1, KeysTotal: 40, KeysMoved: 10, BytesMoved: 100, KeysPerSecond: 5, BytesPerSecond: 50,
		ETA: 6 * time.Second, Retries: 1, Pace: "p99", HeldCommands: 2, LongestHold: 3 * time.Millisecond, Redirects: 4,
		Units:   []migrate.UnitStatus{{Source: "aaaa", Target: "bbbb", Engine: "legacy", Step: "move", Slots: "1", Attempt: 2, For: time.Second}},
		Blocked: []string{"slot 9: big key"}, Before: share, Agree: true, Side: "/x/7.side", Capped: "capped at 4 slots",
	}
)

func (f *fakeCluster) Plan(_ context.Context, g migrate.Goal) (*plan.Plan, error) {
	text, _ := json.Marshal(g)
	if err := f.note("plan %s", text); err != nil {
		return nil, err
	}
	p := goodPlan
	return &p, nil
}

func (f *fakeCluster) Fits(_ context.Context, p *plan.Plan) error { return f.note("fits %s", p.Goal) }

func (f *fakeCluster) Start(_ context.Context, p *plan.Plan, o machine.Options, by string) (string, error) {
	text, _ := json.Marshal(o)
	who, _, _ := strings.Cut(by, "@127.0.0.1:")
	return "7", f.note("start %s %s by %s", p.Goal, text, who)
}

func (f *fakeCluster) Jobs() []migrate.Status {
	return []migrate.Status{{ID: "6", Goal: "x", State: migrate.Failed, Reason: "y"}, goodJob}
}
func (f *fakeCluster) Job(id string) (migrate.Status, bool) {
	return goodJob, id == goodJob.ID
}
func (f *fakeCluster) Pause(id, _ string) error  { return f.note("pause %s", id) }
func (f *fakeCluster) Resume(id, _ string) error { return f.note("resume %s", id) }
func (f *fakeCluster) Cancel(id, _ string) error { return f.note("cancel %s", id) }

func (f *fakeCluster) Check(ctx context.Context) (*migrate.Report, error) {
	if f.stuck != nil {
		select { // one that gets its place while the server closes is counted by nobody
		case f.stuck <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &migrate.Report{Covered: 16383, Agree: true, Shares: share, Findings: []migrate.Finding{
		{Severity: "error", Kind: "uncovered", Slots: []uint16{5}, Text: "nobody has it", Repair: []string{"a:1 CLUSTER ADDSLOTS 5"}},
	}}, f.note("check")
}

func (f *fakeCluster) Fix(_ context.Context, o migrate.FixOptions, _ string) (*migrate.Report, error) {
	return &migrate.Report{OK: true, Covered: 16384, Agree: true, Done: []string{"a:1 CLUSTER ADDSLOTS 5: OK"}},
		f.note("fix %v %s", o.DryRun, o.Orphans)
}

func (f *fakeCluster) Create(_ context.Context, addrs []string, replicas int, dryRun bool, _ string) ([]string, error) {
	return []string{"a plan"}, f.note("create %v %d %v", addrs, replicas, dryRun)
}

func (f *fakeCluster) AddNode(_ context.Context, addr, replicaOf, _ string) error {
	return f.note("add %s %q", addr, replicaOf)
}
func (f *fakeCluster) DelNode(_ context.Context, node, _ string) error { return f.note("del %s", node) }

// startCluster serves a fake coordinator.
func startCluster(t *testing.T) (*fakeCluster, *client) {
	t.Helper()
	f := &fakeCluster{}
	return f, dial(t, start(t, Config{Cluster: f}))
}

func TestWordsBecomeGoalsAndOptions(t *testing.T) {
	const start = `; start move 0-2,9 {} by admin`
	tests := []struct{ line, asked string }{
		{"RESHARD FROM aa bb TO cc SLOTS 10", `plan {"kind":"reshard","from":["aa","bb"],"to":"cc","slots":10}` + start},
		{"reshard slots 16384 to cc from all", `plan {"kind":"reshard","to":"cc","slots":16384}` + start},
		{"MOVE SLOTSRANGE 1 5 9 9 TO h:1", `plan {"kind":"move","to":"h:1","ranges":[[1,5],[9,9]]}` + start},
		{"REBALANCE", `plan {"kind":"rebalance"}` + start},
		{"REBALANCE THRESHOLD 0", `plan {"kind":"rebalance","threshold":1e-9}` + start},
		{"REBALANCE BY KEYS WEIGHT a 2 b 0.5 THRESHOLD 3.5 USEEMPTY",
			`plan {"kind":"rebalance","by":"keys","weights":{"a":2,"b":0.5},"threshold":3.5,"use_empty":true}` + start},
		{"REBALANCE CAPSLOTS 500 CAPKEYS 10000", `plan {"kind":"rebalance","caps":{"slots":500,"keys":10000}}` + start},
		{"RESHARD FROM aa CAPKEYS 9 TO cc SLOTS 10", `plan {"kind":"reshard","from":["aa"],"to":"cc","slots":10,"caps":{"keys":9}}` + start},
		{"MOVE SLOTSRANGE 1 5 TO cc CAPSLOTS 1", `plan {"kind":"move","to":"cc","ranges":[[1,5]],"caps":{"slots":1}}` + start},
		{"EVACUATE aa CAPSLOTS 500 MAXKEYS 5", `plan {"kind":"evacuate","node":"aa","caps":{"slots":500}}; start move 0-2,9 {"max_keys_per_second":5} by admin`},
		{"EVACUATE aa", `plan {"kind":"evacuate","node":"aa"}` + start},
		// A node whose name is an option's word is a node where one must stand.
		{"RESHARD FROM to TO slots SLOTS 1", `plan {"kind":"reshard","from":["to"],"to":"slots","slots":1}` + start},
		{"EVACUATE aa ENGINE atomic HOLD 40 MAXKEYS 1000 MAXBYTES 1000000 PARALLEL 2 ALLOWBLOCKING",
			`plan {"kind":"evacuate","node":"aa"}; start move 0-2,9 {"engine":"atomic","hold_budget":40000000,"parallel":2,` +
				`"max_keys_per_second":1000,"max_bytes_per_second":1000000,"allow_blocking":true} by admin`},
		{"EVACUATE aa ENGINE AUTO", `plan {"kind":"evacuate","node":"aa"}; start move 0-2,9 {"engine":"auto"} by admin`},
		{"EVACUATE aa ENGINE legacy DRYRUN", `plan {"kind":"evacuate","node":"aa"}`},
		{"PAUSE 7", "pause 7"}, {"RESUME 7", "resume 7"}, {"CANCEL 7", "cancel 7"},
		{"CHECK", "check"},
		{"FIX", "fix false "}, {"FIX DRYRUN ORPHANS MERGE", "fix true merge"},
		{"ADDNODE h:1", `add h:1 ""`}, {"ADDNODE h:1 REPLICAOF aa", `add h:1 "aa"`},
		{"DELNODE aa", "del aa"},
		{"CREATE a:1 b:1 REPLICAS 1 DRYRUN", "create [a:1 b:1] 1 true"}, {"CREATE a:1", "create [a:1] 0 false"},
	}
	f, c := startCluster(t)
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			if got := c.do("PROXY " + tt.line); got[0] == '-' {
				t.Errorf("refused: %s", got)
			}
			if got := f.last(); got != tt.asked {
				t.Errorf("asked for\n %s, want\n %s", got, tt.asked)
			}
		})
	}
}

func TestWordsThatMakeNoSenseAreRefused(t *testing.T) {
	tests := []struct{ line, want string }{
		{"RESHARD FROM a TO b SLOTS", "wrong number of arguments for 'proxy|reshard' command"},
		{"RESHARD FROM a TO b SLOTS 1 SLOTS 2", "syntax error"},
		{"RESHARD FROM a SLOTS 1 ENGINE AUTO", "syntax error"},
		{"RESHARD TO b SLOTS 1 ENGINE AUTO", "syntax error"},
		{"RESHARD FROM a TO b SLOTS ten", "value is not an integer or out of range"},
		{"RESHARD FROM a TO b SLOTS 0", "value is out of range, value must between 1 and 16384"},
		{"RESHARD FROM a TO b SLOTS 16385", "value is out of range, value must between 1 and 16384"},
		{"RESHARD FROM a TO b SLOTS 99999999999999999999", "value is not an integer or out of range"},
		{"RESHARD FROM a TO b SLOTS 1 JSON", "syntax error"},
		{"RESHARD FROM a TO b SLOTS 1 FAST", "syntax error"},
		{"MOVE SLOTSRANGE 1 2 3 TO b", "syntax error"},
		{"MOVE SLOTSRANGE 1 16384 TO b", "Invalid or out of range slot"},
		{"MOVE SLOTSRANGE -1 1 TO b", "Invalid or out of range slot"},
		{"MOVE SLOTSRANGE 5 3 TO b", "start slot number 5 is greater than end slot number 3"},
		{"REBALANCE BY SIZE", "syntax error"},
		{"REBALANCE WEIGHT a", "syntax error"},
		{"REBALANCE WEIGHT a 1 b", "syntax error"},
		{"REBALANCE WEIGHT a x", "value is not a valid float"},
		{"REBALANCE WEIGHT a nan", "value is not a valid float"},
		{"REBALANCE WEIGHT a -1", "value is out of range, value must between 0 and 1000000"},
		{"EVACUATE aa CAPSLOTS 0", "value is out of range, value must between 1 and 16384"},
		{"REBALANCE CAPKEYS x", "value is not an integer or out of range"},
		{`EXECUTE {"fingerprint":"f"} CAPSLOTS 5`, "syntax error"},
		{"REBALANCE THRESHOLD 101", "value is out of range, value must between 0 and 100"},
		{"EVACUATE a ENGINE FAST", "syntax error"},
		{"EVACUATE a HOLD 0", "value is out of range, value must between 1 and 1000"},
		{"EVACUATE a HOLD", "syntax error"},
		{"EVACUATE a PARALLEL 17", "value is out of range, value must between 1 and 16"},
		{"EXECUTE x", "the plan cannot be read: not JSON of a plan"},
		{"EXECUTE null", "the plan cannot be read: not JSON of a plan"},
		{"EXECUTE {}", "the plan has no fingerprint"},
		{"EXECUTE {} DRYRUN", "the plan has no fingerprint"},
		{`EXECUTE {"fingerprint":"f","slots":1}`, "the plan does not have as many slots as it says"},
		{`EXECUTE {"fingerprint":"f","slots":2,"moves":[{"source":"a","target":"b","slots":[2,2]}]}`,
			"the slots of the plan are out of range, out of order or there twice"},
		{`EXECUTE {"fingerprint":"f","slots":1,"moves":[{"source":"a","target":"b","slots":[16384]}]}`,
			"the slots of the plan are out of range, out of order or there twice"},
		{`EXECUTE {"fingerprint":"f","slots":1,"moves":[{"source":"a","target":"a","slots":[1]}]}`, "a move of the plan needs two nodes"},
		{"JOB 8", "Unknown job 8"},
		{"FIX ORPHANS MAYBE", "syntax error"},
		{"ADDNODE a:1 REPLICAOF", "syntax error"},
		{"CREATE REPLICAS 1", "syntax error"},
		{"CREATE a:1 REPLICAS x", "value is not an integer or out of range"},
	}
	f, c := startCluster(t)
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			if got, want := c.do("PROXY "+tt.line), "-ERR "+tt.want+"\r\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if asked := f.last(); asked != "" {
				t.Errorf("the cluster was asked: %s", asked)
			}
		})
	}
}

func TestRepliesOfTheCoordinator(t *testing.T) {
	const shares = "*1 *12 node aaaa addr 127.0.0.1:7000 slots :5 keys :6 bytes :7 ops :8"
	tests := []struct{ name, line, want string }{
		{"a job that began", "EVACUATE a", "7"},
		{"a plan", "EVACUATE a DRYRUN", "*22 goal move 0-2,9 slots :4 keys :40 bytes :400 estimate-ms :1500" +
			" estimate-by measured by job 6 moves *1 *8 source aaaa target bbbb count :4 slots 0-2 9 before " + shares + " after *0 warnings *1 careful capped capped at 4 slots"},
		{"jobs, the newest first", "JOBS", "*2 *16 id 7 goal move 0-2,9 state running reason  created-at :1000 finished-at :0 slots-total :4 slots-done :1" +
			" *16 id 6 goal x state failed reason y created-at :0 finished-at :0 slots-total :0 slots-done :0"},
		{"a job", "JOB 7", "*56 id 7 goal move 0-2,9 state running reason  created-at :1000 started-at :2000 finished-at :0" +
			" slots-total :4 slots-done :1 keys-total :40 keys-moved :10 bytes-moved :100 keys-per-second :5 bytes-per-second :50" +
			" eta-ms :6000 retries :1 pace p99 held-commands :2 longest-hold-usec :3000 redirects :4 client-errors :0" +
			" units *1 *14 source aaaa target bbbb engine legacy step move slots 1 attempt :2 for-ms :1000" +
			" blocked *1 slot 9: big key before " + shares + " after *0 agree :1 side-file /x/7.side capped capped at 4 slots"},
		{"a pause", "PAUSE 7", "+OK"},
		{"a check", "CHECK", "*12 ok :0 covered :16383 agree :1 findings *1 *12 severity error kind uncovered slots 5 node  text nobody has it" +
			" repair *1 a:1 CLUSTER ADDSLOTS 5 shares " + shares + " done *0"},
		{"a repair", "FIX", "*12 ok :1 covered :16384 agree :1 findings *0 shares *0 done *1 a:1 CLUSTER ADDSLOTS 5: OK"},
		{"a new cluster", "CREATE a:1", "*1 a plan"},
		{"a new node", "ADDNODE a:1", "+OK"},
	}
	_, c := startCluster(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lines(c.do("PROXY " + tt.line)); got != tt.want {
				t.Errorf("%s:\n got %q\nwant %q", tt.line, got, tt.want)
			}
		})
	}
}

func TestTheLogTellsWhoAskedForWhat(t *testing.T) {
	var log bytes.Buffer // read when all is answered
	s := start(t, Config{Cluster: &fakeCluster{}, Password: "a", Viewer: "v", Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := dial(t, s)
	c.do("AUTH a")
	long := strings.Repeat("x", 2*maxLogged)
	for _, line := range []string{"DELNODE aa", "FIX ORPHANS DELETE DRYRUN", "EXECUTE " + long + " HOLD 5", "JOBS"} {
		c.do("PROXY " + line)
	}
	c.do("AUTH viewer v")
	c.do("PROXY DELNODE bb")
	got := log.String()
	for _, want := range []string{
		`msg="admin command" session=1 command="PROXY DELNODE aa" by=admin@`, `command="PROXY FIX ORPHANS DELETE DRYRUN"`, `command="PROXY EXECUTE HOLD 5 xxx`,
		`level=WARN msg="admin command refused" session=1 command="PROXY DELNODE bb" by=viewer@`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "JOBS") || strings.Contains(got, long) {
		t.Errorf("too much is in\n%s", got)
	}
}

func TestASavedPlanCanBeExecuted(t *testing.T) {
	f, c := startCluster(t)
	saved := c.do("PROXY EVACUATE a DRYRUN JSON")
	saved = saved[strings.Index(saved, "\r\n")+2 : len(saved)-2]
	var back plan.Plan
	if err := json.Unmarshal([]byte(saved), &back); err != nil || !reflect.DeepEqual(back, goodPlan) {
		t.Fatalf("got %s, %v", saved, err)
	}
	f.last()
	c.send(string(resp.AppendCommandStrings(nil, "PROXY", "EXECUTE", saved, "DRYRUN", "JSON")))
	if got, want := c.reply(), fmt.Sprintf("$%d\r\n%s\r\n", len(saved), saved); got != want || f.last() != "fits move 0-2,9" {
		t.Errorf("only to be seen: got %q, want %q", got, want)
	}
	c.send(string(resp.AppendCommandStrings(nil, "PROXY", "EXECUTE", saved, "HOLD", "5")))
	if got, want := lines(c.reply()), "7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := f.last(), `start move 0-2,9 {"hold_budget":5000000} by admin`; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestTheLargestPlanFitsIntoACommand(t *testing.T) {
	f, c := startCluster(t)
	p := plan.Plan{Fingerprint: strings.Repeat("f", 64), Slots: 16384}
	for i := range 1000 {
		p.Before = append(p.Before, plan.Share{Node: strings.Repeat("a", 40), Addr: "[2001:db8:85a3::8a2e:370:7334]:65535", Slots: 16, Keys: 1e9, Bytes: 1e12})
		m := plan.Move{Source: strings.Repeat("a", 40), Target: strings.Repeat("b", 40)}
		for s := i; s < 16384; s += 1000 {
			m.Slots = append(m.Slots, uint16(s))
		}
		p.Moves = append(p.Moves, m)
	}
	p.After = p.Before
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c.send(string(resp.AppendCommandStrings(nil, "PROXY", "EXECUTE", string(text))))
	if got := lines(c.reply()); got != "7" || f.last() == "" {
		t.Errorf("a plan of %d bytes: got %q", len(text), got)
	}
}

func TestErrorsOfTheCoordinatorHaveACode(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{errors.New("BUSYJOB job 3 is running"), "-BUSYJOB job 3 is running\r\n"},
		{errors.New("FOREIGN_COORDINATOR x"), "-FOREIGN_COORDINATOR x\r\n"},
		{errors.New("ERR Unknown node x"), "-ERR Unknown node x\r\n"},
		{errors.New("dial a:1: refused"), "-ERR dial a:1: refused\r\n"},
		{errors.New(""), "-ERR \r\n"},
		{fmt.Errorf("ask a:1: %w", context.DeadlineExceeded), "-" + errTextNoAnswer + ": ask a:1: context deadline exceeded\r\n"},
	}
	f, c := startCluster(t)
	for _, tt := range tests {
		f.fails = tt.err
		for _, line := range []string{"PROXY EVACUATE a", "PROXY PAUSE 7", "PROXY CHECK"} {
			if got := c.do(line); got != tt.want {
				t.Errorf("%s, %v: got %q, want %q", line, tt.err, got, tt.want)
			}
		}
	}
}

func TestWithoutACoordinatorCommandsSayWhy(t *testing.T) {
	c := dial(t, start(t, Config{NoCluster: "state_dir is none"}))
	const want = "-ERR this proxy has no coordinator: state_dir is none\r\n"
	for _, line := range []string{
		"EVACUATE a", "RESHARD FROM all TO a SLOTS 1", "CHECK", "FIX", "PAUSE 1", "RESUME 1", "CANCEL 1", "ADDNODE a:1", "DELNODE a", "CREATE a:1", "JOBS", "JOB 1",
		`EXECUTE {"fingerprint":"f"}`,
	} {
		if got := c.do("PROXY " + line); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestACommandThatWaitsForNodesHoldsNobodyUp(t *testing.T) {
	f := &fakeCluster{stuck: make(chan struct{})}
	s := New(Config{Address: "127.0.0.1:0", Cluster: f, Backend: newFake(), Log: slog.New(slog.DiscardHandler)})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	for range maxSlow {
		dial(t, s).send("PROXY CHECK\r\n")
		<-f.stuck
	}
	waiting := dial(t, s)
	waiting.send("PROXY CHECK\r\n") // has no place, until Close
	other := dial(t, s)
	for _, line := range []string{"PROXY JOBS", "PROXY PAUSE 7", "PROXY NODES"} {
		if got := other.do(line); got[0] == '-' {
			t.Errorf("%s beside slow commands: %s", line, got)
		}
	}
	if err := s.Close(); err != nil { // returns although the commands wait for ever
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
