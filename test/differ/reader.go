package differ

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"slotproxy/test/wire"
)

// after tells how a client stands when it has sent commands: whether it is between MULTI and EXEC, whether it may get what it did not
// ask for, and whether a PING behind them would be answered.
func after(multi bool, commands [][]string) (inMulti, listens, visible bool) {
	silent, skip := false, false
	for _, args := range commands {
		skip = false
		switch name := strings.ToUpper(args[0]); name {
		case "MULTI":
			multi = multi || len(args) == 1
		case "EXEC", "DISCARD", "RESET":
			multi = multi && len(args) > 1
			silent = silent && (name != "RESET" || len(args) > 1)
		case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
			listens = true
		case "CLIENT":
			listens = listens || len(args) > 2 && strings.EqualFold(args[1], "TRACKING")
			switch replyMode(args) {
			case "OFF":
				silent = true
			case "ON":
				silent = false
			case "SKIP":
				skip = true
			}
		}
	}
	return multi, listens, !silent && !skip
}

// quits tells whether the connection ends with the commands.
func quits(commands [][]string) bool {
	return len(commands) > 0 && strings.EqualFold(commands[len(commands)-1][0], "QUIT")
}

// replyMode is the mode that a CLIENT REPLY sets, "" for another command.
func replyMode(args []string) string {
	if len(args) != 3 || !strings.EqualFold(args[0], "CLIENT") || !strings.EqualFold(args[1], "REPLY") {
		return ""
	}
	return strings.ToUpper(args[2])
}

// reader knows which command a reply belongs to.
type reader struct {
	known    []Known
	commands [][]string // sent, without a reply yet
	queued   [][]string // since MULTI
	silent   bool
	skip     bool
	all      []string // the last UNSUBSCRIBE without channels: it has as many replies as there were channels
}

func (r *reader) begin(commands [][]string) { r.commands, r.all = append(r.commands, commands...), nil }

// next is the command that the following reply belongs to; nil if none is left.
func (r *reader) next(reply []byte) []string {
	if r.all != nil && confirms(r.all, reply) && (len(r.commands) == 0 || !strings.EqualFold(r.commands[0][0], r.all[0])) {
		return r.all
	}
	r.all = nil
	for len(r.commands) > 0 {
		args := r.commands[0]
		if r.several(args, reply) {
			return args
		}
		r.commands = r.commands[1:]
		mode := replyMode(args)
		switch {
		case mode == "ON":
			r.silent = false
		case mode == "OFF":
			r.silent = true
		case mode == "SKIP":
			r.skip = !r.silent
			continue
		case r.skip:
			r.skip = false
			continue
		}
		if r.silent {
			continue
		}
		if len(args) == 1 && confirms(args, reply) {
			r.all = args
		}
		return args
	}
	return nil
}

// several tells whether the reply is one of those of a command that has one for each channel, and not the last.
func (r *reader) several(args []string, reply []byte) bool {
	if len(args) <= 2 || !confirms(args, reply) {
		return false
	}
	r.commands[0] = slices.Delete(slices.Clone(args), 1, 2)
	return true
}

// confirms tells whether the reply is one to a (P|S)(UN)SUBSCRIBE.
func confirms(args []string, reply []byte) bool {
	name := strings.ToLower(args[0])
	return strings.HasSuffix(name, "subscribe") && kindOf(reply) == name
}

// ordered sorts the confirmations of one UNSUBSCRIBE of everything: they come in the order of a hash table with a random seed.
func ordered(replies [][]byte) [][]byte {
	replies = slices.Clone(replies)
	for from := 0; from < len(replies); from++ {
		kind, to := kindOf(replies[from]), from
		for to < len(replies) && strings.HasSuffix(kind, "unsubscribe") && kindOf(replies[to]) == kind {
			to++
		}
		if to-from > 1 {
			sortChannels(replies[from:to])
		}
		from = max(from, to-1)
	}
	return replies
}

// sortChannels leaves the counts where they are: they go down one by one.
func sortChannels(run [][]byte) {
	var heads, counts []string
	for _, b := range run {
		at := bytes.LastIndexByte(b, ':')
		heads, counts = append(heads, string(b[:at])), append(counts, string(b[at:]))
	}
	slices.Sort(heads)
	for i := range run {
		run[i] = []byte(heads[i] + counts[i])
	}
}

// compare finds the first reply or message of got that is not want's.
func (r *reader) compare(i int, bare, test *client, want, got heard) *Difference {
	want.replies, got.replies = ordered(want.replies), ordered(got.replies)
	for n := range max(len(want.replies), len(got.replies)) {
		var w, g []byte
		if n < len(want.replies) {
			w = want.replies[n]
		}
		if n < len(got.replies) {
			g = got.replies[n]
		}
		var args []string
		if w != nil {
			args = r.next(w)
		}
		if args != nil && w != nil && g != nil {
			bare.keepDump(args, w)
			test.keepDump(args, g)
		}
		if !r.equal(args, w, g) {
			d := &Difference{Command: show(args), What: fmt.Sprintf("reply %d of client %d", n+1, i), Want: string(w), Got: string(g)}
			if g == nil {
				d.Got = got.end()
			}
			if slices.ContainsFunc(r.known, d.is) {
				continue
			}
			return d
		}
	}
	for _, messages := range [][][]byte{want.messages, got.messages} {
		shardedFirst(messages)
		sortPatterns(messages)
	}
	if !slices.EqualFunc(want.messages, got.messages, bytes.Equal) {
		return &Difference{What: fmt.Sprintf("messages for client %d", i), Want: join(want.messages), Got: join(got.messages)}
	}
	if want.ended != got.ended || want.missing != got.missing {
		return &Difference{What: fmt.Sprintf("the end of the step of client %d", i), Want: want.end(), Got: got.end()}
	}
	return nil
}

func (r *reader) equal(args []string, want, got []byte) bool {
	queued := r.transaction(args, want)
	if bytes.Equal(want, got) {
		return true
	}
	if want == nil || got == nil || args == nil {
		return false
	}
	w, err := wire.Parse(string(want))
	if err != nil {
		return false
	}
	g, err := wire.Parse(string(got))
	if err != nil {
		return false
	}
	if queued == nil {
		return same(args, w, g)
	}
	if w.Kind != g.Kind || w.Null != g.Null || len(w.Elems) != len(g.Elems) || len(w.Elems) != len(queued) {
		return false
	}
	for i := range w.Elems {
		if !same(queued[i], w.Elems[i], g.Elems[i]) {
			return false
		}
	}
	return true
}

func same(args []string, want, got wire.Value) bool {
	return bytes.Equal(encode(nil, normalise(args, want)), encode(nil, normalise(args, got)))
}

// transaction keeps the commands that the server has queued, and returns them when the reply is that of EXEC.
func (r *reader) transaction(args []string, reply []byte) [][]string {
	if args == nil {
		return nil
	}
	name := strings.ToUpper(args[0])
	switch {
	case string(reply) == "+QUEUED\r\n":
		r.queued = append(r.queued, args)
	case name == "EXEC" && len(reply) > 0 && reply[0] == '*':
		queued := r.queued
		r.queued = nil
		return queued
	case name == "MULTI" || name == "EXEC" || name == "DISCARD" || name == "RESET":
		if len(reply) > 0 && reply[0] != '-' || name == "EXEC" && bytes.HasPrefix(reply, []byte("-EXECABORT")) {
			r.queued = nil
		}
	}
	return nil
}

func join(replies [][]byte) string { return string(bytes.Join(replies, nil)) }

func (h heard) String() string { return join(h.replies) + join(h.messages) + " " + h.end() }

// end words how a step ended.
func (h heard) end() string {
	switch {
	case h.ended:
		return "(connection closed)"
	case h.missing:
		return "(nothing more in time)"
	}
	return "(no further reply)"
}

// shardedFirst takes sharded messages before the others: they come from the node of their slot, and of two nodes that publish neither
// waits for the other. Those of each kind keep their order.
func shardedFirst(messages [][]byte) {
	other := func(m []byte) int {
		if kindOf(m) == "smessage" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(messages, func(a, b []byte) int { return other(a) - other(b) })
}

// sortPatterns orders the messages that one PUBLISH gave to several patterns of a client: the server walks over its patterns in the order
// of a hash table.
func sortPatterns(messages [][]byte) {
	const head = "4\r\n$8\r\npmessage\r\n"
	for i := 0; i < len(messages); {
		n := i
		for n < len(messages) && len(messages[n]) > 0 && bytes.HasPrefix(messages[n][1:], []byte(head)) && samePublished(messages[i], messages[n]) {
			n++
		}
		slices.SortFunc(messages[i:n], bytes.Compare)
		i = max(n, i+1)
	}
}

// samePublished compares what stands behind the pattern.
func samePublished(a, b []byte) bool {
	behind := func(m []byte) []byte {
		parts := bytes.SplitN(m, []byte("\r\n"), 6) // type, length, pmessage, length, pattern
		return parts[len(parts)-1]
	}
	return bytes.Equal(behind(a), behind(b))
}
