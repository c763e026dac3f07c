package engine

import (
	"context"
	"errors"
	"strings"

	"slotproxy/router"
)

// migrationSetting makes a primary that loses its last slot a replica of who got it: it throws its keys away and copies
// all of the other's. That is no part of moving slots, and an operator who empties a node wants to take it away or to give
// it others. So it is switched off on the shard of the source before its last slot goes, and switched back once the nodes
// have seen it go; they look at it only in that moment. Whatever becomes of the unit, the end of the engine switches it back.
// A coordinator that dies in between leaves it off, until the nodes are started again: SET is not written to their files.
const migrationSetting = "cluster-allow-replica-migration"

// keepPrimary is called before each commit, with how the source sees the cluster. A node that does not let the setting be changed is
// left as it is.
func (j *job) keepPrimary(ctx context.Context, v *router.View) {
	me := v.Node(j.source.ID)
	if me == nil || me.Slots > j.ownedOf(v.Owns) {
		return
	}
	for _, addr := range j.shard(j.source.ID) {
		r, err := j.try(ctx, addr, cmd("CONFIG", "GET", migrationSetting))
		if err != nil || setting(r[0]) != "yes" && !j.isOff(addr) {
			continue
		}
		j.off(addr) // also when the answer is lost
		if r, err = j.try(ctx, addr, cmd("CONFIG", "SET", migrationSetting, "no")); err == nil && text(r[0]) != "OK" {
			j.on(addr)
		}
	}
}

// isOff tells that this engine has switched the setting off at an address.
func (e *Engine) isOff(addr string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keeps[addr] != nil
}

// off notes that the unit needs the setting off at an address.
func (j *job) off(addr string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keeps[addr] == nil {
		j.keeps[addr] = map[int]bool{}
	}
	j.keeps[addr][j.unit.ID] = true
}

// on notes that the setting is as it was at an address.
func (e *Engine) on(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.keeps, addr)
}

// ownedOf counts the slots of the unit that owns says yes to.
func (j *job) ownedOf(owns func(uint16) bool) int {
	n := 0
	for _, s := range j.unit.Slots {
		if owns(s) {
			n++
		}
	}
	return n
}

// letGo switches the setting back where only this unit needs it off.
func (j *job) letGo(ctx context.Context) {
	var addrs []string
	j.mu.Lock()
	for addr, units := range j.keeps {
		delete(units, j.unit.ID)
		if len(units) == 0 {
			addrs = append(addrs, addr)
		}
	}
	j.mu.Unlock()
	j.switchBack(ctx, addrs)
}

// switchBack is tried again at the end of the next unit, or of the engine, at nodes that do not answer.
func (e *Engine) switchBack(ctx context.Context, addrs []string) {
	asks := make([]*ask, len(addrs))
	for i, addr := range addrs {
		asks[i] = &ask{addr: addr, commands: [][]string{cmd("CONFIG", "SET", migrationSetting, "yes")}}
	}
	e.together(ctx, asks...)
	for _, a := range asks {
		if a.err == nil {
			e.on(a.addr)
		}
	}
}

// shard is a primary's address and those of its replicas that work.
func (e *Engine) shard(id string) []string {
	var out []string
	t := e.cfg.Topology()
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if (n.ID == id || n.PrimaryID == id) && !n.Failed {
			out = append(out, n.Addr)
		}
	}
	return out
}

// isReplicaNow tells that a node is no primary any more, as an emptied one may be.
func isReplicaNow(err error) bool {
	var r *refusal
	return errors.As(err, &r) && strings.Contains(r.text, "SETSLOT only with masters")
}
