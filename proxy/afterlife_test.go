package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

// What is left to do for a client that has left.

func TestAReplyThatIsBeingPassedOnWhenItsClientLeavesIsCounted(t *testing.T) {
	s := script(t, Config{Loops: 1})
	s.owner.Every("WATCH ...", testnode.Raw("+OK\r\n"))
	hold, element := make(chan struct{}), strings.Repeat("e", 100_000)
	s.owner.On("BLPOP {t}q 0", testnode.Raw("*2\r\n$4\r\n{t}q\r\n$100000\r\n"+element[:90_000]), testnode.Until(hold),
		testnode.Raw(element[90_000:]+"\r\n"))
	s.send("BLPOP {t}q 0")
	s.owner.Wait(t, "BLPOP {t}q 0", 1)
	s.until("the reply is passed on", func(l *loop) bool { return l.sessions[0].head.streaming })
	s.leave()
	s.alone()
	close(hold)
	s.until("the lease is free", func(l *loop) bool { return l.stats.LeasesBusy == 0 })
	d := s.another()
	d.send("WATCH {t}x")
	d.want("+OK")
	if got, want := s.owner.Seen("WATCH ...")[0].Conn, s.owner.Seen("BLPOP ...")[0].Conn; got != want {
		t.Errorf("the next client got connection %d, want %d: every byte of the reply was counted", got, want)
	}
	accounted(t, s.proxy)
}

func TestADrainBringsToItsEndWhatClientsHaveLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name, send  string
		under, last string // what the node has, and what it must get
		script      func(s *scripted, x string, hold chan struct{})
	}{
		{
			name: "a command in steps", send: "LMOVE {t} x LEFT LEFT", under: "LPOP {t}", last: "LPUSH x e",
			script: func(s *scripted, x string, hold chan struct{}) {
				s.owner.Every("LLEN {t}", number(2))
				s.next.Every("LLEN "+x, number(0))
				s.owner.On("LPOP {t}", testnode.Until(hold), testnode.Bulk("e"))
				s.next.On("LPUSH "+x+" e", number(1))
			},
		},
		{
			name: "an element popped for a client that was waiting", send: "BLPOP {t} 0", under: "BLPOP {t} 0", last: "LPUSH {t} e",
			script: func(s *scripted, _ string, hold chan struct{}) {
				s.owner.On("BLPOP {t} 0", testnode.Until(hold), testnode.Raw("*2\r\n$3\r\n{t}\r\n$1\r\ne\r\n"))
				s.owner.Every("CLIENT UNBLOCK ...", number(1))
				s.owner.On("LPUSH {t} e", number(1))
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, x := twoSlots(t)
			hold := make(chan struct{})
			tc.script(s, x, hold)
			s.send(strings.ReplaceAll(tc.send, " x ", " "+x+" "))
			s.owner.Wait(t, tc.under, 1)
			s.leave()
			s.alone()
			cut, err := drain(s.proxy, 100*time.Millisecond)
			if cut != 1 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with the command under way: %d cut, %v, want 1 and the end of the time", cut, err)
			}
			close(hold)
			if cut, err := drain(s.proxy, 10*time.Second); cut != 0 || err != nil {
				t.Errorf("%d cut, %v, want none", cut, err)
			}
			last := strings.ReplaceAll(tc.last, " x ", " "+x+" ")
			if len(s.owner.Seen(last))+len(s.next.Seen(last)) != 1 {
				t.Errorf("no node saw %q before the drain was over", last)
			}
		})
	}
}

func drain(p *Proxy, d time.Duration) (cut int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return p.Drain(ctx)
}
