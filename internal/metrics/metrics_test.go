package metrics

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// filled gives counters in which every number is n, by reflection so that no field is forgotten.
func filled(n uint64, rules int) *Counters {
	c := New(rules)
	fill(reflect.ValueOf(c).Elem(), n)
	return c
}

func fill(v reflect.Value, n uint64) {
	switch v.Kind() {
	case reflect.Uint64:
		*(*uint64)(v.Addr().UnsafePointer()) = n
	case reflect.Int64:
		*(*int64)(v.Addr().UnsafePointer()) = int64(n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	default:
		panic("a field that fill does not know: " + v.Type().String())
	}
}

func TestAddToAddsEveryField(t *testing.T) {
	sum := filled(1, 3)
	filled(2, 3).AddTo(sum)
	if want := filled(3, 3); !reflect.DeepEqual(sum, want) {
		t.Errorf("1 + 2 gives\n%+v, want\n%+v", sum, want)
	}
}

func TestAddToTakesTheLongerCommandTable(t *testing.T) {
	for _, n := range [][2]int{{2, 5}, {5, 2}, {0, 5}} {
		sum := New(n[0])
		filled(1, n[1]).AddTo(sum)
		if want := uint64(3 * n[1]); sum.CommandsTotal() != want || len(sum.Commands) != max(n[0], n[1]) {
			t.Errorf("sum of %d rules and %d: %d commands in %d rules, want %d", n[0], n[1], sum.CommandsTotal(), len(sum.Commands), want)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	c, sum := New(500), New(500)
	n := testing.AllocsPerRun(100, func() {
		c.Commands[7].OK++
		c.CommandSeconds[ClassRead].Observe(80_000)
		c.AddTo(sum)
	})
	if n != 0 {
		t.Errorf("a count and a sum allocate %v times, want 0", n)
	}
}

func TestEveryDurationFallsIntoTheBucketThatEndsAtOrAboveIt(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want int
	}{
		{-time.Second, 0}, {0, 0}, {50 * time.Microsecond, 0}, {50*time.Microsecond + 1, 1}, {time.Millisecond, 4},
		{10 * time.Second, len(bounds) - 1}, {10*time.Second + 1, len(bounds)}, {time.Hour, len(bounds)},
	} {
		var h Histogram
		h.Observe(int64(tt.d))
		if h.buckets[tt.want] != 1 {
			t.Errorf("Observe(%v) counts in %v, want bucket %d", tt.d, h.buckets, tt.want)
		}
	}
}

func TestQuantileIsTheEndOfItsBucket(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %v, want 0", got)
	}
	for range 98 {
		h.Observe(int64(60 * time.Microsecond))
	}
	h.Observe(int64(3 * time.Millisecond))
	h.Observe(int64(time.Minute))
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{
		{0.5, 100 * time.Microsecond}, {0.98, 5 * time.Millisecond}, {0.99, 10 * time.Second}, {1, 10 * time.Second},
	} {
		if got := h.Quantile(tt.q); got != tt.want {
			t.Errorf("Quantile(%v) = %v, want %v", tt.q, got, tt.want)
		}
	}
}

func source(c *Counters, e Extra) Source {
	return Source{
		Snapshot: func() (*Counters, Extra) { return c, e },
		Command: func(id int) string {
			if id == 2 {
				return "" // a rule without a name
			}
			return []string{"get", "client|list", "", "get"}[id]
		},
	}
}

// fullExtra is a picture with something in every part, so that every metric shows.
func fullExtra() Extra {
	return Extra{
		Version: "1", Revision: "abc", GoVersion: "go1", Loops: 2, MaxClients: 10, BufferBudget: 1 << 20,
		HasTable: true, TableAge: 1500 * time.Millisecond, TableEpoch: 7, Published: 3,
		Slots: SlotStates{16380, 1, 2, 1},
		Nodes: []NodeInfo{
			{Addr: "a:1", Primary: true, Slots: 8000}, {Addr: "a:1", Primary: true},
			{Addr: "b:1", Primary: true, Failed: true, Slots: 8383}, {Addr: "c:1"},
		},
		Asked:    Questions{Answered: 4, Failed: 1},
		ReloadOK: true, ReloadedAt: time.Unix(1000, 500e6),
		Certificate: []Certificate{{"listener", time.Unix(2000, 0)}, {"cluster", time.Time{}}},
	}
}

func TestAScrapeShowsEveryRowOfTheTable(t *testing.T) {
	reg := registry(t, source(filled(1, 4), fullExtra()))
	for _, m := range table {
		n, err := testutil.GatherAndCount(reg, prefix+m.name)
		if err != nil || n == 0 {
			t.Errorf("%s has %d series, %v; want at least one", m.name, n, err)
		}
	}
}

func registry(t *testing.T, src Source) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(NewCollector(src)); err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestNamesAndHelpsFollowTheConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(registry(t, source(filled(1, 4), fullExtra())))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, m := range table {
		if m.unit != "" && !strings.HasSuffix(strings.TrimSuffix(m.name, "_total"), m.unit) {
			t.Errorf("%s: its name does not end with its unit %q", m.name, m.unit)
		}
		if m.kind == counter && !strings.HasSuffix(m.name, "_total") {
			t.Errorf("%s: a counter ends with _total", m.name)
		}
		if m.help == "" || m.read == "" || strings.ContainsAny(m.help+m.read, "|\n") {
			t.Errorf("%s: help and read want one sentence each, without | (they become a table)", m.name)
		}
	}
}

func TestNumbersComeOutAsTheyWentIn(t *testing.T) {
	c := New(4)
	c.Commands[0] = CommandCount{OK: 5, ServerError: 1}
	c.Commands[2] = CommandCount{ProxyError: 2}
	c.Commands[3] = CommandCount{OK: 1} // the same name as rule 0
	c.CommandSeconds[ClassRead].Observe(int64(75 * time.Microsecond))
	c.LoopBusy = 2500 * time.Millisecond
	c.Redirects[RedirectAsk] = 9
	c.SessionsOpen = -1
	want := `
# HELP slotproxy_commands_total Commands answered.
# TYPE slotproxy_commands_total counter
slotproxy_commands_total{command="get",result="ok"} 6
slotproxy_commands_total{command="get",result="proxy_error"} 0
slotproxy_commands_total{command="get",result="server_error"} 1
slotproxy_commands_total{command="other",result="ok"} 0
slotproxy_commands_total{command="other",result="proxy_error"} 2
slotproxy_commands_total{command="other",result="server_error"} 0
# HELP slotproxy_loop_busy_seconds_total Time that the event loops were not waiting.
# TYPE slotproxy_loop_busy_seconds_total counter
slotproxy_loop_busy_seconds_total 2.5
# HELP slotproxy_client_connections Client connections that are open.
# TYPE slotproxy_client_connections gauge
slotproxy_client_connections -1
# HELP slotproxy_nodes Nodes of the cluster.
# TYPE slotproxy_nodes gauge
slotproxy_nodes{role="primary",state="failed"} 1
slotproxy_nodes{role="primary",state="ok"} 2
slotproxy_nodes{role="replica",state="failed"} 0
slotproxy_nodes{role="replica",state="ok"} 1
# HELP slotproxy_topology_age_seconds Time since the topology was last read from the cluster.
# TYPE slotproxy_topology_age_seconds gauge
slotproxy_topology_age_seconds 1.5
# HELP slotproxy_config_last_reload_success_timestamp_seconds When the configuration in use was loaded.
# TYPE slotproxy_config_last_reload_success_timestamp_seconds gauge
slotproxy_config_last_reload_success_timestamp_seconds 1000.5
`
	err := testutil.GatherAndCompare(registry(t, source(c, fullExtra())), strings.NewReader(want),
		"slotproxy_commands_total", "slotproxy_loop_busy_seconds_total", "slotproxy_client_connections", "slotproxy_nodes",
		"slotproxy_topology_age_seconds", "slotproxy_config_last_reload_success_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
}

func TestTheHandlerServesTextWithRuntimeMetrics(t *testing.T) {
	rec := httptest.NewRecorder()
	NewHandler(source(New(4), Extra{})).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	body := rec.Body.String()
	for _, want := range []string{"slotproxy_client_connections 0", "go_goroutines", "process_open_fds", "go_cpu_classes_gc_total_cpu_seconds_total",
		"go_sched_pauses_total_gc_seconds_bucket", `slotproxy_redirects_total{type="ask"} 0`} {
		if rec.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("status %d, no %q in the scrape", rec.Code, want)
		}
	}
	for _, absent := range []string{"slotproxy_topology_age_seconds", "slotproxy_commands_total"} {
		if strings.Contains(body, "\n"+absent) {
			t.Errorf("%s shows although there is nothing to show", absent)
		}
	}
}

// The series of 20 nodes and 40 commands in use stay far below 2000, the number that a small Prometheus does not notice.
func TestSeriesAreBounded(t *testing.T) {
	e := fullExtra()
	for i := range 20 {
		e.Nodes = append(e.Nodes, NodeInfo{Addr: fmt.Sprint("n:", i), Primary: true})
	}
	src := source(filled(1, 40), e)
	src.Command = func(id int) string { return fmt.Sprint("command", id) }
	n, err := testutil.GatherAndCount(registry(t, src))
	if err != nil || n > 400 {
		t.Errorf("%d series, %v; want at most 400", n, err)
	}
}
