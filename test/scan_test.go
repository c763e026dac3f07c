package test

import (
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

// sweeping is how long the slots are moved under the sweeps, at least; a round of moves that has begun is ended.
const sweeping = 4 * time.Second

func TestEachSweepSeesAllKeysWhileSlotsMove(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		stormClasses(t, v, newMover, sweeping, []string{"scan"})
	})
}

func TestEachSweepSeesAllKeysWhileNodesMoveSlotsThemselves(t *testing.T) {
	stormClasses(t, testcluster.NeedNewest(t), newAtomicMover, sweeping, []string{"scan"})
}
