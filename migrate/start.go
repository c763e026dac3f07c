package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/panjf2000/ants/v2"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// prepare checks that a job may run now, and makes it. An error has left nothing behind.
func (c *Coordinator) prepare(ctx context.Context, id string, p *plan.Plan, o machine.Options, by string) (*drive, error) {
	if err := c.closeUnrecorded(); err != nil {
		return nil, err
	}
	// Others are looked for before the nodes are: what they have in hand would look like damage.
	here := newPresence(c)
	if err := here.enter(ctx); err != nil {
		return nil, err
	}
	d, err := c.record(ctx, here, id, p, o, by)
	if err != nil {
		here.leave()
	}
	return d, err
}

// record makes a job of a plan that fits the cluster, and its journal. An error has left no journal behind.
func (c *Coordinator) record(ctx context.Context, here *presence, id string, p *plan.Plan, o machine.Options, by string) (*drive, error) {
	s, err := c.survey(ctx, withCounts)
	if err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	if err := fits(p, s.snap); err != nil {
		return nil, err
	}
	spec := &jobSpec{By: by, Plan: p, Keys: s.keys(), Options: c.options(o)}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("ERR The plan cannot be written: %w", err)
	}
	j, err := c.store.Create(id)
	if err == nil {
		if err = j.Append(journal.Record{Kind: journal.JobCreated, Spec: text}); err != nil {
			err = errors.Join(err, j.Close(), c.store.Remove(id))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("JOURNAL cannot be written: %w", err)
	}
	d := c.newDrive(newJob(id, spec, c.cfg.Now()), spec, s, here, j)
	d.core = c.core(d.spec(id, spec), nil)
	return d, nil
}

// options fills what was left open.
func (c *Coordinator) options(o machine.Options) machine.Options {
	d := c.cfg.Defaults
	o.Engine = cmp.Or(o.Engine, d.Engine)
	o.HoldBudget = cmp.Or(o.HoldBudget, d.HoldBudget)
	o.Parallel = min(cmp.Or(o.Parallel, d.Parallel), maxParallel)
	o.UnitSlots = cmp.Or(o.UnitSlots, d.UnitSlots)
	o.UnitKeys = cmp.Or(o.UnitKeys, d.UnitKeys)
	o.MaxKeysPerSecond = cmp.Or(o.MaxKeysPerSecond, d.MaxKeysPerSecond)
	o.MaxBytesPerSecond = cmp.Or(o.MaxBytesPerSecond, d.MaxBytesPerSecond)
	o.AllowBlocking = o.AllowBlocking || d.AllowBlocking
	return o
}

// maxParallel bounds the units at once: each has a connection of its own and up to four steps ahead of it in the pool.
const maxParallel = 16

// Fits tells whether a plan could begin now. Its error says what is different from when the plan was made.
func (c *Coordinator) Fits(ctx context.Context, p *plan.Plan) error {
	s, err := c.survey(ctx, withoutCounts)
	if err != nil {
		return err
	}
	return fits(p, s.snap)
}

// fits checks a plan, which may have been saved and edited, against the cluster.
func fits(p *plan.Plan, s *plan.Snapshot) error {
	if p.Fingerprint != plan.Fingerprint(s) {
		return errors.New("STALEPLAN the cluster has changed since the plan was made: make it again")
	}
	if len(p.Moves) == 0 {
		return errors.New("ERR The plan moves nothing")
	}
	at := map[string]int16{}
	for i := range s.Nodes {
		if s.Nodes[i].Primary && !s.Nodes[i].Failed {
			at[s.Nodes[i].ID] = int16(i)
		}
	}
	var seen [router.Slots]bool
	for _, m := range p.Moves {
		source, known := at[m.Source]
		if _, both := at[m.Target]; !known || !both || m.Source == m.Target {
			return fmt.Errorf("ERR The plan has no such pair of primaries: %.40s and %.40s", m.Source, m.Target)
		}
		for _, slot := range m.Slots {
			if int(slot) >= router.Slots || seen[slot] || s.Owner[slot] != source {
				return fmt.Errorf("ERR The plan cannot move slot %d from %s", slot, s.Nodes[source].Addr)
			}
			seen[slot] = true
		}
	}
	return nil
}

// closeUnrecorded ends the journals of jobs that could not write their end, so that no restart goes on with them.
func (c *Coordinator) closeUnrecorded() error {
	c.mu.Lock()
	var open []*job
	for _, j := range c.jobs {
		if j.unrecorded() {
			open = append(open, j)
		}
	}
	c.mu.Unlock()
	for _, j := range open {
		st := j.snapshot()
		log, _, err := c.store.Resume(j.id)
		if err == nil {
			err = log.Append(journal.Record{Kind: journal.Ended, State: st.State, Reason: st.Reason, Spec: j.outcome(st.State, st.Reason, st.Finished)})
			err = errors.Join(err, log.Close())
		}
		if err != nil {
			return fmt.Errorf("JOURNAL cannot be written: %w", err)
		}
		j.nowRecorded()
	}
	return nil
}

func (j *job) unrecorded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open
}

func (j *job) nowRecorded() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = false
}

// newDrive joins what carries out a job. The core is the caller's to set.
func (c *Coordinator) newDrive(j *job, spec *jobSpec, s *survey, here *presence, log recorder) *drive {
	d := &drive{c: c, job: j, presence: here, journal: log, events: make(chan machine.Event, queuedEvents), versions: s.versions, rest: c.rest}
	d.pace = newPacer(spec.Options, c.cfg.Latency, c.addrOf)
	d.gate = newHolds(c.cfg.Gate, d.pace, j.sourceOf, &c.count)
	d.options = spec.Options
	d.engine = c.engine(d)
	for _, word := range j.early {
		d.backlog = append(d.backlog, machine.Command{Word: word})
	}
	return d
}

// addrOf is the address at which a node is dialled, "" when it is not known.
func (c *Coordinator) addrOf(node string) string {
	if t := c.cfg.Topology(); t != nil {
		if at := t.ByID(node); at >= 0 {
			return t.Nodes[at].Addr
		}
	}
	return ""
}

// spec is what the core needs of a job.
func (d *drive) spec(id string, spec *jobSpec) machine.Spec {
	return machine.Spec{ID: id, Plan: spec.Plan, Keys: spec.Keys, Options: spec.Options, Engines: d.engineOf}
}

// engineOf chooses for a pair: the atomic one needs Valkey 9 on both ends. A node that was not asked is taken for an old one.
func (d *drive) engineOf(source, target string) string { return engineOf(d.versions, source, target) }

func engineOf(versions map[string]version, source, target string) string {
	if versions[source].atomic() && versions[target].atomic() {
		return machine.Atomic
	}
	return machine.Legacy
}

// resumeBeat is between two attempts to go on with a job while the cluster does not answer.
const resumeBeat = 200 * time.Millisecond

// resume goes on with a job that a restart has interrupted, as soon as the cluster answers.
func (c *Coordinator) resume(ctx context.Context, pool *ants.Pool, j *job) {
	log, records, err := c.store.Resume(j.id)
	var spec jobSpec
	if err == nil {
		err = json.Unmarshal(records[0].Spec, &spec)
	}
	if err == nil && spec.Plan == nil {
		err = errors.New("no plan in its first record")
	}
	if err != nil {
		c.log.Error("job cannot be resumed", "job", j.id, "err", err)
		j.end(machine.Ended{State: Failed, Reason: "the journal is damaged: " + err.Error()}, false, c.cfg.Now())
		close(j.done)
		return
	}
	d, err := c.reenter(ctx, j, &spec, log)
	if errors.Is(err, errElsewhere) {
		c.giveUp(j, log)
		return
	}
	if err != nil { // only when ctx has ended, or nothing may begin any more
		_ = log.Close()
		return
	}
	c.mu.Lock()
	c.current = j
	c.mu.Unlock()
	for i := range records {
		j.recorded(&records[i])
	}
	d.core = c.core(d.spec(j.id, &spec), records)
	c.log.Info("job resumed", "job", j.id, "plan", spec.Plan.Goal, "count", len(records))
	d.run(ctx, pool)
}

// errElsewhere says that a folder and a cluster do not belong together. Nothing is touched then: the job may go on when the proxy
// serves its own cluster again.
var errElsewhere = errors.New("OTHERCLUSTER")

// elsewhere tells whether a plan was made for another cluster: none of the primaries it saw is in this one.
func elsewhere(p *plan.Plan, t *router.Table) bool {
	here := func(s plan.Share) bool { return t.ByID(s.Node) >= 0 }
	return len(p.Before) > 0 && !slices.ContainsFunc(p.Before, here)
}

// giveUp ends a job that cannot go on, as an operator has ordered.
func (c *Coordinator) giveUp(j *job, log recorder) {
	reason := j.doneBut(Cancelled, "cancelled away from its cluster: what was in hand there stays as it was")
	now := c.cfg.Now()
	err := log.Append(journal.Record{Kind: journal.Ended, State: Cancelled, Reason: reason, Spec: j.outcome(Cancelled, reason, now)})
	if err = errors.Join(err, log.Close()); err != nil {
		c.log.Error("journal cannot be written", "job", j.id, "err", err)
	}
	j.end(machine.Ended{State: Cancelled, Reason: reason}, err != nil, now)
	close(j.done)
	c.log.Info("job ended", "job", j.id, "state", Cancelled, "cause", reason)
}

// reenter waits for the cluster, and until nobody else is at work on it. Its error is that of ctx, errClosed when nothing may begin
// any more, or errElsewhere when a job of another cluster was cancelled.
func (c *Coordinator) reenter(ctx context.Context, j *job, spec *jobSpec, log recorder) (*drive, error) {
	for {
		s, err := c.survey(ctx, withoutCounts)
		switch {
		case err != nil:
		case elsewhere(spec.Plan, s.table):
			if slices.Contains(j.early, "cancel") {
				return nil, errElsewhere
			}
			err = fmt.Errorf("%w job %s was begun on another cluster, of which no node is here: serve that one, use another state_dir, or cancel the job",
				errElsewhere, j.id)
			c.setBusy(err.Error())
		default:
			here := newPresence(c)
			if err = here.enter(ctx); err == nil {
				j.waiting("")
				return c.newDrive(j, spec, s, here, log), nil
			}
		}
		j.waiting(err.Error())
		if err := j.listen(ctx, resumeBeat); err != nil {
			return nil, err
		}
		if c.atRest() {
			return nil, errClosed
		}
	}
}

// listen takes orders while the job cannot go on.
func (j *job) listen(ctx context.Context, while time.Duration) error {
	timer := time.NewTimer(while)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case o := <-j.orders:
			j.keep(o.word)
			close(o.done)
		}
	}
}

// waiting says why a job that was interrupted does not go on yet.
func (j *job) waiting(why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.Reason = why
}

// sourcesOf are the nodes that give any of these slots away now.
func (j *job) sourcesOf(slots []uint16) map[string]bool {
	sources := map[string]bool{}
	for i := range slots {
		sources[j.sourceOf(slots[i:])] = true
	}
	return sources
}

// sourceOf is the node that gives these slots away now, "" if no unit in hand has them.
func (j *job) sourceOf(slots []uint16) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range j.hand {
		for _, s := range w.unit.Slots {
			if s == slots[0] {
				return w.unit.Source
			}
		}
	}
	return ""
}
