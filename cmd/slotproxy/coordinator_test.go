package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/config"
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

func TestAProxyWithoutAPlaceForItsJournalSaysSoOrDoesNotStart(t *testing.T) {
	home := t.TempDir()
	const listen = "127.0.0.1:16479" // nothing is opened
	usual := filepath.Join(home, ".local", "state", "slotproxy", "127.0.0.1_16479")
	tests := []struct {
		name, stateDir string // "" for the usual one
		taken          string // folder that another process uses
		listen         string
		moves          bool
		why            string
		code           int // of the process when it does not start
	}{
		{"the usual place", "", "", listen, true, "", 0},
		{"a place that is named", filepath.Join(home, "x"), "", listen, true, "", 0},
		{"the usual place is taken", "", usual, listen, false, "in use by another process", 0},
		{"a named place is taken", usual, usual, listen, false, "in use by another process", exitBind},
		{"no place is wanted", config.NoState, "", listen, false, "state_dir is none", 0},
		{"there is no usual place", "", "", "127.0.0.1:0", false, "there is no usual place", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.taken != "" {
				other, err := journal.Open(tt.taken)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = other.Close() }()
			}
			sources := config.Sources{Env: []string{"HOME=" + home}, Flags: map[string][]string{
				"cluster": {"127.0.0.1:1"}, "listen": {tt.listen}, "admin": {""}, "http": {""},
			}}
			if tt.stateDir != "" {
				sources.Flags["state_dir"] = []string{tt.stateDir}
			}
			cfg, err := config.Load(sources)
			if err != nil {
				t.Fatal(err)
			}
			s, err := newServer(cfg, sources, slog.New(slog.DiscardHandler), new(slog.LevelVar))
			var exit *exitError
			if tt.code != 0 {
				if !errors.As(err, &exit) || exit.code != tt.code || !strings.Contains(err.Error(), tt.why) {
					t.Errorf("got %v, want exit code %d and %q", err, tt.code, tt.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.source.Close()
			if (s.moves != nil) != tt.moves || !strings.Contains(s.noMoves, tt.why) {
				t.Errorf("a coordinator: %v, because %q; want %v, %q", s.moves != nil, s.noMoves, tt.moves, tt.why)
			}
			if s.moves == nil {
				return
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if err := s.moves.Run(ended); err != nil { // gives the folder back
				t.Error(err)
			}
		})
	}
}

func TestJobsTakeTheirOptionsFromTheSettings(t *testing.T) {
	cfg, err := config.Load(config.Sources{Flags: map[string][]string{
		"migrate_engine": {"legacy"}, "migrate_hold_budget": {"70ms"}, "migrate_parallel": {"2"},
		"migrate_max_keys_per_second": {"9"}, "migrate_max_bytes_per_second": {"1KiB"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := machine.Options{Engine: machine.Legacy, HoldBudget: 70 * time.Millisecond, Parallel: 2, MaxKeysPerSecond: 9, MaxBytesPerSecond: 1024}
	if got := moveOptions(&cfg.Migrate); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	given := machine.Options{Engine: machine.Atomic, HoldBudget: time.Millisecond, Parallel: 1, MaxKeysPerSecond: 1, MaxBytesPerSecond: 1, AllowBlocking: true}
	auto, asked := want, machine.Options{Engine: admin.EngineAuto}
	auto.Engine = machine.Auto
	for _, tt := range []struct{ asked, want machine.Options }{{machine.Options{}, want}, {given, given}, {asked, auto}} {
		if got := withDefaults(tt.asked, want); got != tt.want {
			t.Errorf("%+v: got %+v, want %+v", tt.asked, got, tt.want)
		}
	}
}
