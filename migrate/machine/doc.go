// Package machine decides what a job does next. It is pure: no time, no network, no goroutines, no chance; the same events
// give the same effects. What it knows comes in as events, what it wants goes out as effects.
//
//	pending slots --cut--> unit --Prepare--> its turn? --path of its engine--> done
//	   machine.go: jobs       |                          legacy.go, atomic.go
//	   cut.go: sizes          +<-- retry.go: a step that did not end well: again, look, roll back, split, give up
//	   schedule.go: turns     +<-- restore.go: from Looks, or from a journal: where does a unit go on?
//
// What must hold, whatever happens (sim_test.go tries):
//   - A step that changes the cluster stands behind its record in the same list of effects.
//   - Nobody waits with a gate closed: a unit that holds is released before it waits.
//   - Close only where the target has no key of the slots and owns none of them; Commit only after Move is done.
//   - A job that ends has left nothing open, or its reason names the slots.
//   - Everything is tried a bounded number of times.
//
// The coordinator writes JobCreated; all other records come from here.
package machine
