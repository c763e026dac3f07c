// Package migrate is the coordinator: it moves slots between the nodes of a cluster while clients work.
//
//	goal --plan--> Plan --> Coordinator: one job at a time
//	                           |  events            effects
//	                           +--> machine.Step ----------+   pure: no time, no network, no goroutines
//	                           ^                           |
//	                           |      journal.Append <-----+   durable before the step that it announces
//	                           +----- engine.Run     <-----+   one step of one unit on real nodes, Gate around it
//
// Rooms: plan (what should move), machine (what happens next), journal (what was meant, on disk), engine (how a step is
// done on servers of each version). This package joins them, and holds what concerns the whole cluster: check, fix,
// create, add and remove nodes.
//
// It never imports proxy: the data path is behind Gate and Load, nodes are behind engine.Nodes.
package migrate
