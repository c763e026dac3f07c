package repair

import "slotproxy/migrate/journal"

// kinship is what the owner of a slot is to a move of it that another node shows.
type kinship uint8

const (
	// unrelated: the owner is neither the node that the keys came from nor its successor. It has taken over from the target, or
	// was given the slot later: what the target has is older, and clients have changed and deleted keys at the owner since.
	unrelated kinship = iota
	itself            // the keys came from the owner
	successor         // the owner has taken over from the node that they came from, and may have missed that keys went
	unknown           // that node does not answer, and no shard tells
)

// kin compares the owner with the node that an importing one names.
func (s *slotState) kin(e *end) kinship {
	was := s.p.byID[e.peer]
	switch {
	case e.peer == s.owner.id:
		return itself
	case sameShard(s.owner, e.n):
		return unrelated
	case was == nil || was.view == nil:
		return unknown
	case sameShard(s.owner, was), !was.self.Primary && was.self.PrimaryID == s.owner.id:
		return successor
	case !was.self.Primary:
		return unknown // it has lost its slots to somebody, and follows a third node since: the journal must say
	}
	return unrelated
}

// sameShard says that two nodes are known to be of one shard: two primaries are when a replica has taken over from one that
// has kept slots of which it had not told.
func sameShard(a, b *node) bool { return a.shard != "" && a.shard == b.shard }

// outdated is a node whose import has been overtaken, nil for none: the owner sends nobody there.
func (s *slotState) outdated() *node {
	to := s.leavingOwner()
	for i := range s.arriving {
		if e := &s.arriving[i]; s.kin(e) == unrelated && (to == nil || to.peer != e.n.id) {
			return e.n
		}
	}
	return nil
}

// targetCounts says whose copy of a key that is on both nodes stays: the source's, unless it is not what it was when keys went.
func (s *slotState) targetCounts(from, to *node, u journal.Unit) bool {
	if sameShard(from, to) {
		return false // whatever the journal says of another source: from has to's data, and has gone on with it
	}
	if e := s.from(to); e != nil {
		switch s.kin(e) {
		case successor:
			return true
		case unrelated:
			return false
		}
	}
	return s.d.failover(u)
}

// meantTarget is which of several importing nodes goes on: who the owner sends clients to, or if it does not show the move, who
// the journal named last. nil when there is no telling.
func (s *slotState) meantTarget() *node {
	id := ""
	if e := s.leavingOwner(); e != nil {
		id = e.peer
	} else if s.d.Meant != nil {
		id = s.d.Meant(s.slot)
	}
	for _, e := range s.arriving {
		if e.n.id == id {
			return e.n
		}
	}
	return nil
}
