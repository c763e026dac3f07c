// Package machine decides what happens next in a job. It has no network, no clock and no goroutines: events go in, effects
// come out, and whoever drives it carries them out in order.
package machine
