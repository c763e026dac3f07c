package engine

import (
	"context"
	"strings"
	"time"

	"slotproxy/migrate/machine"
)

// Times of an atomic migration.
const (
	// pollFast is near the hand-over and at the start: a small unit takes some tens of milliseconds in all.
	pollFast = 5 * time.Millisecond
	pollSlow = 100 * time.Millisecond
	// pausePatience is how long the source may wait for its output to run empty before the data path helps.
	pausePatience = 200 * time.Millisecond
	// assistedHold is how long the data path is held while the snapshot is taken, after an attempt in which writes broke it.
	assistedHold = time.Second
	// handOver bounds the wait for what must not be disturbed. The servers give up after twice
	// cluster-manual-failover-timeout, ten seconds unless somebody has changed it.
	handOver = 15 * time.Second
	// noConvergence is when a migration that cannot catch up with the writes is given up.
	noConvergence = 30 * time.Second
)

// migration is a line of CLUSTER GETSLOTMIGRATIONS.
type migration struct {
	name, operation, ranges, target, state, message string
	remaining                                       int64
}

// States of a migration that is no more, and of those that nobody should disturb.
func (m *migration) ended() bool {
	return m.state == "success" || m.state == "failed" || m.state == "cancelled"
}
func (m *migration) handsOver() bool { return strings.HasPrefix(m.state, "failover-") }

// migrations are those of a node, the newest first.
func (e *Engine) migrations(ctx context.Context, addr string) ([]migration, error) {
	r, err := e.do(ctx, addr, cmd("CLUSTER", "GETSLOTMIGRATIONS"))
	if err != nil {
		return nil, err
	}
	all, _ := r[0].([]any)
	out := make([]migration, 0, len(all))
	for _, one := range all {
		fields, _ := one.([]any)
		f := map[string]string{}
		var remaining int64
		for i := 0; i+1 < len(fields); i += 2 {
			f[text(fields[i])] = text(fields[i+1])
			if text(fields[i]) == "remaining_repl_size" {
				remaining, _ = fields[i+1].(int64)
			}
		}
		out = append(out, migration{f["name"], f["operation"], f["slot_ranges"], f["target_node"], f["state"], f["message"], remaining})
	}
	return out, nil
}

// export finds the unit's migration on the source: by its name, or the newest of the same slots to the same node.
func (j *job) export(all []migration) *migration {
	want := named(j.unit.Slots)
	for i := range all {
		m := &all[i]
		if m.operation != "EXPORT" || m.target != j.target.ID {
			continue
		}
		if m.name == j.mem.migration || j.mem.migration == "" && tidy(m.ranges) == want {
			return m
		}
	}
	return nil
}

// tidy writes ranges as named does.
func tidy(ranges string) string {
	words := strings.Fields(ranges)
	for i, w := range words {
		if first, last, ok := strings.Cut(w, "-"); ok && first == last {
			words[i] = first
		}
	}
	return strings.Join(words, " ")
}

// start begins the unit's migration, or finds it under way.
func (j *job) start(ctx context.Context) error {
	if !j.source.atLeast(9, 0) || !j.target.atLeast(9, 0) {
		return fail(machine.Switch, "%s and %s cannot migrate atomically", j.source.facts, j.target.facts)
	}
	all, err := j.migrations(ctx, j.source.Addr)
	if err != nil {
		return err
	}
	j.mem.migration = ""
	for i := range all {
		m := &all[i]
		if m.ended() || m.operation != "EXPORT" {
			continue
		}
		if m.target == j.target.ID && tidy(m.ranges) == named(j.unit.Slots) {
			j.mem.migration = m.name
			return nil
		}
		return fail(machine.Foreign, "%s is migrating slots %s, and not for this job", j.source.Addr, m.ranges)
	}
	views, err := j.views(ctx, j.source.Addr)
	if err != nil {
		return err
	}
	j.keepPrimary(ctx, views[0])
	if j.mem.assisted {
		_ = j.closeGateFor(ctx, assistedHold)
	}
	c := cmd("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE")
	for _, r := range strings.Fields(named(j.unit.Slots)) {
		first, last, is := strings.Cut(r, "-")
		if !is {
			last = first
		}
		c = append(c, first, last)
	}
	if _, err := j.do(ctx, j.source.Addr, append(c, "NODE", j.target.ID)); err != nil {
		return err
	}
	if all, err = j.migrations(ctx, j.source.Addr); err != nil {
		return err
	}
	if m := j.export(all); m != nil {
		j.mem.migration = m.name
	}
	return nil
}

// watch waits for the end of a migration, and helps it there.
func (j *job) watch(ctx context.Context) error {
	began := time.Now()
	w := &watcher{job: j, began: began, counted: began}
	for {
		all, err := j.migrations(ctx, j.source.Addr)
		if err != nil {
			return err
		}
		m := j.export(all)
		switch {
		case m == nil:
			return fail(machine.Unknown, "%s knows nothing of the migration of slots %s", j.source.Addr, named(j.unit.Slots))
		case m.state == "success":
			return w.succeeded(ctx)
		case m.ended():
			return w.failed(ctx, m)
		}
		if err := w.help(ctx, m); err != nil {
			return err
		}
		w.count(ctx)
		pause := min(pollSlow, max(pollFast, time.Since(began)/20))
		if m.handsOver() || m.state == "waiting-to-pause" {
			pause = pollFast
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// watcher is Watch under way.
type watcher struct {
	*job
	began   time.Time
	counted time.Time // when keys were counted last
	waits   time.Time // since when the source waits for its output to run empty; zero: it does not
	helped  time.Time // when the gate was closed last
	keys    int64
}

// help holds clients back for a moment when the source cannot get ahead of their writes.
func (w *watcher) help(ctx context.Context, m *migration) error {
	if m.state != "waiting-to-pause" {
		if m.state != "replicating" && !m.handsOver() {
			w.waits = time.Time{}
		}
		return nil
	}
	now := time.Now()
	if w.waits.IsZero() {
		w.waits = now
	}
	switch stuck := now.Sub(w.waits); {
	case stuck > noConvergence:
		if err := w.cancel(ctx); err != nil {
			return err
		}
		return fail(machine.Again, "the migration of slots %s could not catch up with writes", named(w.unit.Slots))
	case stuck > pausePatience && now.Sub(w.helped) > 4*w.cfg.Limits.assistLimit():
		w.helped = now
		_ = w.closeGateFor(ctx, w.cfg.Limits.assistLimit())
	}
	return nil
}

// count tells of progress twice a second.
func (w *watcher) count(ctx context.Context) {
	if time.Since(w.counted) < 500*time.Millisecond {
		return
	}
	w.counted = time.Now()
	if counts, err := w.counts(ctx, w.target, w.unit.Slots); err == nil {
		w.arrived(total(counts))
	}
}

func (w *watcher) arrived(keys int64) {
	more := keys - w.keys
	if more <= 0 {
		return
	}
	w.keys = keys
	w.result.Keys, w.result.Bytes = keys, keys*w.mem.weight.mean
	if w.cfg.Progress != nil {
		w.cfg.Progress(w.unit.ID, more, more*w.mem.weight.mean)
	}
}

// succeeded makes sure that the target says so too.
func (w *watcher) succeeded(ctx context.Context) error {
	owns, err := w.targetOwns(ctx)
	if err != nil {
		return err
	}
	if owns < len(w.unit.Slots) {
		return fail(machine.Unknown, "the source has handed slots %s over, and the target does not own them", named(w.unit.Slots))
	}
	w.mem.committed = true
	if counts, err := w.counts(ctx, w.target, w.unit.Slots); err == nil {
		w.arrived(total(counts))
	}
	return nil
}

// targetOwns counts the unit's slots that the target says it owns.
func (j *job) targetOwns(ctx context.Context) (int, error) {
	views, err := j.views(ctx, j.target.Addr)
	if err != nil {
		return 0, err
	}
	return j.ownedOf(views[0].Owns), nil
}

// failed waits until the target has cleaned up, and says what the message means.
func (w *watcher) failed(ctx context.Context, m *migration) error {
	said := m.message
	for end := time.Now().Add(w.cfg.Limits.Answer); ; {
		all, err := w.migrations(ctx, w.target.Addr)
		if err != nil {
			return err // Unknown: it may even have won
		}
		theirs := byName(all, m.name)
		if theirs != nil {
			said = m.message + " " + theirs.message // the source may only know that the connection is gone
		}
		if theirs == nil || theirs.ended() || time.Now().After(end) {
			break
		}
		if err := sleep(ctx, 2*pollFast); err != nil {
			return err
		}
	}
	owns, err := w.targetOwns(ctx)
	if err != nil {
		return err
	}
	if owns > 0 {
		return fail(machine.Unknown, "the migration of slots %s has failed on the source and the target owns them: %s", named(w.unit.Slots), said)
	}
	w.mem.migration = ""
	o := machine.Again
	for _, row := range messages {
		if strings.Contains(said, row.has) {
			o = row.outcome
			w.mem.assisted = w.mem.assisted || row.assist
			break
		}
	}
	return fail(o, "the migration of slots %s: %s %s", named(w.unit.Slots), m.state, strings.Join(strings.Fields(said), " "))
}

func byName(all []migration, name string) *migration {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// cancel stops the unit's migration, unless the nodes hand over: then it waits for what comes of it. CANCELSLOTMIGRATIONS
// means all exports of the node, so there must be no other.
func (j *job) cancel(ctx context.Context) error {
	for end := time.Now().Add(handOver); time.Now().Before(end); {
		all, err := j.migrations(ctx, j.source.Addr)
		if err != nil {
			return err
		}
		mine := j.export(all)
		for i := range all {
			m := &all[i]
			if m.operation == "EXPORT" && !m.ended() && m != mine {
				return fail(machine.Foreign, "%s is migrating slots %s, and not for this job", j.source.Addr, m.ranges)
			}
		}
		if mine == nil || mine.ended() {
			j.letGo(ctx)
			return nil
		}
		if !mine.handsOver() {
			r, err := j.try(ctx, j.source.Addr, cmd("CLUSTER", "CANCELSLOTMIGRATIONS"))
			if err != nil {
				return err
			}
			if e, is := r[0].(ServerError); is && !strings.Contains(string(e), "No migrations ongoing") {
				return &refusal{j.source.Addr, "CLUSTER CANCELSLOTMIGRATIONS", string(e)}
			}
		}
		if err := sleep(ctx, pollFast); err != nil {
			return err
		}
	}
	return fail(machine.Again, "the nodes have been handing slots %s over for %v", named(j.unit.Slots), handOver)
}
