package test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/test/storm"
	"slotproxy/test/wire"
)

// liar stands between a storm and a bare server and changes what passes: commands on their way there, replies and messages on their
// way back.
type liar struct {
	server  string
	command func(string) string   // nil: none
	reply   func(string) []string // none, one or more for one; nil: none

	ln    net.Listener
	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func (l *liar) start(t *testing.T) {
	t.Helper()
	var err error
	if l.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.accept(&wg) })
	t.Cleanup(func() {
		_ = l.ln.Close()
		l.mu.Lock()
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		wg.Wait()
	})
}

func (l *liar) accept(wg *sync.WaitGroup) {
	for {
		client, err := l.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, client, server)
		l.mu.Unlock()
		wg.Go(func() {
			relay(client, server, func(b string) []string {
				if l.command != nil {
					b = l.command(b)
				}
				return []string{b}
			})
		})
		wg.Go(func() {
			relay(server, client, func(b string) []string {
				if l.reply != nil {
					return l.reply(b)
				}
				return []string{b}
			})
		})
	}
}

func relay(from, to net.Conn, change func(string) []string) {
	defer func() { _ = from.Close(); _ = to.Close() }()
	in, out := wire.New(from), wire.New(to)
	in.Timeout = 0
	for {
		b, err := in.ReadRaw() // a command is an array, too
		if err != nil {
			return
		}
		for _, b := range change(string(b)) {
			out.AppendRaw(b)
		}
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// once changes the 100th of what has all these texts in it; first is how it begins.
func once(f func(string) []string, first string, texts ...string) func(string) []string {
	var n atomic.Int64
	return func(b string) []string {
		if !strings.HasPrefix(b, first) {
			return []string{b}
		}
		for _, text := range texts {
			if !strings.Contains(b, text) {
				return []string{b}
			}
		}
		if n.Add(1) != 100 {
			return []string{b}
		}
		return f(b)
	}
}

// always changes every command of a name that has a text in it.
func always(f func([]string) []string, name string, texts ...string) func(string) string {
	return func(b string) string {
		for _, text := range append(texts, "\r\n"+name+"\r\n") {
			if !strings.Contains(b, text) {
				return b
			}
		}
		v, _ := wire.Parse(b)
		return string(wire.AppendCommand(nil, f(v.Strings())...))
	}
}

// instead is always, once.
func instead(f func([]string) []string, name string, texts ...string) func(string) string {
	change := once(func(b string) []string { return []string{always(f, name)(b)} }, "*", append(texts, "\r\n"+name+"\r\n")...)
	return func(b string) string { return change(b)[0] }
}

func words(s string) func([]string) []string {
	return func([]string) []string { return strings.Fields(s) }
}

func TestAStormFindsTheLiesOfAServer(t *testing.T) {
	server := sharedServer(t, testcluster.NeedNewest(t))
	drop := func(string) []string { return nil }
	twice := func(b string) []string { return []string{b, b} }
	other := func(args []string) []string { args[1] += "x"; return args }
	mute := func(args []string) []string { return []string{"EXISTS", args[1]} }
	for name, c := range map[string]struct {
		class string // "": the server does not lie
		liar  *liar
		late  bool // shows only in the sums at the end
	}{
		"a transaction ran twice":           {class: "multi", liar: &liar{command: always(func(a []string) []string { return []string{"INCRBY", a[1], "2"} }, "INCR")}},
		"a discarded transaction ran":       {class: "multi", liar: &liar{command: instead(words("EXEC"), "DISCARD")}},
		"a block's command ran outside":     {class: "multi", liar: &liar{command: instead(words("PING"), "MULTI")}},
		"an EXEC lost its reply":            {class: "multi", liar: &liar{reply: once(func(string) []string { return []string{"*-1\r\n"} }, "*3\r\n+OK\r\n:")}},
		"a key was not watched":             {class: "watch", liar: &liar{command: always(other, "WATCH")}, late: true},
		"a script ran with another key":     {class: "evalsha", liar: &liar{command: instead(func(a []string) []string { a[3] += "x"; return a }, "EVALSHA", ":1a\r\n")}},
		"a shared transfer ran twice":       {class: "evalsha", liar: &liar{command: instead(func(a []string) []string { a[5] += "0"; return a }, "EVALSHA", ":evalsha:")}, late: true},
		"a push was lost":                   {class: "queue", liar: &liar{command: instead(mute, "RPUSH")}},
		"a push was done twice":             {class: "queue", liar: &liar{command: instead(func(a []string) []string { return append(a, a[2]) }, "RPUSH")}},
		"pops came from the wrong end":      {class: "queue", liar: &liar{command: always(func(a []string) []string { a[0] = "BRPOP"; return a }, "BLPOP")}},
		"a popped item was lost":            {class: "queue", liar: &liar{reply: once(func(string) []string { return []string{"*-1\r\n"} }, "*2\r\n$", ":queue")}},
		"a message was lost":                {class: "pubsub", liar: &liar{reply: once(drop, "*3\r\n$7\r\nmessage")}},
		"a message of a pattern was lost":   {class: "pubsub", liar: &liar{reply: once(drop, "*4\r\n$8\r\npmessage")}},
		"a pushed message came twice":       {class: "pubsub", liar: &liar{reply: once(twice, ">3\r\n$7\r\nmessage")}},
		"two messages changed places":       {class: "pubsub", liar: &liar{reply: swap("*3\r\n$7\r\nmessage")}},
		"a sharded message was lost":        {class: "shardpubsub", liar: &liar{reply: once(drop, "*3\r\n$8\r\nsmessage")}},
		"a sharded message came twice":      {class: "shardpubsub", liar: &liar{reply: once(twice, ">3\r\n$8\r\nsmessage")}},
		"a sweep missed a key":              {class: "scan", liar: &liar{reply: without("fixed:1234\r\n", "fixed:none\r\n")}},
		"a cursor ended a sweep too early":  {class: "scan", liar: &liar{reply: once(func(string) []string { return []string{"*2\r\n$1\r\n0\r\n*0\r\n"} }, "*2\r\n$", "fixed:")}},
		"nothing, so nothing must be found": {class: "", liar: &liar{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.liar.server = server.Addr
			c.liar.start(t)
			limit := 10 * time.Second
			if c.class == "" || c.late {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			opt := stormOptions(c.liar.ln.Addr().String())
			opt.Clients, opt.Ballast, opt.OnFault = 2, -1, cancel
			if c.class != "" {
				opt.Classes = []string{c.class}
			}
			r, err := storm.Run(ctx, opt)
			if err != nil {
				t.Fatal(err)
			}
			if found := r.Errors()+r.Violations() > 0; found != (c.class != "") {
				t.Errorf("%d errors, %d violations\n%s", r.Errors(), r.Violations(), r)
			} else if found && errors.Is(ctx.Err(), context.DeadlineExceeded) && !c.late {
				t.Errorf("found only at the end\n%s", r)
			} else if found {
				t.Log(r.Samples[0])
			}
		})
	}
}

// without changes a text in every reply, to one of the same length.
func without(text, other string) func(string) []string {
	return func(b string) []string { return []string{strings.ReplaceAll(b, text, other)} }
}

// swap lets one message overtake the one before.
func swap(first string) func(string) []string {
	var mu sync.Mutex
	held, n := "", 0
	return func(b string) []string {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasPrefix(b, first) || held == "" && n > 0 {
			return []string{b}
		}
		if held == "" {
			held, n = b, 1
			return nil
		}
		out := []string{b, held}
		held = ""
		return out
	}
}
