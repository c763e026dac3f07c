package migrate

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/plan"
)

// write makes a journal: of a job that was begun on these primaries, none for one that has no plan, with these records behind it.
func write(t *testing.T, s *journal.Store, id string, nodes []string, kinds ...string) {
	t.Helper()
	spec := jobSpec{}
	if len(nodes) > 0 {
		spec.Plan = &plan.Plan{Goal: "goal " + id}
	}
	for _, node := range nodes {
		spec.Plan.Before = append(spec.Plan.Before, plan.Share{Node: node})
	}
	text, err := json.Marshal(&spec)
	if err != nil {
		t.Fatal(err)
	}
	records := []journal.Record{{Kind: journal.JobCreated, Spec: text}}
	for _, kind := range kinds {
		records = append(records, journal.Record{Kind: kind, State: Success})
	}
	j, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(records...), j.Close()); err != nil {
		t.Fatal(err)
	}
}

// spoil changes the text of a journal.
func spoil(t *testing.T, dir, id string, change func(string) string) {
	t.Helper()
	path := filepath.Join(dir, id+".journal")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheUnfinishedJobsOfAFolderAreKnownAlsoToWhoDoesNotHaveIt(t *testing.T) {
	one, other := []string{"a", "b"}, []string{"c"}
	tests := []struct {
		name string
		make func(t *testing.T, s *journal.Store, dir string)
		want []string
	}{
		{"nothing", func(*testing.T, *journal.Store, string) {}, nil},
		{"all have ended", func(t *testing.T, s *journal.Store, _ string) {
			write(t, s, "1", one, journal.Ended)
			write(t, s, "2", other, journal.Paused, journal.Cancelled, journal.Ended)
		}, nil},
		{"one has not begun", func(t *testing.T, s *journal.Store, _ string) { write(t, s, "1", one) }, one},
		{"several, and a paused one is one of them", func(t *testing.T, s *journal.Store, _ string) {
			write(t, s, "1", one, journal.Paused)
			write(t, s, "2", []string{"x"}, journal.Ended)
			write(t, s, "10", other, journal.Cancelled)
		}, []string{"a", "b", "c"}},
		{"the end was torn, so it never was", func(t *testing.T, s *journal.Store, dir string) {
			write(t, s, "1", one, journal.Ended)
			spoil(t, dir, "1", func(text string) string { return text[:len(text)-1] })
		}, one},
		{"the first record was torn", func(t *testing.T, s *journal.Store, dir string) {
			write(t, s, "1", one)
			write(t, s, "2", other)
			spoil(t, dir, "1", func(text string) string { return text[:len(text)/2] })
		}, other},
		{"an empty file", func(t *testing.T, s *journal.Store, dir string) {
			write(t, s, "1", one)
			spoil(t, dir, "1", func(string) string { return "" })
		}, nil},
		{"a damaged one beside a whole one", func(t *testing.T, s *journal.Store, dir string) {
			write(t, s, "1", one, journal.Paused)
			write(t, s, "2", other, journal.Paused)
			spoil(t, dir, "1", func(text string) string { return "x" + text[1:] })
		}, other},
		{"no plan in it", func(t *testing.T, s *journal.Store, _ string) {
			write(t, s, "1", nil)
			write(t, s, "2", other)
		}, other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := journal.Open(dir) // stays open: the folder is in use
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			tt.make(t, s, dir)
			if got := Unfinished(dir); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAFolderThatCannotBeReadHasNoUnfinishedJobs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), file, ""} {
		if got := Unfinished(dir); len(got) > 0 {
			t.Errorf("%q: %q", dir, got)
		}
	}
}
