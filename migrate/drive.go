package migrate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/panjf2000/ants/v2"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

// core decides what a job does next. Implemented by machine.Machine.
type core interface {
	Begin() []machine.Effect
	Step(machine.Event) []machine.Effect
	View() machine.View
}

// recorder is the journal of one job. Implemented by journal.Journal.
type recorder interface {
	Append(records ...journal.Record) error
	Close() error
}

// drive carries out one job: it hands events to the core and carries out the effects.
//
//	operator --orders--> loop --Run--> step (ants pool) --events--> loop
//	presence --events--> loop --Wait-> timer ------------------------^
//
// All fields are owned by the goroutine in run, but for those that lock for themselves.
type drive struct {
	c        *Coordinator
	job      *job // locks for itself
	core     core
	journal  recorder
	engine   runner    // safe for concurrent use
	presence *presence // locks for itself
	gate     *holds    // locks for itself
	pace     *pacer    // locks for itself

	events  chan machine.Event // from steps and presence to run
	backlog []machine.Event    // before what comes from events
	owed    int                // steps that have not answered
	waits   []wait
	timer   *time.Timer
	ended   *machine.Ended
	lost    bool            // the journal takes nothing more
	rest    <-chan struct{} // closed when the job is to come to rest; nil when it has been told
	pool    *ants.Pool

	options  machine.Options    // immutable
	versions map[string]version // by node id; immutable
}

// order is an operator's word, and done is closed when it has had its effect.
type order struct {
	word string
	done chan struct{}
}

// wait is a Woken that is due later.
type wait struct {
	at    time.Time
	event machine.Woken
}

// queuedEvents lets every step of the pool answer without waiting for the loop.
const queuedEvents = poolSize + 8

// drainLimit bounds the wait for steps when the proxy ends: they end soon after their context, and a gate is opened
// whatever they do.
const drainLimit = 5 * time.Second

// run carries out the job until it has ended, or ctx ends.
func (d *drive) run(ctx context.Context, pool *ants.Pool) {
	d.pool = pool
	d.timer = time.NewTimer(time.Hour)
	defer d.timer.Stop()
	steps, cancel := context.WithCancel(ctx)
	defer cancel()
	d.job.start(d.c.cfg.Now())
	v := d.core.View()
	d.job.restored(&v)
	d.c.load.begin(ctx, d.job, d.pace)
	defer d.c.load.end()
	watched, nursed := make(chan struct{}), make(chan struct{})
	go d.presence.run(steps, d.foreign, watched)
	go d.nurse(steps, nursed)

	first := d.core.Begin()
	d.publish()
	d.apply(steps, first)
	for d.ended == nil && steps.Err() == nil && !d.resting() {
		d.turn(steps)
	}
	cancel()
	d.drain()
	d.engine.Close()
	<-watched
	<-nursed
	d.presence.leave()
	d.finish()
}

// turn waits for an event, and lets the core have all that have come with it: what it wants written is synced once for all.
func (d *drive) turn(ctx context.Context) {
	events, orders := d.gather(ctx)
	var effects []machine.Effect
	for _, e := range events {
		if r, ok := e.(machine.Result); ok {
			d.owed--
			d.note(r)
		}
		effects = append(effects, d.core.Step(e)...)
	}
	d.publish() // before the effects: the last of them writes the job into the history
	d.apply(ctx, effects)
	for _, o := range orders {
		close(o.done)
	}
}

// gather waits until there is an event, then takes what else is there. None come when ctx ends.
func (d *drive) gather(ctx context.Context) (events []machine.Event, orders []order) {
	events, d.backlog = d.backlog, nil
	if len(events) == 0 {
		d.arm()
		select {
		case <-ctx.Done():
		case e := <-d.events:
			events = append(events, e)
		case o := <-d.job.orders:
			orders = append(orders, o)
			events = append(events, machine.Command{Word: o.word})
		case <-d.timer.C:
			events = d.due()
		case <-d.rest:
			d.rest = nil
			d.pace.hurry()
			events = append(events, machine.Command{Word: "rest"})
		}
	}
	for len(events) < queuedEvents {
		select {
		case e := <-d.events:
			events = append(events, e)
		default:
			return events, orders
		}
	}
	return events, orders
}

// resting tells that nothing is in hand, and that nothing is to be begun.
func (d *drive) resting() bool {
	return d.rest == nil && d.owed == 0 && d.core.View().State == PausedJob
}

// publish shows where the job stands. Once it is to end, whatever ends it, no unit waits for the pacer before a hold.
func (d *drive) publish() {
	v := d.core.View()
	d.job.follow(&v)
	if v.State == Stopping {
		d.pace.hurry()
	}
}

// note keeps the figures of a step that has ended.
func (d *drive) note(r machine.Result) {
	d.c.count.progressed(d.job.stepped(r))
	d.c.log.Debug("step", "job", d.job.id, "unit", r.Unit, "step", r.Step.String(), "outcome", r.Outcome.String(),
		"count", r.Attempt, "cause", r.Reason)
	if r.Outcome == machine.Done {
		if r.Step == machine.Commit || r.Step == machine.Watch {
			d.c.cfg.Refresh()
		}
		return
	}
	d.c.count.retry()
	if r.Outcome == machine.NodeLost || r.Outcome == machine.Unknown {
		d.c.cfg.Refresh()
	}
}

// arm sets the timer to the next wait.
func (d *drive) arm() {
	next := time.Hour
	for _, w := range d.waits {
		next = min(next, time.Until(w.at))
	}
	d.timer.Reset(max(next, 0))
}

// due are the waits that are over.
func (d *drive) due() (events []machine.Event) {
	now := time.Now()
	d.waits = slices.DeleteFunc(d.waits, func(w wait) bool {
		if w.at.After(now) {
			return false
		}
		events = append(events, w.event)
		return true
	})
	return events
}

// apply carries out effects. All that is to be written is written first, so it stands before whatever it announces; when it
// cannot be, nothing is begun.
func (d *drive) apply(ctx context.Context, effects []machine.Effect) {
	var records []journal.Record
	effects = slices.DeleteFunc(effects, func(e machine.Effect) bool {
		a, ok := e.(machine.Append)
		records = append(records, a.Records...)
		return ok
	})
	if len(records) > 0 {
		if err := d.record(ctx, records); err != nil {
			d.refuse(err, effects)
			return
		}
	}
	for _, e := range effects {
		switch e := e.(type) {
		case machine.Run:
			d.begin(ctx, e)
		case machine.Wait:
			d.waits = append(d.waits, wait{at: time.Now().Add(e.For), event: machine.Woken{Unit: e.Unit, Attempt: e.Attempt}})
		case machine.Ended:
			e.Reason = d.job.doneBut(e.State, e.Reason)
			d.ended = &e
		}
	}
}

// record makes records durable. The last one of a job takes the outcome with it, for the history.
func (d *drive) record(ctx context.Context, records []journal.Record) error {
	for i := range records {
		r := &records[i]
		d.job.recorded(r)
		switch r.Kind {
		case journal.UnitDone:
			if r.Unit != nil && r.Unit.Committed {
				d.c.count.moved(len(r.Unit.Slots))
				d.job.measure(r.Unit, time.Now())
			}
		case journal.Ended:
			d.measure(ctx)
			d.c.load.glance(ctx) // what clients have noticed until now is in the outcome
			r.Reason = d.job.doneBut(r.State, r.Reason)
			r.Spec = d.job.outcome(r.State, r.Reason, d.c.cfg.Now())
		}
	}
	return d.journal.Append(records...)
}

// refuse tells the core that the journal takes nothing more, then answers what was not begun.
func (d *drive) refuse(cause error, skipped []machine.Effect) {
	d.lost = true
	d.c.log.Error("journal cannot be written", "job", d.job.id, "err", cause)
	reason := "JOURNAL cannot be written: " + cause.Error()
	d.backlog = append(d.backlog, machine.Trouble{Reason: reason, MayTell: true, NoJournal: true})
	for _, e := range skipped {
		switch e := e.(type) {
		case machine.Run:
			d.owed++
			d.job.began(e, d.c.cfg.Now())
			d.backlog = append(d.backlog, machine.Result{Unit: e.Unit.ID, Step: e.Step, Attempt: e.Attempt, Outcome: machine.Again, Reason: reason})
		case machine.Wait:
			d.backlog = append(d.backlog, machine.Woken{Unit: e.Unit, Attempt: e.Attempt})
		case machine.Ended:
			e.Reason = joinReasons(d.job.doneBut(e.State, e.Reason), reason)
			d.ended = &e
		}
	}
}

func joinReasons(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// begin gives a step to the pool.
func (d *drive) begin(ctx context.Context, r machine.Run) {
	d.owed++
	d.job.began(r, d.c.cfg.Now())
	if err := d.pool.Submit(func() { d.perform(ctx, r) }); err != nil {
		d.backlog = append(d.backlog, answer(r, machine.Again, "too many steps at once"))
	}
}

func answer(r machine.Run, o machine.Outcome, reason string) machine.Result {
	return machine.Result{Unit: r.Unit.ID, Step: r.Step, Attempt: r.Attempt, Outcome: o, Reason: reason}
}

// perform does one step and sends its one answer. Runs in the pool.
func (d *drive) perform(ctx context.Context, r machine.Run) {
	res := answer(r, machine.Unknown, "the step was cut short")
	defer func() {
		if p := recover(); p != nil {
			d.c.log.Error("step panicked", "job", d.job.id, "step", r.Step.String(), "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			res = answer(r, machine.Unknown, "internal error")
		}
		d.events <- res
	}()
	res = d.guarded(ctx, r)
	res.Unit, res.Step, res.Attempt = r.Unit.ID, r.Step, r.Attempt
}

// guarded does a step when it may be done now.
func (d *drive) guarded(ctx context.Context, r machine.Run) (res machine.Result) {
	if r.Step == machine.Hold || r.Step == machine.Start {
		d.pace.settle(ctx, &r.Unit) // before a gate closes, never behind it
	}
	if changes(r.Step) {
		if err := d.presence.fresh(ctx, r.Unit.Source, r.Unit.Target); err != nil {
			return answer(r, outcomeOf(err), err.Error())
		}
	}
	limit, stop := context.WithTimeout(ctx, stepLimit(r.Step))
	defer stop()
	began := time.Now()
	if r.Step == machine.Watch {
		d.pace.streaming(&r.Unit)
		defer d.streamed(&r.Unit, &res) // also when it panics
	}
	res = d.engine.Run(limit, r.Unit, r.Step)
	if res.Took == 0 {
		res.Took = time.Since(began)
	}
	if res.Outcome == machine.Foreign && !strings.HasPrefix(res.Reason, errForeign.Error()) {
		res.Reason = errForeign.Error() + " " + res.Reason
	}
	return res
}

// streamed tells the pacer that a stream has ended, and the result what the pacer says.
func (d *drive) streamed(u *machine.Unit, res *machine.Result) {
	if res.Outcome == machine.Done && res.Keys == 0 {
		res.Keys = u.Keys // the nodes do not tell how many keys they have streamed
	}
	res.Most = d.pace.streamed(u, res.Keys, res.Bytes)
}

// changes tells which steps change the cluster. The gate is ours, and Cancel only takes back.
func changes(s machine.Step) bool {
	switch s {
	case machine.Open, machine.Move, machine.Commit, machine.Tell, machine.Close, machine.Start, machine.Cancel:
		return true
	}
	return false
}

// stepLimit bounds a step that hangs in spite of the bounds that it has itself. Move and Watch take as long as there are
// keys: an hour is a slot of 100 GB.
func stepLimit(s machine.Step) time.Duration {
	if s == machine.Move || s == machine.Watch {
		return time.Hour
	}
	return time.Minute
}

// outcomeOf is how a step ends that may not begin, for want of a look at its nodes.
func outcomeOf(err error) machine.Outcome {
	switch {
	case errors.Is(err, errForeign):
		return machine.Foreign
	case errors.Is(err, errNoTable):
		return machine.Again
	}
	return machine.NodeLost
}

// foreign is called by presence when somebody else is at work.
func (d *drive) foreign(reason string) {
	d.events <- machine.Trouble{Reason: reason}
}

// drain waits for the steps under way, whose context has ended, and opens the gates that they may have left closed.
func (d *drive) drain() {
	for _, e := range d.backlog {
		if _, ok := e.(machine.Result); ok {
			d.owed--
		}
	}
	deadline := time.NewTimer(drainLimit)
	defer deadline.Stop()
	for d.owed > 0 {
		select {
		case e := <-d.events:
			if r, ok := e.(machine.Result); ok {
				d.owed--
				d.job.stepped(r)
			}
		case <-deadline.C:
			d.c.log.Error("steps did not end", "job", d.job.id, "count", d.owed)
			d.gate.releaseAll()
			for d.owed > 0 { // their goroutines are the pool's, and must not find the journal's owner gone
				if _, ok := (<-d.events).(machine.Result); ok {
					d.owed--
				}
			}
		}
	}
	d.gate.releaseAll()
}

// finish closes the journal and gives the job its end, if it has come to it.
func (d *drive) finish() {
	if err := d.journal.Close(); err != nil {
		d.c.log.Error("journal cannot be closed", "job", d.job.id, "err", err)
	}
	d.c.mu.Lock()
	d.c.current = nil
	if d.ended != nil {
		d.job.end(*d.ended, d.lost, d.c.cfg.Now()) // who sees it may start the next job
	}
	d.c.mu.Unlock()
	close(d.job.done)
	if d.ended == nil {
		d.c.log.Info("job interrupted", "job", d.job.id)
		return
	}
	d.c.count.ended(d.ended.State)
	st := d.job.snapshot()
	d.c.log.Info("job ended", "job", d.job.id, "state", st.State, "cause", st.Reason, "slots", st.SlotsDone, "keys", st.KeysMoved,
		"held", st.HeldCommands, "longest_hold", st.LongestHold, "client_errors", st.ClientErrors)
}
