package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// node is one server as it describes itself.
type node struct {
	id, addr string       // addr is where it is dialled
	view     *router.View // nil: it does not answer
	self     router.ViewNode
	run      string // names the life of its process; "": not known
	shard    string // as it names its shard, which a replica keeps when it takes over; "": not known, as of Redis 7.0
	err      error
	keys     *[router.Slots]int64 // of all databases; of primaries only
	exports  []export             // of slots that it moves away by itself
}

// export is one running CLUSTER MIGRATESLOTS of a source.
type export struct {
	state  string
	slots  string
	target string
	silent int64 // seconds since the target was last heard
}

func (n *node) primary() bool { return n.view != nil && n.self.Primary }
func (n *node) has(slot uint16) bool {
	return n.keys != nil && n.keys[slot] > 0
}

// picture is the cluster in one moment.
type picture struct {
	nodes []*node // by id, those that do not answer too
	byID  map[string]*node
}

// primaries are those that answer.
func (p *picture) primaries() []*node {
	var list []*node
	for _, n := range p.nodes {
		if n.primary() {
			list = append(list, n)
		}
	}
	return list
}

// look asks every node that any node knows.
func (d *Doctor) look(ctx context.Context) (*picture, error) {
	p := &picture{byID: map[string]*node{}}
	addrs, known := d.begin()
	var last error
	for i := 0; i < len(addrs); i++ { // grows as nodes name others
		n := &node{addr: addrs[i]}
		d.ask(ctx, n)
		if n.err != nil {
			last = n.err
			p.missed(n, known[n.addr])
			continue
		}
		if old := p.byID[n.self.ID]; old != nil && old.view != nil {
			continue // asked at another address
		}
		n.id = n.self.ID
		p.byID[n.id] = n
		for k := range n.view.Nodes {
			v := &n.view.Nodes[k]
			if v.ID != n.id && !slices.Contains(addrs, d.dialled(v)) {
				addrs = append(addrs, d.dialled(v))
				known[d.dialled(v)] = v.ID
			}
		}
	}
	for _, n := range p.byID {
		p.nodes = append(p.nodes, n)
	}
	slices.SortFunc(p.nodes, func(a, b *node) int { return strings.Compare(a.id, b.id) })
	if len(p.primaries()) == 0 {
		return nil, fmt.Errorf("ERR No primary answers: %w", errors.Join(last, ctx.Err()))
	}
	for _, n := range p.primaries() {
		if err := d.count(ctx, n); err != nil {
			return nil, fmt.Errorf("count keys on %s: %w", n.addr, err)
		}
		d.askExports(ctx, n)
	}
	return p, nil
}

// missed keeps a node that does not answer, if its id is known.
func (p *picture) missed(n *node, id string) {
	if id != "" && p.byID[id] == nil {
		n.id = id
		p.byID[id] = n
	}
}

// begin returns the addresses to begin with, and the ids at them.
func (d *Doctor) begin() ([]string, map[string]string) {
	known := map[string]string{}
	t := d.table()
	if t == nil {
		return slices.Clone(d.Seeds), known
	}
	var addrs []string
	for i := range t.Nodes {
		addrs = append(addrs, t.Nodes[i].Addr)
		known[t.Nodes[i].Addr] = t.Nodes[i].ID
	}
	return addrs, known
}

func (d *Doctor) table() *router.Table {
	if d.Topology == nil {
		return nil
	}
	return d.Topology()
}

// dialled is the address at which a node is reached.
func (d *Doctor) dialled(v *router.ViewNode) string {
	if t := d.table(); t != nil {
		if i := t.ByID(v.ID); i >= 0 {
			return t.Nodes[i].Addr
		}
	}
	return v.Addr
}

func (d *Doctor) ask(ctx context.Context, n *node) {
	var text string
	if text, n.err = d.text(ctx, n.addr, "CLUSTER", "NODES"); n.err != nil {
		return
	}
	if n.view, n.err = router.ParseNodes([]byte(text), n.addr); n.err != nil {
		return
	}
	for _, v := range n.view.Nodes {
		if v.ID == n.view.Myself {
			n.self = v
		}
	}
	n.shard, _ = d.text(ctx, n.addr, "CLUSTER", "MYSHARDID") // an older server has none, and a user may not be let ask
}

// text runs a command that is answered with a text.
func (d *Doctor) text(ctx context.Context, addr string, command ...string) (string, error) {
	replies, err := d.Nodes.Do(ctx, addr, command)
	if err != nil {
		return "", err
	}
	switch r := replies[0].(type) {
	case string:
		return r, nil
	case engine.ServerError:
		return "", fmt.Errorf("%s on %s: %w", strings.Join(command, " "), addr, r)
	default:
		return "", fmt.Errorf("%s on %s: a reply of type %T", strings.Join(command, " "), addr, r)
	}
}

// countBatch is how many slots are counted in one write: some hundred kilobytes of commands, and a fraction of a
// millisecond of the node's time.
const countBatch = 2048

// count fills in the keys of each slot.
func (d *Doctor) count(ctx context.Context, n *node) error {
	n.keys = new([router.Slots]int64)
	info, err := d.text(ctx, n.addr, "INFO", "keyspace")
	if err != nil {
		return err
	}
	if server, err := d.text(ctx, n.addr, "INFO", "server"); err == nil { // a user may be let see the keys only
		n.run = engine.ReadInfo(server)["run_id"]
	}
	dbs := engine.ReadInfo(info).Databases()
	if len(dbs) == 0 {
		return nil
	}
	s, err := d.Nodes.Session(ctx, n.addr)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, db := range dbs {
		for from := 0; from < router.Slots; from += countBatch {
			commands := [][]string{{"SELECT", strconv.Itoa(db)}}
			for slot := from; slot < from+countBatch; slot++ {
				commands = append(commands, []string{"CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)})
			}
			replies, err := s.Do(ctx, commands...)
			if err != nil {
				return err
			}
			for i, r := range replies[1:] {
				if failed, ok := r.(engine.ServerError); ok {
					return failed
				}
				k, _ := r.(int64)
				n.keys[from+i] += k
			}
		}
	}
	return nil
}

// askExports reads CLUSTER GETSLOTMIGRATIONS, which only Valkey 9.0 and later have.
func (d *Doctor) askExports(ctx context.Context, n *node) {
	replies, err := d.Nodes.Do(ctx, n.addr, []string{"CLUSTER", "GETSLOTMIGRATIONS"}, []string{"TIME"})
	if err != nil {
		return
	}
	now := int64(0)
	if parts, ok := replies[1].([]any); ok && len(parts) > 0 {
		now, _ = strconv.ParseInt(fmt.Sprint(parts[0]), 10, 64)
	}
	jobs, _ := replies[0].([]any)
	for _, j := range jobs {
		f := pairs(j)
		switch f["state"] {
		case "success", "failed", "cancelled":
			continue
		}
		if f["operation"] != "EXPORT" {
			continue
		}
		ack, _ := strconv.ParseInt(f["last_ack_time"], 10, 64)
		n.exports = append(n.exports, export{state: f["state"], slots: f["slot_ranges"], target: f["target_node"], silent: now - ack})
	}
}

// pairs reads a flat array of names and values.
func pairs(v any) map[string]string {
	list, _ := v.([]any)
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

// shares is what each primary has.
func (p *picture) shares() []plan.Share {
	var list []plan.Share
	for _, n := range p.primaries() {
		sh := plan.Share{Node: n.id, Addr: n.addr}
		for slot := range router.Slots {
			if n.view.Owns(uint16(slot)) {
				sh.Slots++
				sh.Keys += n.keys[slot]
			}
		}
		list = append(list, sh)
	}
	slices.SortFunc(list, func(a, b plan.Share) int { return strings.Compare(a.Addr, b.Addr) })
	return list
}

// agree says that all nodes that answer have the same owner for every slot.
func (p *picture) agree() bool {
	var first *node
	for _, n := range p.nodes {
		switch {
		case n.view == nil:
		case first == nil:
			first = n
		default:
			for slot := range router.Slots {
				if n.view.OwnerID(uint16(slot)) != first.view.OwnerID(uint16(slot)) {
					return false
				}
			}
		}
	}
	return true
}
