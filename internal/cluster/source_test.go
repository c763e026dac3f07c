package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/internal/testnode"
	"slotproxy/router"
)

func TestARealNodeIsAskedForItsTopologyCommandsAndIdentity(t *testing.T) {
	for _, password := range []string{"", "secret"} {
		t.Run("password "+password, func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{Password: password})
			s := NewSource(Config{Password: password})
			defer s.Close()
			ctx, addr := context.Background(), cl.Addrs()[0]
			raw, err := s.Nodes(ctx, addr)
			if err != nil || !strings.Contains(string(raw), "myself") {
				t.Fatalf("CLUSTER NODES: %q, %v", raw, err)
			}
			raw, err = s.Commands(ctx, addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := router.Builtin().With(raw); err != nil {
				t.Fatalf("the command table does not take the node's COMMAND: %v", err)
			}
			who, err := s.Server(ctx, addr)
			if err != nil || who.Name != "valkey" || who.AuthRequired != (password != "") {
				t.Fatalf("got %+v, %v", who, err)
			}
		})
	}
}

func TestANodeThatTalksNonsenseCostsAConnectionAndNothingElse(t *testing.T) {
	for _, tc := range []struct{ name, reply string }{
		{"two replies where one is due", "$1\r\na\r\n$1\r\nb\r\n"},
		{"a length that would be allocated", "$9999999999999\r\n"},
		{"no reply at all", "?!\r\n"},
		{"an array deeper than the stack", strings.Repeat("*1\r\n", 10000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := testnode.New(t)
			n.On("CLUSTER NODES", testnode.Raw(tc.reply))
			s := NewSource(Config{})
			defer s.Close()
			_, _ = s.Nodes(context.Background(), n.Addr())
			n.Every("CLUSTER NODES", testnode.Bulk("fine"))
			var got []byte
			err := errors.New("never asked")
			for range 20 { // the client notices the broken connection at its next use
				if got, err = s.Nodes(context.Background(), n.Addr()); err == nil {
					break
				}
			}
			if err != nil || string(got) != "fine" {
				t.Fatalf("the next question got %q, %v", got, err)
			}
		})
	}
}
