package journal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestALookAtAFolderThatIsInUseReadsItAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for _, job := range []string{"10", "2"} {
		appendAll(t, create(t, s, job), Record{Kind: JobCreated}, Record{Kind: Paused})
	}
	before := namesIn(t, dir)
	look := Look(dir)
	if jobs, err := look.List(); err != nil || !slices.Equal(jobs, []string{"2", "10"}) {
		t.Errorf("List: %v, %v", jobs, err)
	}
	wantKinds(t, look, "10", JobCreated+" "+Paused)
	if first, last, err := look.Ends("2"); err != nil || first.Kind != JobCreated || last.Kind != Paused {
		t.Errorf("Ends: %+v, %+v, %v", first, last, err)
	}
	if after := namesIn(t, dir); after != before {
		t.Errorf("the folder has %s, before %s", after, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir) // whoever looks does not keep the next one out
	wantKinds(t, look, "2", JobCreated+" "+Paused)
}

func TestALookAtATornJournalDoesNotMendIt(t *testing.T) {
	dir := t.TempDir()
	appendAll(t, create(t, openStore(t, dir), "1"), Record{Kind: JobCreated}, Record{Kind: Ended})
	path := filepath.Join(dir, "1.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := whole[:len(whole)-1] // it may be that the writer is just at it
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	look := Look(dir)
	wantKinds(t, look, "1", JobCreated)
	if _, last, err := look.Ends("1"); err != nil || last.Kind != JobCreated {
		t.Errorf("Ends: %+v, %v", last, err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(torn) {
		t.Errorf("the look has changed the file to %q, %v", now, err)
	}
}

func TestALookAtWhatIsNoFolderSaysSoAndMakesNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), file} {
		look := Look(dir)
		if jobs, err := look.List(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: List: %v, %v", filepath.Base(dir), jobs, err)
		}
		if _, _, err := look.Ends("1"); err == nil {
			t.Errorf("%s has the ends of a job", filepath.Base(dir))
		}
		if _, err := look.Read("1"); err == nil {
			t.Errorf("%s has the records of a job", filepath.Base(dir))
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			t.Errorf("%s has been made", filepath.Base(dir))
		}
	}
}

// namesIn lists the files of a folder.
func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
