package engine

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"slotproxy/migrate/machine"
)

// refusedBatch is a MIGRATE that was answered with an error. It may have moved some keys; those in behind are still on the
// source.
type refusedBatch struct {
	batch
	behind []string
	text   string
}

// recover decides what an error of MIGRATE means for its keys, and resolves those that may be on both nodes.
func (m *mover) recover(ctx context.Context, f refusedBatch) error {
	if !inDoubt(f.text) && !isBusy(f.text) {
		return &refusal{m.source.Addr, "MIGRATE", f.text}
	}
	if err := m.joinGate(false); err != nil {
		return err
	}
	if inDoubt(f.text) {
		m.stretch()
	}
	if !m.held() {
		// A client that deletes such a key on the source would be sent to a copy on the target after it.
		_ = m.closeGate(ctx)
	}
	if !m.mem.fresh {
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	if err := m.clear(ctx); err != nil {
		return err
	}
	if inDoubt(f.text) && len(f.behind) == len(f.keys) {
		return sleep(ctx, restStep) // the target may need a moment
	}
	return nil
}

// inDoubt tells that MIGRATE does not know which of its keys have arrived.
func inDoubt(text string) bool { return strings.HasPrefix(text, "IOERR") }

// isBusy tells that the target has had one of the keys.
func isBusy(text string) bool { return strings.Contains(text, "BUSYKEY") }

const (
	// resolved is how many keys are compared at a time; their values are in memory twice meanwhile.
	resolved = 16
	// settleSteps bound the wait for commands that may still be on their way to the target: what a socket holds is done in
	// far less than 3 s by a node that answers.
	settleSteps, settleStep = 300, 10 * time.Millisecond
)

// copies are the values of a key that is on both nodes.
type copies struct{ key, source, target string }

// resolve removes one copy of the keys that are on both nodes. Nobody has told the source that the target has them, so the
// source has gone on with its own: its copy counts. After a failover of the source it is the other way round: the new one
// may have missed that a key went.
func (m *mover) resolve(ctx context.Context, d doubt, keys []string) error {
	since := m.heldSince()
	both, err := m.compare(ctx, d, keys)
	if err != nil || len(both) == 0 {
		return err
	}
	if err := m.stayed(since); err != nil {
		return err
	}
	for _, c := range both {
		if err := m.keep(d.slot, c); err != nil {
			return err
		}
	}
	if err := m.stayed(since); err != nil {
		return err
	}
	m.mem.fresh = false
	if m.unit.Failover {
		err = m.unlink(ctx, d, both)
	} else {
		err = m.replace(ctx, both)
	}
	if err != nil {
		return err
	}
	m.mem.fresh = true
	m.result.Keys += int64(len(both))
	return m.stayed(since)
}

// compare reads the values of keys on both nodes, and puts aside what only the target has.
func (m *mover) compare(ctx context.Context, d doubt, keys []string) (both []copies, err error) {
	target, err := m.session(ctx, m.target.Addr)
	if err != nil {
		return nil, err
	}
	defer m.giveBack(m.target.Addr, target)
	ask := [][]string{cmd("SELECT", strconv.Itoa(m.db))}
	for _, k := range keys {
		ask = append(ask, cmd("ASKING"), cmd("DUMP", k))
	}
	theirs, err := target.must(ctx, m.cfg.Limits.Answer, ask...)
	if err != nil {
		return nil, err
	}
	ours, err := m.ofKeys(ctx, "DUMP", keys)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		a, here := ours[i].(string)
		b, there := theirs[2+2*i].(string)
		switch {
		case here && there:
			both = append(both, copies{k, a, b})
		case there:
			if err := m.suspect(d, k, b); err != nil {
				return nil, err
			}
		}
	}
	return both, nil
}

// keep saves both values of a key if they differ, or if the target's may come back because the gate cannot be kept closed.
func (m *mover) keep(slot uint16, c copies) error {
	if c.source == c.target && (m.held() && !m.unguarded() || m.cfg.Side == nil) {
		return nil
	}
	if m.cfg.Side == nil {
		return fail(machine.Blocked, "slot %d has a key with different values on both nodes", slot)
	}
	p := Pair{Unit: m.unit.ID, DB: m.db, Slot: slot, Key: c.key, Source: c.source, Target: c.target, Kept: "source"}
	if m.unit.Failover {
		p.Kept = "target"
	}
	if err := m.cfg.Side(p); err != nil {
		return fail(machine.Blocked, "slot %d has a key with different values on both nodes, which could not be saved: %v", slot, err)
	}
	return nil
}

// replace brings the source's values over the target's.
func (m *mover) replace(ctx context.Context, both []copies) error {
	keys := make([]string, len(both))
	for i, c := range both {
		keys[i] = c.key
	}
	timeout := m.timeout(len(keys), 1)
	commands := [][]string{m.migrate(timeout, true, keys)}
	r, err := m.line.try(ctx, 4*timeout+m.cfg.Limits.Answer, commands...)
	if err != nil {
		return err
	}
	return refused(m.source.Addr, commands, r)
}

// unlink removes the source's values. What it has come to since they were compared, because the gate did not stay closed, or because
// clients of the nodes themselves are held by none, is read in the same instant, and put aside.
func (m *mover) unlink(ctx context.Context, d doubt, both []copies) error {
	const each = 4
	var commands [][]string
	for _, c := range both {
		commands = append(commands, cmd("MULTI"), cmd("DUMP", c.key), cmd("UNLINK", c.key), cmd("EXEC"))
	}
	r, err := m.line.try(ctx, m.timeout(len(both), 1)+m.cfg.Limits.Answer, commands...)
	if err != nil {
		return err
	}
	for i, c := range both {
		queued, ran := r[each*i+1], r[each*i+each-1]
		if asks(queued) { // it is gone
			ran = []any{nil}
		}
		values, _ := ran.([]any)
		if len(values) == 0 {
			err := refused(m.source.Addr, commands[each*i:each*(i+1)], r[each*i:each*(i+1)])
			return cmp.Or(err, fail(machine.Unknown, "what became of key %q on the source is not known", c.key))
		}
		now, here := values[0].(string)
		switch {
		case !here:
			err = m.putAside(d, c.key, c.target)
		case now != c.source:
			err = m.keep(d.slot, copies{c.key, now, c.target})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle waits until nothing of an earlier step can still be done: a step whose connection broke may have left commands in
// the buffers of a node, and a MIGRATE whose answer was lost or late may have left RESTOREs on their way to the target. A
// target that hung reads what its sockets hold when it goes on; then a RESTORE would bring back a key that has been deleted
// since.
//
// Who has given up has closed the connection, so that one leaves CLIENT LIST when all of it has been read. But what a cut of
// the network has kept back may arrive much later on a connection that looks idle until then. So those of MIGRATE are closed;
// a MIGRATE that needs one, of another unit, opens a new one. Connections that cannot be told from clients' stay; the number
// of looks bounds the wait for them.
func (j *job) settle(ctx context.Context) error {
	if err := j.quiet(ctx, j.source.Addr, commanded); err != nil {
		return err
	}
	if err := j.quiet(ctx, j.target.Addr, commanded); err != nil {
		return err
	}
	if err := j.hangUp(ctx); err != nil {
		return err
	}
	if err := j.quiet(ctx, j.target.Addr, restoring); err != nil {
		return err
	}
	j.mem.fresh = true
	return nil
}

// hangUp closes what MIGRATE has open on the target. Three looks, as one that is just being accepted is seen in the second
// or third. A target that does not let us is waited for like before.
func (j *job) hangUp(ctx context.Context) error {
	for range 3 {
		r, err := j.do(ctx, j.target.Addr, cmd("CLIENT", "LIST"))
		if err != nil {
			return err
		}
		var kill [][]string
		for _, id := range migrating(text(r[0]), j.source.Host) {
			kill = append(kill, cmd("CLIENT", "KILL", "ID", id))
		}
		if len(kill) > 0 {
			if _, err := j.try(ctx, j.target.Addr, kill...); err != nil {
				return err
			}
		}
		if err := sleep(ctx, settleStep); err != nil {
			return err
		}
	}
	return nil
}

// migrating are the ids of connections on a target that a MIGRATE has opened: nobody else sends RESTORE-ASKING. One that has
// not come so far counts if it is from the source's address.
func migrating(clients, source string) (ids []string) {
	for f := range connections(clients) {
		if f["name"] != "" {
			continue
		}
		host, _, _ := net.SplitHostPort(f["addr"])
		switch f["cmd"] {
		case "restore-asking":
			ids = append(ids, f["id"])
		case "select", "auth":
			if host == source {
				ids = append(ids, f["id"])
			}
		}
	}
	return ids
}

// quiet waits until the connections of a node that are suspect at first are so no more, or gone.
func (e *Engine) quiet(ctx context.Context, addr string, suspect func(clients string) map[string]bool) error {
	suspects := map[string]bool{}
	for step := range settleSteps {
		r, err := e.do(ctx, addr, cmd("CLIENT", "LIST"))
		if err != nil {
			return err
		}
		now := suspect(text(r[0]))
		if step < 3 { // a connection that was not yet accepted, and then not yet read, shows up in the second or third
			maps.Copy(suspects, now)
		} else if !anyOf(suspects, now) {
			return nil
		}
		if err := sleep(ctx, settleStep); err != nil {
			return err
		}
	}
	return nil
}

// commanded are the ids of connections that have more to be done and may be those of a step.
func commanded(clients string) map[string]bool {
	out := map[string]bool{}
	for f := range connections(clients) {
		switch f["cmd"] {
		case "migrate", "cluster|setslot", "cluster|migrateslots", "cluster|getkeysinslot", "cluster", "select":
			if f["qbuf"] != "0" || strings.Contains(f["flags"], "b") {
				out[f["id"]] = true
			}
		}
	}
	return out
}

// connections are the lines of CLIENT LIST, field by field.
func connections(clients string) iter.Seq[map[string]string] {
	return func(yield func(map[string]string) bool) {
		for l := range strings.SplitSeq(clients, "\n") {
			f := map[string]string{}
			for word := range strings.SplitSeq(l, " ") {
				name, value, _ := strings.Cut(word, "=")
				f[name] = value
			}
			if !yield(f) {
				return
			}
		}
	}
}

// restoring are the ids of connections whose last command was MIGRATE's on the target, or that have not sent any yet. One
// that has been idle for two seconds has nothing more to be read.
func restoring(clients string) map[string]bool {
	out := map[string]bool{}
	for f := range connections(clients) {
		idle, _ := strconv.Atoi(f["idle"])
		unnamed := f["name"] == "" && (f["cmd"] == "select" || f["cmd"] == "auth" || f["cmd"] == "NULL")
		if idle < 2 && (unnamed || f["cmd"] == "restore-asking") {
			out[f["id"]] = true
		}
	}
	return out
}

func anyOf(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}
