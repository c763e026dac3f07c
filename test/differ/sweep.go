package differ

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"slotproxy/test/wire"
)

// maxRounds bounds a sweep: no set here has so many elements.
const maxRounds = 2000

// sweep compares what one pass over a keyspace or a collection finds: the order and the cursors are the server's own affair.
func (r *runner) sweep(s Step, bare, test *client) (*Difference, error) {
	if bare.multi {
		return nil, errUnusable
	}
	want, h, err := r.pass(s.Commands[0], bare, r.bare.patience)
	if err != nil {
		return nil, err
	}
	if h.missing || h.ended {
		return nil, errUnusable
	}
	got, h, err := r.pass(s.Commands[0], test, r.test.patience)
	if err == nil && want == got {
		return nil, nil
	}
	if err != nil || h.missing || h.ended {
		got += h.end()
	}
	return &Difference{Command: show(s.Commands[0]), What: "a sweep of client " + strconv.Itoa(s.Client), Want: want, Got: got}, nil
}

// pass is one sweep of one side: the elements in order, or the reply that was no page.
func (r *runner) pass(args []string, c *client, patience time.Duration) (string, heard, error) {
	at, together := 2, 2
	switch strings.ToUpper(args[0]) {
	case "SCAN":
		at, together = 1, 1
	case "SSCAN":
		together = 1
	}
	if slices.ContainsFunc(args, func(a string) bool { return strings.EqualFold(a, "NOVALUES") }) {
		together = 1
	}
	var found []string
	args = slices.Clone(args)
	for round := 0; ; round++ {
		var h heard
		r.markers++
		end := until{marker: "~marker-" + strconv.Itoa(r.markers) + "~"}
		if err := c.send(Step{Commands: [][]string{args}}, end.marker); err != nil {
			return "", h, err
		}
		c.listen(end, patience, &h)
		if len(h.replies) != 1 || h.missing || h.ended {
			return join(h.replies), h, nil
		}
		v, err := wire.Parse(string(h.replies[0]))
		if err != nil {
			return "", h, err
		}
		if len(v.Elems) != 2 || len(v.Elems[1].Elems)%together != 0 || at >= len(args) {
			return string(h.replies[0]), h, nil
		}
		for group := range slices.Chunk(v.Elems[1].Elems, together) {
			var b []byte
			for _, e := range group {
				b = encode(b, e)
			}
			found = append(found, string(b))
		}
		args[at] = v.Elems[0].Text
		if args[at] == "0" || round == maxRounds {
			slices.Sort(found)
			return strings.Join(slices.Compact(found), "") + "cursor " + args[at], h, nil
		}
	}
}
