package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// update rewrites the generated files: go test ./internal/metrics -update
var update = flag.Bool("update", false, "rewrite docs/metrics.md")

const docFile = "../../docs/metrics.md"

func document() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n")
	b.WriteString("Generated from the table in `internal/metrics/metrics.go` by `go test ./internal/metrics -update`; do not edit.\n\n")
	b.WriteString("Served at `/metrics` of the HTTP port: `curl -s 127.0.0.1:9490/metrics | grep slotproxy_`. ")
	b.WriteString("Besides these there are the usual `go_*` and `process_*` metrics.\n\n")
	b.WriteString("| metric | type | labels | what it is | how to read it |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range table {
		fmt.Fprintf(&b, "| `%s%s` | %s | %s | %s | %s |\n", prefix, m.name, m.kind, strings.Join(m.labels, ", "), m.help, m.read)
	}
	b.WriteString("\nLabel values:\n\n")
	for _, l := range []struct {
		where string
		names []string
	}{
		{"`client_rejections_total` reason", rejectNames[:]},
		{"`client_disconnects_total` reason", disconnectNames[:]},
		{"`command_duration_seconds` class", classNames[:]},
		{"`retries_total` reason", retryNames[:]},
		{"`redirects_total` type", redirectNames[:]},
		{"`redirects_refused_total` reason", refusedNames[:]},
		{"`slots` state", slotStateNames[:]},
		{"`network_*_total` side", sideNames[:]},
	} {
		fmt.Fprintf(&b, "- %s: %s\n", l.where, strings.Join(l.names, ", "))
	}
	b.WriteString("\nBuckets of histograms, in seconds:")
	for _, d := range bounds {
		fmt.Fprintf(&b, " %g", d.Seconds())
	}
	b.WriteString(".\n")
	return b.String()
}

func TestTheDocumentSaysWhatTheTableSays(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table gives; run: go test ./internal/metrics -update", docFile)
	}
}
