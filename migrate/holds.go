package migrate

import (
	"context"
	"sync"
	"time"

	"slotproxy/migrate/engine"
)

// holds is the Gate that a job's engine sees. It knows what is held, so that nothing stays so when the job stops, and tells
// the pacer, which must not slow down keys that clients wait for.
type holds struct {
	gate engine.Gate // immutable
	pace *pacer      // immutable
	// owner tells whose slots these are; immutable.
	source func(slots []uint16) string
	count  *counters

	mu   sync.Mutex
	held map[uint16]string // guarded by mu: the source of each slot that is held
}

func newHolds(g engine.Gate, pace *pacer, source func([]uint16) string, count *counters) *holds {
	return &holds{gate: g, pace: pace, source: source, count: count, held: map[uint16]string{}}
}

func (h *holds) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	if err := h.gate.Hold(ctx, slots, limit); err != nil {
		return err
	}
	h.count.hold()
	source := h.source(slots)
	h.mu.Lock()
	more := false // the pacer counts sources, not holds
	for _, was := range h.held {
		more = more || was == source
	}
	for _, s := range slots {
		h.held[s] = source
	}
	h.mu.Unlock()
	if !more {
		h.pace.held(source, true)
	}
	return nil
}

// Extend changes nothing for the pacer: the slots are held as before.
func (h *holds) Extend(slots []uint16, limit time.Duration) (time.Duration, error) {
	return h.gate.Extend(slots, limit)
}

// Waiting tells the pacer too, which hears it from the data path's pulse only later.
func (h *holds) Waiting(slots []uint16) bool {
	if !h.gate.Waiting(slots) {
		return false
	}
	h.pace.want(map[string]bool{h.source(slots): true})
	return true
}

func (h *holds) Release(slots []uint16, owner string) {
	h.gate.Release(slots, owner)
	sources := map[string]bool{}
	h.mu.Lock()
	for _, s := range slots {
		if source, ok := h.held[s]; ok {
			sources[source] = true
			delete(h.held, s)
		}
	}
	for _, source := range h.held {
		delete(sources, source)
	}
	h.mu.Unlock()
	for source := range sources {
		h.pace.held(source, false)
	}
}

// releaseAll lets everything go on where it would have gone; whoever owns the slots now redirects.
func (h *holds) releaseAll() {
	h.mu.Lock()
	var slots []uint16
	for s := range h.held {
		slots = append(slots, s)
	}
	h.mu.Unlock()
	if len(slots) > 0 {
		h.Release(slots, "")
	}
}
