package migrate

import (
	"context"
	"fmt"
	"time"

	"slotproxy/migrate/engine"
)

const (
	nurseBeat = time.Second
	// maxLag is how far a replica may be behind: half of what the default client-output-buffer-limit of a replica allows for
	// a minute. Beyond it the primary cuts the replica off, which then copies everything anew.
	maxLag = 32 << 20
	// fullNode is the part of maxmemory from which a target takes keys only slowly: those of its clients' would be evicted,
	// or their writes refused.
	fullNode = 0.95
)

// nurse looks after the nodes of the units in hand until ctx ends, then closes done. What they are short of slows the job.
func (d *drive) nurse(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	beat := time.NewTicker(nurseBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		for _, node := range d.job.nodes() {
			d.pace.short(node, d.shortage(ctx, node))
		}
	}
}

// nodes are the sources and targets of the units in hand.
func (j *job) nodes() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []string
	seen := map[string]bool{}
	for _, w := range j.hand {
		for _, node := range []string{w.unit.Source, w.unit.Target} {
			if !seen[node] {
				seen[node] = true
				list = append(list, node)
			}
		}
	}
	return list
}

// shortage says what a node is short of, "" for nothing. One that does not answer is the engine's trouble.
func (d *drive) shortage(ctx context.Context, node string) string {
	addr := d.c.addrOf(node)
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	replies, err := d.c.cfg.Nodes.Do(ctx, addr, []string{"INFO", "memory"}, []string{"INFO", "replication"})
	if addr == "" || err != nil || firstError(replies) != nil {
		return ""
	}
	memory, replication := engine.ReadInfo(replies[0]), engine.ReadInfo(replies[1])
	used, limit := memory.Number("used_memory"), memory.Number("maxmemory")
	if limit > 0 && float64(used) > fullNode*float64(limit) && d.job.takes(node) {
		return fmt.Sprintf("%s uses %d %% of its maxmemory", addr, 100*used/limit)
	}
	return lagging(addr, replication)
}

// takes tells whether a node is a target.
func (j *job) takes(node string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range j.hand {
		if w.unit.Target == node {
			return true
		}
	}
	return false
}

// lagging finds a replica that is too far behind in what a primary says of replication.
func lagging(addr string, info engine.Info) string {
	at := info.Number("master_repl_offset")
	for _, replica := range info.Replicas() {
		if has, ok := engine.Part(replica, "offset"); ok && at-has > maxLag {
			return fmt.Sprintf("a replica of %s is %d MiB behind", addr, (at-has)>>20)
		}
	}
	return ""
}
