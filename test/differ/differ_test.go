package differ

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
)

var tags = []string{"a", "b", "c"}

func bareSide(n *testcluster.Node) Side { return Side{Addr: n.Addr, Nodes: []string{n.Addr}} }

// Two bare servers must not differ, or the list of what is normalised is too short.
func TestTwoBareServersGiveTheSameReplies(t *testing.T) {
	for _, v := range testcluster.Need(t) {
		t.Run(string(v), func(t *testing.T) {
			one := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
			two := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			report, err := Run(ctx, Options{Bare: bareSide(one), Test: bareSide(two), Tags: tags})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(report)
			if len(report.Found) > 0 || report.Unusable > 0 || report.Sequences == 0 {
				t.Error("differences, or sequences that do not end")
			}
		})
	}
}

// liar passes bytes on between clients and a server, but makes RPUSHX of LPUSHX: the reply is the same, only a later one is not.
type liar struct {
	server string
	ln     net.Listener
}

func (l *liar) serve() {
	for {
		client, err := l.ln.Accept()
		if err != nil {
			return
		}
		go l.relay(client)
	}
}

func (l *liar) relay(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
	b := make([]byte, 1<<20)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if _, err := server.Write(bytes.ReplaceAll(b[:n], []byte("\nLPUSHX\r"), []byte("\nRPUSHX\r"))); err != nil {
			return
		}
	}
}

func TestADifferenceIsFoundAndShrunk(t *testing.T) {
	v := testcluster.NeedNewest(t)
	one := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
	two := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go (&liar{server: two.Addr, ln: ln}).serve()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := Options{
		Bare: bareSide(one), Test: Side{Addr: ln.Addr().String(), Nodes: []string{two.Addr}}, Tags: tags, Differing: 1,
		Families: []string{"lists", "strings", "keys", "tx"},
	}
	report, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Found) != 1 {
		t.Fatalf("the lie went unnoticed: %s", report)
	}
	f := report.Found[0]
	t.Logf("after %d sequences: %s", report.Sequences, f)
	// A push that makes a list, the one that is not as it should be, and one that shows it; a transaction around one needs two more.
	if text := f.Sequence.String(); f.Sequence.Commands() > 6 || !strings.Contains(text, "LPUSHX") || !f.Repeatable {
		t.Errorf("%d commands are left, want at most 6 and the one that lies among them", f.Sequence.Commands())
	}
	// The report is enough to see it again.
	o.First, o.Most = f.Number, 1
	if again, err := Run(ctx, o); err != nil || len(again.Found) != 1 {
		t.Errorf("sequence %d alone: %v %v, want the same difference", f.Number, again, err)
	}
}

func TestASeedMakesTheSameSequencesAgain(t *testing.T) {
	o := Options{Tags: tags, Seed: 7, Families: Families()}
	seen := map[string]bool{}
	for n := range uint64(200) {
		s := o.sequence(n)
		if again := o.sequence(n); s.String() != again.String() {
			t.Fatalf("sequence %d:\n%s\nis not\n%s", n, s, again)
		}
		seen[s.String()] = true
	}
	if len(seen) < 190 {
		t.Errorf("%d different sequences of 200", len(seen))
	}
}
