package members

import (
	"context"
	"fmt"
	"strings"

	"slotproxy/router"
)

// Add takes a new node into the cluster of t: as a primary without slots, that has the functions of the others, or as a
// replica of the node with id replicaOf. It returns when every node knows it, and when a replica has copied.
func (r *Registrar) Add(ctx context.Context, t *router.Table, addr, replicaOf string) error {
	ip, port, err := meetable(ctx, addr)
	if err != nil {
		return err
	}
	if t.ByAddr(addr) >= 0 {
		return fmt.Errorf("ERR Node %s is in the cluster already", addr)
	}
	if err := r.mustBeNew(ctx, addr); err != nil {
		return err
	}
	var primary *router.Node
	if replicaOf != "" {
		i := t.ByID(replicaOf)
		if i < 0 || !t.Nodes[i].Primary {
			return fmt.Errorf("ERR Unknown primary %.64s", replicaOf)
		}
		primary = &t.Nodes[i]
	} else if err := r.copyFunctions(ctx, t, addr); err != nil {
		return err
	}
	id, err := r.text(ctx, addr, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	if _, err := r.do(ctx, t.Nodes[t.Primaries()[0]].Addr, "CLUSTER", "MEET", ip, port); err != nil {
		return err
	}
	r.say("waiting for all nodes to know %s", addr)
	err = r.until(ctx, "Not all nodes know "+addr, func(ctx context.Context) error { return r.known(ctx, t, addr, id) })
	if err != nil || primary == nil {
		return err
	}
	return r.follow(ctx, addr, primary.ID, primary.Addr)
}

// known wants every working node to have the new one, out of its handshake, and the new one to have all of them.
func (r *Registrar) known(ctx context.Context, t *router.Table, addr, id string) error {
	mine, err := r.text(ctx, addr, "CLUSTER", "NODES")
	if err != nil {
		return err
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Failed {
			continue
		}
		if !strings.Contains(mine, n.ID) {
			return fmt.Errorf("it does not know %s", n.Addr)
		}
		theirs, err := r.text(ctx, n.Addr, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if !strings.Contains(theirs, id) || strings.Contains(theirs, "handshake") {
			return fmt.Errorf("%s does not know it", n.Addr)
		}
	}
	// A node that knows all others still takes its cluster for down for some seconds, and refuses slots.
	theirs, err := r.state(ctx, t.Nodes[t.Primaries()[0]].Addr)
	if err != nil {
		return err
	}
	if state, err := r.state(ctx, addr); err != nil || state != theirs {
		return fmt.Errorf("it says cluster_state:%s, the others cluster_state:%s", state, theirs)
	}
	return nil
}

// state is what a node says of its cluster: ok or fail.
func (r *Registrar) state(ctx context.Context, addr string) (string, error) {
	info, err := r.info(ctx, addr, "CLUSTER", "INFO")
	return info["cluster_state"], err
}

// emptyDump is the longest FUNCTION DUMP without a library: a version and a checksum.
const emptyDump = 10

// copyFunctions gives a node the functions that the primaries have: a client loads them once, as on one server.
func (r *Registrar) copyFunctions(ctx context.Context, t *router.Table, addr string) error {
	at := t.Primaries()
	if len(at) == 0 {
		return fmt.Errorf("ERR No primary answers")
	}
	dump, err := r.text(ctx, t.Nodes[at[0]].Addr, "FUNCTION", "DUMP")
	if err != nil || len(dump) <= emptyDump {
		return err
	}
	r.say("copying functions to %s", addr)
	_, err = r.do(ctx, addr, "FUNCTION", "RESTORE", dump, "REPLACE")
	return err
}

// Remove takes the node with this id out of the cluster of t: its replicas go to the primary with the fewest, all others
// forget it, and it forgets them. It must not have slots. Nodes that do not answer are named in skipped: they will hear of
// the removed node again unless they are told within a minute.
func (r *Registrar) Remove(ctx context.Context, t *router.Table, id string) (skipped []string, err error) {
	i := t.ByID(id)
	if i < 0 {
		return nil, fmt.Errorf("ERR Unknown node %.64s", id)
	}
	gone := &t.Nodes[i]
	if gone.Slots > 0 {
		return nil, fmt.Errorf("ERR Node %s has %d slots: PROXY EVACUATE it first", gone.Addr, gone.Slots)
	}
	if gone.Primary && len(t.Primaries()) == 1 {
		return nil, fmt.Errorf("ERR Node %s is the last primary", gone.Addr)
	}
	if err := r.rehome(ctx, t, gone); err != nil {
		return nil, err
	}
	for k := range t.Nodes {
		n := &t.Nodes[k]
		if n.ID == id {
			continue
		}
		// All within the minute in which a node refuses to learn of a forgotten one again.
		if _, err := r.do(ctx, n.Addr, "CLUSTER", "FORGET", id); err != nil && !strings.Contains(err.Error(), "Unknown node") {
			skipped = append(skipped, fmt.Sprintf("%s: %v", n.Addr, err))
		}
	}
	r.say("all nodes that answer have forgotten %s", gone.Addr)
	switch _, err := r.do(ctx, gone.Addr, "CLUSTER", "RESET", "SOFT"); {
	case err == nil:
	case gone.Failed: // as was to be expected
		r.say("%s could not be reset: when it is started again it may join anew (CLUSTER RESET on it prevents that)", gone.Addr)
	default:
		skipped = append(skipped, fmt.Sprintf("%s: %v", gone.Addr, err))
	}
	return skipped, nil
}

// rehome gives the replicas of a node to others. Each node is asked itself whom it follows: the table, and what nodes say of each
// other, may be seconds old.
func (r *Registrar) rehome(ctx context.Context, t *router.Table, gone *router.Node) error {
	count := map[string]int{}
	var orphans []string
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Failed || n.ID == gone.ID {
			continue
		}
		self, err := r.self(ctx, n.Addr)
		if err != nil {
			return err
		}
		count[self.PrimaryID]++
		if self.PrimaryID == gone.ID {
			orphans = append(orphans, n.Addr)
		}
	}
	for _, addr := range orphans {
		var to *router.Node
		for _, i := range t.Primaries() {
			if n := &t.Nodes[i]; n.ID != gone.ID && n.Slots > 0 && (to == nil || count[n.ID] < count[to.ID]) {
				to = n
			}
		}
		if to == nil {
			return fmt.Errorf("ERR There is no primary for the replica %s of %s", addr, gone.Addr)
		}
		if err := r.follow(ctx, addr, to.ID, to.Addr); err != nil {
			return err
		}
		count[to.ID]++
	}
	return nil
}
