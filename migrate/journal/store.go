package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a folder. History is for people: a hundred jobs are months of it. The bytes bound what a start reads and what a
// disk must have; a job of all slots, each a unit of its own, writes about 13 MB.
const (
	maxJobs  = 100
	maxBytes = 64 << 20
)

const (
	suffix     = ".journal"
	sideSuffix = ".side"
)

// ErrLocked says that another process uses the folder.
var ErrLocked = errors.New("in use by another process")

// File is what a journal needs of its file.
type File interface {
	io.WriterAt
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Store is a folder of journals, used by one process at a time. Its methods are safe for concurrent use as long as they
// are about different jobs.
type Store struct {
	dir      string   // immutable
	lock     *os.File // immutable
	instance string   // immutable
	fence    uint64   // immutable

	// Now gives records their time, and Wrap stands between a journal and its file. Tests replace them before the first
	// journal is opened.
	Now  func() time.Time
	Wrap func(File) File
}

// identity is the content of the file "instance".
type identity struct {
	Instance string `json:"instance"`
	Fence    uint64 `json:"fence"`
}

// Open locks a folder, which it makes if need be, until Close or the end of the process.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock, Now: time.Now, Wrap: func(f File) File { return f }}
	if err := s.identify(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return s, nil
}

// Look is a Store to read with, by List, Ends and Read alone: it has no lock, and another process may be writing.
func Look(dir string) *Store { return &Store{dir: dir} }

// Close lets another process use the folder. Journals that are open must be closed before.
func (s *Store) Close() error { return s.lock.Close() }

// Identity names this folder and counts its openings. Whoever shows the same instance with a smaller fence is gone: he
// had the lock.
func (s *Store) Identity() (instance string, fence uint64) { return s.instance, s.fence }

// identify reads the identity, counts this opening, and makes it durable before anybody sees it.
func (s *Store) identify() error {
	path := filepath.Join(s.dir, "instance")
	var id identity
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &id); err != nil || id.Instance == "" {
			return fmt.Errorf("%s is damaged: remove it when no other coordinator uses this folder's name", path)
		}
	}
	if id.Instance == "" {
		var random [6]byte
		_, _ = rand.Read(random[:]) // never fails
		id.Instance = hex.EncodeToString(random[:])
	}
	id.Fence++
	text, err = json.Marshal(id)
	if err != nil {
		return err
	}
	if err := replace(path, text); err != nil {
		return err
	}
	s.instance, s.fence = id.Instance, id.Fence
	return s.syncFolder()
}

// replace writes a file so that a crash leaves the old content or the new one.
func replace(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *Store) syncFolder() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) path(job string) (string, error) {
	if _, err := number(job); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, job+suffix), nil
}

// number is the order of jobs; a job is named by it alone.
func number(job string) (uint64, error) {
	n, err := strconv.ParseUint(job, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != job {
		return 0, fmt.Errorf("%.40q is no job id", job)
	}
	return n, nil
}

// List returns the jobs that have a journal, the oldest first.
func (s *Store) List() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list journals: %w", err)
	}
	var jobs []string
	for _, e := range entries {
		job, ok := strings.CutSuffix(e.Name(), suffix)
		if _, err := number(job); ok && err == nil {
			jobs = append(jobs, job)
		}
	}
	slices.SortFunc(jobs, byNumber)
	return jobs, nil
}

func byNumber(a, b string) int {
	x, _ := number(a)
	y, _ := number(b)
	return cmp.Compare(x, y)
}

// Create begins the journal of a new job and lets go of old history.
func (s *Store) Create(job string) (*Journal, error) {
	path, err := s.path(job)
	if err != nil {
		return nil, err
	}
	if err := s.prune(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := s.syncFolder(); err != nil {
		return nil, errors.Join(fmt.Errorf("create journal: %w", err), f.Close(), os.Remove(path))
	}
	return &Journal{job: job, file: s.Wrap(f), now: s.Now}, nil
}

// Resume opens the journal of a job to go on with it. A line that was torn by a crash is cut off.
func (s *Store) Resume(job string) (*Journal, []Record, error) {
	path, err := s.path(job)
	if err != nil {
		return nil, nil, err
	}
	records, size, err := readFile(path, job)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("resume journal: %w", err)
	}
	j := &Journal{job: job, file: s.Wrap(f), now: s.Now, size: size}
	if len(records) > 0 {
		j.seq = records[len(records)-1].Seq
	}
	if err := errors.Join(f.Truncate(size), f.Sync()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("resume journal: %w", err), f.Close())
	}
	return j, records, nil
}

// Read returns all records of a job.
func (s *Store) Read(job string) ([]Record, error) {
	path, err := s.path(job)
	if err != nil {
		return nil, err
	}
	records, _, err := readFile(path, job)
	return records, err
}

// Remove forgets a job.
func (s *Store) Remove(job string) error {
	path, err := s.path(job)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return s.syncFolder()
}

// Side keeps a value of a job that nobody may lose and no program reads, durable on return. It has keys and values in it.
func (s *Store) Side(job string, v any) error {
	path, err := s.sidePath(job)
	if err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write side file: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close(), s.syncFolder()); err != nil {
		return fmt.Errorf("write side file: %w", err)
	}
	return nil
}

// SideFile is where Side has kept something of a job, "" when it has kept nothing.
func (s *Store) SideFile(job string) string {
	path, err := s.sidePath(job)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return ""
	}
	return path
}

func (s *Store) sidePath(job string) (string, error) {
	path, err := s.path(job)
	return strings.TrimSuffix(path, suffix) + sideSuffix, err
}

// prune removes the oldest jobs that have ended until there is room for one more. Side files stay: they are somebody's data.
func (s *Store) prune() error {
	jobs, err := s.List()
	if err != nil {
		return err
	}
	total := int64(0)
	sizes := make([]int64, len(jobs))
	for i, job := range jobs {
		if info, err := os.Stat(filepath.Join(s.dir, job+suffix)); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	left := len(jobs)
	for i, job := range jobs {
		if left < maxJobs && total < maxBytes {
			return nil
		}
		if _, last, err := s.Ends(job); err != nil || last.Kind != Ended {
			continue // damaged or not ended: a person should see it
		}
		if err := s.Remove(job); err != nil {
			return err
		}
		left--
		total -= sizes[i]
	}
	return nil
}
