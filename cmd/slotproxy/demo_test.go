package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

func TestADemoMovesSlotsAndNobodyNotices(t *testing.T) {
	testcluster.NeedNewest(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out, errs safeBuffer
	size := demoSize{clients: 5, pause: 5 * time.Millisecond, keys: 100, calm: 100 * time.Millisecond}
	if err := runDemo(size, make(chan os.Signal, 2), &out, &errs); err != nil {
		t.Errorf("%v\n%s%s", err, out.String(), errs.String())
	}
	for _, want := range []string{"Ready to move 4096 slots", "4096 of 4096 slots", "0 -> 4096", "DURING"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A demo that shows an error must not end as one that shows none.
func TestADemoFailsWhenAClientNoticesSomething(t *testing.T) {
	tests := []struct {
		name string
		bad  demoResult
		says string
	}{
		{"an error", demoResult{errors: 1, first: "GET: CLUSTERDOWN"}, "CLUSTERDOWN"},
		{"a wrong value", demoResult{wrong: 1, first: "k is 1, not 2"}, "k is 1, not 2"},
		{"nothing", demoResult{took: []time.Duration{time.Millisecond}}, ""},
	}
	for _, tt := range tests {
		var out safeBuffer
		d := &demo{play: play{out: &out}, load: newDemoLoad("", demoSize{clients: 2})}
		d.load.clients[1].seen[phaseDuring] = tt.bad
		if err := d.judge(); (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
}
