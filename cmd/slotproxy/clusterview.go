package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// What the admin port answers, by its names.

type nodeView struct {
	ID      string `json:"id"`
	Addr    string `json:"addr"`
	Role    string `json:"role"` // primary or replica
	Slots   int    `json:"slots"`
	Epoch   int64  `json:"epoch"`
	Failed  bool   `json:"failed"`
	Primary string `json:"primary"` // of a replica
}

func (n *nodeView) primary() bool { return n.Role == "primary" }

type shareView struct {
	Node  string `json:"node"`
	Addr  string `json:"addr"`
	Slots int    `json:"slots"`
	Keys  int64  `json:"keys"`
	Bytes int64  `json:"bytes"`
	Ops   int64  `json:"ops"`
}

type findingView struct {
	Severity string   `json:"severity"`
	Kind     string   `json:"kind"`
	Slots    string   `json:"slots"`
	Node     string   `json:"node"`
	Text     string   `json:"text"`
	Repair   []string `json:"repair"`
}

type reportView struct {
	OK       bool          `json:"ok"`
	Covered  int           `json:"covered"`
	Agree    bool          `json:"agree"`
	Findings []findingView `json:"findings"`
	Shares   []shareView   `json:"shares"`
	Done     []string      `json:"done"`
}

type unitView struct {
	Source string `json:"source"`
	Target string `json:"target"`
	Engine string `json:"engine"`
	Step   string `json:"step"`
	Slots  string `json:"slots"`
}

type jobView struct {
	ID             string      `json:"id"`
	Goal           string      `json:"goal"`
	State          string      `json:"state"`
	Reason         string      `json:"reason"`
	Created        int64       `json:"created-at"` // Unix milliseconds, as the next two; 0 for not yet
	Started        int64       `json:"started-at"`
	Finished       int64       `json:"finished-at"`
	SlotsTotal     int         `json:"slots-total"`
	SlotsDone      int         `json:"slots-done"`
	KeysTotal      int64       `json:"keys-total"`
	KeysMoved      int64       `json:"keys-moved"`
	BytesMoved     int64       `json:"bytes-moved"`
	KeysPerSecond  int64       `json:"keys-per-second"`
	BytesPerSecond int64       `json:"bytes-per-second"`
	ETA            int64       `json:"eta-ms"`
	Retries        int         `json:"retries"`
	Pace           string      `json:"pace"`
	Held           int64       `json:"held-commands"`
	LongestHold    int64       `json:"longest-hold-usec"`
	Redirects      int64       `json:"redirects"`
	ClientErrors   int64       `json:"client-errors"`
	Units          []unitView  `json:"units"`
	Blocked        []string    `json:"blocked"`
	Before         []shareView `json:"before"`
	After          []shareView `json:"after"`
	Agree          bool        `json:"agree"`
	Side           string      `json:"side-file"`
	Capped         string      `json:"capped"`
}

// picture is a cluster with the slots of each node.
type picture struct {
	nodes []nodeView
	slots map[string][]string // by node id: "0-5460"
}

func (o *operation) picture(ctx context.Context) (*picture, error) {
	p := &picture{slots: map[string][]string{}}
	answer, err := o.client.do(ctx, "PROXY", "NODES")
	if err == nil {
		err = decode(answer, &p.nodes)
	}
	if err != nil {
		return nil, err
	}
	answer, err = o.client.do(ctx, "PROXY", "SLOTS")
	if err != nil {
		return nil, err
	}
	ranges, _ := answer.([]any)
	for _, r := range ranges {
		row, _ := r.([]any)
		if len(row) != 4 {
			return nil, fmt.Errorf("the admin port answered something else than expected: %v", r)
		}
		first, _ := row[0].(int64)
		last, _ := row[1].(int64)
		id, _ := row[3].(string)
		text := strconv.FormatInt(first, 10)
		if last > first {
			text += "-" + strconv.FormatInt(last, 10)
		}
		p.slots[id] = append(p.slots[id], text)
	}
	return p, nil
}

// find returns the node of an id, a unique beginning of one, or an address; nil for none.
func (p *picture) find(name string) *nodeView {
	var found *nodeView
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.ID == name || n.Addr == name {
			return n
		}
		if name != "" && strings.HasPrefix(n.ID, name) {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// replicas of a primary.
func (p *picture) replicas(id string) (n int) {
	for i := range p.nodes {
		if p.nodes[i].Primary == id {
			n++
		}
	}
	return n
}

// name is what a node is called in tables: its address.
func (p *picture) name(id string) string {
	if n := p.find(id); n != nil {
		return n.Addr
	}
	return short(id)
}

// short is how valkey-cli abbreviates ids.
func short(id string) string { return id[:min(len(id), 8)] }

// describe writes a node as valkey-cli does: scripts read that.
func (p *picture) describe(n *nodeView, indent string) string {
	var b strings.Builder
	mark, role := "S", "slave"
	if n.primary() {
		mark, role = "M", "master"
	}
	slots := " "
	if ranges := p.slots[n.ID]; len(ranges) > 0 {
		slots = "[" + strings.Join(ranges, "],[") + "] "
	}
	fmt.Fprintf(&b, "%s%s: %s %s\n%s   slots:%s(%d slots) %s\n", indent, mark, n.ID, n.Addr, indent, slots, n.Slots, role)
	if n.Primary != "" {
		fmt.Fprintf(&b, "%s   replicates %s\n", indent, n.Primary)
	}
	if count := p.replicas(n.ID); count > 0 {
		fmt.Fprintf(&b, "%s   %d additional replica(s)\n", indent, count)
	}
	return b.String()
}
