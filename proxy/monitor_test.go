package proxy

import (
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestMonitorShowsTheCommandsOfAllLoopsWithoutSecrets(t *testing.T) {
	cl := testcluster.ForTest(t, testcluster.Options{})
	p, addr := serve(t, Config{Loops: 2}, cl.Addrs()...)
	m, c, d := connect(t, addr), connect(t, addr), connect(t, addr) // c and m are in different loops
	m.send("MONITOR")
	m.want("+OK")
	c.send("SET a 1", "AUTH u secret", "HELLO 3 AUTH u secret", "CONFIG GET port", "GET", "NOSUCH", "FLUSHALL")
	c.want("+OK", "-WRONGPASS", "-WRONGPASS", "*2", "-ERR wrong", "-ERR unknown", "+OK")
	for _, want := range []string{`"SET" "a" "1"`, `"AUTH" "(redacted)" "(redacted)"`, `"HELLO" "3" "AUTH" "(redacted)" "(redacted)"`, `"FLUSHALL"`} {
		line, err := readReply(m.r)
		if err != nil || !strings.HasPrefix(line, "+1") || !strings.HasSuffix(line, "] "+want+"\r\n") {
			t.Fatalf("got %q, %v, want %s", line, err, want)
		}
	}
	d.send("PING")
	d.want("+PONG")
	m.want("+1")
	m.send("RESET")
	m.want("+RESET")
	d.send("PING")
	d.want("+PONG")
	until(t, func() bool { return p.monitors.Load() == 0 })
	m.send("PING")
	m.want("+PONG")
}
