package plan

import (
	"slices"
	"strings"
	"time"
)

// What a plan assumes when nothing was measured: a slow server of 2024 under load, so that estimates err on the safe side.
const (
	assumedKeysPerSecond = 30_000
	slotCost             = 3 * time.Millisecond // opening, handing over and checking a slot
)

// What is a measure at least: steps take milliseconds, so a shorter time is chance, and of a few slots it is that of beginning and ending,
// as a stream of one slot takes about as long as one of a hundred.
const (
	leastMeasured = 100 * time.Millisecond
	leastKeys     = 5000
	leastSlots    = 50
)

// Measure is how long slots took from one node to another in a job, by which later plans are estimated. Slots of many keys take the
// time of their keys, those of few that of their steps, so that neither says anything of the other.
type Measure struct {
	Job    string `json:"-"` // id; who keeps the measure knows it
	Source string `json:"source"`
	Target string `json:"target"`
	Engine string `json:"engine"`

	Keys     int64         `json:"keys,omitempty"` // in slots of many
	KeysTook time.Duration `json:"keys_took_ns,omitempty"`

	Slots     int           `json:"slots,omitempty"` // of few keys
	SlotsTook time.Duration `json:"slots_took_ns,omitempty"`
}

// many tells whether the keys of so many slots are expected to take longer than their steps.
func many(slots int, keys int64) bool { return assumed(0, keys) > assumed(slots, 0) }

func assumed(slots int, keys int64) time.Duration {
	return time.Duration(float64(keys)/assumedKeysPerSecond*float64(time.Second)) + time.Duration(slots)*slotCost
}

// Add counts slots that moved together.
func (m *Measure) Add(slots int, keys int64, took time.Duration) {
	if many(slots, keys) {
		m.Keys += keys
		m.KeysTook += took
		return
	}
	m.Slots += slots
	m.SlotsTook += took
}

// time is how long a slot with so many keys takes by this measure; ok is false when it was not measured.
func (m *Measure) time(keys int64) (took time.Duration, ok bool) {
	if many(1, keys) {
		if m.KeysTook < leastMeasured || m.Keys < leastKeys {
			return 0, false
		}
		return time.Duration(float64(m.KeysTook) * float64(keys) / float64(m.Keys)), true
	}
	if m.SlotsTook < leastMeasured || m.Slots < leastSlots {
		return 0, false
	}
	return m.SlotsTook / time.Duration(m.Slots), true
}

// known is what earlier jobs say of a pair of nodes: what was measured between them with the engine that will be used, before what
// was measured with it anywhere; of each the newest job first.
func (s *Snapshot) known(source, target string) []Measure {
	if s.Engine == nil {
		return nil
	}
	engine := s.Engine(source, target)
	var pair, others []Measure
	for _, m := range s.Measures {
		switch {
		case m.Engine != engine:
		case m.Source == source && m.Target == target:
			pair = append(pair, m)
		default:
			at := slices.IndexFunc(others, func(o Measure) bool { return o.Job == m.Job })
			if at < 0 {
				others = append(others, m)
				continue
			}
			o := &others[at]
			o.Keys, o.KeysTook = o.Keys+m.Keys, o.KeysTook+m.KeysTook
			o.Slots, o.SlotsTook = o.Slots+m.Slots, o.SlotsTook+m.SlotsTook
		}
	}
	return append(pair, others...)
}

// guess is how long one source takes, and what that rests on.
type guess struct {
	took    time.Duration
	jobs    []string // whose measures it uses
	assumes bool     // in part at least
}

func (g *guess) add(known []Measure, keys int64) {
	for i := range known {
		if took, ok := known[i].time(keys); ok {
			g.took += took
			if !slices.Contains(g.jobs, known[i].Job) {
				g.jobs = append(g.jobs, known[i].Job)
			}
			return
		}
	}
	g.assumes = true
	g.took += assumed(1, keys)
}

// by says where a guess comes from.
func (g *guess) by() string {
	switch {
	case len(g.jobs) == 0:
		return "assumed"
	case g.assumes:
		return "in part measured by job " + strings.Join(g.jobs, ", ") + ", in part assumed"
	}
	return "measured by job " + strings.Join(g.jobs, ", ")
}

// estimate says how long a plan takes, and where that comes from. Sources work at the same time.
func (s *Snapshot) estimate(p *Plan) (took time.Duration, by string) {
	if len(p.Moves) == 0 {
		return 0, ""
	}
	bySource := map[string]*guess{}
	longest := &guess{}
	for _, m := range p.Moves {
		g := bySource[m.Source]
		if g == nil {
			g = &guess{}
			bySource[m.Source] = g
		}
		known := s.known(m.Source, m.Target)
		for _, slot := range m.Slots {
			g.add(known, s.stat(int(slot)).Keys)
		}
		if g.took >= longest.took {
			longest = g
		}
	}
	return longest.took.Round(time.Millisecond), longest.by()
}
