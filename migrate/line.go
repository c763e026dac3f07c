package migrate

import (
	"fmt"
	"slices"
)

// One job runs at a time, so a folder has one that was interrupted. It has more when one of them could not be opened at an earlier
// start and another began, or when somebody has put it there. They go on one after the other, and the first may be paused: the ones
// behind it then wait until an operator ends that, and have to say so.

// lineUp makes the line of the jobs to go on with, the oldest first.
func (c *Coordinator) lineUp() []*job {
	c.mu.Lock()
	for _, j := range c.jobs {
		if j.snapshot().Finished.IsZero() {
			c.line = append(c.line, j)
		}
	}
	line := slices.Clone(c.line)
	c.mu.Unlock()
	if len(line) > 1 {
		c.log.Warn("interrupted jobs go on one after the other", "count", len(line), "job", line[0].id)
	}
	return line
}

// stepUp lets the next one come to the head of the line: its orders are heard by Run from then on.
func (c *Coordinator) stepUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = c.line[1:]
}

// statusLocked is a job as it stands now, also in line.
func (c *Coordinator) statusLocked(j *job) Status {
	st := j.snapshot()
	if why := c.behindLocked(j); why != "" {
		st.Reason = why
	}
	return st
}

// behindLocked says what a job waits for that stands in line behind another one, "" for one that does not.
func (c *Coordinator) behindLocked(j *job) string {
	if slices.Index(c.line, j) < 1 {
		return ""
	}
	first := c.line[0].snapshot()
	why := "waits for job " + first.ID + ", which is " + first.State
	switch {
	case first.State == PausedJob:
		why += fmt.Sprintf(": PROXY RESUME %s goes on with that, PROXY CANCEL %s ends it", first.ID, first.ID)
	case first.State == Running && first.Reason != "":
		why = "waits for job " + first.ID + ", which does not go on: " + first.Reason
	}
	switch {
	case slices.Contains(j.early, "cancel"):
		why += "; then it is cancelled"
	case slices.Contains(j.early, "pause"):
		why += "; then it is paused"
	}
	return why
}

// firstLocked says which interrupted job goes before a new one while Run has not come to it, "" for none.
func (c *Coordinator) firstLocked() string {
	if c.busy != unread || len(c.line) == 0 {
		return ""
	}
	first := c.line[0].snapshot()
	return joinReasons("job "+first.ID+" goes on first", first.Reason)
}

// orderInLine keeps a word for a job that stands in line, false for one that does not. Nobody could take it before the job's turn.
func (c *Coordinator) orderInLine(j *job, by, word string) (bool, error) {
	inLine, err := c.keepInLine(j, word)
	if inLine && err == nil {
		c.log.Info("job ordered to "+word, "job", j.id, "by", by)
	}
	return inLine, err
}

func (c *Coordinator) keepInLine(j *job, word string) (inLine bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	why := c.behindLocked(j)
	switch {
	case why == "":
		return false, nil
	case c.atRest():
		return true, errClosed
	case word == "resume" && slices.Contains(j.early, "pause"):
		j.early = slices.DeleteFunc(j.early, func(w string) bool { return w == "pause" })
		return true, nil
	case word == "resume":
		return true, fmt.Errorf("ERR Job %s %s", j.id, why)
	}
	j.keep(word)
	return true, nil
}

// keep remembers an order until the job goes on. Each is there once, so however often it is given they stay few.
func (j *job) keep(word string) {
	if !slices.Contains(j.early, word) {
		j.early = append(j.early, word)
	}
}
