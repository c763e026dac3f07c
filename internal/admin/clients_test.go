package admin

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

func TestClientsOfTheDataPortMayLookAtMost(t *testing.T) {
	const here = "127.0.0.1:6481"
	tests := []struct {
		name    string
		address string
		looking bool
		want    string
	}{
		{"INFO", here, false, "PROXYUNSUPPORTED PROXY INFO is for the admin port, 127.0.0.1:6481; proxy_commands: read allows it here"},
		{"info", here, true, ""},
		{"HELP", here, false, "PROXYUNSUPPORTED PROXY is for the admin port, 127.0.0.1:6481"},
		{"HELP", here, true, ""},
		{"config get", here, true, ""},
		{"CONFIG", here, true, "ERR wrong number of arguments for 'proxy|config' command"},
		{"NOSUCH x", here, false, "PROXYUNSUPPORTED PROXY is for the admin port, 127.0.0.1:6481"},
		{"NOSUCH x", here, true, "ERR unknown subcommand 'NOSUCH'. Try PROXY HELP."},
		{"reshard FROM", here, false, "PROXYUNSUPPORTED PROXY RESHARD is for the admin port, 127.0.0.1:6481"},
		{"RESHARD FROM", here, true, "PROXYUNSUPPORTED PROXY RESHARD is for the admin port, 127.0.0.1:6481"},
		{"FIX", "", false, "PROXYUNSUPPORTED PROXY FIX is for the admin port, which this proxy does not have"},
		{"JOBS", "", false, "PROXYUNSUPPORTED PROXY JOBS is for the admin port, which this proxy does not have"},
	}
	for _, tt := range tests {
		if got := RefuseClient(strings.Fields(tt.name), tt.address, tt.looking); got != tt.want {
			t.Errorf("%s at %q, looking %v: %q, want %q", tt.name, tt.address, tt.looking, got, tt.want)
		}
	}
	for _, cmd := range commands {
		if got := RefuseClient(strings.Fields(cmd.name), here, true); (got == "") != (cmd.role == viewer) {
			t.Errorf("%s, which is for the user %s: %q", cmd.name, cmd.role, got)
		}
	}
}

func TestClientsOfTheDataPortGetTheAnswersOfAViewer(t *testing.T) {
	s := New(Config{Password: "secret", Backend: newFake()})
	answer := func(line string, proto int) string {
		return string(s.AnswerClient(t.Context(), strings.Fields(line), "10.0.0.1:5", proto))
	}
	if got := answer("READY", 2); got != "+READY\r\n" {
		t.Errorf("READY: %q", got)
	}
	if got := answer("CONFIG GET l*", 3); !strings.HasPrefix(got, "%2\r\n") {
		t.Errorf("CONFIG GET in RESP3: %q", got)
	}
	for _, line := range []string{"FIX", "PAUSE 1", "CREATE a:1"} { // whoever forgets to ask RefuseClient
		if got := answer(line, 2); !strings.HasPrefix(got, "-ERR unknown subcommand") {
			t.Errorf("%s: %q", line, got)
		}
	}
	if got := answer("HELP", 2); !strings.Contains(got, "\r\n+JOBS\r\n") || strings.Contains(got, "RESHARD") || strings.Contains(got, jobOption) {
		t.Errorf("HELP: %s", got)
	}
}

func TestAFaultInACommandOfAClientDoesNotEndTheProcess(t *testing.T) {
	backend := newFake()
	backend.blow = true
	s := New(Config{Backend: backend, Log: slog.New(slog.DiscardHandler)})
	if got, want := string(s.AnswerClient(t.Context(), []string{"NODES"}, "", 2)), "-"+errTextInternal+"\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClientsThatCheckDoNotKeepTheAdminWaiting(t *testing.T) {
	s := start(t, Config{})
	s.forClients.slow <- struct{}{} // a client's check is under way
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := string(s.AnswerClient(ctx, []string{"CHECK"}, "", 2)); got != "-"+errTextBusy+"\r\n" {
		t.Errorf("another client's check: %q", got)
	}
	if got := dial(t, s).do("PROXY CHECK"); strings.Contains(got, "too many") {
		t.Errorf("the admin's check: %q", got)
	}
}
