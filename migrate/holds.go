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

	mu   sync.Mutex          // before the pacer's
	held map[uint16]heldSlot // guarded by mu: slots that are held, also those whose time is up until somebody notices
}

// heldSlot is a slot that is held.
type heldSlot struct {
	source string
	until  time.Time // then it opens by itself
}

func newHolds(g engine.Gate, pace *pacer, source func([]uint16) string, count *counters) *holds {
	return &holds{gate: g, pace: pace, source: source, count: count, held: map[uint16]heldSlot{}}
}

func (h *holds) Hold(ctx context.Context, slots []uint16, limit time.Duration) error {
	began := time.Now()
	if err := h.gate.Hold(ctx, slots, limit); err != nil {
		return err
	}
	h.count.hold()
	source := h.source(slots)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range slots {
		h.held[s] = heldSlot{source, began.Add(limit)}
	}
	h.tellLocked(map[string]bool{source: true})
	return nil
}

// tellLocked tells the pacer until when clients wait for keys of these sources.
func (h *holds) tellLocked(sources map[string]bool) {
	for source := range sources {
		var until time.Time
		for _, o := range h.held {
			if o.source == source && o.until.After(until) {
				until = o.until
			}
		}
		h.pace.held(source, until)
	}
}

func (h *holds) Extend(slots []uint16, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	more, err := h.gate.Extend(slots, limit)
	if err != nil {
		return more, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	sources := map[string]bool{}
	for _, s := range slots {
		if o, ok := h.held[s]; ok {
			h.held[s] = heldSlot{o.source, began.Add(more)}
			sources[o.source] = true
		}
	}
	h.tellLocked(sources)
	return more, nil
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
	h.mu.Lock()
	defer h.mu.Unlock()
	sources := map[string]bool{}
	for _, s := range slots {
		if o, ok := h.held[s]; ok {
			sources[o.source] = true
			delete(h.held, s)
		}
	}
	h.tellLocked(sources)
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
