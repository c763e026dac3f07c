package proxy

import (
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

const mebi = 1 << 20

// tight is a proxy with few bytes for all buffers.
func tight(t *testing.T, mebis int) *scripted {
	t.Helper()
	s := script(t, Config{Loops: 1, Limits: Limits{BufferBudget: mebis * mebi}})
	for i := range 3 {
		s.set.Node(i).Every("MULTI", testnode.Raw("+OK\r\n"))
		s.set.Node(i).Every("EXEC", testnode.Raw("*0\r\n"))
	}
	s.send("MULTI", "DISCARD")
	s.want("+OK", "+OK")
	return s
}

func TestATransactionThatTakesTooMuchMemoryIsRefused(t *testing.T) {
	big := strings.Repeat("x", mebi/2)
	for _, tc := range []struct{ name, command string }{
		{"commands that the proxy answers", "CLIENT SETNAME " + big},
		{"commands that a node runs", "SET {t} " + big},
		{"scripts", "EVAL " + big + " 0"},
		{"names of scripts", "EVALSHA " + big + " 0"},
		{"messages", "PUBLISH " + big + " m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tight(t, 8)
			s.send("MULTI")
			s.want("+OK")
			for queued := 0; ; queued++ {
				if queued == 20 {
					t.Fatal("10 MiB are queued in a budget of 8")
				}
				if got := s.reply(tc.command); got == "+QUEUED\r\n" {
					continue
				} else if !strings.HasPrefix(got, "-PROXYLIMIT the transaction") {
					t.Fatalf("got %q", short(got))
				}
				break
			}
			s.send("PING")
			s.want("+QUEUED")
			s.send("EXEC", "PING")
			s.want("-EXECABORT", "+PONG")
			accounted(t, s.proxy)
		})
	}
}

func TestASmallTransactionIsNotRefusedForTheMemoryOfOthers(t *testing.T) {
	s := tight(t, 8)
	s.proxy.ask(time.Second, func(l *loop) { l.pool.used += 8 * mebi })
	s.send("MULTI", "SET {t} 1", "CLIENT ID")
	s.want("+OK", "+QUEUED", "+QUEUED")
	s.proxy.ask(time.Second, func(l *loop) { l.pool.used -= 8 * mebi })
	s.send("DISCARD")
	s.want("+OK")
	accounted(t, s.proxy)
}

func TestWhatATransactionHasCopiedIsCountedToItsEnd(t *testing.T) {
	for _, end := range []string{"EXEC", "DISCARD", "leave"} {
		t.Run(end, func(t *testing.T) {
			s := tight(t, 8)
			s.owner.On("EXEC", testnode.Raw("*3\r\n+PONG\r\n+OK\r\n:0\r\n"))
			s.owner.On("MULTI", testnode.Raw("+OK\r\n"))
			s.owner.Every("PING", testnode.Raw("+QUEUED\r\n"))
			s.owner.Every("SET ...", testnode.Raw("+QUEUED\r\n"))
			s.owner.Every("PUBLISH ...", testnode.Raw("+QUEUED\r\n"))
			s.send("MULTI", "CLIENT SETNAME "+strings.Repeat("x", mebi), "SET {t} 1", "PUBLISH c m")
			s.want("+OK", "+QUEUED", "+QUEUED", "+QUEUED")
			s.until("the copy is counted", func(l *loop) bool { return l.pool.used >= mebi })
			if end == "leave" {
				s.client.leave()
			} else {
				s.send(end)
				s.want(map[string]string{"EXEC": "*3", "DISCARD": "+OK"}[end])
			}
			s.until("nothing of it is left", func(l *loop) bool {
				return l.pool.used == 0 && (len(l.sessions) == 0 || l.sessions[0].spare == nil || cap(l.sessions[0].spare.own) <= keepOwn)
			})
		})
	}
}

func TestWhoHasALargeTransactionIsTheOneThatIsCutOff(t *testing.T) {
	for _, tc := range []struct{ name, command string }{
		{"for the proxy", "CLIENT SETNAME "},
		{"for a node", "SET {t} "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tight(t, 7)
			s.owner.Every("SET {t}d ...", testnode.Raw("+OK\r\n"))
			s.send("MULTI")
			s.want("+OK")
			for range 4 {
				s.send(tc.command + strings.Repeat("x", mebi))
				s.want("+QUEUED")
			}
			d := s.another()
			d.send("SET {t}d " + strings.Repeat("y", 3*mebi))
			d.want("+OK")
			s.gone()
		})
	}
}
