package proxy

import (
	"bytes"

	"slotproxy/resp"
	"slotproxy/router"
)

// Most errors are either the client's or a redirect, which steered tells apart by their code. This file is about those
// that are not what they seem: errors behind another error, of scripts, and of commands that were waiting in the node.

// judge takes an error reply of a request that needs a closer look.
func (l *loop) judge(c *nodeConn, r *request, piece []byte) {
	early, loose := r.early, r.loose()
	r.early = nil
	line := append(l.errorLine[:0], piece...) // what follows may give r another reply
	l.errorLine = line
	l.dropReply(r)
	switch {
	case early != nil && redirects(early):
		line = early // the node said so while the transaction was queued, and then dropped it
	case early != nil && r.asking && resp.Classify(early) == resp.NoPerm && bytes.Contains(early, []byte("'asking'")):
		if r.watched {
			l.finish(r, l.nullArray(r))
		} else {
			l.awaitOneOwner(r)
		}
		return
	case early != nil && resp.Classify(line) == resp.ExecAbort:
		l.fail(r, abortedBecause(early))
		return
	case loose:
		l.ranLoose(r, early)
		return
	case early != nil:
		r.early, line = early, early // what had to go before was refused, and so what came behind it
	}
	switch {
	case r.watched && redirects(line):
		l.finish(r, l.nullArray(r)) // a watched key is elsewhere now: it has been touched
	case r.rule.Policy == router.Script:
		l.examine(c, r, line)
	case r.block != nil && resp.Classify(line) == resp.Unblocked && (r.block.woken || !askedFor(line)):
		if r.block.woken {
			r.hops = 0 // it was not refused: it goes on at the new owner at once
		}
		r.block.woken = false
		l.hint(router.Hint{Cause: router.Down, Slot: r.slot, HasSlot: r.hasSlot, Addr: c.node.addr})
		r.to, r.asking = nil, false
		r.block.ended = append([]byte(nil), line...)
		l.tryLater(r, causeTryAgain)
	case r.block != nil && r.block.ended != nil && bytes.HasPrefix(line, []byte("-NOGROUP")):
		l.finish(r, r.block.ended) // the stream has not moved, it was deleted
	case !l.steered(c, r, line):
		l.finish(r, line)
	}
}

// ranLoose ends a block of commands whose MULTI a node has refused: the user may not use transactions any more. The node
// has run them one by one, and nobody knows how many of them, and to which end.
func (l *loop) ranLoose(r *request, refusal []byte) {
	if s := r.root().sess; s != nil {
		s.profile.multiUntil = 0
	}
	r.early = refusal // whoever asked only whether the user may looks there
	if r.once {
		l.stats.Ambiguous++
		r.fault = true
		l.fail(r, errTextLoose)
		return
	}
	l.finish(r, refusal)
}

// awaitOneOwner lets r wait, whose user may not say ASKING, until the slot is at one node.
func (l *loop) awaitOneOwner(r *request) {
	l.unsettle(r.slot)
	r.to, r.asking = nil, false
	l.tryLater(r, causeTryAgain)
}

// redirects says that an error line is one of those that steered acts on.
func redirects(line []byte) bool {
	switch resp.Classify(line) {
	case resp.Moved, resp.Ask, resp.TryAgain, resp.ClusterDown, resp.Loading, resp.MasterDown, resp.ReadOnly:
		return true
	}
	return false
}

func (l *loop) nullArray(r *request) []byte {
	l.scratch = resp.AppendNullArray(l.scratch[:0], r.root().sess.profile.key.proto)
	return l.scratch
}

// askedFor says that a wait was ended by CLIENT UNBLOCK, not by the cluster.
func askedFor(line []byte) bool { return bytes.Contains(line, []byte("CLIENT UNBLOCK")) }
