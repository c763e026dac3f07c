package proxy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testnode"
)

// fakeConsole refuses RESHARD, answers WAIT when it is let go, and others with their words, the protocol and who asks.
type fakeConsole struct {
	here chan string   // from WAIT
	gone chan struct{} // from WAIT whose context ended
	hold chan struct{} // closed: WAIT goes on
}

func newFakeConsole() *fakeConsole {
	return &fakeConsole{here: make(chan string, 2*maxConsole), gone: make(chan struct{}, 2*maxConsole), hold: make(chan struct{})}
}

func (f *fakeConsole) Refuses(name []string) string {
	if name[0] == "RESHARD" {
		return "PROXYUNSUPPORTED PROXY RESHARD is for the admin port, here:1"
	}
	return ""
}

func (f *fakeConsole) Answer(ctx context.Context, args []string, client string, proto int) []byte {
	if args[0] == "WAIT" {
		f.here <- client
		select {
		case <-f.hold:
		case <-ctx.Done():
			f.gone <- struct{}{}
		}
	}
	return []byte("+" + strings.Join(args, " ") + " " + string(rune('0'+proto)) + "\r\n")
}

// neverAsked fails when a node has heard of PROXY.
func (s *scripted) neverAsked() {
	s.t.Helper()
	for i := range 3 {
		for _, c := range s.set.Node(i).Seen("...") {
			if slices.ContainsFunc(c.Args, func(a string) bool { return strings.EqualFold(a, "proxy") }) {
				s.t.Errorf("a node was asked %s", c)
			}
		}
	}
}

func TestProxyCommandsAreAnsweredWithoutANode(t *testing.T) {
	for _, tc := range []struct {
		name string
		none bool
		send []string
		want []string
	}{
		{name: "nobody answers them", none: true, send: []string{"PROXY INFO", "PING"},
			want: []string{"-PROXYUNSUPPORTED PROXY is for the admin port\r\n", "+PONG"}},
		{name: "one that looks", send: []string{"proxy jobs", "PING"}, want: []string{"+jobs 2\r\n", "+PONG"}},
		{name: "one that looks, in RESP3", send: []string{"HELLO 3", "PROXY CONFIG GET *"}, want: []string{"%7", "+CONFIG GET * 3\r\n"}},
		{name: "one that changes something", send: []string{"PROXY RESHARD FROM " + strings.Repeat("n ", 100), "PING"},
			want: []string{"-PROXYUNSUPPORTED PROXY RESHARD is for the admin port, here:1\r\n", "+PONG"}},
		{name: "nothing behind it", send: []string{"PROXY"}, want: []string{"-ERR wrong number of arguments for 'proxy' command"}},
		{name: "too many words", send: []string{"PROXY" + strings.Repeat(" x", consoleWords+1)}, want: []string{"-" + errTextLongConsole}},
		{name: "a word too long", send: []string{"PROXY JOB " + strings.Repeat("x", consoleBytes+1)}, want: []string{"-" + errTextLongConsole}},
		{name: "in a transaction", send: []string{"MULTI", "PROXY JOBS", "EXEC"},
			want: []string{"+OK", "-ERR Command 'proxy' not allowed inside a transaction", "-EXECABORT"}},
		{name: "of a user, whom no node is asked about", send: []string{"AUTH u p", "PROXY JOBS"}, want: []string{"+OK", "+JOBS 2\r\n"}},
		{name: "between others, in its place", send: []string{"SET {t} 1", "PROXY JOBS", "SET {t} 2", "PROXY JOB 7", "GET {t}"},
			want: []string{"+OK", "+JOBS 2\r\n", "+OK", "+JOB 7 2\r\n", "$1\r\n2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Loops: 1, Console: newFakeConsole()}
			if tc.none {
				cfg.Console = nil
			}
			s := script(t, cfg)
			for i := range 3 { // one of them is asked whether transactions are allowed
				s.set.Node(i).Every("MULTI", testnode.Raw("+OK\r\n"))
				s.set.Node(i).Every("EXEC", testnode.Raw("*0\r\n"))
			}
			s.owner.Every("GET {t}", testnode.Bulk("2"))
			s.owner.Every("SET {t} ...", testnode.Raw("+OK\r\n"))
			s.send(tc.send...)
			s.want(tc.want...)
			s.neverAsked()
		})
	}
}

func TestAStrangerGetsNothingFromTheConsole(t *testing.T) {
	s := script(t, Config{Loops: 1, Console: newFakeConsole(), AuthRequired: func() bool { return true }})
	s.send("PROXY JOBS", "PROXY RESHARD")
	s.want("-NOAUTH", "-NOAUTH")
	s.neverAsked()
}

func TestAProxyCommandThatTakesLongHoldsUpItsClientAlone(t *testing.T) {
	f := newFakeConsole()
	s := script(t, Config{Loops: 1, Console: f})
	var others []*client
	for range maxConsole {
		c := connect(t, s.RemoteAddr().String())
		c.send("PROXY WAIT", "ECHO behind")
		others = append(others, c)
		<-f.here
	}
	s.send("PING", "PROXY JOBS", "PING")
	s.want("+PONG", "-"+errTextConsoleBusy, "+PONG")
	_ = others[0].Close() // its command goes on, and nobody gets the reply
	close(f.hold)
	for _, c := range others[1:] {
		c.want("+WAIT 2\r\n", "$6\r\nbehind")
	}
	s.until("all have their places back", func(l *loop) bool { return len(l.p.asides) == 0 })
	s.send("PROXY JOBS", "PING")
	s.want("+JOBS 2\r\n", "+PONG")
}

func TestAProxyThatClosesEndsTheCommandsOfItsConsole(t *testing.T) {
	f := newFakeConsole()
	s := script(t, Config{Loops: 1, Console: f})
	s.send("PROXY WAIT")
	<-f.here
	s.proxy.Close()
	select {
	case <-f.gone:
	case <-time.After(consoleTime / 2): // the command's own limit would end it, too
		t.Error("it goes on")
	}
}
