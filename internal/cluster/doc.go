// Package cluster is the control plane's way to the nodes: topology, the command table, what a server says of itself.
// It is the only importer of valkey-go, and never carries client bytes.
//
//	router.Keeper --Nodes--> Source --> one valkey-go client a node --> checked conn --> node
//	 every table --> Functions --^
//
// valkey-go parses replies into trees and trusts lengths it reads, in goroutines of its own where nobody can recover.
// So every byte it reads has passed resp.Framer first (checked.go); a node that talks nonsense costs a connection.
//
// Ownership: a Source owns its clients; all methods are safe for concurrent use.
package cluster
