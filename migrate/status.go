package migrate

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// job is one job as it is shown. done is closed when Run has let go of it.
type job struct {
	id     string     // immutable
	orders chan order // from operators to drive
	done   chan struct{}
	early  []string // orders that came before the job went on; owned by Run, while the job stands in line by the Coordinator's mu

	mu      sync.Mutex
	status  Status             // guarded by mu; Units and the rates are made when it is asked for
	hand    map[int]*working   // guarded by mu: the units in hand, by number
	rate    speed              // guarded by mu
	gauge   gauge              // guarded by mu
	opened  [router.Slots]bool // guarded by mu: slots that the journal says this job has opened
	warning string             // guarded by mu: what the check at the end found; unchecked before
	open    bool               // guarded by mu: has ended, and the journal could not say so
}

// working is a unit in hand.
type working struct {
	unit    machine.Unit
	step    machine.Step
	attempt int
	since   time.Time
	running bool
	counted int64 // keys of this step that are counted already
}

// jobSpec is what JobCreated keeps.
type jobSpec struct {
	By      string          `json:"by"`
	Plan    *plan.Plan      `json:"plan"`
	Keys    []int64         `json:"keys,omitempty"`
	Options machine.Options `json:"options"`
}

func newJob(id string, spec *jobSpec, created time.Time) *job {
	p := spec.Plan
	return &job{
		id: id, orders: make(chan order), done: make(chan struct{}), hand: map[int]*working{}, warning: unchecked, gauge: newGauge(spec),
		status: Status{
			ID: id, Goal: p.Goal, State: Running, Created: created,
			SlotsTotal: p.Slots, KeysTotal: p.Keys, Before: p.Before, Capped: p.Capped,
		},
	}
}

// recalled is a job that the journal knows.
func recalled(id string, first, last journal.Record, damage error) *job {
	spec := jobSpec{Plan: &plan.Plan{}}
	if damage == nil && json.Unmarshal(first.Spec, &spec) == nil && spec.Plan == nil {
		spec.Plan = &plan.Plan{}
	}
	j := newJob(id, &spec, first.At)
	st := &j.status
	switch {
	case damage != nil:
		st.State, st.Reason, st.Finished = Failed, "the journal is damaged: "+damage.Error(), longAgo
	case last.Kind != journal.Ended:
		st.Started, st.Reason = first.At, isInterrupted
		return j
	default:
		var out Status
		if err := json.Unmarshal(last.Spec, &out); err == nil && out.ID == id {
			*st = out
		}
		st.State, st.Reason, st.Finished = last.State, last.Reason, last.At
	}
	j.gauge = gauge{}
	close(j.done)
	return j
}

// isInterrupted is the reason of a job that nobody is at work on: until Run goes on with it, or where Run is never called.
const isInterrupted = "interrupted: it goes on when its coordinator runs again"

// longAgo is when a job ended that has left no other date.
var longAgo = time.Unix(0, 0)

// measured takes over what was found at the end of a job.
func (j *job) measured(after []plan.Share) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.After = after
}

// warn keeps what the check at the end of a job has found; "" is nothing.
func (j *job) warn(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.warning, j.status.Agree = text, text == ""
}

// unchecked is what is wrong with the end of a job while no check has found anything else.
const unchecked = "nobody has checked whether all nodes agree"

// doneBut is the reason of a job that has done what it could and left something to see to: a node that had failed may have come
// back with slots open.
func (j *job) doneBut(state, reason string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.warning == "":
		return reason
	case state == Success:
		return joinReasons(reason, "all slots have moved, but "+j.warning)
	}
	return joinReasons(reason, j.warning)
}

// snapshot is the job as it stands now.
func (j *job) snapshot() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.snapshotLocked()
}

func (j *job) snapshotLocked() Status {
	st := j.status
	st.Blocked, st.Measures = slices.Clone(st.Blocked), slices.Clone(st.Measures)
	ids := make([]int, 0, len(j.hand))
	for id := range j.hand {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		w := j.hand[id]
		st.Units = append(st.Units, UnitStatus{
			Source: w.unit.Source, Target: w.unit.Target, Engine: engineName(w.unit), Step: w.step.String(),
			Slots: plan.Ranges(w.unit.Slots), Attempt: w.attempt, For: time.Since(w.since),
		})
	}
	if st.Finished.IsZero() {
		st.KeysPerSecond, st.BytesPerSecond = int64(j.rate.keys), int64(j.rate.bytes)
		st.ETA = j.rate.left(&st)
	}
	return st
}

func engineName(u machine.Unit) string {
	if u.Online {
		return u.Engine + " online"
	}
	return u.Engine
}

func (j *job) start(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status.Started.IsZero() {
		j.status.Started = now
	}
	j.rate.at = time.Now()
	j.gauge.since = j.rate.at
}

// began notes that a step begins.
func (j *job) began(r machine.Run, _ time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.hand[r.Unit.ID]
	if w == nil {
		w = &working{}
		j.hand[r.Unit.ID] = w
	}
	if w.step != r.Step {
		w.since = time.Now()
	}
	w.unit, w.step, w.attempt, w.running, w.counted = r.Unit, r.Step, r.Attempt, true, 0
}

// progressed counts keys while a step runs.
func (j *job) progressed(unit int, keys, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.KeysMoved += keys
	j.status.BytesMoved += bytes
	if w := j.hand[unit]; w != nil {
		w.counted += keys
	}
}

// stepped notes that a step has ended, and counts and returns what it has not told before.
func (j *job) stepped(r machine.Result) (keys, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Outcome != machine.Done {
		j.status.Retries++
	}
	w := j.hand[r.Unit]
	if w == nil {
		return 0, 0
	}
	w.running = false
	if r.Step == machine.Move || r.Step == machine.Watch {
		if keys = max(r.Keys-w.counted, 0); w.counted == 0 {
			bytes = r.Bytes
		}
	}
	j.status.KeysMoved += keys
	j.status.BytesMoved += bytes
	return keys, bytes
}

// follow takes over where the machine says the job stands.
func (j *job) follow(v *machine.View) {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := &j.status
	if st.State == PausedJob && v.State != PausedJob {
		j.gauge.since = time.Now()
	}
	if !machine.Over(v.State) { // those come with everything else that ends a job
		st.State, st.Reason = v.State, v.Reason
	}
	st.SlotsTotal, st.SlotsDone = v.SlotsTotal, v.SlotsDone
	st.Blocked = st.Blocked[:0:0]
	for i, b := range v.Blocked {
		if i == maxShown {
			st.Blocked = append(st.Blocked, "...")
			break
		}
		st.Blocked = append(st.Blocked, plan.Ranges(b.Slots)+": "+b.Reason)
	}
	inHand := make(map[int]bool, len(v.Units))
	for _, u := range v.Units {
		inHand[u.Unit.ID] = true
	}
	maps.DeleteFunc(j.hand, func(id int, _ *working) bool { return !inHand[id] })
}

// maxShown bounds the blocked slots of a status: each may be a unit of its own.
const maxShown = 100

// restored sets what a job has done before a restart.
func (j *job) restored(v *machine.View) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.KeysMoved, j.status.BytesMoved = v.KeysDone, v.BytesDone
	j.rate.lastKeys, j.rate.lastByte, j.rate.lastSlots = v.KeysDone, v.BytesDone, v.SlotsDone
}

// recorded follows which slots may be open. None is taken back: a step that has looked before a slot was closed may ask
// after.
func (j *job) recorded(r *journal.Record) {
	if r.Unit == nil || r.Kind != journal.UnitOpening {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range r.Unit.Slots {
		j.opened[s%router.Slots] = true
	}
}

// ours tells whether a slot that is open may be of this job.
func (j *job) ours(slot uint16) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.opened[slot%router.Slots]
}

// outcome is what Ended keeps for the history.
func (j *job) outcome(state, reason string, now time.Time) json.RawMessage {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.snapshotLocked()
	st.State, st.Reason, st.Finished, st.Units = state, reason, now, nil
	st.average()
	text, err := json.Marshal(&st)
	if err != nil {
		return nil // never: a Status is plain data; the record's own fields say the rest
	}
	return text
}

// end is the last change of a job.
func (j *job) end(e machine.Ended, unrecorded bool, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.State, j.status.Reason, j.status.Finished = e.State, e.Reason, now
	j.status.average()
	j.status.Pace = ""
	j.open = unrecorded
	j.gauge = gauge{} // the keys of 16384 slots
	clear(j.hand)
}

// average gives a job that has ended the rates of all of it.
func (st *Status) average() {
	if took := st.Finished.Sub(st.Started).Seconds(); took > 0 && !st.Started.IsZero() {
		st.KeysPerSecond, st.BytesPerSecond = int64(float64(st.KeysMoved)/took), int64(float64(st.BytesMoved)/took)
	}
	st.ETA = 0
}

// speed follows the rates of a job.
type speed struct {
	at                 time.Time
	keys, bytes, slots float64 // each second, smoothed
	lastKeys, lastByte int64
	lastSlots          int
	known              bool
}

// fresh of a rate is its weight beside the older ones: about the last ten seconds count.
const freshRate = 0.2

// tick measures the rates; called about once a second while the job runs.
func (j *job) tick() {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, st := &j.rate, &j.status
	now := time.Now()
	span := now.Sub(r.at).Seconds()
	if span <= 0 {
		return
	}
	weight := freshRate
	if !r.known {
		weight = 1
	}
	smooth := func(old *float64, delta float64) { *old += weight * (delta/span - *old) }
	smooth(&r.keys, float64(st.KeysMoved-r.lastKeys))
	smooth(&r.bytes, float64(st.BytesMoved-r.lastByte))
	smooth(&r.slots, float64(st.SlotsDone-r.lastSlots))
	r.at, r.known = now, true
	r.lastKeys, r.lastByte, r.lastSlots = st.KeysMoved, st.BytesMoved, st.SlotsDone
}

// left estimates the rest: by keys or by slots, whichever takes longer. 0: not known.
func (r *speed) left(st *Status) time.Duration {
	seconds := 0.0
	if keys := st.KeysTotal - st.KeysMoved; keys > 0 && r.keys > 0 {
		seconds = float64(keys) / r.keys
	}
	if slots := st.SlotsTotal - st.SlotsDone; slots > 0 && r.slots > 0 && st.KeysTotal == 0 {
		seconds = max(seconds, float64(slots)/r.slots)
	}
	// A day and more is no estimate.
	return time.Duration(min(seconds, 24*3600) * float64(time.Second)).Round(100 * time.Millisecond)
}

// noted takes over what clients noticed since the job began.
func (j *job) noted(n notice) {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := &j.status
	st.HeldCommands += n.held
	st.Redirects += n.redirects
	st.ClientErrors += n.errors
	st.LongestHold = max(st.LongestHold, n.longHold)
	st.Pace = n.pace
}
