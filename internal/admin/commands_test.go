package admin

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCommandsAnswer(t *testing.T) {
	s := start(t, Config{Version: "1.2.3"})
	tests := []struct{ name, line, want string }{
		{"ping", "PING", "+PONG"},
		{"ping with a word", "ping hi", "hi"},
		{"echo", "ECHO hi", "hi"},
		{"names are not case-sensitive", "pRoXy ReAdY", "+READY"},
		{"a client that asks for the commands to complete", "COMMAND DOCS", "*0"},
		{"a library that introduces itself", "CLIENT SETINFO LIB-NAME x", "+OK"},
		{"a client with a name", "CLIENT SETNAME x", "+OK"},
		{"AUTH without a password to check", "AUTH x", "-" + errTextNoPassword},
		{"the user default needs no password", "AUTH default x", "+OK"},
		{"info", "PROXY INFO", "# Slotproxy loops:2 "},
		{"one section of info", "PROXY INFO Nodes", "# nodes asked:1 "},
		{"INFO is PROXY INFO", "INFO", "# Slotproxy loops:2 "},
		{"INFO with a section", "INFO server", "# server asked:1 "},
		{"nodes", "PROXY NODES", "*3" +
			" *14 id aaaa addr 127.0.0.1:7000 role primary slots :16382 epoch :1 failed :0 primary " +
			" *14 id bbbb addr [::1]:7001 role primary slots :1 epoch :7 failed :0 primary " +
			" *14 id cccc addr 127.0.0.1:7002 role replica slots :0 epoch :0 failed :1 primary aaaa"},
		{"slots, without those that nobody owns", "PROXY SLOTS", "*4" +
			" *4 :0 :99 127.0.0.1:7000 aaaa *4 :100 :100 [::1]:7001 bbbb" +
			" *4 :101 :199 127.0.0.1:7000 aaaa *4 :201 :16383 127.0.0.1:7000 aaaa"},
		{"clients", "PROXY CLIENTS", "*1 *30 id :9 addr 127.0.0.1:5 laddr 127.0.0.1:6479 name app lib-name  lib-ver " +
			" user default db :0 resp :3 age :90 idle :0 cmd get queued :2 in :10 out :20"},
		{"settings", "PROXY CONFIG GET l*", "*4 lanes 1 listen 127.0.0.1:6479"},
		{"no setting of that name", "PROXY CONFIG GET x", "*0"},

		{"an unknown command", "GET a b", "-ERR unknown command 'GET', with args beginning with: 'a' 'b' "},
		{"an unknown subcommand", "PROXY FOO", "-ERR unknown subcommand 'FOO'. Try PROXY HELP."},
		{"an unknown subcommand of CONFIG", "PROXY CONFIG REWRITE", "-ERR unknown subcommand 'REWRITE'. Try PROXY HELP."},
		{"a container alone", "PROXY CONFIG", "-ERR wrong number of arguments for 'proxy|config' command"},
		{"PROXY alone", "PROXY", "-ERR wrong number of arguments for 'proxy' command"},
		{"too few words", "PROXY CONFIG GET", "-ERR wrong number of arguments for 'proxy|config|get' command"},
		{"too many words", "PROXY NODES x", "-ERR wrong number of arguments for 'proxy|nodes' command"},
		{"too many words for help", "PROXY HELP x", "-ERR wrong number of arguments for 'proxy|help' command"},
		{"too many words for a basic command", "PING a b", "-ERR wrong number of arguments for 'ping' command"},
		{"an unknown subcommand of CLIENT", "CLIENT KILL 1", "-ERR unknown subcommand 'KILL'. Try CLIENT HELP."},
		{"CLIENT with too few words", "CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"},
		{"AUTH with too many words", "AUTH a b c", "-" + errTextSyntax},
		{"HELLO 4", "HELLO 4", "-" + errTextNoProto},
		{"HELLO x", "HELLO x", "-" + errTextProto},
		{"HELLO with half an option", "HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'"},
		{"HELLO of an unknown user", "HELLO 2 AUTH root x", "-" + errTextWrongPass},
		{"HELLO 2", "HELLO 2 SETNAME x", "*14 server slotproxy version 1.2.3 proto :2 id :1 mode standalone role master modules *0"},
	}
	c := dial(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lines(c.do(tt.line)); got != tt.want {
				t.Errorf("%s:\n got %q\nwant %q", tt.line, got, tt.want)
			}
		})
	}
}

func TestRESP3ClientsGetMapsAndTruthValues(t *testing.T) {
	c := dial(t, start(t, Config{}))
	if got := c.do("HELLO 3"); !strings.HasPrefix(got, "%7\r\n") {
		t.Fatalf("HELLO 3: got %q, want a map", got)
	}
	tests := []struct{ line, want string }{
		{"PROXY INFO", "=26\r\ntxt:# Slotproxy\r\nloops:2\r\n\r\n"},
		{"PROXY CONFIG GET l*", "%2\r\n$5\r\nlanes\r\n$1\r\n1\r\n$6\r\nlisten\r\n$14\r\n127.0.0.1:6479\r\n"},
	}
	for _, tt := range tests {
		if got := c.do(tt.line); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.line, got, tt.want)
		}
	}
	if got := c.do("PROXY NODES"); strings.Count(got, "%7\r\n") != 3 || strings.Count(got, "#t\r\n") != 1 {
		t.Errorf("PROXY NODES: got %q, want three maps, one node failed", got)
	}
	c.do("HELLO 2")
	if got := c.do("PROXY NODES"); strings.ContainsAny(got, "%#") {
		t.Errorf("PROXY NODES after HELLO 2: got %q, want arrays", got)
	}
}

func TestBeforeTheFirstTableThereAreNoNodes(t *testing.T) {
	c := dial(t, start(t, Config{Backend: &fake{notYet: "no table yet"}}))
	for line, want := range map[string]string{
		"PROXY SLOTS": "*0\r\n", "PROXY NODES": "*0\r\n", "PROXY CLIENTS": "*0\r\n", "PROXY READY": "-NOTREADY no table yet\r\n",
	} {
		if got := c.do(line); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestHelpIsTheTable(t *testing.T) {
	c := dial(t, start(t, Config{}))
	got := lines(c.do("PROXY HELP"))
	for _, cmd := range commands {
		if want := "+" + strings.TrimSpace(strings.ToUpper(cmd.name)+" "+cmd.args) + " +    " + cmd.help; !strings.Contains(got, want) {
			t.Errorf("PROXY HELP lacks %q: %s", want, got)
		}
	}
}

// What people read is looked at as a whole when it changes.
func TestHelpReadsAsReviewed(t *testing.T) {
	const file = "testdata/help.txt"
	reply := dial(t, start(t, Config{})).do("PROXY HELP")
	var got strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(reply, "\r\n"), "\r\n") {
		if line[0] == '+' {
			got.WriteString(line[1:] + "\n")
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("PROXY HELP is not as in %s:\n%s", file, got.String())
	}
}

func TestEveryEntryOfTheTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, cmd := range commands {
		words := strings.Fields(cmd.name)
		if len(words) == 0 || len(words) > 2 || cmd.name != strings.ToLower(strings.Join(words, " ")) {
			t.Errorf("%q: a name is one or two lower-case words", cmd.name)
		}
		if seen[cmd.name] {
			t.Errorf("%q is there twice", cmd.name)
		}
		seen[cmd.name] = true
		if !strings.HasSuffix(cmd.help, ".") || strings.Contains(cmd.help, "\n") {
			t.Errorf("%q: help %q is not one sentence", cmd.name, cmd.help)
		}
		if cmd.run == nil || cmd.min > cmd.max || (cmd.max == 0) != (cmd.args == "") {
			t.Errorf("%q: arguments %q do not fit %d to %d", cmd.name, cmd.args, cmd.min, cmd.max)
		}
	}
}

func TestAUserRunsWhatItsRoleAllows(t *testing.T) {
	ran := false
	act := func(context.Context, *call, *reply) { ran = true }
	c := console{refused: new(atomic.Int64), log: slog.New(slog.DiscardHandler), commands: []command{
		{"look", "", "Looks.", viewer, 0, 0, false, act},
		{"pause", "", "Stops.", operator, 0, 0, false, act},
		{"destroy", "", "Destroys.", admin, 0, 0, false, act},
	}}
	tests := []struct {
		as      role
		command string
		needs   string // "" when it may
	}{
		{viewer, "look", ""}, {viewer, "pause", "operator"}, {viewer, "destroy", "admin"},
		{operator, "look", ""}, {operator, "pause", ""}, {operator, "destroy", "admin"},
		{admin, "look", ""}, {admin, "pause", ""}, {admin, "destroy", ""},
	}
	for _, tt := range tests {
		t.Run(tt.as.String()+" "+tt.command, func(t *testing.T) {
			ran = false
			r := &reply{proto: 2}
			c.run(t.Context(), []string{tt.command}, caller{role: tt.as}, r)
			want := ""
			if tt.needs != "" {
				want = "-NOPERM User " + tt.as.String() + " has no permissions to run the 'proxy|" + tt.command +
					"' command, it is for the user " + tt.needs + "\r\n"
			}
			if string(r.b) != want || ran != (want == "") {
				t.Errorf("got %q, ran %v, want %q", r.b, ran, want)
			}
		})
	}
}

func TestAFaultInACommandDoesNotEndTheProcess(t *testing.T) {
	backend := newFake()
	backend.blow = true
	c := dial(t, start(t, Config{Backend: backend}))
	if got, want := c.do("PROXY NODES"), "-"+errTextInternal+"\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.do("PING"); got != "+PONG\r\n" {
		t.Errorf("PING afterwards: got %q", got)
	}
}
