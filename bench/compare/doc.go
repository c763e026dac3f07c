// Command compare measures what a proxy costs, beside what a user would pick instead: processor time of its process for each command,
// commands a second, latencies and memory, in one run on one machine.
//
//	bench/load (this process) --> proxy --> servers
//	                                |          |
//	            processor clocks of the processes, before and after
//
// slotproxy stands before a cluster, twemproxy before as many servers that are no cluster, haproxy and the bare loops of bench/floor
// before one of them, because they copy bytes and cannot choose; "direct" is a client that knows the cluster. Adapters (adapter.go)
// bring other proxies. Every round measures all contenders of a case in another order, so that a busy moment of a shared machine hits
// each of them in turn; only medians and ratios of one run mean anything.
//
//	cases.go      what is measured: commands, sizes, clients, nodes, and the sets
//	bars.go       what slotproxy must meet
//	contender.go  who is measured; proxies.go starts them, world.go the servers
//	measure.go    rounds and figures
//	report.go     Markdown; html.go and plot.go the page
//	rates.go      open loads, at shares of what slotproxy can do
//	collector.go  what the garbage collector did meanwhile
//	profile.go    where the processor time goes, also for the compiler (make pgo); perf.go, flame.go as a drawing (make flame)
//
// Loads are closed, the next command waits for the reply, but for those that have a rate.
package main
