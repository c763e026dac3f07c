package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/machine"
	"slotproxy/router"
)

// strictGate allows holds up to a limit.
type strictGate struct {
	allows time.Duration
	asked  []time.Duration
}

type strictError struct{}

func (strictError) Error() string   { return "too long" }
func (strictError) Permanent() bool { return true }

func (g *strictGate) Hold(_ context.Context, _ []uint16, limit time.Duration) error {
	g.asked = append(g.asked, limit)
	switch {
	case limit > g.allows:
		return strictError{}
	case g.allows == time.Hour:
		return errors.New("not drained")
	}
	return nil
}

func (g *strictGate) Release([]uint16, string) {}
func (g *strictGate) Extend([]uint16, time.Duration) (time.Duration, error) {
	return 0, errors.New("not longer")
}
func (g *strictGate) Waiting([]uint16) bool { return false }

func TestAHoldIsNeverLongerThanTheGateAllows(t *testing.T) {
	for _, c := range []struct {
		name         string
		allows, told time.Duration
		budget       time.Duration
		want         machine.Outcome
	}{
		{"a budget of a second", 2500 * time.Millisecond, 2500 * time.Millisecond, time.Second, machine.Done},
		{"a budget of 251 ms", 2500 * time.Millisecond, 2500 * time.Millisecond, 251 * time.Millisecond, machine.Done},
		{"a gate for a short time", 100 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, machine.Done},
		{"nothing is known of the gate", 2500 * time.Millisecond, 0, 0, machine.Done},
		{"a gate that allows less than it is said to", 100 * time.Millisecond, 0, 0, machine.Fatal},
		{"a gate that cannot be drained", time.Hour, 0, 0, machine.Again},
	} {
		g := &strictGate{allows: c.allows}
		e := engine.New(engine.Config{Gate: g, Topology: func() *router.Table { return nil },
			Limits: engine.Limits{HoldBudget: c.budget, Gate: c.told}})
		got := e.Run(t.Context(), machine.Unit{ID: 1, Slots: []uint16{5}}, machine.Hold)
		if got.Outcome != c.want || g.asked[0] > 2*time.Second {
			t.Errorf("%s: outcome %d, want %d: %s, for %v", c.name, got.Outcome, c.want, got.Reason, g.asked)
		}
		e.Close()
	}
}
