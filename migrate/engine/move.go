package engine

import (
	"context"
	"slices"
	"strconv"
	"time"

	"slotproxy/migrate/machine"
)

const (
	// Without a Pacer: a few milliseconds of both nodes. 512 keys are no faster (bench/move), and stop them for longer.
	defaultBatch      = 128
	defaultBatchBytes = 1 << 20
	// assumedRate is keys a second before any is measured; small keys between two nodes of one rack go at several times it.
	assumedRate = 20_000
	// patience is how often keys that neither go nor expire are looked at again, 10 ms apart. They are logically expired
	// ones on a node whose clients are paused.
	patience = 50
	restStep = 10 * time.Millisecond
	// rounds is how often a slot that was empty may turn out not to be. Only a client that disregards ASK fills it.
	rounds = 3
	// crowdFactor is how much longer than planned a hold may be when commands with several keys wait for the slots anyway: a
	// tenth of a second, in which two thousand small keys move on a machine that has other work.
	crowdFactor = 4
	// crowdBatch is the batch then: a slot of a few thousand keys takes ten of them, and on a busy machine each costs its way
	// there and back. As many keys as one MIGRATE carries at most.
	crowdBatch = 512
	// A burst behind a gate may be twice as long as the Pacer lets others be: what moves in half the hold budget should not go there and
	// back many times while clients are held.
	heldBatch = 256
	heldTime  = 6 * time.Millisecond
	// heldBatches bounds the MIGRATEs of a burst while clients are held.
	heldBatches = 8
)

// mover is Move under way.
//
//	[MIGRATE slot 5, 200 keys][GETKEYSINSLOT 5][MIGRATE slot 6, 120 keys][GETKEYSINSLOT 6]   one write, a burst
//
// The source does what one read has brought without looking at other clients, so what follows a MIGRATE shows which keys it
// has left behind: those that a lost answer puts in doubt, and those that are next. A burst is as long as the Pacer lets
// one MIGRATE be, or twice that behind a gate; between two, the source serves everybody else.
type mover struct {
	*job
	line  *line
	db    int
	keys  map[uint16][]string // known and not sent, by slot
	order []uint16            // slots that may have keys
	rest  int64               // keys to go, by the counts at the start
	rate  float64             // keys a second
	stuck int                 // bursts in a row that moved nothing
	// closing is the gate that is being closed, nil for none.
	closing *closing
	listed  []any // what Open has heard to a listing, for the first database; nil: nothing that still holds
	none    bool  // the last burst, or listing, has counted that the source has no key of the slots
	asked   bool  // the Pacer was asked whether clients may be held
	// crowdedAt is when commands were last seen to wait for the slots because they are half moved; zero: never.
	crowdedAt time.Time
}

// batch is keys of one slot for one MIGRATE.
type batch struct {
	slot uint16
	keys []string
}

// move brings the keys over until the source has none.
func (j *job) move(ctx context.Context) error {
	if len(j.mem.doubts) > 0 {
		_ = j.closeGate(ctx)
	}
	listed := j.mem.listed
	if j.mem.listed = nil; !j.held() || !j.mem.fresh || len(j.mem.doubts) > 0 {
		listed = nil // since then others may have done something
	}
	if !j.mem.fresh {
		if err := j.settle(ctx); err != nil {
			return err
		}
	}
	l, err := j.session(ctx, j.source.Addr)
	if err != nil {
		return err
	}
	defer j.giveBack(j.source.Addr, l)
	m := &mover{job: j, line: l, rate: assumedRate, listed: listed}
	defer m.dropGate()
	if err := m.clear(ctx); err != nil {
		return err
	}
	for range rounds {
		if none, err := m.round(ctx); none || err != nil {
			return err
		}
	}
	return fail(machine.Again, "slots %s fill again while they move", named(j.unit.Slots))
}

// round moves the keys that the source has, and tells whether it had none or has been counted to have none.
func (m *mover) round(ctx context.Context) (none bool, err error) {
	m.none = false
	if m.source.databases == 1 {
		err = m.database(ctx)
		return m.none, err
	}
	counts, err := m.counts(ctx, m.source, m.unit.Slots)
	if m.rest = total(counts); err != nil || m.rest == 0 {
		return true, err
	}
	for m.db = range m.source.databases {
		if err := m.database(ctx); err != nil {
			return false, err
		}
	}
	return false, nil
}

// database moves the keys of one database. Where it is the only one, the slots are counted with the same questions: clients may be
// held, and each way to the node and back is one more that they wait for.
func (m *mover) database(ctx context.Context) error {
	r := m.listed
	if m.listed = nil; r == nil {
		var err error
		if r, err = m.line.must(ctx, m.cfg.Limits.Answer, append([][]string{cmd("SELECT", strconv.Itoa(m.db))}, m.listing(m.limit())...)...); err != nil {
			return err
		}
		r = r[1:]
	}
	m.keys, m.order = map[uint16][]string{}, nil
	for i, s := range m.unit.Slots {
		m.learn(s, list(r[i]))
	}
	if n, all := counted(r[len(m.unit.Slots):]); all {
		m.rest = n
		if m.none = n == 0 && len(m.order) == 0; m.none {
			return nil
		}
	}
	if err := m.weighSource(ctx); err != nil {
		return err
	}
	for len(m.order) > 0 {
		if err := m.gate(ctx); err != nil {
			return err
		}
		if err := m.burst(ctx, m.limit()); err != nil {
			return err
		}
	}
	return nil
}

// listing asks for the first keys of each slot, and how many they have.
func (j *job) listing(limit int) [][]string {
	commands := make([][]string, 0, 2*len(j.unit.Slots))
	for _, s := range j.unit.Slots {
		commands = append(commands, cmd("CLUSTER", "GETKEYSINSLOT", number(s), strconv.Itoa(limit)))
	}
	return j.counting(commands)
}

// counting adds the questions how many keys the slots have, where that is all that the source has of them.
func (j *job) counting(commands [][]string) [][]string {
	if j.source.databases > 1 {
		return commands
	}
	commands = slices.Clip(commands)
	for _, s := range j.unit.Slots {
		commands = append(commands, cmd("CLUSTER", "COUNTKEYSINSLOT", number(s)))
	}
	return commands
}

// counted is the sum of such answers; not all, if one is missing.
func counted(replies []any) (n int64, all bool) {
	for _, r := range replies {
		k, is := r.(int64)
		if !is {
			return 0, false
		}
		n += k
	}
	return n, len(replies) > 0
}

// learn takes the keys that the source has of a slot, or the first of them.
func (m *mover) learn(slot uint16, keys []string) {
	at := slices.Index(m.order, slot)
	switch {
	case len(keys) == 0 && at >= 0:
		m.order = slices.Delete(m.order, at, at+1)
	case len(keys) > 0 && at < 0:
		m.order = append(m.order, slot)
	}
	m.keys[slot] = keys
}

// limit is how many keys a burst may carry.
func (m *mover) limit() int {
	keys, bytes := defaultBatch, int64(defaultBatchBytes)
	if m.cfg.Pacer != nil {
		keys, bytes = m.cfg.Pacer.Batch()
	}
	switch {
	case m.hurries():
		keys, bytes = max(keys, crowdBatch), max(bytes, defaultBatchBytes)
	case m.held() && m.cfg.Gate != nil:
		keys = max(keys, min(heldBatch, int(m.rate*heldTime.Seconds())))
	}
	return max(1, min(keys, int(bytes/max(m.mem.weight.mean, 1))))
}

// burst sends the next keys and looks at what became of them.
func (m *mover) burst(ctx context.Context, limit int) error {
	batches, n := m.next(limit)
	bytes := int64(n) * m.mem.weight.mean
	if m.cfg.Pacer != nil && m.closing == nil && !m.held() {
		if err := m.cfg.Pacer.Wait(ctx, m.source.ID, m.target.ID, n, bytes, m.hurries); err != nil {
			return fail(machine.Again, "pacing: %v", err)
		}
	}
	timeout := m.timeout(n, len(batches))
	commands := make([][]string, 0, 2*len(batches))
	for _, b := range batches {
		commands = append(commands, m.migrate(timeout, false, b.keys),
			cmd("CLUSTER", "GETKEYSINSLOT", number(b.slot), strconv.Itoa(limit+len(b.keys))))
	}
	asked := len(commands)
	if int64(n) >= m.rest { // it may be the last one
		commands = m.counting(commands)
	}
	began := time.Now()
	m.mem.fresh = false // until the answers are in
	m.doubt(batches)
	// MIGRATE tries a broken connection twice, and its timeout is one of silence; this is only for a source that hangs.
	r, err := m.line.try(ctx, time.Duration(len(batches))*4*timeout+m.cfg.Limits.Answer, commands...)
	if err != nil {
		m.stretch()
		return err
	}
	took := time.Since(began)
	m.mem.fresh = true
	m.mem.doubts = nil
	moved := 0
	var failed []refusedBatch
	for i, b := range batches {
		left := list(r[2*i+1])
		behind := common(b.keys, left)
		m.learn(b.slot, left)
		moved += len(b.keys) - len(behind)
		if e, refused := r[2*i].(ServerError); refused {
			failed = append(failed, refusedBatch{b, behind, string(e)})
			m.mem.fresh = m.mem.fresh && !inDoubt(string(e))
		}
	}
	left, all := counted(r[asked:])
	m.none = all && left == 0 && len(failed) == 0
	m.tally(moved, took)
	m.doubtBehind(failed)
	for _, f := range failed {
		if err := m.recover(ctx, f); err != nil {
			return err
		}
	}
	return m.unstick(ctx, moved)
}

// tally counts what has moved.
func (m *mover) tally(moved int, took time.Duration) {
	bytes := int64(moved) * m.mem.weight.mean
	m.result.Keys += int64(moved)
	m.result.Bytes += bytes
	m.rest -= int64(moved)
	if moved == 0 {
		return
	}
	m.rate += (float64(moved)/max(took.Seconds(), 1e-6) - m.rate) / 4
	if m.cfg.Pacer != nil {
		m.cfg.Pacer.Moved(m.source.ID, m.target.ID, moved, bytes, took)
	}
	if m.cfg.Progress != nil {
		m.cfg.Progress(m.unit.ID, int64(moved), bytes)
	}
}

// next takes keys for a burst, slot by slot. When the target hangs each MIGRATE waits for its timeout, and the source serves nobody
// meanwhile: several go together only behind a gate, whose time they share, and not once that has happened.
func (m *mover) next(limit int) (batches []batch, n int) {
	most := 1
	if m.held() && m.mem.doubtful == 0 {
		most = heldBatches
	}
	for _, s := range m.order {
		if n == limit || len(batches) == most {
			break
		}
		k := m.keys[s][:min(len(m.keys[s]), limit-n)]
		batches = append(batches, batch{s, k})
		n += len(k)
	}
	return batches, n
}

// unstick waits when nothing moves, and gives up when nothing does for long.
func (m *mover) unstick(ctx context.Context, moved int) error {
	if moved > 0 || len(m.order) == 0 {
		m.stuck = 0
		return nil
	}
	if m.stuck++; m.stuck > patience {
		return fail(machine.Again, "keys of slots %s neither move nor expire: are clients of the source paused?", named(m.order))
	}
	return sleep(ctx, restStep)
}

// timeout is MIGRATE's: ten times what a burst should take, but long enough for a hiccup, and too short for the cluster to
// think that the source has failed while it waits. An operator who allows keys to block their nodes allows that too.
//
// While the gate is closed all timeouts of a burst end in half of what it stays so: the rest is for finding out what became of
// the keys. Nodes that were too slow for that twice get the time that they need.
func (m *mover) timeout(keys, batches int) time.Duration {
	t := m.silence(keys)
	if m.held() && m.mem.doubtful < 2 {
		t = min(t, max(m.heldFor()/time.Duration(2*batches), time.Millisecond))
	}
	return t
}

func (m *mover) silence(keys int) time.Duration {
	expected := time.Duration(float64(keys) / m.rate * float64(time.Second))
	short := max(min(max(10*expected, time.Second), m.source.nodeTimeout/3), time.Millisecond)
	switch {
	case !m.cfg.AllowBlocking:
		return short
	case !m.mem.weighed: // not prepared by this engine: as long as valkey-cli waits
		return max(short, time.Minute)
	}
	return max(short, time.Duration(float64(m.mem.biggest)/blockRate*10*float64(time.Second)))
}

// migrate is the command. The first attempt of a key is never REPLACE: what the target has might be newer.
func (m *mover) migrate(timeout time.Duration, replace bool, keys []string) []string {
	t := m.target
	c := cmd("MIGRATE", t.Host, strconv.Itoa(int(t.Port)), "", strconv.Itoa(m.db), strconv.FormatInt(timeout.Milliseconds(), 10))
	if replace {
		c = append(c, "REPLACE")
	}
	user, password := m.cfg.Nodes.Login()
	switch {
	case password == "":
	case user == "":
		c = append(c, "AUTH", password)
	default:
		c = append(c, "AUTH2", user, password)
	}
	return append(append(c, "KEYS"), keys...)
}

// gate closes or opens the gate as the rest fits the hold budget or does not. Commands that wait already are held for no longer
// than they would wait otherwise, so for their sake it is closed earlier.
func (m *mover) gate(ctx context.Context) error {
	if err := m.joinGate(true); err != nil {
		return err
	}
	m.waited()
	budget := m.cfg.Limits.HoldBudget
	if !m.crowdedAt.IsZero() {
		budget = min(crowdFactor*budget, m.cfg.Limits.Gate/4)
	}
	limit := m.cfg.Limits.Gate
	fits := float64(m.rest) <= m.rate*budget.Seconds()
	blocks := m.cfg.AllowBlocking && m.silence(1) > limit/2
	switch held := m.held(); {
	case m.closing != nil:
	case held && (blocks || !fits && time.Since(m.mem.heldAt) > min(4*budget, limit/2)):
		m.openGate("") // clients follow ASK from here on
	case held && m.heldFor() < limit/2: // nothing is in doubt, so it may be open for a moment
		if err := m.closeGate(ctx); neverHolds(err) {
			return err
		} // not drained in time: it goes on as it was
	case !held && fits && !blocks && m.cfg.Gate == nil:
		return m.closeGate(ctx)
	case !held && fits && !blocks:
		m.askToHold(ctx)
		m.closing = m.beginClosing(ctx)
	}
	return ctx.Err()
}

// askToHold waits until gates may hold clients again. Once in a Move: a gate that could not be closed in time, or was open for a
// while because the keys took longer than thought, must not let the slots stand still half moved over and over.
func (m *mover) askToHold(ctx context.Context) {
	if m.cfg.Pacer != nil && !m.asked {
		m.asked = true
		m.cfg.Pacer.Hold(ctx, m.hurries)
	}
}

// waited looks whether commands wait for the slots just now, and notes that there was one. What is behind the gate does not count.
func (m *mover) waited() bool {
	if m.cfg.Gate == nil || m.held() || !m.cfg.Gate.Waiting(m.unit.Slots) {
		return false
	}
	m.crowdedAt = time.Now()
	return true
}

// hurries says that commands have waited for the slots a moment ago: one that is just being tried again waits nowhere.
func (m *mover) hurries() bool { return m.waited() || time.Since(m.crowdedAt) < crowdedFor }

// crowdedFor is the longest pause between two tries of a command, and something.
const crowdedFor = time.Second

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// common are the keys of a that are in b, in a's order.
func common(a, b []string) []string {
	if len(b) == 0 {
		return nil
	}
	in := make(map[string]bool, len(b))
	for _, k := range b {
		in[k] = true
	}
	var out []string
	for _, k := range a {
		if in[k] {
			out = append(out, k)
		}
	}
	return out
}
