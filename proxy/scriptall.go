package proxy

import (
	"bytes"

	"slotproxy/resp"
)

// SCRIPT and FUNCTION concern all primaries: the code of one server is on all of them.

// spreading is what a command for all primaries needs beyond its rule.
type spreading struct {
	merge mergeFn
	raw   bool // the merge looks at errors itself
	own   bool // by connections of the client's own: the shared ones wait behind the script that runs
}

// spreadings is the table, by rule name.
var spreadings = map[string]spreading{
	"script|load":    {merge: mergeLoaded},
	"script|exists":  {merge: mergeScriptExists},
	"script|flush":   {merge: mergeFlushed},
	"script|show":    {merge: mergeBest, raw: true},
	"script|kill":    {merge: mergeKill, raw: true, own: true},
	"function|kill":  {merge: mergeKill, raw: true, own: true},
	"function|stats": {merge: mergeRunning, raw: true, own: true},
}

// mergeLoaded remembers a script that all nodes have taken.
func mergeLoaded(r *request, dst []byte) ([]byte, bool) {
	if args := r.sess.l.commandOf(r); len(args) == 3 {
		r.sess.l.p.scripts.add(args[2], true)
	}
	return mergeFirst(r, dst)
}

// mergeScriptExists says 1 for a script that all nodes have, or that the proxy would load.
func mergeScriptExists(r *request, dst []byte) ([]byte, bool) {
	l, args := r.sess.l, r.sess.l.commandOf(r)
	if len(args) < 3 {
		return dst, false
	}
	have := make([]int, len(args)-2) // how many nodes have each
	for _, p := range r.fan.parts {
		answers := elements(p.reply)
		if len(answers) != len(have) {
			return dst, false
		}
		for i, answer := range answers {
			if string(answer) == "1" {
				have[i]++
			}
		}
	}
	dst = resp.AppendArray(dst, len(have))
	for i, n := range have {
		if n == len(r.fan.parts) || l.p.scripts.find(args[2+i]) != nil {
			dst = resp.AppendInt(dst, 1)
		} else {
			dst = resp.AppendInt(dst, 0)
		}
	}
	return dst, true
}

// mergeFlushed forgets all scripts, as the nodes have.
func mergeFlushed(r *request, dst []byte) ([]byte, bool) {
	r.sess.l.p.scripts.forget()
	return mergeFirst(r, dst)
}

// mergeBest takes the first reply that is no error.
func mergeBest(r *request, dst []byte) ([]byte, bool) {
	for _, p := range r.fan.parts {
		if p.reply[0] != '-' {
			return append(dst, p.reply...), true
		}
	}
	return mergeFirst(r, dst)
}

// mergeKill says OK when one node has ended a script; if not, why a node could not, rather than that nothing runs.
func mergeKill(r *request, dst []byte) ([]byte, bool) {
	best := r.fan.parts[0].reply
	for _, p := range r.fan.parts {
		switch {
		case p.reply[0] != '-':
			return append(dst, p.reply...), true
		case bytes.HasPrefix(best, []byte("-NOTBUSY")):
			best = p.reply
		}
	}
	return append(dst, best...), true
}

// mergeRunning takes the figures of a node that runs a function, if there is one; they are alike in the rest.
func mergeRunning(r *request, dst []byte) ([]byte, bool) {
	name := []byte("\r\nrunning_script\r\n")
	for _, p := range r.fan.parts {
		at := bytes.Index(p.reply, name)
		if at < 0 {
			continue
		}
		if running := p.reply[at+len(name):]; running[0] != '_' && !bytes.HasPrefix(running[1:], []byte("-1")) {
			return append(dst, p.reply...), true
		}
	}
	return mergeBest(r, dst)
}
