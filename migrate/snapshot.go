package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

const (
	// surveyLimit bounds the questions to one node. Counting the keys of 16384 slots takes some milliseconds.
	surveyLimit = 5 * time.Second
	// countBatch is how many COUNTKEYSINSLOT go in one piece to servers that have nothing better.
	countBatch = 1024
)

// Whether a survey counts keys.
const (
	withCounts    = true
	withoutCounts = false
)

// version is what a server runs.
type version struct {
	text   string
	valkey bool
	major  int
}

// atomic: the server knows CLUSTER MIGRATESLOTS.
func (v version) atomic() bool { return v.valkey && v.major >= 9 }

// survey is what all nodes said at one time.
type survey struct {
	snap     *plan.Snapshot
	table    *router.Table
	views    []*router.View
	versions map[string]version // by node id
	counted  bool               // Ops of the slots are commands that the data path has counted
	// cpu is what the nodes say that the slots have taken since some time of their own, in microseconds; nil: they do not say it.
	cpu *[router.Slots]int64
	// troubles forbid to move anything now, doubts are what an operator should know.
	troubles, doubts []string
}

// nodeAnswer is what one node said.
type nodeAnswer struct {
	view   *router.View
	info   engine.Info
	health engine.Info // CLUSTER INFO
	counts []slotCount
	err    error
}

type slotCount struct {
	slot      uint16
	keys, cpu int64
}

// survey asks all nodes of the newest table. It fails when a working primary does not answer.
func (c *Coordinator) survey(ctx context.Context, counts bool) (*survey, error) {
	known := c.cfg.Topology()
	if known == nil {
		return nil, errNoTable
	}
	answers := make([]nodeAnswer, len(known.Nodes))
	var asking sync.WaitGroup
	for i := range known.Nodes {
		if n := &known.Nodes[i]; !n.Failed {
			asking.Go(func() { c.ask(ctx, n, counts && n.Primary, &answers[i]) })
		}
	}
	asking.Wait()
	s := &survey{versions: map[string]version{}}
	var errs []error
	for i := range answers {
		a, n := &answers[i], &known.Nodes[i]
		if n.Failed {
			continue
		}
		if a.err != nil {
			if n.Primary {
				errs = append(errs, fmt.Errorf("ERR %s does not answer: %w", n.Addr, a.err))
			} else {
				s.doubts = append(s.doubts, fmt.Sprintf("replica %s does not answer", n.Addr))
			}
			continue
		}
		s.versions[n.ID] = a.version()
		s.views = append(s.views, a.view)
		s.inspect(n, a)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := s.build(known, answers); err != nil {
		return nil, err
	}
	if ops := c.load.ops(); ops != nil && s.snap.Stats != nil {
		for slot := range s.snap.Stats {
			s.snap.Stats[slot].Ops = ops[slot]
		}
		s.counted = true
	}
	return s, nil
}

// ask asks one node.
func (c *Coordinator) ask(ctx context.Context, n *router.Node, counts bool, a *nodeAnswer) {
	ctx, cancel := context.WithTimeout(ctx, surveyLimit)
	defer cancel()
	replies, err := c.cfg.Nodes.Do(ctx, n.Addr, []string{"CLUSTER", "NODES"}, []string{"INFO"}, []string{"CLUSTER", "INFO"})
	if err == nil {
		err = firstError(replies)
	}
	if err != nil {
		a.err = err
		return
	}
	nodes, _ := replies[0].(string)
	if a.view, a.err = router.ParseNodes([]byte(nodes), n.Addr); a.err != nil {
		return
	}
	a.info, a.health = engine.ReadInfo(replies[1]), engine.ReadInfo(replies[2])
	if counts {
		a.counts, a.err = c.countKeys(ctx, n.Addr, a.view)
	}
}

func (a *nodeAnswer) version() version {
	var v version
	v.text, v.valkey = a.info.Release()
	major, _, _ := strings.Cut(v.text, ".")
	v.major, _ = strconv.Atoi(major)
	return v
}

// countKeys counts the keys of a node's slots: in one command where the server has it, else slot by slot.
func (c *Coordinator) countKeys(ctx context.Context, addr string, v *router.View) ([]slotCount, error) {
	var slots []uint16
	for slot := range uint16(router.Slots) {
		if v.Owns(slot) {
			slots = append(slots, slot)
		}
	}
	if len(slots) == 0 {
		return nil, nil
	}
	replies, err := c.cfg.Nodes.Do(ctx, addr, []string{"CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", strconv.Itoa(router.Slots - 1)})
	if err != nil {
		return nil, err
	}
	if list, ok := replies[0].([]any); ok {
		return slotStats(list), nil
	}
	var counts []slotCount
	for batch := range slices.Chunk(slots, countBatch) {
		commands := make([][]string, len(batch))
		for i, slot := range batch {
			commands[i] = []string{"CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(int(slot))}
		}
		replies, err := c.cfg.Nodes.Do(ctx, addr, commands...)
		if err != nil {
			return nil, err
		}
		for i, r := range replies {
			keys, ok := r.(int64)
			if !ok {
				return nil, fmt.Errorf("CLUSTER COUNTKEYSINSLOT: %v", r)
			}
			counts = append(counts, slotCount{slot: batch[i], keys: keys})
		}
	}
	return counts, nil
}

// slotStats reads [[slot, [name, value, ...]], ...].
func slotStats(list []any) []slotCount {
	var counts []slotCount
	for _, e := range list {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			continue
		}
		slot, ok := pair[0].(int64)
		stats, _ := pair[1].([]any)
		if !ok || slot < 0 || slot >= router.Slots {
			continue
		}
		n := slotCount{slot: uint16(slot)}
		for i := 0; i+1 < len(stats); i += 2 {
			value, _ := stats[i+1].(int64)
			switch stats[i] {
			case "key-count":
				n.keys = value
			case "cpu-usec":
				n.cpu = value
			}
		}
		counts = append(counts, n)
	}
	return counts
}

// inspect looks for what forbids a job.
func (s *survey) inspect(n *router.Node, a *nodeAnswer) {
	if state := a.health["cluster_state"]; state != "ok" && n.Primary {
		s.troubles = append(s.troubles, fmt.Sprintf("%s says that the cluster is %s", n.Addr, state))
	}
	if a.info["loading"] == "1" {
		s.troubles = append(s.troubles, n.Addr+" is loading its data")
	}
	for _, slot := range slices.Sorted(maps.Keys(a.view.OpenSlots())) {
		s.troubles = append(s.troubles, fmt.Sprintf("slot %d is open on %s: PROXY FIX closes it", slot, n.Addr))
	}
}

// build makes the snapshot of what the primaries said.
func (s *survey) build(known *router.Table, answers []nodeAnswer) error {
	var err error
	if s.table, err = router.Build(s.views); err != nil {
		return fmt.Errorf("ERR %w", err)
	}
	s.snap = &plan.Snapshot{Owner: s.table.Owner, Nodes: make([]plan.Node, len(s.table.Nodes))}
	byID := map[string]*nodeAnswer{}
	for i := range answers {
		if answers[i].view != nil {
			byID[known.Nodes[i].ID] = &answers[i]
		}
	}
	for i := range s.table.Nodes {
		n := &s.table.Nodes[i]
		p := &s.snap.Nodes[i]
		*p = plan.Node{ID: n.ID, Addr: n.Addr, Host: n.Host, Primary: n.Primary, PrimaryID: n.PrimaryID, Failed: n.Failed, Epoch: n.Epoch}
		if at := known.ByID(n.ID); at >= 0 {
			p.Addr = known.Nodes[at].Addr
		}
		if a := byID[n.ID]; a != nil {
			p.Version = a.version().text
			p.UsedMemory, p.MaxMemory = a.info.Number("used_memory"), a.info.Number("maxmemory")
			p.Replicas = len(a.info.Replicas())
			s.stats(a)
		}
	}
	s.agree()
	return nil
}

// stats adds what a primary counted. Bytes are spread evenly over a node's keys, since servers do not tell them by slot.
func (s *survey) stats(a *nodeAnswer) {
	if a.counts == nil {
		return
	}
	if s.snap.Stats == nil {
		s.snap.Stats = make([]plan.SlotStat, router.Slots)
	}
	total := int64(0)
	for _, n := range a.counts {
		total += n.keys
	}
	for _, n := range a.counts {
		st := &s.snap.Stats[n.slot]
		st.Keys = n.keys
		if total > 0 {
			st.Bytes = int64(float64(a.info.Dataset()) * float64(n.keys) / float64(total))
		}
		if n.cpu > 0 && s.cpu == nil {
			s.cpu = new([router.Slots]int64)
		}
		if s.cpu != nil {
			s.cpu[n.slot] = n.cpu
		}
	}
}

// agree compares what the nodes say of who owns what.
func (s *survey) agree() {
	for slot := range uint16(router.Slots) {
		owner := ""
		if n := s.table.Node(slot); n != nil {
			owner = n.ID
		}
		if owner == "" {
			s.troubles = append(s.troubles, fmt.Sprintf("slot %d has no owner: PROXY FIX", slot))
			return
		}
		for _, v := range s.views {
			if said := v.Owner(slot); said == nil || said.ID != owner {
				s.troubles = append(s.troubles, fmt.Sprintf("node %.8s does not agree on the owner of slot %d", v.Myself, slot))
				return
			}
		}
	}
}

// maxTroubles bounds an error text.
const maxTroubles = 4

// ready says why nothing may be moved now.
func (s *survey) ready() error {
	if len(s.troubles) == 0 {
		return nil
	}
	shown := s.troubles[:min(len(s.troubles), maxTroubles)]
	text := strings.Join(shown, "; ")
	if more := len(s.troubles) - len(shown); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Errorf("NOTMOVABLE %s", text)
}

// keys are the counts by slot, nil if they are not known.
func (s *survey) keys() []int64 {
	if s.snap.Stats == nil {
		return nil
	}
	keys := make([]int64, router.Slots)
	for slot := range keys {
		keys[slot] = s.snap.Stats[slot].Keys
	}
	return keys
}

// afterLimit bounds the wait for all nodes to have heard of the last move: gossip takes a second or two.
const afterLimit = 10 * time.Second

// measure takes the shares and the check at the end of a job.
func (d *drive) measure(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, afterLimit)
	if wrong := d.c.check(limited); ctx.Err() == nil {
		d.job.warn(wrong)
	}
	cancel()
	s, err := d.c.survey(ctx, withCounts) // has bounds of its own: the check may have used up its time
	if err != nil {
		d.c.log.Warn("shares cannot be measured", "job", d.job.id, "err", err)
		return
	}
	d.job.measured(plan.Shares(s.snap))
}

// agreement waits until all nodes have the same picture, and says what is wrong if they do not come to it.
func (c *Coordinator) agreement(ctx context.Context) string {
	wrong := ""
	for {
		s, err := c.survey(ctx, withoutCounts)
		if err == nil {
			if err = s.ready(); err == nil {
				return ""
			}
		}
		if wrong == "" || ctx.Err() == nil { // what was cut short has seen less than the one before
			wrong = err.Error()
		}
		if sleep(ctx, resumeBeat) != nil {
			return wrong
		}
	}
}

var _ engine.Pacer = (*pacer)(nil)
