package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testnode"
	"slotproxy/resp"
)

func TestANonceInPiecesIsSeenWhereTheReplyToACommandThatIsAnsweredAlreadyIsDue(t *testing.T) {
	s, other := scriptUpset(t, "may ECHO")
	x := tagOf(s, s.next, 0)
	turn, hold, rest := make(chan struct{}), make(chan struct{}), make(chan struct{})
	echo := func(from, to int) testnode.Action {
		return testnode.Answer(func(c testnode.Command) string {
			return string(resp.AppendBulkString(nil, c.Args[1]))[from:to]
		})
	}
	s.next.On("GET "+x, testnode.Until(turn), testnode.Bulk("x"))
	s.owner.On("GET {t}slow", testnode.Until(hold), testnode.Silence()) // two replies are missing
	s.owner.On("EVAL s 1 {t}a", testnode.Silence())
	slow := s.another()
	slow.send("GET "+x, "GET {t}slow")
	s.owner.Wait(t, "GET {t}slow", 1)
	s.owner.On("ECHO *", echo(0, 9), testnode.Until(rest), echo(9, len("$16\r\n\r\n")+nonceDigits))
	s.until("the slow command is answered by the proxy", func(l *loop) bool {
		r := l.nodes[s.owner.Addr()].conns[0].queue.first()
		l.fail(r, errTextTimeout)
		return r.state == stateDone && r.sess != nil
	})
	s.send("EVAL s 1 {t}a")
	s.until("the script is on its way", func(l *loop) bool { return l.nodes[s.owner.Addr()].conns[0].queue.n == 2 })
	s.pipelineGets(other)
	close(hold)
	s.until("a piece of the nonce has come", func(l *loop) bool { return l.nodes[s.owner.Addr()].conns[0].halfReply })
	close(rest)
	wantGets(other)
	s.want("-PROXYUNKNOWN")
	close(turn)
	slow.want("$1\r\nx", "-"+strings.TrimSpace(errTextTimeout)+"\r\n")
	accounted(t, s.proxy)
}
