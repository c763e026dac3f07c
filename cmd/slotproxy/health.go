package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"slotproxy/internal/config"
	"slotproxy/internal/metrics"
	"slotproxy/router"
)

const (
	// liveWithin is how long a loop may be without an iteration. Idle loops wake once a second.
	liveWithin = 3 * time.Second
	// Requests here are short GETs from machines; who takes longer holds a connection for nothing.
	httpReadLimit = 5 * time.Second
	// httpWriteLimit has room for a CPU profile of the usual 30 s.
	httpWriteLimit = time.Minute
	httpIdleLimit  = 2 * time.Minute
	httpHeaderSize = 16 << 10
	// httpCloseLimit is how long a scrape may finish when the proxy ends.
	httpCloseLimit = time.Second
)

// httpPort is the listener for metrics and health.
type httpPort struct {
	addr string
	ln   net.Listener // nil before listen
	srv  *http.Server
}

func newHTTPPort(s *server, cfg *config.Config) *httpPort {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.NewHandler(metrics.Source{Snapshot: s.snapshot, Command: s.commandName}))
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /startupz", s.startupz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /version", showVersion)
	mux.HandleFunc("GET /{$}", showIndex)
	if cfg.HTTP.PProf {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return &httpPort{addr: cfg.HTTP.Address, srv: &http.Server{
		Handler: mux, ReadTimeout: httpReadLimit, WriteTimeout: httpWriteLimit, IdleTimeout: httpIdleLimit, MaxHeaderBytes: httpHeaderSize,
	}}
}

func (p *httpPort) listen() (err error) {
	p.ln, err = net.Listen("tcp", p.addr)
	return err
}

// serve answers until close.
func (p *httpPort) serve() error {
	if err := p.srv.Serve(p.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close waits a moment for answers under way, then cuts them.
func (p *httpPort) close() {
	ctx, cancel := context.WithTimeout(context.Background(), httpCloseLimit)
	defer cancel()
	if p.srv.Shutdown(ctx) != nil {
		_ = p.srv.Close() // its only errors are of listeners that are closed already
	}
	if p.ln != nil {
		_ = p.ln.Close() // it was not served when the start failed
	}
}

// check is one condition of readiness.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// checks are the conditions for serving well.
func (s *server) checks() []check {
	cfg, t := s.cfg.Load(), s.keeper.Table()
	list := []check{
		{"not draining", !s.draining.Load(), "no new clients once the proxy goes away"},
		{"loops", s.proxy.Alive(liveWithin), "every event loop has turned within " + liveWithin.String()},
	}
	if t == nil {
		return append(list, check{"table", false, "no slot table yet: no node of " + strings.Join(cfg.Cluster.Seeds, ", ") +
			" has answered: " + s.topology.silence()})
	}
	served := servedSlots(t)
	list = append(list, check{"slots", served >= cfg.HTTP.MinSlots, fmt.Sprintf("%d of %d slots have a live node, %d are needed",
		served, router.Slots, cfg.HTTP.MinSlots)})
	// Three times the usual pause, and one answer at the end of its patience.
	age, most := s.topology.age(), 3*cfg.Cluster.Refresh+cfg.Cluster.Timeout
	return append(list, check{"topology", age <= most, fmt.Sprintf("a node last answered %v ago", age.Round(time.Millisecond))})
}

func servedSlots(t *router.Table) int {
	n := slotStates(t)
	return n[metrics.SlotOK] + n[metrics.SlotOpen]
}

// ready says whether all checks pass, and else why not.
func (s *server) ready() (bool, string) {
	for _, c := range s.checks() {
		if !c.OK {
			return false, c.Name + ": " + c.Detail
		}
	}
	return true, ""
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	body := struct {
		Ready  bool    `json:"ready"`
		Checks []check `json:"checks"`
	}{true, s.checks()}
	for _, c := range body.Checks {
		body.Ready = body.Ready && c.OK
	}
	answer(w, body.Ready, body)
}

// livez is about this process only: an outage of the cluster must not restart proxies.
func (s *server) livez(w http.ResponseWriter, _ *http.Request) {
	ok := s.proxy.Alive(liveWithin)
	answer(w, ok, map[string]bool{"live": ok})
}

func (s *server) startupz(w http.ResponseWriter, _ *http.Request) {
	ok := s.keeper.Table() != nil
	answer(w, ok, map[string]bool{"started": ok})
}

func showVersion(w http.ResponseWriter, _ *http.Request) { answer(w, true, buildInfo()) }

func showIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprint(w, "slotproxy\n\n/metrics\n/livez\n/readyz\n/startupz\n/version\n") // a reader that left needs no answer
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // a reader that left needs no answer
}
