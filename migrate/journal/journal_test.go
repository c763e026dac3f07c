package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func create(t *testing.T, s *Store, job string) *Journal {
	t.Helper()
	j, err := s.Create(job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func appendAll(t *testing.T, j *Journal, records ...Record) {
	t.Helper()
	if err := j.Append(records...); err != nil {
		t.Fatal(err)
	}
}

func kinds(records []Record) string {
	var names []string
	for _, r := range records {
		names = append(names, r.Kind)
	}
	return strings.Join(names, " ")
}

func wantKinds(t *testing.T, s *Store, job, want string) {
	t.Helper()
	records, err := s.Read(job)
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(records); got != want {
		t.Errorf("job %s has the records %q, want %q", job, got, want)
	}
}

func TestWhatIsAppendedIsReadAgain(t *testing.T) {
	s := openStore(t, t.TempDir())
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	s.Now = func() time.Time { return at }
	j := create(t, s, "1")
	unit := &Unit{ID: 7, Source: "a", Target: "b", Slots: []uint16{1, 2, 16383}, Engine: "legacy", Online: true, Keys: 9}
	appendAll(t, j, Record{Kind: JobCreated, Spec: json.RawMessage(`{"x":"\n"}`)})
	appendAll(t, j, Record{Kind: UnitOpening, Unit: unit}, Record{Kind: Ended, State: "success", Reason: "all\ndone"})
	got, err := s.Read("1")
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{
		{Seq: 1, At: at, Job: "1", Kind: JobCreated, Spec: json.RawMessage(`{"x":"\n"}`)},
		{Seq: 2, At: at, Job: "1", Kind: UnitOpening, Unit: unit},
		{Seq: 3, At: at, Job: "1", Kind: Ended, State: "success", Reason: "all\ndone"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	first, last, err := s.Ends("1")
	if err != nil || first.Kind != JobCreated || last.Seq != 3 {
		t.Errorf("Ends: %+v, %+v, %v", first, last, err)
	}
}

func TestALineTornByACrashNeverCounts(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	j := create(t, s, "1")
	appendAll(t, j, Record{Kind: JobCreated})
	appendAll(t, j, Record{Kind: Paused})
	path := filepath.Join(dir, "1.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(whole, '\n') + 1
	for cut := range len(whole) {
		torn := whole[:cut]
		if cut%3 == 0 { // the size was durable and the data was not
			torn = append(bytes.Clone(torn), make([]byte, len(whole)-cut)...)
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		want := ""
		if cut >= second {
			want = JobCreated
		}
		wantKinds(t, s, "1", want)
		if _, last, err := s.Ends("1"); err != nil || last.Kind != want {
			t.Fatalf("cut at %d: Ends gives %q, %v, want %q", cut, last.Kind, err, want)
		}
		resumed, records, err := s.Resume("1")
		if err != nil || kinds(records) != want {
			t.Fatalf("cut at %d: resumed with %q, %v, want %q", cut, kinds(records), err, want)
		}
		appendAll(t, resumed, Record{Kind: Resumed})
		_ = resumed.Close()
		wantKinds(t, s, "1", strings.TrimSpace(want+" "+Resumed))
	}
}

func TestDamageInTheMiddleIsRefusedWithItsPlace(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	j := create(t, s, "1")
	for range 3 {
		appendAll(t, j, Record{Kind: Paused})
	}
	path := filepath.Join(dir, "1.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte{'\n'})
	tests := []struct {
		name  string
		text  []byte
		place string
	}{
		{"a changed byte", bytes.Replace(whole, []byte("paused"), []byte("pausec"), 1), "1.journal:1: checksum"},
		{"a lost line", bytes.Join([][]byte{lines[0], lines[2]}, nil), "1.journal:2: record number 3"},
		{"a line twice", bytes.Join([][]byte{lines[0], lines[0], lines[1]}, nil), "1.journal:2: record number 1"},
		{"an empty line", bytes.Join([][]byte{lines[0], {'\n'}, lines[1]}, nil), "1.journal:2: no checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := s.Read("1")
			if err == nil || !strings.Contains(err.Error(), tt.place) {
				t.Errorf("got %v, want %q", err, tt.place)
			}
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "2.journal"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("2"); err == nil || !strings.Contains(err.Error(), "2.journal:1: a record of job") {
		t.Errorf("a journal under another job's name: %v", err)
	}
}

// full is a disk with room for so many bytes, and perhaps one that cannot sync or cut either.
type full struct {
	File
	room             int64
	syncErr, cutFail error
}

func (f *full) WriteAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) <= f.room {
		return f.File.WriteAt(p, at)
	}
	n, _ := f.File.WriteAt(p[:max(0, f.room-at)], at)
	return n, syscall.ENOSPC
}

func (f *full) Sync() error { return errors.Join(f.syncErr, f.File.Sync()) }

func (f *full) Truncate(size int64) error { return errors.Join(f.cutFail, f.File.Truncate(size)) }

func TestAFullDiskLeavesTheJournalAsItWas(t *testing.T) {
	for extra := range int64(200) {
		s := openStore(t, t.TempDir())
		disk := &full{room: 1 << 20}
		s.Wrap = func(f File) File { disk.File = f; return disk }
		j := create(t, s, "1")
		appendAll(t, j, Record{Kind: JobCreated})
		disk.room = j.size + extra
		err := j.Append(Record{Kind: Paused}, Record{Kind: Resumed})
		if err == nil {
			wantKinds(t, s, "1", "job paused resumed")
			return // the group fits from here on
		}
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
			t.Fatalf("got %v, want no space left", err)
		}
		wantKinds(t, s, "1", "job")
		disk.room = 1 << 20
		appendAll(t, j, Record{Kind: Cancelled})
		wantKinds(t, s, "1", "job cancelled")
	}
	t.Error("the group never fitted")
}

func TestAfterADoubtfulSyncNothingIsAppended(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*full)
	}{
		{"sync fails", func(f *full) { f.syncErr = syscall.EIO }},
		{"a full disk that cannot be taken back", func(f *full) { f.room, f.cutFail = 0, syscall.EIO }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			disk := &full{room: 1 << 20}
			s.Wrap = func(f File) File { disk.File = f; return disk }
			j := create(t, s, "1")
			appendAll(t, j, Record{Kind: JobCreated})
			tt.spoil(disk)
			for range 2 {
				if err := j.Append(Record{Kind: Paused}); !errors.Is(err, ErrBroken) {
					t.Fatalf("got %v, want %v", err, ErrBroken)
				}
				*disk = full{File: disk.File, room: 1 << 20}
			}
		})
	}
}

func TestAFolderHasOneUserAtATime(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	name, fence := s.Identity()
	if _, err := Open(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("the second gets %v, want %v with the folder", err, ErrLocked)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := openStore(t, dir)
	if again, higher := next.Identity(); again != name || higher <= fence {
		t.Errorf("identity %s %d follows %s %d", again, higher, name, fence)
	}
}

func TestOldJobsGoAndUnfinishedOnesStay(t *testing.T) {
	s := openStore(t, t.TempDir())
	for i := 1; i <= maxJobs+5; i++ {
		j, err := s.Create(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, j, Record{Kind: JobCreated})
		if i != 2 {
			appendAll(t, j, Record{Kind: Ended})
		}
		_ = j.Close()
	}
	jobs, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) != maxJobs || jobs[0] != "2" || jobs[1] != "7" || jobs[len(jobs)-1] != fmt.Sprint(maxJobs+5) {
		t.Errorf("%d jobs are kept: %v", len(jobs), jobs)
	}
}

func TestJobsAreNumbers(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, job := range []string{"", "01", "-1", "../1", "1/../2", "x", "99999999999"} {
		if _, err := s.Create(job); err == nil {
			t.Errorf("a journal of %q was made", job)
		}
	}
	create(t, s, "1")
	if _, err := s.Create("1"); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second journal of job 1: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	line, _ := appendLine(nil, &Record{Seq: 1, Job: "1", Kind: JobCreated})
	next, _ := appendLine(nil, &Record{Seq: 2, Job: "1", Kind: Ended})
	f.Add(line)
	f.Add(append(bytes.Clone(line), next...))
	f.Add(append(bytes.Clone(line), next[:20]...))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, size, err := parse(text, "1.journal", "1")
		if err != nil {
			if len(records) > 0 || size > 0 {
				t.Fatalf("records with an error: %v", err)
			}
			return
		}
		// What counts is a whole number of lines, and reads the same by itself.
		if size > int64(len(text)) || size > 0 && text[size-1] != '\n' {
			t.Fatalf("size %d of %d", size, len(text))
		}
		again, same, err := parse(text[:size], "1.journal", "1")
		if err != nil || same != size || len(again) != len(records) {
			t.Fatalf("read again: %d records, %d bytes, %v", len(again), same, err)
		}
	})
}
