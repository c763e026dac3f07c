package migrate

import (
	"context"
	"strings"
	"time"

	"slotproxy/router"
)

const (
	// opsLeast is the shortest time that tells what slots have to do: less is chance, more is longer than a person waits for a plan.
	opsLeast = 5 * time.Second
	// opsWait is enough for it when nobody has begun to count: the first sample is taken within a beat.
	opsWait = opsLeast + restBeat
)

// asksOps tells that a goal is about commands: all else is known from one look at the nodes.
func asksOps(g *Goal) bool { return g.Kind == Rebalance && strings.EqualFold(g.By, "ops") }

// weigh adds to a survey what the commands of each slot cost, as far as anybody can tell: their count, when the data path has
// watched for long enough, else the processor time between this survey and another one.
func (c *Coordinator) weigh(ctx context.Context, s *survey) (*survey, error) {
	if s.counted || c.cfg.Load == nil && s.cpu == nil {
		return s, nil
	}
	if err := sleep(ctx, c.opsWait); err != nil {
		return nil, err
	}
	next, err := c.survey(ctx, withCounts)
	if err != nil {
		return nil, err
	}
	if !next.counted {
		next.took(s)
	}
	return next, nil
}

// took gives each slot the processor time since an older survey. A node counts from 0 again what has come to it meanwhile, or when
// its statistics are reset: nothing is known of such a slot.
func (s *survey) took(old *survey) {
	if s.cpu == nil || old.cpu == nil {
		return
	}
	for slot := range uint16(router.Slots) {
		was, is := old.table.Node(slot), s.table.Node(slot)
		if was != nil && is != nil && was.ID == is.ID {
			s.snap.Stats[slot].Ops = max(s.cpu[slot]-old.cpu[slot], 0)
		}
	}
}
