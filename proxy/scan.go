package proxy

import (
	"bytes"
	"strconv"

	"slotproxy/internal/metrics"
	"slotproxy/resp"
	"slotproxy/router"
)

// SCAN and KEYS walk over the slots in order, each slot where it lives at that moment. A step asks the owner of the next
// slot for a page, takes the keys of the slots that lie in one piece with it at the same owner, and then makes sure that
// they were all there (probe.go): no server says of a page what is missing in it. A slot that has moved is begun again at
// its new owner, one that is being moved is walked at its source and then at its target, the way that keys go. So a key
// that is there all the time is found, whatever moves. Nothing is remembered between two calls but the cursor.

// walk is the state of one such command.
type walk struct {
	place
	last    int      // the last slot to look at
	options [][]byte // of SCAN, behind the cursor
	match   []byte   // MATCH, or the pattern of KEYS; nil: all
	kind    []byte   // TYPE, nil: all
	count   int      // COUNT
	keys    bool     // KEYS: all of them, each once
	blind   bool     // the user may not ask what the checks need: the table is trusted
	noNodes bool     // the user may not ask CLUSTER NODES
	near    bool     // the next step is to go over few slots

	out     []byte              // accepted keys as they go to the client, from the pool
	found   int                 // their number
	known   map[string]struct{} // KEYS: those of slot knownIn, or of all slots of a wide walk
	knownIn int
	reached int    // the last slot that a step has come to
	failure []byte // the error to answer with
	rounds  int    // steps of this call
	looked  int    // keys that were read to find them, of servers without an order of slots

	// Of the step under way.
	from   *node
	upTo   int      // slots from place.slot to here, exclusive, are taken
	next   place    // where the next step begins if all was there
	pageAt int      // index of the part that brings the page, or the first of several
	page   [][]byte // its keys, views into the replies of the parts
	faulty fault    // the first slot that was not simply there
	shares []share  // by slot, of servers without an order of slots, see older.go
}

const (
	defaultCount = 10 // as in the server
	// maxCount bounds COUNT: a page of so many keys is some megabytes, and the loop is busy with it for some milliseconds.
	maxCount = 100000
	// keysPage is how many keys KEYS takes in one step: few enough that a node is held up for less than a millisecond.
	keysPage = 1000
	// manyKeys is the COUNT from which on a page is taken to go over many slots: with less than a hundred keys in each.
	manyKeys = 1000
	// maxRounds bounds the steps of one SCAN call: enough to pass 64 pieces of the table that hold next to nothing.
	maxRounds = 64
	// maxLooks is how many keys, as a multiple of COUNT, are looked at for a page that has less than COUNT; as in the
	// server.
	maxLooks = 10
	// maxKeysShare is the part of a loop's buffers that the reply to one KEYS may take.
	maxKeysShare = 4
)

// walkKeys begins SCAN or KEYS, which stand alone among the commands of their client. It reports false when the command
// has to be offered again.
func (s *session) walkKeys(rule *router.Rule, raw []byte) bool {
	if s.head != nil {
		s.stop(stopBarrier)
		return false
	}
	w := &walk{last: router.Slots - 1, count: defaultCount, knownIn: -1}
	if rule.Name == "keys" {
		if ok, known := s.permitted(rule); !ok { // the nodes will get SCAN, and could not judge
			return known
		}
		w.keys, w.count, w.match = true, keysPage, bytes.Clone(s.parser.Args[1])
		w.options = [][]byte{[]byte("MATCH"), w.match, []byte("COUNT"), []byte(itoa(keysPage))}
	} else if !w.parse(s.parser.Args) {
		s.anywhere(rule, raw) // the server has the right words for it
		return true
	}
	w.near = w.count < manyKeys
	if slot := patternSlot(w.match); slot >= 0 {
		if w.last = slot; w.slot < slot {
			w.place = place{slot: slot}
		} else if w.slot > slot {
			w.place = place{slot: router.Slots}
		}
	}
	r := s.request(rule, nil)
	r.class = metrics.ClassKeyspace
	r.walk = w
	s.stop(stopBarrier)
	s.sendInOrder(r)
	return true
}

// parse reads the arguments of SCAN. It reports false for what a server may refuse.
func (w *walk) parse(args [][]byte) bool {
	n, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil || len(args)%2 != 0 {
		return false
	}
	w.place = decodePlace(n)
	for i := 2; i < len(args); i += 2 {
		value := bytes.Clone(args[i+1])
		w.options = append(w.options, bytes.Clone(args[i]), value)
		switch {
		case bytes.EqualFold(args[i], []byte("count")):
			count, ok := resp.ParseInt(value)
			if !ok || count < 1 {
				return false
			}
			w.count = int(min(count, maxCount))
		case bytes.EqualFold(args[i], []byte("match")):
			w.match = value
		case bytes.EqualFold(args[i], []byte("type")):
			w.kind = value
		default:
			return false
		}
	}
	return true
}

// step asks for the next page. It is called when nothing of r is under way.
func (l *loop) step(r *request) {
	w := r.walk
	if r.fan == nil {
		r.fan = l.newFanout()
		r.fan.raw, r.fan.merge = true, mergeWalk
	}
	l.dropParts(r, 0)
	w.faulty, w.page, w.shares = fault{slot: -1}, nil, w.shares[:0]
	if w.slot >= router.Slots {
		l.finishWalk(r)
		return
	}
	owner := l.owners.of(uint16(w.slot))
	if owner == nil || l.p.cfg.Info().Guess {
		l.hint(router.Hint{Cause: router.Down, Slot: uint16(w.slot), HasSlot: true})
		l.pauseWalk(r, causeNoOwner)
		return
	}
	if !owner.known {
		l.introduce(r, owner)
		return
	}
	r.enter(stateSent)
	w.rounds++
	w.from = owner
	w.resume(owner)
	ordered := l.slotOrdered(owner)
	w.upTo = l.endOfPiece(w.slot, owner, min(w.last, w.slot+w.reach(ordered)-1))
	switch {
	case w.target && w.blind:
		w.faulty = l.tableSays(w.slot)
		l.goToTarget(r)
		return
	case w.target:
		w.upTo = w.slot + 1
		l.probe(r, owner, w.slot, w.upTo, false)
		r.fan.stage = (*loop).targetKnown
	case ordered || w.cursor != 0:
		l.askPage(r)
	default:
		l.askCounts(r)
	}
	r.sess.sendParts(r)
}

// resume looks at what the place is worth now that the slot lives at owner.
func (w *walk) resume(owner *node) {
	own := w.tag == owner.tag()
	switch {
	case w.target && own:
		w.target = false // the slot has been handed over meanwhile
	case w.target, w.cursor != 0 && own:
	default:
		w.place = place{slot: w.slot} // at its beginning, or with another node's cursor
	}
}

// reach is how many slots a step may go over. An older node tells the sizes of many slots as fast as those of few.
func (w *walk) reach(ordered bool) int {
	switch {
	case w.near && (ordered || w.rounds > 1):
		return firstProbes
	case w.noNodes && !w.blind:
		return maxProbes
	}
	return router.Slots
}

// endOfPiece is where the slots end that lie in one piece with slot at the same owner.
func (l *loop) endOfPiece(slot int, owner *node, last int) int {
	for slot <= last && l.owners.of(uint16(slot)) == owner {
		slot++
	}
	return slot
}

// askPage sends SCAN to w.from, between two proofs.
func (l *loop) askPage(r *request) {
	w := r.walk
	if !w.slotwise(l) && !w.wide {
		w.upTo = w.slot + 1
	}
	cursor, count := w.cursor, w.count
	if l.slotOrdered(w.from) {
		cursor = cursor<<14 | uint64(w.slot)
	} else {
		count = max(count, bigSlot) // most of what is looked at belongs to other slots
	}
	l.prove(r)
	w.pageAt = len(r.fan.parts)
	l.askScan(r, cursor, count)
	l.prove(r)
	r.fan.stage = (*loop).pageCame
}

// askScan adds the client's SCAN, with another cursor and COUNT.
func (l *loop) askScan(r *request, cursor uint64, count int) {
	w := r.walk
	b := resp.AppendArray(l.scratch[:0], 4+len(w.options))
	b = resp.AppendBulkString(b, "SCAN")
	b = resp.AppendBulkString(b, strconv.FormatUint(cursor, 10))
	for _, o := range w.options {
		b = resp.AppendBulk(b, o)
	}
	b = resp.AppendBulkString(b, "COUNT") // of several the last counts
	b = resp.AppendBulkString(b, itoa(count))
	l.scratch = b
	l.askNode(r, w.from, b)
}

// slotwise says that a page may go over several slots.
func (w *walk) slotwise(l *loop) bool { return l.slotOrdered(w.from) && !w.target }

// askNode adds a part for one node, of which every reply is wanted as it is.
func (l *loop) askNode(r *request, n *node, command []byte) *request {
	p := l.newPart(r)
	p.to, p.raw, p.caching = n, true, ""
	l.setBuf(p, command)
	return p
}

// pageCame takes the page of a server, and of its keys those that are certain.
func (l *loop) pageCame(r *request) bool {
	w := r.walk
	parts := r.fan.parts
	reply := parts[w.pageAt].reply
	if reply[0] == '-' {
		return l.stepFailed(r, parts[w.pageAt])
	}
	cursor, at, ok := pageCursor(reply)
	if !ok {
		return l.endWalk(r, resp.AppendError(nil, repliesDiffer(r.rule)))
	}
	w.page = elements(reply[at:])
	if l.slotOrdered(w.from) && w.disproved(cursor) {
		w.from.older = true
		w.place = place{slot: w.slot}
		l.step(r)
		return true
	}
	w.progress(l, cursor)
	if !l.proven(r, parts[:w.pageAt], parts[w.pageAt+1:]) {
		return true
	}
	w.near = w.covered() < w.upTo && w.covered()-w.slot <= firstProbes
	l.trustTable(w)
	for _, key := range w.page {
		w.accept(l, key)
	}
	return l.stepDone(r)
}

// progress sets where the walk stands behind a page.
func (w *walk) progress(l *loop, cursor uint64) {
	w.next = place{slot: w.upTo}
	slot, inner := w.slot, cursor
	if l.slotOrdered(w.from) {
		slot, inner = int(cursor%router.Slots), cursor/router.Slots
	}
	switch {
	case cursor == 0 || slot >= w.upTo:
	case inner == 0:
		w.next.slot = slot
	default:
		w.next = place{slot: slot, target: w.target, wide: w.wide, tag: w.from.tag(), cursor: inner}
	}
}

// covered is up to which slot, exclusive, the page may hold keys.
func (w *walk) covered() int {
	if w.next.slot < w.upTo && w.next.cursor != 0 {
		return w.next.slot + 1
	}
	return w.next.slot
}

// accept takes a key if it lies in a slot of the step that is certain.
func (w *walk) accept(l *loop, key []byte) {
	slot := int(router.Slot(key))
	if f := &w.faulty; slot < w.slot || slot >= w.upTo || f.slot >= 0 && (slot > f.slot || slot == f.slot && !f.open) {
		return
	}
	if w.keys {
		if w.known == nil || slot != w.knownIn && !w.wide {
			w.knownIn, w.known = slot, map[string]struct{}{}
		}
		if _, twice := w.known[string(key)]; twice {
			return
		}
		w.known[string(key)] = struct{}{}
	}
	w.found++
	if n := len(w.out) + len(key) + headerRoom; n > cap(w.out) {
		w.out = l.pool.grow(w.out, max(n, 2*len(w.out)))
	}
	w.out = resp.AppendBulk(w.out, key)
}

// stepDone moves on, by one step or to the end of the command.
func (l *loop) stepDone(r *request) bool {
	w := r.walk
	stuck := w.settleFault()
	switch {
	case len(w.out) > l.budget/maxKeysShare, w.keys && l.pool.used > l.budget:
		r.ownError = true
		return l.endWalk(r, resp.AppendError(nil, errTextManyKeys))
	case w.keys:
	case w.target && w.cursor == 0: // before the client comes again, the slot could go to the target, back, and there again
	case w.found >= w.count || w.looked >= w.count*maxLooks || w.rounds >= maxRounds || stuck && w.found > 0,
		w.faulty.slot < 0 && w.slot < w.upTo: // the node has looked at as much as it was asked to
		return l.finishWalk(r)
	}
	if stuck {
		l.pauseWalk(r, causeRedirects)
		return true
	}
	if w.slot > w.reached || w.cursor != 0 { // going to and fro between two nodes is no progress
		w.reached = w.slot
		r.hops = 0
		r.deadline = l.now + l.limits.RedirectBudget.Nanoseconds()
	}
	l.step(r)
	return true
}

// settleFault sets where the next step begins. It reports true when that is where this one began.
func (w *walk) settleFault() (stuck bool) {
	f := w.faulty
	if f.slot >= 0 {
		w.near = true // a probe tells the new owner, CLUSTER NODES only that it is another
	}
	switch {
	case w.leaving && (f.slot != w.slot || !f.open):
		w.place = place{slot: w.slot}
	case f.slot < 0 || f.slot >= w.covered(): // what was asked beyond the page says nothing about it
		w.faulty.slot = -1
		w.place = w.next
	case !f.open || w.target: // at the target, it is being moved back
		stuck = f.slot == w.slot
		w.place = place{slot: f.slot}
	case f.slot == w.next.slot && w.next.cursor != 0: // not yet done at the source
		w.place = w.next
		w.leaving = !w.wide
	default:
		w.place = place{slot: f.slot, target: true, tag: f.to.tag()}
	}
	if w.slot > w.last {
		w.place = place{slot: router.Slots}
	}
	return stuck
}

// targetKnown takes the owner's word on an open slot that is done at its source.
func (l *loop) targetKnown(r *request) bool {
	if p := r.fan.parts[0]; !l.heed(r, p) {
		return l.stepFailed(r, p)
	}
	l.dropParts(r, 0)
	return l.goToTarget(r)
}

// goToTarget goes on at the target of an open slot, if that is the one to which the slot was open when it was done at its
// source. Else it may by now be the way back, and all of the slot is walked again, where it lives now.
func (l *loop) goToTarget(r *request) bool {
	w := r.walk
	f := w.faulty
	w.faulty = fault{slot: -1}
	if !f.open || w.tag != f.to.tag() {
		w.place = place{slot: w.slot}
		if w.found > 0 && !w.keys {
			return l.finishWalk(r)
		}
		l.pauseWalk(r, causeRedirects)
		return true
	}
	if !f.to.known {
		l.introduce(r, f.to)
		return true
	}
	w.from, w.upTo = f.to, w.slot+1
	if l.slotOrdered(w.from) || w.cursor != 0 {
		l.askPage(r)
	} else {
		l.askCounts(r)
	}
	r.sess.sendParts(r)
	return true
}

// stepFailed looks at a reply that a step cannot go on with. Before it, nothing of the step has been taken.
func (l *loop) stepFailed(r *request, p *request) bool {
	line := p.reply
	if p.early != nil {
		line = p.early
	}
	switch resp.Classify(line) {
	case resp.ClusterDown, resp.Loading, resp.MasterDown, resp.TryAgain, resp.Moved, resp.Ask:
		l.hint(router.Hint{Cause: router.Down, Slot: uint16(r.walk.slot), HasSlot: true, Addr: p.to.addr})
		l.pauseWalk(r, causeOf(resp.Classify(line)))
		return true
	}
	if p.ownError && bytes.HasPrefix(line, []byte("-PROXYUNKNOWN")) {
		l.pauseWalk(r, causeLost) // it only reads, so it may go again
		return true
	}
	r.ownError = r.ownError || p.ownError
	return l.endWalk(r, bytes.Clone(line))
}

// pauseWalk takes the step again later.
func (l *loop) pauseWalk(r *request, why waitCause) {
	if r.fan != nil {
		l.dropParts(r, 0)
		l.freeFanout(r.fan)
		r.fan = nil
	}
	l.tryLater(r, why)
}

// endWalk ends the command with an error.
func (l *loop) endWalk(r *request, line []byte) bool {
	r.walk.failure = line
	return l.finishWalk(r)
}

// finishWalk answers the client.
func (l *loop) finishWalk(r *request) bool {
	reply, _ := mergeWalk(r, nil)
	l.dropWalk(r)
	if r.walk.failure == nil {
		r.sess.streamed = len(reply) // one reply may be of any size
	}
	l.finish(r, reply)
	return true
}

// dropWalk gives back what a walk has collected.
func (l *loop) dropWalk(r *request) {
	if r.walk.out != nil {
		l.pool.put(r.walk.out)
		r.walk.out = nil
	}
}

// mergeWalk makes the reply of a walk.
func mergeWalk(r *request, dst []byte) ([]byte, bool) {
	w := r.walk
	if w.failure != nil {
		return append(dst, w.failure...), true
	}
	if !w.keys {
		dst = resp.AppendArray(dst, 2)
		dst = resp.AppendBulkString(dst, strconv.FormatUint(w.encode(), 10))
	}
	dst = resp.AppendArray(dst, w.found)
	return append(dst, w.out...), true
}
