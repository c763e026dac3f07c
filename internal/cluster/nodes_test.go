package cluster

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"slotproxy/internal/testcluster"
	"slotproxy/migrate/engine"
)

func TestCommandsOfOneNodeAreAnsweredInOrder(t *testing.T) {
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "TLS and a password"}[secure]
		t.Run(name, func(t *testing.T) {
			o, c := testcluster.Options{}, Config{Name: "someone"}
			if secure {
				files, err := testcluster.NewTLSFiles(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				o.TLS, o.Password, c.Password = files, "secret", "secret"
				if c.TLS, err = files.ClientConfig(); err != nil {
					t.Fatal(err)
				}
			}
			cl := testcluster.ForTest(t, o)
			s := NewSource(c)
			defer s.Close()
			l, err := s.Session(context.Background(), cl.Addrs()[0])
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			key := "{06S}" // slot 0
			for name, do := range map[string]func(context.Context, ...[]string) ([]any, error){
				"shared": func(ctx context.Context, c ...[]string) ([]any, error) { return s.Do(ctx, cl.Addrs()[0], c...) },
				"own":    l.Do,
			} {
				got, err := do(context.Background(), []string{"DEL", key}, []string{"SET", key, "v"}, []string{"GET", key},
					[]string{"GET", key + "x"}, []string{"NO", "such"}, []string{"GET", "{a}"}, []string{"CLIENT", "GETNAME"},
					[]string{"COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"})
				if err != nil {
					t.Fatal(name, err)
				}
				for _, i := range []int{4, 5} {
					e, _ := got[i].(engine.ServerError)
					got[i] = strings.Fields(string(e))[0]
				}
				got[0] = nil
				want := []any{nil, "OK", "v", nil, "ERR", "MOVED", "someone", []any{"a", "b"}}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
			}
		})
	}
}

func TestANodeThatHangsOrDiesIsAnErrorInTime(t *testing.T) {
	for _, how := range []string{"frozen", "killed"} {
		t.Run(how, func(t *testing.T) {
			cl := testcluster.ForTest(t, testcluster.Options{})
			n := cl.Nodes[0]
			s := NewSource(Config{})
			defer s.Close()
			l, err := s.Session(context.Background(), n.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ping := []string{"PING"}
			if _, err := s.Do(context.Background(), n.Addr, ping); err != nil {
				t.Fatal(err)
			}
			if how == "killed" {
				err = cl.Kill(n)
			} else {
				err = cl.Freeze(n)
			}
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for name, do := range map[string]func(context.Context, ...[]string) ([]any, error){
				"the shared connection": func(ctx context.Context, c ...[]string) ([]any, error) { return s.Do(ctx, n.Addr, c...) },
				"the session":           l.Do,
			} {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				if _, err := do(ctx, ping); err == nil {
					t.Errorf("%s has an answer", name)
				}
				cancel()
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("that took %v", took)
			}
			_ = cl.Thaw(n)
			if _, err := l.Do(context.Background(), ping); !errors.Is(err, errSpent) {
				t.Errorf("a session that has failed is used again: %v", err)
			}
		})
	}
}

// A session may wait for longer than the shared connections do: MIGRATE takes what it takes.
func TestASessionWaitsForASlowCommand(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	s := NewSource(Config{Timeout: 100 * time.Millisecond})
	defer s.Close()
	l, err := s.Session(context.Background(), cl.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Do(context.Background(), []string{"DEBUG", "SLEEP", "1"}); err != nil {
		t.Error(err)
	}
}
