package engine

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/migrate/machine"
)

// doubt is keys of a MIGRATE whose RESTOREs may still be on their way to the target, or were refused there.
//
//	source: MIGRATE k --timeout--> IOERR, k stays      client: DEL k -> 1, on the source
//	target: hangs ------------------------------------------------------> RESTORE k, from its socket
//
// So the gate stays closed until the keys are resolved, also while the unit waits for its nodes. Where that is not possible,
// because the data path may not hold commands for that long, or the gate was open all along, a key that was on the source after
// MIGRATE's answer and is only on the target later may be one that has come back, or one that a client has made anew. Nothing
// tells them apart, so it stays and is put aside.
type doubt struct {
	db     int
	slot   uint16
	keys   []string
	heldAt time.Time // of the gate when MIGRATE was sent; zero: it was open
	behind bool      // the keys were on the source after MIGRATE's answer, or when it was found lost
}

// doubt notes keys that are about to be sent.
func (m *mover) doubt(batches []batch) {
	for _, b := range batches {
		m.mem.doubts = append(m.mem.doubts, doubt{db: m.db, slot: b.slot, keys: b.keys, heldAt: m.heldSince()})
	}
}

// doubtBehind notes keys that refused MIGRATEs have left behind.
func (m *mover) doubtBehind(failed []refusedBatch) {
	for i, f := range failed {
		if i == 0 && inDoubt(f.text) {
			m.mem.doubtful++
		}
		if len(f.behind) > 0 && (inDoubt(f.text) || isBusy(f.text)) {
			m.mem.doubts = append(m.mem.doubts, doubt{m.db, f.slot, f.behind, m.heldSince(), true})
		}
	}
}

// heldSince names the hold that is in force.
func (j *job) heldSince() time.Time {
	if !j.held() {
		return time.Time{}
	}
	return j.mem.heldAt
}

// clear resolves all doubts. Nothing may be on its way any more.
func (m *mover) clear(ctx context.Context) error {
	if err := m.mark(ctx); err != nil {
		return err
	}
	for len(m.mem.doubts) > 0 {
		if err := m.secure(ctx); err != nil {
			return err
		}
		d := m.mem.doubts[0]
		m.db = d.db
		some := d.keys[:min(len(d.keys), max(resolved>>m.mem.overruns, 1))]
		if err := m.resolve(ctx, d, some); err != nil {
			return err
		}
		m.mem.overruns = max(m.mem.overruns-1, 0)
		if !m.unguarded() { // else the next keys would be tried in vain as often
			m.mem.unstayed = 0
		}
		m.mem.doubts[0].keys = d.keys[len(some):]
		if len(m.mem.doubts[0].keys) == 0 {
			m.mem.doubts = m.mem.doubts[1:]
		}
	}
	return nil
}

// mark asks the source, before clients may change anything, which keys it has of those whose MIGRATE was not answered. The others have
// moved.
func (m *mover) mark(ctx context.Context) error {
	for i := range m.mem.doubts {
		d := &m.mem.doubts[i]
		if d.behind {
			continue
		}
		m.db = d.db
		counts, err := m.ofKeys(ctx, "EXISTS", d.keys)
		if err != nil {
			return err
		}
		var here []string
		for i, k := range d.keys {
			if counts[i] == int64(1) {
				here = append(here, k)
			}
		}
		d.keys, d.behind = here, true
	}
	m.mem.doubts = slices.DeleteFunc(m.mem.doubts, func(d doubt) bool { return len(d.keys) == 0 })
	return nil
}

// ofKeys asks the source about each key of the mover's database: nil for what it does not have. A source that has been started again
// has older values, which do not count; that is asked on the connection on which they are read.
func (m *mover) ofKeys(ctx context.Context, command string, keys []string) ([]any, error) {
	commands := [][]string{cmd("SELECT", strconv.Itoa(m.db)), cmd("INFO", "server")}
	for _, k := range keys {
		commands = append(commands, cmd(command, k))
	}
	r, err := m.line.try(ctx, m.cfg.Limits.Answer, commands...)
	if err != nil {
		return nil, err
	}
	if run := ReadInfo(r[1])["run_id"]; run != m.unit.SourceRun && m.unit.SourceRun != "" {
		return nil, fail(machine.Unknown, "the source has been started again since the slots were opened")
	}
	answers := r[2:]
	for i, a := range answers {
		text, failed := a.(ServerError)
		switch {
		case asks(a):
			answers[i] = nil
		case failed:
			return nil, &refusal{m.source.Addr, command, string(text)}
		}
	}
	return answers, nil
}

// asks says that a node that migrates a slot does not have the key.
func asks(answer any) bool {
	s, is := answer.(ServerError)
	return is && strings.HasPrefix(string(s), "ASK ")
}

// resolveTime is three ways there and back, one of which brings keys over, on machines that stutter.
const resolveTime = 250 * time.Millisecond

// secure closes the gate if it is open, and anew if it has just opened while keys were compared and is about to do so again. Else
// what is left is made use of: whoever opens the gate lets clients delete what is on both nodes.
func (m *mover) secure(ctx context.Context) error {
	enough := min(resolveTime, m.cfg.Limits.Gate/4)
	if m.heldFor() >= enough || m.stretch() && (m.heldFor() >= enough || m.mem.unstayed == 0) {
		return nil
	}
	if m.held() {
		m.openGate("")
	}
	if err := m.closeGate(ctx); neverHolds(err) {
		return err
	}
	return nil
}

const (
	// vainCloses is after how many attempts in a row to close the gate keys are resolved all the same: all doublings of drain have
	// been tried by then. As long as a key is on both nodes, whoever deletes it on the source finds the other copy.
	vainCloses = 4
	// vainComparisons is the same for a gate that closes, but opens before keys are compared: single ones have been tried by then.
	vainComparisons = 8
)

// unguarded says that keys are resolved although clients may change them meanwhile.
func (m *mover) unguarded() bool {
	return m.mem.undrained >= vainCloses || m.mem.unstayed >= vainComparisons
}

// stayed says that the gate has been closed all the time since then. An error means that the keys stay in doubt: what a client has
// deleted meanwhile must not be taken for something that has moved.
func (m *mover) stayed(since time.Time) error {
	if m.unguarded() || !since.IsZero() && since.Equal(m.heldSince()) {
		return nil
	}
	m.mem.unstayed++
	m.mem.overruns++
	return fail(machine.Again, "the gate of slots %s was not closed while copies of keys were compared", named(m.unit.Slots))
}

// settleDoubts forgets keys of slots of which the target has none, now that nothing can be on its way. targets are its counts.
func (j *job) settleDoubts(targets []int64) {
	j.mem.doubts = slices.DeleteFunc(j.mem.doubts, func(d doubt) bool {
		i := slices.Index(j.unit.Slots, d.slot)
		return i < 0 || targets[i] == 0
	})
}

// suspect puts a key aside that is only on the target and may have been deleted by a client before it came there.
func (m *mover) suspect(d doubt, key, target string) error {
	guarded := !d.heldAt.IsZero() && d.heldAt.Equal(m.heldSince())
	if guarded {
		return nil
	}
	return m.putAside(d, key, target)
}

// putAside saves what the target has of a key that clients may have deleted.
func (m *mover) putAside(d doubt, key, target string) error {
	if m.cfg.Side == nil {
		return nil
	}
	p := Pair{Unit: m.unit.ID, DB: d.db, Slot: d.slot, Key: key, Target: target, Kept: "target"}
	if err := m.cfg.Side(p); err != nil {
		return fail(machine.Blocked, "slot %d has a key that a client may have deleted, which could not be saved: %v", d.slot, err)
	}
	return nil
}
