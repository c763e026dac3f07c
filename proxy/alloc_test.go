package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

// The budget is a test: one command through socket, parser, router, node and back allocates nothing anywhere in this
// process, the client's side included.
func TestAGetAndASetAllocateNothingOnTheWholePath(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	value := strings.Repeat("v", 64)
	for _, tc := range []struct {
		name     string
		command  []string
		pipeline int
	}{
		{"SET alone", []string{"SET", "{a}key", value}, 1},
		{"GET alone", []string{"GET", "{a}key"}, 1},
		{"SET in a pipeline of 16", []string{"SET", "{a}key", value}, 16},
		{"GET in a pipeline of 16", []string{"GET", "{a}key"}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, addr)
			var request []byte
			for range tc.pipeline {
				request = resp.AppendCommandStrings(request, tc.command...)
			}
			reply := len("+OK\r\n")
			if tc.command[0] == "GET" {
				reply = len(resp.AppendBulkString(nil, value))
			}
			buf := make([]byte, reply*tc.pipeline)
			exchange := func() {
				if _, err := c.Conn.Write(request); err != nil {
					t.Fatal(err)
				}
				for got := 0; got < len(buf); {
					n, err := c.Conn.Read(buf[got:])
					if err != nil {
						t.Fatal(err)
					}
					got += n
				}
			}
			for range 200 {
				exchange()
			}
			// One run in a thousand may meet a background allocation of the runtime; a path that allocates gives >= 1.
			if n := testing.AllocsPerRun(2000, exchange); n != 0 {
				t.Fatalf("%s: %v allocations a round trip, want 0", tc.name, n)
			}
		})
	}
}
