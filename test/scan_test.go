package test

import (
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

func TestEachSweepSeesAllKeysWhileSlotsMove(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) { sweepWhile(t, v, newMover) })
}

func TestEachSweepSeesAllKeysWhileNodesMoveSlotsThemselves(t *testing.T) {
	sweepWhile(t, testcluster.NeedNewest(t), newAtomicMover)
}

func sweepWhile(t *testing.T, v testcluster.Version, mover func(*testing.T, *testcluster.Cluster, int, time.Duration, func()) *mover) {
	t.Helper()
	stormClasses(t, v, mover, 4*time.Second, []string{"scan"})
}
