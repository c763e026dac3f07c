package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
	"slotproxy/resp"
)

const getScript = "return redis.call('GET',KEYS[1])"

// The budget is a test: one command through socket, parser, router, node and back allocates nothing anywhere in this
// process, the client's side included.
func TestTheCommonCommandsAllocateNothingOnTheWholePath(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	_, addr := serve(t, Config{Loops: 1}, cl.Addrs()...)
	value := strings.Repeat("v", 64)
	bulk := string(resp.AppendBulkString(nil, value))
	setup := connect(t, addr)
	setup.send("SET {a}key " + value)
	setup.want("+OK\r\n")
	setup.cmd("SCRIPT", "LOAD", getScript)
	setup.want("$40")
	evalsha := [][]string{{"EVALSHA", sha(getScript), "1", "{a}key"}}
	publish := [][]string{{"PUBLISH", "channel", value}}
	block := [][]string{{"MULTI"}, {"SET", "{a}key", value}, {"GET", "{a}key"}, {"EXEC"}}
	mget, nulls := mgetOf(100)
	answers := "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n" + bulk
	for _, tc := range []struct {
		name     string
		commands [][]string
		reply    string
		pipeline int
		clients  int
	}{
		{"SET alone", [][]string{{"SET", "{a}key", value}}, "+OK\r\n", 1, 1},
		{"GET alone", [][]string{{"GET", "{a}key"}}, bulk, 1, 1},
		{"SET in a pipeline of 16", [][]string{{"SET", "{a}key", value}}, "+OK\r\n", 16, 1},
		{"GET in a pipeline of 16", [][]string{{"GET", "{a}key"}}, bulk, 16, 1},
		{"a transaction alone", block, answers, 1, 1},
		{"transactions in a pipeline of 16", block, answers, 16, 1},
		{"PUBLISH alone", publish, ":0\r\n", 1, 1},
		{"PUBLISH in a pipeline of 16", publish, ":0\r\n", 16, 1},
		{"MGET of 100 keys on all nodes alone", [][]string{mget}, nulls, 1, 1},
		{"MGET of 100 keys on all nodes in a pipeline of 4", [][]string{mget}, nulls, 4, 1}, // a loop keeps buffers for about a thousand parts
		{"EVALSHA alone", evalsha, bulk, 1, 1},
		{"EVALSHA in a pipeline of 16", evalsha, bulk, 16, 1},
		{"EVALSHA of two clients, with a nonce between them", evalsha, bulk, 16, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var clients []*client
			for range tc.clients {
				clients = append(clients, connect(t, addr))
			}
			var request []byte
			for range tc.pipeline {
				for _, command := range tc.commands {
					request = resp.AppendCommandStrings(request, command...)
				}
			}
			want := strings.Repeat(tc.reply, tc.pipeline)
			buf := make([]byte, len(want))
			exchange := func() {
				for _, c := range clients {
					c.exchange(request, buf)
				}
			}
			for range 200 {
				exchange()
				if string(buf) != want {
					t.Fatalf("%q, want %q", short(string(buf)), short(want))
				}
			}
			// One run in a thousand may meet a background allocation of the runtime; a path that allocates gives >= 1.
			if n := testing.AllocsPerRun(2000, exchange); n != 0 {
				t.Fatalf("%s: %v allocations a round trip, want 0", tc.name, n)
			}
		})
	}
}

// exchange sends a request and reads as many bytes as reply holds.
func (c *client) exchange(request, reply []byte) {
	if _, err := c.Conn.Write(request); err != nil {
		c.t.Fatal(err)
	}
	for got := 0; got < len(reply); {
		n, err := c.Conn.Read(reply[got:])
		if err != nil {
			c.t.Fatal(err)
		}
		got += n
	}
}
