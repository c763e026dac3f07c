package migrate

import (
	"slotproxy/migrate/journal"
	"slotproxy/migrate/machine"
)

// newCore makes what decides: a fresh job, or one that goes on after its records.
func newCore(spec machine.Spec, records []journal.Record) core {
	if records == nil {
		return machine.New(spec)
	}
	return machine.Restore(spec, records)
}

func (c *Coordinator) newEngine(*drive) runner { panic("not there yet") }
