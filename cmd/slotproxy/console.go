package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"slotproxy/internal/admin"
	"slotproxy/internal/config"
	"slotproxy/internal/metrics"
	"slotproxy/proxy"
	"slotproxy/router"
)

// console is what the admin port shows of a server.
type console struct{ s *server }

// Nodes are those of the current table.
func (c *console) Nodes() []router.Node {
	if t := c.s.keeper.Table(); t != nil {
		return t.Nodes
	}
	return nil
}

// Table is the current one, nil before the first.
func (c *console) Table() *router.Table { return c.s.keeper.Table() }

// Clients are those of all loops.
func (c *console) Clients() []proxy.ClientInfo { return c.s.proxy.Clients() }

// Ready is what /readyz says.
func (c *console) Ready() (ok bool, why string) { return c.s.ready() }

// Config shows settings in effect.
func (c *console) Config(pattern string) [][2]string {
	var list [][2]string
	for _, p := range c.s.cfg.Load().Get(pattern) {
		list = append(list, [2]string{p.Key, p.Value})
	}
	return list
}

// section is a part of PROXY INFO.
type section struct {
	name  string
	lines func(*server, *metrics.Counters, *metrics.Extra) []line
}

type line struct {
	name  string
	value any
}

var sections = []section{
	{"Server", infoServer}, {"Clients", infoClients}, {"Stats", infoStats}, {"Cluster", infoCluster}, {"Migration", infoMigration}, {"Latency", infoLatency},
}

// Info is text in the form of INFO: all sections, or the one of that name, or nothing when there is none.
func (c *console) Info(name string) string {
	sum, extra := c.s.snapshot()
	var b strings.Builder
	for _, sec := range sections {
		if name != "" && !slices.Contains([]string{"all", "default", "everything", strings.ToLower(sec.name)}, name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + sec.name + "\r\n")
		for _, l := range sec.lines(c.s, sum, &extra) {
			fmt.Fprintf(&b, "%s:%v\r\n", l.name, l.value)
		}
	}
	return b.String()
}

// dataConsole is what clients of the data port get of the console.
type dataConsole struct{ s *server }

// Refuses says why a command is not for them, "" when it is.
func (c dataConsole) Refuses(name []string) string {
	address := ""
	if c.s.admin != nil {
		address = c.s.adminAddress()
	}
	return admin.RefuseClient(name, address, address != "" && c.s.cfg.Load().Admin.FromClients == config.ProxyCommandsRead)
}

// Answer runs a command.
func (c dataConsole) Answer(ctx context.Context, args []string, client string, proto int) []byte {
	return c.s.admin.AnswerClient(ctx, args, client, proto)
}

func infoServer(s *server, sum *metrics.Counters, e *metrics.Extra) []line {
	return []line{
		{"slotproxy_version", e.Version},
		{"slotproxy_revision", e.Revision},
		{"go_version", e.GoVersion},
		{"os", runtime.GOOS + " " + runtime.GOARCH},
		{"process_id", os.Getpid()},
		{"uptime_in_seconds", int(time.Since(s.started).Seconds())},
		{"loops", e.Loops},
		{"loop_iterations", sum.Iterations},
		{"loop_busy_seconds", fmt.Sprintf("%.3f", sum.LoopBusy.Seconds())},
		{"draining", bit(e.Draining)},
		{"config_reload_ok", bit(e.ReloadOK)},
		{"config_loaded_at", e.ReloadedAt.UTC().Format(time.RFC3339)},
	}
}

func infoClients(_ *server, sum *metrics.Counters, e *metrics.Extra) []line {
	list := []line{
		{"connected_clients", sum.SessionsOpen},
		{"maxclients", e.MaxClients},
		{"total_connections_received", sum.SessionsAccepted},
		{"reads_paused", sum.ReadsPaused},
		{"buffer_bytes", sum.BufferBytes},
		{"buffer_budget", e.BufferBudget},
	}
	for r, n := range sum.Rejections {
		list = append(list, line{"rejected_" + metrics.RejectReason(r).String(), n})
	}
	for r, n := range sum.SessionsClosed {
		list = append(list, line{"closed_" + metrics.DisconnectReason(r).String(), n})
	}
	return list
}

func infoStats(_ *server, sum *metrics.Counters, _ *metrics.Extra) []line {
	list := []line{
		{"total_commands_processed", sum.CommandsTotal()},
		{"commands_in_flight", sum.InFlight},
		{"commands_held", sum.HeldNow},
		{"commands_held_total", sum.HeldTotal},
		{"outcome_unknown", sum.Ambiguous},
		{"timeouts", sum.Timeouts},
		{"desyncs", sum.Desyncs},
		{"upstream_connections", sum.UpstreamOpen},
		{"upstream_connects", sum.UpstreamConnects},
		{"upstream_connect_failures", sum.UpstreamConnectFailures},
		{"client_bytes_in", sum.BytesIn[metrics.SideClient]},
		{"client_bytes_out", sum.BytesOut[metrics.SideClient]},
		{"upstream_bytes_in", sum.BytesIn[metrics.SideUpstream]},
		{"upstream_bytes_out", sum.BytesOut[metrics.SideUpstream]},
	}
	for k, n := range sum.Redirects {
		list = append(list, line{"redirects_" + metrics.RedirectKind(k).String(), n})
	}
	for r, n := range sum.RedirectsRefused {
		list = append(list, line{"redirects_refused_" + metrics.RefusedReason(r).String(), n})
	}
	for r, n := range sum.Retries {
		list = append(list, line{"retries_" + metrics.RetryReason(r).String(), n})
	}
	return list
}

func infoCluster(s *server, _ *metrics.Counters, e *metrics.Extra) []line {
	face := s.identity.face()
	list := []line{
		{"server_name", face.Name},
		{"server_version", face.Version},
		{"known_nodes", len(e.Nodes)},
		{"table_epoch", e.TableEpoch},
		{"table_version", e.Published},
	}
	for st, n := range e.Slots {
		list = append(list, line{"slots_" + metrics.SlotState(st).String(), n})
	}
	if e.HasTable {
		list = append(list, line{"topology_age_ms", e.TableAge.Milliseconds()})
	}
	return append(list, line{"topology_answered", e.Asked.Answered}, line{"topology_failed", e.Asked.Failed})
}

func infoMigration(s *server, _ *metrics.Counters, e *metrics.Extra) []line {
	if s.moves == nil {
		return []line{{"coordinator", "none: " + s.noMoves}}
	}
	m := &e.Moves
	return []line{
		{"coordinator", "ok"},
		{"job_running", bit(m.Running)},
		{"jobs_succeeded", m.Succeeded},
		{"jobs_partial", m.Partial},
		{"jobs_failed", m.Failed},
		{"jobs_cancelled", m.Cancelled},
		{"slots_moved", m.Slots},
		{"keys_moved", m.Keys},
		{"bytes_moved", m.Bytes},
		{"holds", m.Holds},
		{"step_retries", m.Retries},
	}
}

func infoLatency(_ *server, sum *metrics.Counters, _ *metrics.Extra) []line {
	var list []line
	for c := range sum.CommandSeconds {
		h := &sum.CommandSeconds[c]
		if h.Count() == 0 {
			continue
		}
		us := func(q float64) int64 { return h.Quantile(q).Microseconds() }
		list = append(list, line{"latency_percentiles_usec_" + metrics.Class(c).String(),
			fmt.Sprintf("p50=%d,p99=%d,p99.9=%d", us(0.5), us(0.99), us(0.999))})
	}
	return list
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
