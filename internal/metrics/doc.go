// Package metrics counts what the proxy does and shows it to Prometheus.
//
// Every event loop owns one Counters and increments its plain fields: no lock, no atomic, no map, no label lookup on
// the way of a command. At a scrape each loop adds its own to a sum (AddTo, in the loop), and the Collector turns that
// sum into constant metrics:
//
//	loop 0: Counters --\
//	loop 1: Counters ---+--> AddTo(sum) --> Collector --> /metrics
//	cmd:    Extra    --/        (snapshot of the moment: topology, build, reload)
//
// metrics.go holds the one table of metrics; the Collector, docs/metrics.md and the checks follow from it. A new metric
// is a field of Counters or Extra and one row there.
//
// Label values come from enums of this package, from the command table and from the cluster's own nodes. Nothing that
// a client can choose becomes a label.
package metrics
