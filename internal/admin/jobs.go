package admin

import (
	"context"
	"strconv"
	"time"

	"slotproxy/migrate"
)

func showJobs(_ context.Context, c *call, r *reply) {
	if err := lacking(c.cluster); err != nil {
		r.fail(textOf(err))
		return
	}
	jobs := c.cluster.Jobs()
	r.array(len(jobs))
	for i := range jobs {
		j := &jobs[len(jobs)-1-i]
		r.dict(8)
		r.pair("id", j.ID)
		r.pair("goal", j.Goal)
		r.pair("state", j.State)
		r.pair("reason", j.Reason)
		r.long("created-at", instant(j.Created))
		r.long("finished-at", instant(j.Finished))
		r.count("slots-total", j.SlotsTotal)
		r.count("slots-done", j.SlotsDone)
	}
}

// instant is a time as Valkey writes it in replies: Unix milliseconds; 0 for none.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func showJob(_ context.Context, c *call, r *reply) {
	if err := lacking(c.cluster); err != nil {
		r.fail(textOf(err))
		return
	}
	j, known := c.cluster.Job(c.args[0])
	if !known {
		r.fail("ERR Unknown job " + echo(c.args[0]))
		return
	}
	r.dict(28)
	r.pair("id", j.ID)
	r.pair("goal", j.Goal)
	r.pair("state", j.State)
	r.pair("reason", j.Reason)
	r.long("created-at", instant(j.Created))
	r.long("started-at", instant(j.Started))
	r.long("finished-at", instant(j.Finished))
	r.count("slots-total", j.SlotsTotal)
	r.count("slots-done", j.SlotsDone)
	r.long("keys-total", j.KeysTotal)
	r.long("keys-moved", j.KeysMoved)
	r.long("bytes-moved", j.BytesMoved)
	r.long("keys-per-second", j.KeysPerSecond)
	r.long("bytes-per-second", j.BytesPerSecond)
	r.long("eta-ms", j.ETA.Milliseconds())
	r.count("retries", j.Retries)
	r.pair("pace", j.Pace)
	r.long("held-commands", int64(j.HeldCommands))
	r.long("longest-hold-usec", j.LongestHold.Microseconds())
	r.long("redirects", int64(j.Redirects))
	r.long("client-errors", int64(j.ClientErrors))
	showUnits(j.Units, r)
	r.list("blocked", j.Blocked)
	showShares("before", j.Before, r)
	showShares("after", j.After, r)
	r.truth("agree", j.Agree)
	r.pair("side-file", j.Side)
	r.pair("capped", j.Capped)
}

func showUnits(units []migrate.UnitStatus, r *reply) {
	r.text("units")
	r.array(len(units))
	for i := range units {
		u := &units[i]
		r.dict(7)
		r.pair("source", u.Source)
		r.pair("target", u.Target)
		r.pair("engine", u.Engine)
		r.pair("step", u.Step)
		r.pair("slots", u.Slots)
		r.count("attempt", u.Attempt)
		r.long("for-ms", u.For.Milliseconds())
	}
}

func pause(_ context.Context, c *call, r *reply)  { settle(c.cluster.Pause(c.args[0], c.by), r) }
func resume(_ context.Context, c *call, r *reply) { settle(c.cluster.Resume(c.args[0], c.by), r) }
func cancel(_ context.Context, c *call, r *reply) { settle(c.cluster.Cancel(c.args[0], c.by), r) }

func settle(err error, r *reply) {
	if err != nil {
		r.fail(textOf(err))
		return
	}
	r.ok()
}

// slotText writes slots as ranges: "0-5 9".
func slotText(slots []uint16) string {
	var text []byte
	for i := 0; i < len(slots); {
		last := i
		for last+1 < len(slots) && slots[last+1] == slots[last]+1 {
			last++
		}
		if len(text) > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendUint(text, uint64(slots[i]), 10)
		if last > i {
			text = strconv.AppendUint(append(text, '-'), uint64(slots[last]), 10)
		}
		i = last + 1
	}
	return string(text)
}
