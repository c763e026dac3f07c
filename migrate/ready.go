package migrate

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
