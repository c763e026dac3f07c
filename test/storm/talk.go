package storm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"slotproxy/test/wire"
)

// talk is a class that must see a reply before it knows its next command, or that waits for somebody else's: it has the connection
// to itself.
type talk interface {
	// turn is some commands and their checks. Once ctx has ended it brings the class to its end; atEnd says that nothing is left to
	// do. errFault is a fault that is counted already, any other error a lost connection; after both the connection is a new one.
	turn(ctx context.Context, t *talker) (atEnd bool, err error)
	// reset forgets every expectation, as in class.
	reset()
}

var errFault = errors.New("counted already")

// talker runs one talk over one connection.
type talker struct {
	party
	src talk

	conn *wire.Conn // owned by the goroutine of run
}

// grace is how long a talk may take to come to its end: longer than any wait of a command, so that only what is lost exceeds it.
const grace = 20 * time.Second

func (t *talker) run(ctx context.Context) {
	t.begin()
	defer t.close()
	var last time.Time // when the storm was seen to be over
	for {
		if ctx.Err() != nil && last.IsZero() {
			last = time.Now()
		}
		if !last.IsZero() && time.Since(last) > grace {
			t.violate(fmt.Sprintf("something is due for %v after the end of the storm", grace))
			return
		}
		if t.conn == nil {
			if t.conn = t.dial(); t.conn == nil {
				time.Sleep(dialPause)
				continue
			}
		}
		atEnd, err := t.src.turn(ctx, t)
		if err != nil {
			if !errors.Is(err, errFault) {
				t.fail(fmt.Sprintf("connection lost: %v", err))
			}
			t.close()
			t.src.reset()
		}
		if !last.IsZero() && (atEnd || err != nil) { // what is left to do after a fault would prove nothing
			return
		}
	}
}

func (t *talker) close() {
	if t.conn != nil {
		_ = t.conn.Close()
	}
	t.conn = nil
}

// ask sends steps in one write and checks their replies. The replies of the steps after a fault are read and not checked.
func (t *talker) ask(steps ...step) ([]wire.Value, error) {
	for _, s := range steps {
		t.conn.Append(s.args...)
	}
	sent, out, clean := time.Now(), make([]wire.Value, 0, len(steps)), true
	if err := t.conn.Flush(); err != nil {
		return nil, err
	}
	for _, s := range steps {
		v, err := t.conn.Read()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", describe(s.args), err)
		}
		t.count(sent)
		clean = clean && t.judge(s.args, v, s.check(v))
		out = append(out, v)
	}
	if !clean {
		return nil, errFault
	}
	return out, nil
}
