package proxy

import (
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

func TestAQuestionThatIsNotAnsweredInTimeGrantsNothing(t *testing.T) {
	refused := testnode.Error("NOPERM User u has no permissions to run the command")
	for _, tc := range []struct {
		name   string
		script func(n *testnode.Node, hold chan struct{})
	}{
		{"about a command", func(n *testnode.Node, hold chan struct{}) {
			n.Every("MULTI", testnode.Raw("+OK\r\n"))
			n.Every("EXEC", testnode.Raw("*0\r\n"))
			n.Every("DISCARD", testnode.Raw("+OK\r\n"))
			n.On("CLIENT SETNAME x", testnode.Until(hold), refused)
		}},
		{"about transactions", func(n *testnode.Node, hold chan struct{}) {
			n.On("MULTI", testnode.Until(hold), refused)
			n.Every("MULTI", refused)
			n.Every("EXEC", testnode.Error("ERR EXEC without MULTI"))
			// What is asked behind a MULTI that was refused is carried out.
			n.Every("DISCARD", testnode.Error("ERR DISCARD without MULTI"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := script(t, Config{Loops: 1, Limits: Limits{UpstreamTimeout: 200 * time.Millisecond}})
			hold := make(chan struct{})
			for i := range 3 {
				s.set.Node(i).Every("CLIENT SETNAME x", refused)
				tc.script(s.set.Node(i), hold)
			}
			s.send("AUTH u p", "CLIENT SETNAME x")
			s.want("+OK")
			s.until("the question is out of time", func(l *loop) bool { return l.stats.Timeouts > 0 })
			close(hold)
			s.want("-NOPERM")
			for i := range 3 {
				if n := s.set.Node(i); tc.name == "about transactions" && len(n.Seen("DISCARD")) > 0 {
					t.Error("a node that has not agreed to MULTI was asked in a transaction")
				}
			}
		})
	}
}

func TestWhoMayNoLongerUseTransactionsMayStillRunWhatHeMay(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for i := range 3 {
		n := s.set.Node(i)
		n.On("MULTI", testnode.Raw("+OK\r\n"))
		n.On("EXEC", testnode.Raw("*0\r\n"))
		n.Every("MULTI", testnode.Error("NOPERM User u has no permissions to run the 'multi' command"))
		n.Every("EXEC", testnode.Error("ERR EXEC without MULTI"))
		n.Every("DISCARD", testnode.Error("ERR DISCARD without MULTI"))
	}
	s.send("AUTH u p", "MULTI", "DISCARD", "CLIENT SETNAME x", "CLIENT GETNAME")
	s.want("+OK", "+OK", "+OK", "+OK", "$1\r\nx")
}

func TestWhatTheProxyAnswersInATransactionIsForThoseWhoMayRunIt(t *testing.T) {
	s := script(t, Config{Loops: 1})
	for i := range 3 {
		n := s.set.Node(i)
		n.Every("MULTI", testnode.Raw("+OK\r\n"))
		n.Every("EXEC", testnode.Raw("*0\r\n"))
		n.Every("DISCARD", testnode.Raw("+OK\r\n"))
		n.Every("CLIENT ID", testnode.Raw("+QUEUED\r\n"))
		n.Every("SELECT 0", testnode.Raw("+QUEUED\r\n"))
		n.Every("CLIENT INFO", testnode.Error("NOPERM User u has no permissions to run the 'client|info' command"))
	}
	s.send("AUTH u p", "MULTI", "CLIENT ID", "CLIENT INFO", "SELECT 0", "EXEC", "PING")
	s.want("+OK", "+OK", "+QUEUED", "-NOPERM", "+QUEUED", "-EXECABORT", "+PONG")
	s.send("MULTI", "CLIENT INFO")
	s.want("+OK", "-NOPERM")
	s.send("DISCARD", "MULTI", "CLIENT ID", "DISCARD")
	s.want("+OK", "+OK", "+QUEUED", "+OK")
	accounted(t, s.proxy)
}
