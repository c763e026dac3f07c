package test

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"testing"

	"slotproxy/internal/testcluster"
)

func TestIntrospectionIsAnsweredAsByABareServer(t *testing.T) {
	lines := linesOf(t, "testdata/introspection.txt")
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		p := startProxy(t, sharedCluster(t, v).Addrs()[:1])
		server := testcluster.StandaloneForTest(t, testcluster.Options{Version: v})
		for _, protocol := range []string{"2", "3"} {
			t.Run("RESP"+protocol, func(t *testing.T) { compareReplies(t, lines, protocol, server.Addr, p.addr, v) })
		}
	})
}

// infoNames are the sections and fields of an INFO text in their order, those left out that come and go by themselves.
func infoNames(text string) []string {
	var names []string
	for line := range strings.SplitSeq(text, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		for _, prefix := range []string{"cmdstat_", "errorstat_", "latency_percentiles_", "db", "slotproxy_", "# Slotproxy", "module"} {
			if strings.HasPrefix(name, prefix) {
				name = ""
			}
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func TestINFOHasTheSectionsAndFieldsOfABareServer(t *testing.T) {
	eachVersion(t, func(t *testing.T, v testcluster.Version) {
		c := startProxy(t, sharedCluster(t, v).Addrs()[:1]).dial(t)
		server := dialAddr(t, sharedServer(t, v).Addr)
		for _, section := range []string{"default", "all", "everything", "server", "clients", "memory", "persistence", "stats",
			"replication", "cpu", "modules", "cluster", "keyspace"} {
			got, want := infoNames(do(t, c, "INFO", section).Text), infoNames(do(t, server, "INFO", section).Text)
			for _, name := range got {
				if !slices.Contains(want, name) {
					t.Errorf("INFO %s has %s, a bare server does not", section, name)
				}
			}
			for _, name := range want {
				if !slices.Contains(got, name) {
					t.Errorf("INFO %s lacks %s", section, name)
				}
			}
		}
	})
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(read(t, file)))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}
