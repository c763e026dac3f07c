package migrate

import (
	"encoding/json"

	"slotproxy/migrate/journal"
)

// unread is why no job may start before Run has read the journal.
const unread = "the journal has not been read yet"

// Close lets another coordinator use the folder. It is for one that only looks, whose Run is never called.
func (c *Coordinator) Close() error { return c.store.Close() }

// Ready says whether Run has begun: jobs may start, or one that was interrupted goes on.
func (c *Coordinator) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy != unread || c.current != nil
}

// Unfinished lists the primaries that the interrupted jobs of a folder were begun on, none when every job has ended. The folder may
// be in use.
func Unfinished(dir string) (nodes []string) {
	store := journal.Look(dir)
	ids, _ := store.List() // what cannot be read says nothing
	for _, id := range ids {
		first, last, err := store.Ends(id)
		if err != nil || last.Kind == journal.Ended {
			continue
		}
		var spec jobSpec
		if json.Unmarshal(first.Spec, &spec) == nil && spec.Plan != nil {
			for _, s := range spec.Plan.Before {
				nodes = append(nodes, s.Node)
			}
		}
	}
	return nodes
}
