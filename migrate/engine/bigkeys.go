package engine

import (
	"context"
	"strconv"
	"time"

	"slotproxy/migrate/machine"
)

const (
	// blockRate is how many bytes of one key, as MEMORY USAGE counts them, are taken to go through DUMP and RESTORE in a
	// second. On two cores with twenty times the work that they could do, hashes and sorted sets of small members went at 5 to
	// 20 MB/s, strings at 16 to 75; so a quiet machine does this with the slowest kinds.
	blockRate = 50 << 20
	// smallest is less memory than any key takes: entry, name, object.
	smallest = 48
	// weighed is how many keys are asked for in one pipeline: a fraction of a millisecond of the node.
	weighed = 256
)

// findBigKeys looks for a key whose MIGRATE would stop both nodes for too long. Every key is asked for its size, unless the
// node's memory cannot hide such a key: what it has beyond the least that so many keys take is smaller than it.
func (j *job) findBigKeys(ctx context.Context, w weight, counts []int64) error {
	limit := int64(min(j.cfg.Limits.Block, j.source.nodeTimeout/4).Seconds() * blockRate)
	if w.dataset-w.keys*smallest < limit || total(counts) == 0 {
		return nil
	}
	l, err := j.session(ctx, j.source.Addr)
	if err != nil {
		return err
	}
	defer j.giveBack(j.source.Addr, l)
	for db := range j.source.databases {
		for i, slot := range j.unit.Slots {
			if counts[i] == 0 {
				continue
			}
			if err := j.findInSlot(ctx, l, db, slot, counts[i], limit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *job) findInSlot(ctx context.Context, l *line, db int, slot uint16, count, limit int64) error {
	r, err := l.must(ctx, j.cfg.Limits.Answer, cmd("SELECT", strconv.Itoa(db)),
		cmd("CLUSTER", "GETKEYSINSLOT", number(slot), strconv.FormatInt(min(count, maxWeighed), 10)))
	if err != nil {
		return err
	}
	keys := list(r[1])
	commands := make([][]string, 0, weighed)
	for len(keys) > 0 {
		some := keys[:min(len(keys), weighed)]
		keys = keys[len(some):]
		commands = commands[:0]
		for _, k := range some {
			commands = append(commands, cmd("MEMORY", "USAGE", k))
		}
		if r, err = l.must(ctx, j.cfg.Limits.Answer, commands...); err != nil {
			return err
		}
		for _, size := range r {
			n, _ := size.(int64)
			j.mem.biggest = max(j.mem.biggest, n)
			if n >= limit && !j.cfg.AllowBlocking {
				return fail(machine.Blocked, "slot %d has a key of about %d bytes, which would stop its nodes for about %v: "+
					"allow blocking, or move it by the atomic engine", slot, n, time.Duration(float64(n)/blockRate*float64(time.Second)).Round(time.Millisecond))
			}
		}
	}
	return nil
}

// maxWeighed bounds the keys of one slot that are looked at, and so the time that Prepare takes: about a second. A slot
// with more keys has one hash tag for them; they are of one kind.
const maxWeighed = 1 << 20

// list is an array of strings.
func list(v any) []string {
	a, _ := v.([]any)
	out := make([]string, 0, len(a))
	for _, e := range a {
		out = append(out, text(e))
	}
	return out
}
