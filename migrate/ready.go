package migrate

// unread is why no job may start before Run has read the journal.
const unread = "the journal has not been read yet"

// Ready says whether Run has begun: jobs may start, or one that was interrupted goes on.
func (c *Coordinator) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy != unread || c.current != nil
}
