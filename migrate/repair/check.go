package repair

import (
	"context"
	"fmt"
	"strings"

	"slotproxy/migrate/plan"
	"slotproxy/router"
)

// problem is a row that fits a slot.
type problem struct {
	s   *slotState
	row *row
}

// key is the same for problems that are one finding: a row, and what it says without the slot.
func (p problem) key() string { return p.row.kind + " " + p.row.text(p.s) }

// problems goes through the repair table for every slot.
func (d *Doctor) problems(p *picture) []problem {
	var list []problem
	for slot := range router.Slots {
		s := d.state(p, uint16(slot))
		for i := range rows {
			if s.owner == nil && i > ownerless {
				break
			}
			if rows[i].fits(s) {
				list = append(list, problem{s, &rows[i]})
				break
			}
		}
	}
	return list
}

// ownerless is the last row that is for slots without exactly one owner.
const ownerless = 2

// twice looks two times and keeps the problems that both looks show: gossip needs a moment to pass a change on.
func (d *Doctor) twice(ctx context.Context) (*picture, []problem, error) {
	first, err := d.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	before := d.problems(first)
	if len(before) == 0 && first.agree() {
		return first, nil, nil
	}
	if err := pause(ctx, d.settle()); err != nil {
		return nil, nil, err
	}
	now, err := d.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	seen := map[uint16]string{}
	for _, p := range before {
		seen[p.s.slot] = p.row.kind
	}
	var stable []problem
	for _, p := range d.problems(now) {
		if seen[p.s.slot] == p.row.kind {
			stable = append(stable, p)
		}
	}
	return now, stable, nil
}

// Check says what is wrong and what Fix would do about it. It changes nothing. An error means that nobody could be asked.
func (d *Doctor) Check(ctx context.Context) (*Report, error) {
	now, list, err := d.twice(ctx)
	if err != nil {
		return nil, err
	}
	return d.report(now, list, Options{}), nil
}

// report puts it in words, with what Fix would do with these options.
func (d *Doctor) report(p *picture, list []problem, o Options) *Report {
	r := &Report{OK: true, Agree: p.agree(), Shares: p.shares()}
	at := map[string]int{}
	for _, x := range list {
		i, known := at[x.key()]
		if !known {
			i = len(r.Findings)
			at[x.key()] = i
			r.Findings = append(r.Findings, Finding{Severity: severity(x.row.bad), Kind: x.row.kind})
		}
		f := &r.Findings[i]
		f.Slots = append(f.Slots, x.s.slot)
		f.Text = x.row.text(x.s)
	}
	for _, c := range slotCures(list, o) {
		f := &r.Findings[at[c.of]]
		for _, a := range c.actions {
			f.Repair = append(f.Repair, a.String())
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Text = fmt.Sprintf("slots %s: %s", plan.Ranges(f.Slots), f.Text)
	}
	r.Findings = append(r.Findings, d.nodeFindings(p)...)
	for slot := range router.Slots {
		if s := d.state(p, uint16(slot)); s.owner != nil {
			r.Covered++
		}
	}
	for _, f := range r.Findings {
		r.OK = r.OK && f.Severity != "error"
	}
	return r
}

func severity(bad bool) string {
	if bad {
		return "error"
	}
	return "warning"
}

// stuck tells of an export that nobody takes any more.
func (e export) stuck() bool {
	return e.silent > silentExport && !strings.HasPrefix(e.state, "failover")
}

// silentExport is how long a target may be silent before its export counts as stuck: the servers' own limit is a minute.
const silentExport = 60

// nodeFindings is what concerns nodes and not slots.
func (d *Doctor) nodeFindings(p *picture) []Finding {
	var list []Finding
	warn := func(kind, addr, format string, args ...any) {
		list = append(list, Finding{Severity: "warning", Kind: kind, Node: addr, Text: fmt.Sprintf(format, args...)})
	}
	replicas, epochs := map[string]int{}, map[uint64]string{}
	for _, n := range p.nodes {
		if n.view != nil && !n.self.Primary {
			replicas[n.self.PrimaryID]++
		}
	}
	for _, n := range p.nodes {
		switch {
		case n.view == nil:
			list = append(list, Finding{Severity: "error", Kind: "unreachable", Node: n.addr, Text: n.addr + " does not answer"})
			continue
		case !n.self.Primary:
			continue
		case n.self.Slots > 0 && replicas[n.id] == 0:
			warn("no-replica", n.addr, "%s has %d slots and no replica that answers", n.addr, n.self.Slots)
		}
		if other := epochs[n.self.Epoch]; other != "" && n.self.Slots > 0 {
			warn("same-epoch", n.addr, "%s and %s have the same config epoch; they settle it by themselves", n.addr, other)
		}
		epochs[n.self.Epoch] = n.addr
		for _, e := range n.exports {
			if e.stuck() {
				list = append(list, Finding{Severity: "error", Kind: "stuck-export", Node: n.addr,
					Text:   fmt.Sprintf("%s has moved slots %s for %d s without hearing of their target", n.addr, e.slots, e.silent),
					Repair: []string{n.addr + " CLUSTER CANCELSLOTMIGRATIONS"}})
			}
		}
	}
	if !p.agree() {
		list = append(list, Finding{Severity: "error", Kind: "disagreement", Text: "the nodes do not agree about who owns which slot"})
	}
	return list
}

// String is an action as it is shown before and after.
func (a action) String() string {
	switch {
	case a.move != nil:
		return fmt.Sprintf("%s MIGRATE the keys of slot %d, then CLUSTER SETSLOT %d NODE %s everywhere", a.at.addr, a.slot, a.slot, a.move.Target)
	case a.shut != nil:
		return fmt.Sprintf("%s CLUSTER SETSLOT %d STABLE, and %s too, unless that has keys of it by then: they move on", a.at.addr, a.slot, a.shut.Target)
	case a.alone != nil:
		return fmt.Sprintf("%s CLUSTER SETSLOT %d STABLE, unless another node has keys of it by then: they move on", a.at.addr, a.slot)
	case a.counted:
		return fmt.Sprintf("%s CLUSTER SETSLOT %d STABLE, unless it has keys of it by then", a.at.addr, a.slot)
	case a.yield != nil:
		slots := plan.Ranges(a.slots)
		return fmt.Sprintf("%s MIGRATE the keys of slot %s that %s does not have there, drop the rest, then CLUSTER SETSLOT %s NODE %s",
			a.at.addr, slots, a.yield.addr, slots, a.yield.id)
	case a.merge != nil:
		return fmt.Sprintf("%s MIGRATE the keys of slot %d that %s does not have there, drop the rest", a.at.addr, a.slot, a.merge.addr)
	case a.drop:
		return fmt.Sprintf("%s UNLINK the keys of slot %d", a.at.addr, a.slot)
	}
	return a.at.addr + " " + strings.Join(a.words(), " ")
}
