package proxy

import (
	"bytes"

	"slotproxy/resp"
	"slotproxy/router"
)

// localDebug lets through the one sub-command of DEBUG that only looks, and SLEEP where a setting allows it. The rest
// stops, damages or fills a node that others share.
func localDebug(s *session, args [][]byte) {
	switch {
	case bytes.EqualFold(args[1], []byte("object")):
		if len(args) < 3 {
			s.ownError(debugArity(args[1]))
			return
		}
		r := s.ask()
		s.l.setBuf(r, resp.AppendCommand(nil, args...))
		r.slot, r.hasSlot = router.Slot(args[2]), true
		s.sendInOrder(r)
	case bytes.EqualFold(args[1], []byte("sleep")) && s.l.p.cfg.DebugSleep:
		r := s.ask()
		s.l.setBuf(r, resp.AppendCommand(nil, args...))
		s.sendInOrder(r)
	default:
		s.ownError(refusedDebug(args[1]))
	}
}
