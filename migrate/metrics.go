package migrate

import (
	"sync"

	"slotproxy/internal/metrics"
)

// counters count since the start of the process.
type counters struct {
	mu    sync.Mutex
	moves metrics.Moves // guarded by mu
}

func (c *counters) with(add func(*metrics.Moves)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.moves)
}

func (c *counters) retry() { c.with(func(m *metrics.Moves) { m.Retries++ }) }
func (c *counters) hold()  { c.with(func(m *metrics.Moves) { m.Holds++ }) }

func (c *counters) moved(slots int) { c.with(func(m *metrics.Moves) { m.Slots += uint64(slots) }) }
func (c *counters) progressed(keys, bytes int64) {
	c.with(func(m *metrics.Moves) { m.Keys += uint64(keys); m.Bytes += uint64(bytes) })
}

func (c *counters) ended(state string) {
	c.with(func(m *metrics.Moves) {
		switch state {
		case Success:
			m.Succeeded++
		case Partial:
			m.Partial++
		case Cancelled:
			m.Cancelled++
		default:
			m.Failed++
		}
	})
}

// Counters is what a scrape shows of the coordinator.
func (c *Coordinator) Counters() metrics.Moves {
	c.count.mu.Lock()
	m := c.count.moves
	c.count.mu.Unlock()
	if j := c.underWay(); j != nil {
		st := j.snapshot()
		m.Running, m.Paused, m.SlotsLeft = true, st.State == PausedJob, st.SlotsTotal-st.SlotsDone
	}
	return m
}
