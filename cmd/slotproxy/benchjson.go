package main

import (
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"slotproxy/bench/load"
)

// What --output json writes.

type benchJSON struct {
	Settings benchSettings `json:"settings"`
	Targets  []targetJSON  `json:"targets"`
	Overhead []overJSON    `json:"overhead,omitempty"`
	Command  string        `json:"command,omitempty"`
	Job      *jobView      `json:"job,omitempty"`
}

// benchSettings are what somebody needs who wants to measure the same again, but for who and where: users, addresses, files.
type benchSettings struct {
	Version      string          `json:"version"`
	Machine      machineJSON     `json:"machine"`
	Operations   []operationJSON `json:"operations"`
	Clients      int             `json:"clients"`
	Bound        bool            `json:"bound"`
	Threads      int             `json:"threads"`
	Pipeline     int             `json:"pipeline"`
	Keys         int             `json:"keys"`
	Filled       bool            `json:"filled"`
	Distribution string          `json:"distribution"`
	Size         string          `json:"size"`
	Rate         float64         `json:"rate,omitempty"`
	Rounds       int             `json:"rounds"`
	Seconds      float64         `json:"seconds"`
	WarmUp       float64         `json:"warmup_seconds"`
	RESP         int             `json:"resp"`
	TLS          bool            `json:"tls"`
	ClusterTLS   bool            `json:"cluster_tls"`
}

// operationJSON is one of --mix, --ratio, --read or --command.
type operationJSON struct {
	Name     string   `json:"name"`
	Weight   int      `json:"weight"`
	Commands []string `json:"commands"`
}

// machineJSON is where the load ran.
type machineJSON struct {
	Processors int    `json:"processors"`
	Model      string `json:"model,omitempty"`
	System     string `json:"system"`
	Go         string `json:"go"`
}

func thisMachine() machineJSON {
	m := machineJSON{Processors: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(kernel))
	}
	info, _ := os.ReadFile("/proc/cpuinfo") // only Linux has it
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Model = strings.TrimSpace(model)
			break
		}
	}
	return m
}

func (b *bench) settings() benchSettings {
	f := b.flags
	s := benchSettings{Version: version, Machine: thisMachine(), Clients: f.clients, Bound: f.bound, Threads: f.threads,
		Pipeline: f.pipeline, Keys: f.keys, Filled: f.fill, Distribution: f.distribution, Size: f.size, Rate: f.rate,
		Rounds: f.rounds, Seconds: f.duration.Seconds(), WarmUp: f.warmUp.Seconds(), RESP: f.resp, TLS: f.tls, ClusterTLS: f.clusterTLS}
	for _, o := range b.loads[0].Ops {
		s.Operations = append(s.Operations, operationJSON{o.Name, o.Weight, o.Commands})
	}
	return s
}

type targetJSON struct {
	Target string        `json:"target"`
	Rounds [][]phaseJSON `json:"rounds"`
}

type phaseJSON struct {
	Phase    string             `json:"phase"`
	Begin    time.Time          `json:"begin"`
	Seconds  float64            `json:"seconds"`
	Measures map[string]float64 `json:"measures"`
	Ops      []opJSON           `json:"operations"`
	Errors   map[string]int64   `json:"errors"`
	Unsent   int64              `json:"unsent"`
	Follows  int64              `json:"redirects_followed"`
	LagP99   float64            `json:"generator_lag_p99_msec"`
}

type opJSON struct {
	Name    string             `json:"name"`
	Count   int64              `json:"count"`
	Failed  int64              `json:"failed"`
	Missing int64              `json:"missing"`
	Latency map[string]float64 `json:"latency_msec"`
}

// overJSON has no value for a measure that is not known of both.
type overJSON struct {
	Measure string      `json:"measure"`
	Direct  load.Spread `json:"direct"`
	Proxy   load.Spread `json:"proxy"`
}

func (r *benchReport) writeJSON(w io.Writer) error {
	doc := benchJSON{Command: r.bench.flags.during, Job: r.bench.job, Settings: r.bench.settings()}
	for _, rounds := range r.rounds {
		t := targetJSON{Target: rounds[0].Target}
		for _, res := range rounds {
			var phases []phaseJSON
			for i := range res.Phases {
				phases = append(phases, phaseOf(&res.Phases[i]))
			}
			t.Rounds = append(t.Rounds, phases)
		}
		doc.Targets = append(doc.Targets, t)
	}
	if len(r.rounds) == 2 {
		for i := range measures {
			direct, known := measures[i].spread(r.rounds[0], 0)
			through, knownToo := measures[i].spread(r.rounds[1], 0)
			if known && knownToo {
				doc.Overhead = append(doc.Overhead, overJSON{measures[i].json, direct, through})
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

func phaseOf(p *load.Phase) phaseJSON {
	j := phaseJSON{Phase: p.Name, Begin: p.Begin, Seconds: p.Length.Seconds(), Measures: map[string]float64{}, Errors: p.Errors,
		Unsent: p.Unsent, Follows: p.Follows, LagP99: float64(p.Lag.ValueAtQuantile(99)) / 1e6}
	for i := range measures {
		if v, known := measures[i].value(p); known {
			j.Measures[measures[i].json] = v
		}
	}
	for i := range p.Ops {
		o := &p.Ops[i]
		j.Ops = append(j.Ops, opJSON{o.Name, o.Count, o.Failed, o.Missing, map[string]float64{
			"avg": o.Latency.Mean() / 1e6, "min": float64(o.Latency.Min()) / 1e6, "p50": msec(o, 50), "p95": msec(o, 95), "p99": msec(o, 99),
			"p99.9": msec(o, 99.9), "max": float64(o.Latency.Max()) / 1e6,
		}})
	}
	return j
}
