// Package testcluster runs real servers for tests, benches and the playground: a cluster of primaries, replicas
// and empty nodes, or one standalone server, of any version that scripts/servers.sh brought or that is on the PATH.
//
//	Versions() --> Start(Options) --> Cluster{Nodes} --> Kill, Freeze, Restart, Reshard ... --> Stop
//	                                     |
//	                                     +-- node: one server process, its folder, its two ports
//
// It is not a driver: its client speaks just enough RESP2 to form and watch a cluster, one command at a time.
// It imports nothing of slotproxy, so that a mistake in resp or router cannot hide itself in the tests of both.
//
// Ownership: a Cluster owns its processes and, when Options.Dir is empty, its folder; Stop ends and removes them.
// On Linux the servers also die with this process, however it ends (process_linux.go). All methods may be called
// from several goroutines.
package testcluster
