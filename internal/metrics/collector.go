package metrics

import (
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is where a scrape gets its numbers from.
type Source struct {
	// Snapshot sums the counters of all loops and describes the moment. The sum is the caller's: nobody changes it
	// any more. It is called once a scrape, from the scrape's goroutine.
	Snapshot func() (*Counters, Extra)
	// Command names a rule ID, as the label of commands_total. nil, or an empty name: "other".
	Command func(id int) string
}

// maxScrapes bounds the scrapes at work at one time; each one asks every loop for its counters.
const maxScrapes = 4

// scrapeTimeout ends a scrape whose reader does not read.
const scrapeTimeout = 10 * time.Second

// ofCollector are what the usual metrics of Go lack to answer whether the garbage collector disturbs clients: how long it stops
// everything, and its processor time.
var ofCollector = regexp.MustCompile(`^/(sched/pauses/total/gc:seconds|cpu/classes/gc/total:cpu-seconds)$`)

// NewHandler serves /metrics: the table of this package, the Go runtime and the process.
func NewHandler(src Source) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		NewCollector(src),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: ofCollector})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout})
}

// collector turns a Source into constant metrics. All fields are immutable.
type collector struct {
	src   Source
	descs []*prometheus.Desc // of table, same index
}

// NewCollector gives the metrics of the table as a Prometheus collector.
func NewCollector(src Source) prometheus.Collector {
	c := &collector{src: src}
	for _, m := range table {
		c.descs = append(c.descs, prometheus.NewDesc(prefix+m.name, m.help, m.labels, nil))
	}
	return c
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	sum, extra := c.src.Snapshot()
	for i, m := range table {
		m.emit(&sink{ch: ch, desc: c.descs[i], kind: m.kind, src: &c.src}, sum, &extra)
	}
}

// sink takes the series of one row. Owned by one Collect call.
type sink struct {
	ch   chan<- prometheus.Metric
	desc *prometheus.Desc
	kind string
	src  *Source
}

func (s *sink) value(v float64, labels ...string) {
	kind := prometheus.GaugeValue
	if s.kind == counter {
		kind = prometheus.CounterValue
	}
	s.ch <- prometheus.MustNewConstMetric(s.desc, kind, v, labels...)
}

func (s *sink) count(n uint64, labels ...string) { s.value(float64(n), labels...) }

func (s *sink) flag(on bool, labels ...string) { s.value(float64(index(on)), labels...) }

// time shows an instant, or nothing for the zero time.
func (s *sink) time(t time.Time, labels ...string) {
	if !t.IsZero() {
		s.value(float64(t.UnixMilli())/1000, labels...)
	}
}

func (s *sink) histogram(h *Histogram, labels ...string) {
	count, sum, buckets := h.cumulative()
	s.ch <- prometheus.MustNewConstHistogram(s.desc, count, sum, buckets, labels...)
}

// command names a rule.
func (s *sink) command(id int) string {
	if s.src.Command != nil {
		if name := s.src.Command(id); name != "" {
			return name
		}
	}
	return "other"
}
