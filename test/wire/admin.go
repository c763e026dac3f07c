package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ask sends one command on a connection of its own. An error in the reply is an error.
func Ask(addr string, command ...string) (Value, error) {
	c, err := Dial("tcp", addr)
	if err != nil {
		return Value{}, err
	}
	defer func() { _ = c.Close() }()
	v, err := c.Do(command...)
	if err == nil && v.IsError() {
		err = fmt.Errorf("%s answered %s", strings.Join(command, " "), v)
	}
	return v, err
}

// Fields are those of a reply of names and values.
func (v Value) Fields() map[string]Value {
	out := map[string]Value{}
	for pair := range slices.Chunk(v.Elems, 2) {
		if len(pair) == 2 {
			out[pair[0].Text] = pair[1]
		}
	}
	return out
}

// jobLook is how often a job is looked at: often enough for measurements of moves that take a second.
const jobLook = 20 * time.Millisecond

// Job begins a job at an admin port and returns what PROXY JOB says of it when it has succeeded. Any other end is an error, and
// so is one that does not come within limit.
func Job(admin string, limit time.Duration, command ...string) (map[string]Value, error) {
	c, err := Dial("tcp", admin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	id, err := c.Do(append([]string{"PROXY"}, command...)...)
	if err != nil || id.IsError() {
		return nil, errors.Join(fmt.Errorf("answered %s", id), err)
	}
	for start := time.Now(); ; time.Sleep(jobLook) {
		v, err := c.Do("PROXY", "JOB", id.Text)
		if err != nil || v.IsError() {
			return nil, errors.Join(fmt.Errorf("job %s: %s", id.Text, v), err)
		}
		job := v.Fields()
		switch state := job["state"].Text; {
		case state == "success":
			return job, nil
		case state == "partial", state == "failed", state == "cancelled", time.Since(start) > limit:
			return nil, fmt.Errorf("job %s after %v: %s", id.Text, time.Since(start).Round(time.Millisecond), v)
		}
	}
}
