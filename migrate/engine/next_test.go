package engine

import (
	"testing"
	"time"
)

// TestATargetThatHangsStopsItsSourceForOneMigrateAtATime counts the MIGRATEs of a burst.
func TestATargetThatHangsStopsItsSourceForOneMigrateAtATime(t *testing.T) {
	held := memory{heldAt: time.Now(), heldUntil: time.Now().Add(time.Hour)}
	hung := held
	hung.doubtful = 1
	for _, tt := range []struct {
		name string
		mem  memory
		want int
	}{
		{"behind a gate, whose time they share", held, heldBatches},
		{"after a target that hung", hung, 1},
		{"while clients go on", memory{}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &mover{job: &job{mem: &tt.mem}, keys: map[uint16][]string{}}
			for s := range uint16(2 * heldBatches) {
				m.learn(s, []string{"k"})
			}
			if got, n := m.next(100); len(got) != tt.want || n != tt.want {
				t.Errorf("%d MIGRATEs of %d keys, want %d", len(got), n, tt.want)
			}
		})
	}
}
