//go:build linux

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// heapPage is what the runtime tells after some collections, of which the i-th stopped everything for i milliseconds.
func heapPage(collections int) string {
	ring := make([]string, 256)
	for i := range ring {
		ring[i] = "0"
	}
	for i := 1; i <= collections; i++ {
		ring[(i-1)%len(ring)] = fmt.Sprint(i * 1_000_000)
	}
	return fmt.Sprintf("heap profile: 1: 2 [3: 4] @ heap/512\n# PauseNs = [%s]\n# NumGC = %d\n", strings.Join(ring, " "), collections)
}

func TestTheLongestPauseIsOneOfTheRun(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after int
		want          float64 // seconds
	}{
		{"none", 7, 7, 0},
		{"the first ones", 0, 3, 0.003},
		{"around the ring", 250, 300, 0.300},
		{"more than the ring has", 10, 1000, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := books{cycles: float64(tt.after), pauses: strings.Fields(pausesOf.FindStringSubmatch(heapPage(tt.after))[1])}
			if got := b.longest(float64(tt.after - tt.before)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	// A long pause before the run is none of it.
	b := books{cycles: 3, pauses: []string{"9000000", "1000", "2000", "0"}}
	if got := b.longest(2); got != 2e-6 {
		t.Errorf("got %v, want 2e-06", got)
	}
}

func TestTheCollectorIsWatchedFromThePagesOfTheProxy(t *testing.T) {
	scrapes, looks := 0, 0
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		scrapes++
		_, _ = fmt.Fprintf(w, "go_cpu_classes_gc_total_cpu_seconds_total %g\n", float64(scrapes)/4)
	})
	mux.HandleFunc("/debug/pprof/heap", func(w http.ResponseWriter, _ *http.Request) {
		looks++
		_, _ = fmt.Fprint(w, heapPage(5*looks))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	p := &proxy{http: strings.TrimPrefix(server.URL, "http://")}
	got, err := pass(t.Context(), p, basic(mixed, 0, 1), 10*time.Millisecond)
	if want := (collections{cycles: 5, used: 0.5, pause: 0.010}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := pass(t.Context(), p, basic("GET", 0, 1), time.Millisecond); err != nil || got != (collections{}) {
		t.Errorf("a case that is about something else: got %+v, %v", got, err)
	}
	server.Config.Handler = http.NotFoundHandler()
	if got, err := pass(t.Context(), p, basic(mixed, 0, 1), time.Millisecond); err == nil {
		t.Errorf("a proxy without metrics: got %+v", got)
	}
}
