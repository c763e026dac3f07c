package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Bounds of one file. The longest line is a plan of all slots with their keys, below 1 MiB.
const (
	maxLine = 16 << 20
	maxFile = 256 << 20
)

// ErrBroken says that it is not known what the disk has of a journal: after a failed sync the kernel may have dropped what
// it had, and a second sync would say that all is well.
var ErrBroken = errors.New("journal is broken")

// Journal is the file of one job, open for appending. Not safe for concurrent use.
type Journal struct {
	job    string
	file   File
	now    func() time.Time
	size   int64 // bytes that are durable
	seq    int64 // of the last durable record
	broken error
}

// Append makes records durable, all of them or none: after an error other than ErrBroken the journal is as it was.
func (j *Journal) Append(records ...Record) error {
	if j.broken != nil {
		return fmt.Errorf("append to journal: %w: %w", ErrBroken, j.broken)
	}
	if len(records) == 0 {
		return nil
	}
	var text []byte
	for i := range records {
		r := records[i]
		r.Seq, r.Job, r.At = j.seq+int64(i)+1, j.job, j.now().UTC()
		var err error
		if text, err = appendLine(text, &r); err != nil {
			return fmt.Errorf("append to journal: %w", err)
		}
	}
	if j.size+int64(len(text)) > maxFile {
		return fmt.Errorf("append to journal: more than %d bytes", maxFile)
	}
	if _, err := j.file.WriteAt(text, j.size); err != nil {
		return j.takeBack(err)
	}
	if err := j.file.Sync(); err != nil {
		j.broken = err
		return fmt.Errorf("append to journal: %w: %w", ErrBroken, err)
	}
	j.size += int64(len(text))
	j.seq += int64(len(records))
	return nil
}

// takeBack cuts off what was half written: most likely the disk is full, and the next line must follow a whole one.
func (j *Journal) takeBack(cause error) error {
	if err := errors.Join(j.file.Truncate(j.size), j.file.Sync()); err != nil {
		j.broken = err
		return fmt.Errorf("append to journal: %w: %w", ErrBroken, errors.Join(cause, err))
	}
	return fmt.Errorf("append to journal: %w", cause)
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// appendLine writes a record as the checksum of its JSON in hexadecimal digits, a space, and the JSON, which has no line
// ends in it.
func appendLine(dst []byte, r *Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return dst, err
	}
	if len(text) > maxLine-checksumLen-1 {
		return dst, fmt.Errorf("a record of %d bytes", len(text))
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.ChecksumIEEE(text))
	return append(append(dst, text...), '\n'), nil
}

const checksumLen = len("00000000 ")

// parseLine reads a line without its end.
func parseLine(line []byte) (r Record, err error) {
	if len(line) < checksumLen || line[checksumLen-1] != ' ' {
		return r, errors.New("no checksum")
	}
	text := line[checksumLen:]
	if want := fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE(text)); !bytes.Equal(want, line[:checksumLen-1]) {
		return r, fmt.Errorf("checksum %q, want %s", line[:checksumLen-1], want)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	return r, nil
}

func readFile(path, job string) (records []Record, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	if info.Size() > maxFile {
		return nil, 0, fmt.Errorf("read journal: %s has %d bytes, at most %d", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	return parse(text, filepath.Base(path), job)
}

// parse returns the records and how many bytes they take. The last line may be torn: it was never durable, so nothing that
// it announces was begun. Any other damage is an error, since what is missing may have happened.
func parse(text []byte, name, job string) (records []Record, size int64, err error) {
	for number := 1; len(text) > 0; number++ {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return records, size, nil
		}
		r, err := parseLine(text[:end])
		last := end+1 == len(text)
		switch {
		case err != nil && last:
			return records, size, nil
		case err != nil:
			return nil, 0, fmt.Errorf("%s:%d: %w", name, number, err)
		case r.Job != job:
			return nil, 0, fmt.Errorf("%s:%d: a record of job %.40q", name, number, r.Job)
		case r.Seq != int64(number):
			return nil, 0, fmt.Errorf("%s:%d: record number %d", name, number, r.Seq)
		}
		records = append(records, r)
		size += int64(end) + 1
		text = text[end+1:]
	}
	return records, size, nil
}

// Ends returns the first and the last record of a job without reading those between: enough for a list of jobs. Both are
// zero when there is none.
func (s *Store) Ends(job string) (first, last Record, err error) {
	path, err := s.path(job)
	if err != nil {
		return first, last, err
	}
	f, err := os.Open(path)
	if err != nil {
		return first, last, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return first, last, fmt.Errorf("read journal: %w", err)
	}
	for window := int64(64 << 10); ; window *= 8 {
		head, tail, err := bothEnds(f, info.Size(), window)
		if err != nil {
			return first, last, fmt.Errorf("read journal: %w", err)
		}
		if head != nil && tail != nil {
			return firstAndLast(head, tail, filepath.Base(path))
		}
		if window >= info.Size() {
			return Record{}, Record{}, nil // nothing but a torn line
		}
	}
}

// bothEnds returns the first line of a file and the whole lines at its end, nil for what does not fit in the window.
func bothEnds(f io.ReaderAt, size, window int64) (head, tail []byte, err error) {
	window = min(window, size)
	start, rear := make([]byte, window), make([]byte, window)
	if _, err := f.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if _, err := f.ReadAt(rear, size-window); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if end := bytes.IndexByte(start, '\n'); end >= 0 {
		head = start[:end]
	}
	if window < size { // begins within a line
		cut := bytes.IndexByte(rear, '\n')
		if cut < 0 {
			return head, nil, nil
		}
		rear = rear[cut+1:]
	}
	if end := bytes.LastIndexByte(rear, '\n'); end >= 0 {
		tail = rear[:end+1]
	}
	return head, tail, nil
}

func firstAndLast(head, tail []byte, name string) (first, last Record, err error) {
	if first, err = parseLine(head); err != nil {
		if len(tail) == len(head)+1 { // the only line, torn
			return Record{}, Record{}, nil
		}
		return first, last, fmt.Errorf("%s:1: %w", name, err)
	}
	for lines := bytes.Split(bytes.TrimSuffix(tail, []byte{'\n'}), []byte{'\n'}); len(lines) > 0; lines = lines[:len(lines)-1] {
		if last, err = parseLine(lines[len(lines)-1]); err == nil {
			return first, last, nil
		}
	}
	return first, first, nil
}
