package differ

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errUnusable says that the bare server did not come to the end of a step: the sequence proves nothing.
var errUnusable = errors.New("the bare server does not end the step")

// Difference is the first reply that is not the bare server's.
type Difference struct {
	Step      int    // in the sequence
	Command   string // as it was sent; "" when the difference is not in a reply to one
	What      string // what is compared: reply 2 of client 0, messages of client 1, ...
	Want, Got string
}

func (d *Difference) String() string {
	return fmt.Sprintf("step %d, %s: %s\n  got  %s\n  want %s", d.Step, d.What, d.Command, brief(d.Got), brief(d.Want))
}

// class groups differences that are likely to have one cause: the command, and how the reply under test begins.
func (d *Difference) class() string {
	if d.Command == "" {
		what, _, _ := strings.Cut(d.What, " ")
		return what
	}
	name, _, _ := strings.Cut(d.Command, " ")
	got, _, _ := strings.Cut(d.Got, " ")
	if strings.HasPrefix(d.Want, "-ERR unknown command") {
		name = "unknown"
	}
	return strings.ToUpper(name) + " " + strings.TrimSpace(got[:min(len(got), 20)])
}

func brief(s string) string {
	const most = 600
	if len(s) > most {
		return strconv.Quote(s[:most]) + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return strconv.Quote(s)
}

// runner runs sequences on both sides.
type runner struct {
	bare, test *side
	cleaning   [][]string // between sequences
	block      bool       // sequences may leave blocked clients
	markers    int
	at         int // the step of the sequence
	known      []Known
	readers    map[int]*reader // of this sequence: which reply belongs to which command
}

// run returns the first difference, nil if there is none.
func (r *runner) run(s Sequence) (*Difference, error) {
	r.readers = map[int]*reader{}
	for _, side := range []*side{r.bare, r.test} {
		if err := side.clean(r.cleaning); err != nil {
			return nil, err
		}
	}
	d, err := r.steps(s)
	r.bare.hangUp()
	r.test.hangUp()
	if err != nil || d != nil || !r.block {
		return d, errors.Join(err, r.calm())
	}
	if err := r.bare.settle(); err != nil {
		return nil, err
	}
	if err := r.test.settle(); errors.Is(err, errStillBlocked) {
		return &Difference{Step: len(s) - 1, What: "after all clients left", Want: "no blocked client", Got: err.Error()}, nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// calm waits after a sequence that was not ended, so that the next one begins as all do. What the side under test leaves behind is a
// difference of that sequence, not of the next.
func (r *runner) calm() error {
	if !r.block {
		return nil
	}
	if err := r.test.settle(); err != nil && !errors.Is(err, errStillBlocked) {
		return err
	}
	return r.bare.settle()
}

func (r *runner) steps(s Sequence) (*Difference, error) {
	for i, step := range s {
		r.at = i
		bare, err := r.bare.client(step.Client)
		if err != nil {
			return nil, err
		}
		test, err := r.test.client(step.Client)
		if err != nil {
			return nil, err
		}
		if bare.waits || bare.closed {
			continue
		}
		var d *Difference
		if step.Sweep {
			d, err = r.sweep(step, bare, test)
		} else {
			d, err = r.step(step, bare, test)
		}
		if d == nil && err == nil {
			d, err = r.others(step.Client)
		}
		if d != nil {
			d.Step = i
		}
		if d != nil || err != nil {
			return d, err
		}
	}
	return r.finish(len(s) - 1)
}

// step has one client do its step, first at the bare server.
func (r *runner) step(s Step, bare, test *client) (*Difference, error) {
	multi, listens, visible := after(bare.multi, s.Commands)
	if !visible {
		return nil, errUnusable
	}
	bare.listens = bare.listens || listens
	bare.anew = bare.anew || slices.ContainsFunc(s.Commands, func(args []string) bool { return strings.EqualFold(args[0], "RESET") })
	test.listens = bare.listens
	end := until{replies: len(s.Commands), closed: quits(s.Commands)}
	if !multi && !end.closed {
		r.markers++
		end.marker = "~marker-" + strconv.Itoa(r.markers) + "~"
	}
	bare.multi = multi
	before := len(r.bare.waiting())
	if err := bare.send(s, end.marker); err != nil {
		return nil, err
	}
	var want heard
	if s.Blocks && end.marker != "" {
		if err := r.blocks(bare, end, before, &want); err != nil {
			return nil, err
		}
	} else {
		bare.listen(end, r.bare.patience, &want)
	}
	bare.closed = want.ended
	if want.missing {
		return nil, errUnusable
	}
	_ = test.send(s, end.marker) // a connection that is lost shows when it is read
	r.reader(s.Client).begin(s.Commands)
	if bare.waits {
		bare.marker, test.marker = end.marker, end.marker
		bare.sofar, test.sofar = want, heard{}
		return r.blocksToo(s, test, end, before)
	}
	return r.compare(s.Client, test, end, want, heard{}), nil
}

// blocks waits until the bare server has answered the step or blocks it.
func (r *runner) blocks(c *client, end until, before int, h *heard) error {
	for start := time.Now(); time.Since(start) < r.bare.patience; time.Sleep(pause) {
		if c.take(end.marker, h) || h.ended {
			return nil
		}
		n, err := r.bare.blocked()
		if err != nil {
			return err
		}
		if n > before {
			c.waits = true
			return nil
		}
	}
	h.missing = true
	return nil
}

// blocksToo waits until the side under test blocks the client as well: a later step must find it so.
func (r *runner) blocksToo(s Step, c *client, end until, before int) (*Difference, error) {
	last := show(s.Commands[len(s.Commands)-1])
	for start := time.Now(); ; time.Sleep(pause) {
		if c.take(end.marker, &c.sofar) || c.sofar.ended {
			return &Difference{Command: last, What: "client " + strconv.Itoa(s.Client), Want: "blocks", Got: c.sofar.String()}, nil
		}
		n, err := r.test.blocked()
		if n > before || err != nil {
			return nil, err
		}
		if time.Since(start) > r.test.patience {
			return &Difference{Command: last, What: "client " + strconv.Itoa(s.Client), Want: "blocks", Got: "no client waits at the servers; " + c.sofar.String()}, nil
		}
	}
}

// compare reads what the bare server has given from the side under test, too.
func (r *runner) compare(i int, test *client, end until, want, got heard) *Difference {
	end.replies, end.messages = len(want.replies), len(want.messages)
	end.closed = want.ended
	test.listen(end, r.test.patience, &got)
	return r.reader(i).compare(i, r.bare.clients[i], test, want, got)
}

// others are the clients that a step of another one may have released or sent something to.
func (r *runner) others(acting int) (*Difference, error) {
	if d, err := r.released(); d != nil || err != nil {
		return d, err
	}
	for _, i := range slices.Sorted(maps.Keys(r.bare.clients)) {
		if i == acting || !r.bare.clients[i].listens {
			continue
		}
		if d, err := r.hear(i); d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

// released reads the replies of clients that the bare server blocks no longer.
func (r *runner) released() (*Difference, error) {
	waiting := r.bare.waiting()
	if len(waiting) == 0 {
		return nil, nil
	}
	n, err := r.bare.blocked()
	if err != nil {
		return nil, err
	}
	var free []int
	for start := time.Now(); len(waiting)-len(free) > n; time.Sleep(pause) {
		for _, i := range waiting {
			c := r.bare.clients[i]
			if c.waits && (c.take(c.marker, &c.sofar) || c.sofar.ended) {
				c.waits, free = false, append(free, i)
			}
		}
		if time.Since(start) > r.bare.patience {
			return nil, errUnusable
		}
	}
	for _, i := range free {
		bare, test := r.bare.clients[i], r.test.clients[i]
		if d := r.compare(i, test, until{marker: bare.marker}, bare.sofar, test.sofar); d != nil {
			return d, nil
		}
	}
	return nil, nil
}

// hear compares what a client got without having asked.
func (r *runner) hear(i int) (*Difference, error) {
	bare, test := r.bare.clients[i], r.test.clients[i]
	if bare.waits || bare.multi || bare.closed {
		return nil, nil
	}
	r.markers++
	end := until{marker: "~marker-" + strconv.Itoa(r.markers) + "~"}
	if err := bare.send(Step{}, end.marker); err != nil {
		return nil, err
	}
	var want heard
	bare.listen(end, r.bare.patience, &want)
	if want.missing {
		return nil, errUnusable
	}
	_ = test.send(Step{}, end.marker) // a connection that is lost shows when it is read
	r.reader(i).begin(nil)
	return r.compare(i, test, end, want, heard{}), nil
}

// finish looks for replies that nobody is owed, and for clients that wait no longer.
func (r *runner) finish(last int) (*Difference, error) {
	for _, i := range slices.Sorted(maps.Keys(r.bare.clients)) {
		d, err := r.hear(i)
		if bare, test := r.bare.clients[i], r.test.clients[i]; d == nil && bare.waits {
			if test.take(test.marker, &test.sofar) || test.sofar.ended {
				d = &Difference{What: "client " + strconv.Itoa(i), Want: "blocks", Got: test.sofar.String()}
			}
		}
		if d == nil && err == nil {
			d, err = r.invalidations(i)
		}
		if d != nil {
			d.Step = last
		}
		if d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

// invalidations compares of which keys a client was told that they have changed.
func (r *runner) invalidations(i int) (*Difference, error) {
	bare, test := r.bare.clients[i], r.test.clients[i]
	// To forget too much is always right: a proxy says "everything" when HELLO or AUTH give the client other connections, and its own
	// questions about keys (while it walks over them, say) make a node watch more than the client has read.
	// Whoever has ended its tracking and begun it anew is told by a server of what it had read before, and has forgotten.
	for start := time.Now(); !bare.anew && !covers(test.invalid, bare.invalid); time.Sleep(pause) {
		if time.Since(start) > r.test.patience || bare.waits || bare.multi || bare.closed {
			want, got := slices.Sorted(maps.Keys(bare.invalid)), slices.Sorted(maps.Keys(test.invalid))
			return &Difference{What: fmt.Sprintf("invalidations for client %d", i), Want: strings.Join(want, " "), Got: strings.Join(got, " ")}, nil
		}
		if d, err := r.hear(i); d != nil || err != nil { // they may still be on their way
			return d, err
		}
	}
	return nil, nil
}

func (r *runner) reader(client int) *reader {
	if r.readers[client] == nil {
		r.readers[client] = &reader{known: r.known}
	}
	return r.readers[client]
}

// covers says that got tells of all changes that want tells of.
func covers(got, want map[string]bool) bool {
	for key := range want {
		if !got[key] && !got["everything"] {
			return false
		}
	}
	return true
}
