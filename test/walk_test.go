package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/wire"
)

// The walks that the README invites to, by a person at a terminal, from nodes that belong to no cluster to one that has grown, has
// lost a primary and has its slots in balance again.

const (
	// walkKeys are some for each second slot, so that a reshard of 1000 slots has some hundred to move.
	walkKeys = 8000
	// walkPace is in keys a second: a reshard of 1000 slots takes seconds, so that its progress can be read.
	walkPace = "150"
	// walkShare of the slots is what each of four primaries has in the end.
	walkShare = testcluster.Slots / 4
)

// walk is one such person with their cluster.
type walk struct {
	t       *testing.T
	cluster *testcluster.Cluster
	nodes   []*testcluster.Node // three primaries, a replica of each, and one that comes later
	p       *proxy
	secret  string   // file with the nodes' password
	tmp     string   // where commands put what is to be gone when they end
	env     []string // of all commands
}

func TestAPersonAtATerminalMakesAClusterLetsItGrowAndSeesItHeal(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		w := newWalk(t, v)
		w.create()
		w.serve()
		w.fill()
		w.addPrimary()
		w.reshardByHand()
		w.leaveAtThePlan()
		w.reshardFromSome()
		w.reshardByScript()
		w.losePrimary()
		w.rebalance()
		w.check()
	})
}

// newWalk starts seven nodes that do not know each other.
func newWalk(t *testing.T, v testcluster.Version) *walk {
	t.Helper()
	w := &walk{t: t}
	w.cluster = testcluster.ForTest(t, testcluster.Options{Version: v, Empty: 4, Password: canary, NodeTimeout: faultTimeout})
	w.nodes = w.cluster.Nodes
	for _, n := range w.nodes {
		if _, err := n.Do("CLUSTER", "RESET", "HARD"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range w.nodes {
		id, err := n.Do("CLUSTER", "MYID")
		if err != nil {
			t.Fatal(err)
		}
		n.ID, _ = id.(string)
	}
	var err error
	if w.tmp, err = os.MkdirTemp(scratch, "tmp-"); err != nil { // a test's own folder is too long for a socket
		t.Fatal(err)
	}
	w.secret = filepath.Join(t.TempDir(), "password")
	write(t, w.secret, []byte(canary+"\n"))
	w.env = []string{"TMPDIR=" + w.tmp, "XDG_STATE_HOME=" + t.TempDir()}
	return w
}

// at opens a terminal with a command of slotproxy cluster.
func (w *walk) at(args ...string) *terminal {
	w.t.Helper()
	return openTerminal(w.t, w.env, append([]string{"cluster"}, args...)...)
}

// run runs one where there is no terminal.
func (w *walk) run(args ...string) (code int, out string) {
	w.t.Helper()
	bin, err := binary()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"cluster"}, args...)...)
	cmd.Env = append(os.Environ(), w.env...)
	hung := time.AfterFunc(jobLimit, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	text, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// says runs one that must succeed and say something.
func (w *walk) says(text string, args ...string) string {
	w.t.Helper()
	code, out := w.run(args...)
	if code != 0 || !strings.Contains(out, text) {
		w.t.Fatalf("cluster %v: code %d, want 0 and %q:\n%s", args, code, text, out)
	}
	return out
}

// tidy wants commands that were broken off to have left nothing.
func (w *walk) tidy() {
	w.t.Helper()
	left, err := os.ReadDir(w.tmp)
	if err != nil || len(left) > 0 {
		w.t.Errorf("left behind: %v %v", left, err)
	}
}

// slots counts those of each node.
func (w *walk) slots() map[*testcluster.Node]int {
	w.t.Helper()
	owners, err := w.cluster.Owners()
	if err != nil {
		w.t.Fatal(err)
	}
	count := map[*testcluster.Node]int{}
	for _, n := range owners {
		count[n]++
	}
	return count
}

func (w *walk) create() {
	addrs := []string{"create"}
	for _, n := range w.nodes[:6] {
		addrs = append(addrs, n.Addr)
	}
	line := append(addrs, "--replicas", "1", "--cluster-password-file", w.secret)
	const question = "Can I set the above configuration? (type 'yes' to accept): "
	broken := w.at(line...)
	broken.asked(question)
	broken.press(ctrlC)
	broken.end(130)
	refused := w.at(line...)
	refused.answer(question, "y")
	refused.see("aborted, nothing has changed")
	refused.end(1)
	w.tidy()
	if n := w.slots(); n[nil] != testcluster.Slots {
		w.t.Fatalf("slots have owners before anybody has said yes: %v", n)
	}
	made := w.at(line...)
	made.see(`Primary\[0\] -> Slots 0 - 5460`)
	made.see("Adding replica " + w.nodes[3].Addr + " to " + w.nodes[0].Addr)
	made.answer(question, "yes")
	made.see(`\[OK\] All 16384 slots covered\.`)
	made.end(0)
	w.tidy()
	if n := w.slots(); n[w.nodes[0]] != 5461 || n[w.nodes[1]] != 5461 || n[w.nodes[2]] != 5462 {
		w.t.Fatalf("slots of the nodes: %v", n)
	}
	for i, n := range w.nodes[:3] {
		eventually(w.t, readLimit, func() error { // gossip takes its time
			reply, err := n.Do("CLUSTER", "REPLICAS", n.ID)
			if text := fmt.Sprint(reply); err != nil || !strings.Contains(text, w.nodes[i+3].ID) {
				return fmt.Errorf("%s does not know its replica: %s %v", n.Addr, text, err)
			}
			return nil
		})
	}
}

// serve starts a proxy; from here on commands go to its admin port.
func (w *walk) serve() {
	var seeds []string
	for _, n := range w.nodes[:6] {
		seeds = append(seeds, n.Addr)
	}
	w.p = startProxy(w.t, seeds, "--cluster-password-file", w.secret, "--state-dir", w.t.TempDir())
	w.env = append(w.env, "SLOTPROXY_ADMIN="+w.p.admin)
}

// client is one that has logged in.
func (w *walk) client() *wire.Conn {
	w.t.Helper()
	c := w.p.dial(w.t)
	want(w.t, c, "+OK", "AUTH", canary)
	return c
}

func (w *walk) fill() {
	c := w.client()
	w.each(c, "+OK", func(i int) []string { return []string{"SET", fmt.Sprint("walk:", i), fmt.Sprint("value:", i)} })
	w.whole()
}

// whole wants all keys to be there.
func (w *walk) whole() {
	w.t.Helper()
	w.each(w.client(), "", func(i int) []string { return []string{"GET", fmt.Sprint("walk:", i)} })
}

// each sends a command for each key; without a reply that is wanted, its value is.
func (w *walk) each(c *wire.Conn, reply string, command func(i int) []string) {
	w.t.Helper()
	const together = 500
	for first := 0; first < walkKeys; first += together {
		for i := first; i < first+together; i++ {
			c.Append(command(i)...)
		}
		if err := c.Flush(); err != nil {
			w.t.Fatal(err)
		}
		for i := first; i < first+together; i++ {
			wanted := reply
			if wanted == "" {
				wanted = fmt.Sprintf("%q", fmt.Sprint("value:", i))
			}
			if v, err := c.Read(); err != nil || v.String() != wanted {
				w.t.Fatalf("%v: got %s %v, want %s", command(i), v, err, wanted)
			}
		}
	}
}

func (w *walk) addPrimary() {
	late := w.nodes[6]
	w.says("OK", "add-node", late.Addr)
	eventually(w.t, 30*time.Second, func() error {
		if _, out := w.run("nodes"); !strings.Contains(out, late.ID) {
			return fmt.Errorf("the proxy does not know %s:\n%s", late.Addr, out)
		}
		return nil
	})
}

// proceed is asked below each plan.
const proceed = "Do you want to proceed with the proposed reshard plan (yes/no)? "

// reshardByHand answers all questions of a reshard, most of them wrong at first.
func (w *walk) reshardByHand() {
	late, replica := w.nodes[6], replicaOf(w.t, w.cluster, w.nodes[0])
	before := w.slots()
	s := w.at("reshard", "--engine", "legacy", "--max-keys", walkPace) // nodes that move slots themselves do so too soon to be watched
	s.see("M: " + w.nodes[0].ID)
	for _, wrong := range []string{"many", "0", "16385", "1000"} {
		s.answer("How many slots do you want to move (from 1 to 16384)? ", wrong)
	}
	const unknown = `\*\*\* The specified node \(%s\) is not known or not a primary, please retry\.`
	for _, wrong := range []string{"nosuch", replica.ID} {
		s.answer("What is the receiving node ID? ", wrong)
		s.see(fmt.Sprintf(unknown, wrong))
	}
	s.answer("What is the receiving node ID? ", late.ID)
	s.asked("  Type 'all' to use all the nodes as source nodes for the hash slots.")
	s.answer("Source node #1: ", "nosuch")
	s.see(fmt.Sprintf(unknown, "nosuch"))
	s.answer("Source node #1: ", late.ID)
	s.see("It is not possible to use the target node as source node")
	s.answer("Source node #1: ", "all")
	s.see(`Ready to move 1000 slots with \S+ keys.*, in about \S+\.`)
	plan := s.asked(proceed)
	for _, n := range w.nodes[:3] {
		if !regexp.MustCompile(`Moving 33[34] slots from ` + n.Addr + ` to ` + late.Addr + `: \d+-\d+`).MatchString(plan) {
			w.t.Errorf("the plan takes no third from %s:\n%s", n.Addr, plan)
		}
	}
	s.press("yes\n")
	s.see(`\[#*\.+\] +\d+%  slots \d+/1000  keys \S+/\S+.* keys/s  ETA \d+`)
	s.see(`Job 1: success after \S+: 1000 of 1000 slots`)
	s.end(0)
	if tail := s.screen.String(); !strings.Contains(tail, "\r\x1b[KJob 1: success") {
		w.t.Errorf("the bar is not cleared before the end is told:\n%q", tail[max(0, len(tail)-2000):])
	}
	after := w.slots()
	for i, n := range w.nodes[:3] {
		if gave := before[n] - after[n]; gave != 333 && gave != 334 {
			w.t.Errorf("node %d gave %d slots, want its third of 1000", i, gave)
		}
	}
	if after[late] != 1000 {
		w.t.Errorf("the new primary has %d slots, want 1000", after[late])
	}
	w.whole()
}

// leaveAtThePlan ends a reshard where it asks whether to go on.
func (w *walk) leaveAtThePlan() {
	before := w.slots()
	jobs := w.says("Job", "job")
	line := []string{"reshard", "--from", "all", "--to", w.nodes[6].Addr, "--slots", "10"}
	alone := append(line, "--cluster", w.nodes[1].Addr, "--cluster-password-file", w.secret)
	for _, args := range [][]string{line, alone} {
		broken := w.at(args...)
		broken.asked(proceed)
		broken.press(ctrlC)
		broken.end(130)
		refused := w.at(args...)
		refused.answer(proceed, "no")
		refused.see("aborted, nothing has changed")
		refused.end(1)
	}
	w.tidy()
	if after := w.slots(); fmt.Sprint(after) != fmt.Sprint(before) {
		w.t.Errorf("slots of the nodes: %v, before %v", after, before)
	}
	if now := w.says("Job", "job"); now != jobs {
		w.t.Errorf("the newest job is\n%s, was\n%s", now, jobs)
	}
}

// reshardFromSome names the sources one by one.
func (w *walk) reshardFromSome() {
	late := w.nodes[6]
	none := w.at("reshard", "--slots", "30", "--to", late.Addr)
	none.answer("Source node #1: ", "done")
	none.see("no source nodes given, operation aborted")
	none.end(1)
	before := w.slots()
	s := w.at("reshard", "--slots", "30", "--to", late.Addr)
	s.answer("Source node #1: ", w.nodes[0].ID)
	s.answer("Source node #2: ", w.nodes[0].Addr) // the same one
	s.answer("Source node #2: ", w.nodes[2].Addr)
	s.answer("Source node #3: ", "done")
	s.answer(proceed, "yes")
	s.see(`Job 2: success after \S+: 30 of 30 slots`)
	s.end(0)
	after := w.slots()
	if gave := before[w.nodes[0]] - after[w.nodes[0]] + before[w.nodes[2]] - after[w.nodes[2]]; gave != 30 ||
		after[w.nodes[1]] != before[w.nodes[1]] || after[late] != before[late]+30 {
		w.t.Errorf("slots of the nodes: %v, before %v", after, before)
	}
	w.whole()
}

// reshardByScript has no terminal: all must be given, and nothing is drawn.
func (w *walk) reshardByScript() {
	late := w.nodes[6]
	before := w.slots()
	line := []string{"reshard", "--from", "all", "--to", late.Addr, "--slots", "100"}
	for says, args := range map[string][]string{"--yes is missing": line, "missing: --slots": line[:len(line)-2]} {
		if code, out := w.run(args...); code != 2 || !strings.Contains(out, says) {
			w.t.Errorf("cluster %v: code %d, want 2 and %q:\n%s", args, code, says, out)
		}
	}
	out := w.says("Job 3: success", append(line, "--yes")...)
	if strings.ContainsAny(out, "\x1b\r") || !strings.Contains(out, "%  slots ") {
		w.t.Errorf("progress is no plain lines:\n%q", out)
	}
	if after := w.slots(); after[late] != before[late]+100 {
		w.t.Errorf("the new primary has %d slots, had %d", after[late], before[late])
	}
	w.whole()
}

// losePrimary kills one under clients that stay, and brings it back.
func (w *walk) losePrimary() {
	lost := w.nodes[0]
	heir := replicaOf(w.t, w.cluster, lost)
	for _, n := range append(w.nodes[:3:3], w.nodes[6]) {
		if _, err := n.Do("WAIT", "1", "2000"); err != nil { // what has not reached a replica is lost with its primary
			w.t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		c := w.client()
		clients.Go(func() { w.stay(c, fmt.Sprint("stay:", i, ":"), stop) })
	}
	if err := w.cluster.Kill(lost); err != nil {
		w.t.Fatal(err)
	}
	w.role(heir, "primary", "ok")
	w.role(lost, "primary", "failed")
	close(stop)
	clients.Wait()
	w.whole()
	if err := w.cluster.Restart(lost); err != nil {
		w.t.Fatal(err)
	}
	w.role(lost, "replica", "ok", heir.ID)
	if replicaOf(w.t, w.cluster, heir) != lost {
		w.t.Errorf("%s is no replica of %s", lost.Addr, heir.Addr)
	}
}

// stay writes to all slots in turn until it is told to stop and its last writes have gone through again. It has one connection.
func (w *walk) stay(c *wire.Conn, prefix string, stop <-chan struct{}) {
	refused, last := 0, ""
	for i, good := 0, 0; good < 100; i++ {
		v, err := c.Do("SET", fmt.Sprint(prefix, i%1000), "v")
		switch {
		case err != nil:
			w.t.Errorf("a client was cut off: %v", err)
			return
		case v.String() == "+OK":
			good++
		default:
			good, last = 0, v.String()
			if refused++; refused > walkKeys { // a minute of nothing but refusals
				w.t.Errorf("a client is refused all the time: %s", last)
				return
			}
		}
		select {
		case <-stop:
		default:
			good = 0
			time.Sleep(think)
		}
	}
	if refused > 0 {
		w.t.Logf("%s was refused %d times, at last with %s", prefix, refused, last)
	}
}

// role waits until the proxy shows a node as this.
func (w *walk) role(n *testcluster.Node, role, state string, primary ...string) {
	w.t.Helper()
	eventually(w.t, jobLimit, func() error {
		_, out := w.run("nodes")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) >= 6 && f[0] == n.ID && f[2] == role && f[5] == state && fmt.Sprint(f[6:]) == fmt.Sprint(primary) {
				return nil
			}
		}
		return fmt.Errorf("%s is no %s that is %s:\n%s", n.ID, role, state, out)
	})
}

func (w *walk) rebalance() {
	eventually(w.t, jobLimit, func() error { // a replica that copies is no error, but a node that has just come back may be
		if code, out := w.run("check"); code != 0 {
			return errors.New(out)
		}
		return nil
	})
	s := w.at("rebalance")
	s.see(`Ready to move \d+ slots`)
	s.answer(proceed, "yes")
	s.see(`\d+%  slots \d+/\d+`)
	s.see("Job 4: success")
	s.end(0)
	primaries := 0
	for n, count := range w.slots() {
		primaries++
		if off := count - walkShare; off > walkShare/50 || off < -walkShare/50 { // rebalance's own threshold, of 2 percent
			w.t.Errorf("%s has %d slots, want about %d", n.Addr, count, walkShare)
		}
	}
	if primaries != 4 {
		w.t.Errorf("%d primaries have slots, want 4", primaries)
	}
	again := w.at("rebalance")
	again.see("Nothing to move")
	again.end(0)
	w.whole()
}

func (w *walk) check() {
	s := w.at("check")
	s.see(`\[OK\] \d+ keys in 4 primaries\.`)
	s.see(`\[OK\] All nodes agree about slots configuration\.`)
	s.see(`\[OK\] All 16384 slots covered\.`)
	s.end(0)
	w.tidy()
}
