package engine

import (
	"strings"

	"slotproxy/migrate/machine"
)

// texts says what an error of a node means for a step that does not look at it more closely. The first row whose text is
// in the error counts. Texts of Redis 7.0 and of Valkey 8.0 to 9.1; other releases say the same or get the last line of
// classify, which is the careful one.
var texts = []struct {
	has     string
	outcome machine.Outcome
}{
	// What the coordinator's user may not do will not change by trying again.
	{"NOPERM", machine.Fatal},
	{"NOAUTH", machine.Fatal},
	{"WRONGPASS", machine.Fatal},
	{"unknown command", machine.Fatal},
	{"This instance has cluster support disabled", machine.Fatal},

	// The node is busy, or its replicas have not confirmed in time. Not applied.
	{"NOREPLICAS", machine.Again},
	{"BUSY ", machine.Again}, // a script runs; not BUSYKEY, BUSYGROUP
	{"LOADING", machine.Again},
	{"TRYAGAIN", machine.Again},
	{"CLUSTERDOWN", machine.Again},
	{"MASTERDOWN", machine.Again},
	{"UNBLOCKED", machine.Unknown}, // SETSLOT was waiting for replicas when the node changed its role

	// Valkey 9: an atomic migration of any slot on this node keeps SETSLOT out, also one of ours that failed and is being
	// cleaned up; and open slots keep migrations out.
	{"Slot import in progress", machine.Again},
	{"Slot export in progress", machine.Again},
	{"Slots are being manually", machine.Again},
	{"I am already migrating slot", machine.Unknown},
	{"Slots are not served by this node", machine.Unknown},

	// Memory. Before the commands that a script might have forged.
	{"OOM", machine.Blocked},

	// Who owns what has changed.
	{"I'm not the owner of hash slot", machine.Unknown},
	{"I'm already the owner of hash slot", machine.Unknown},
	{"while I still hold keys for this hash slot", machine.Unknown},
	{"Target instance replied with error: MOVED", machine.Unknown},
	{"Target instance replied with error: ASK", machine.Unknown},
	{"IOERR", machine.Unknown},

	// Roles and membership.
	{"READONLY", machine.NodeLost},
	{"Please use SETSLOT only with masters", machine.NodeLost},
	{"Target node is not a master", machine.NodeLost},
	{"I don't know about node", machine.NodeLost},
	{"Unknown node", machine.NodeLost},

	// Payloads of a newer server.
	{"DUMP payload version or checksum are wrong", machine.Blocked},
	{"Bad data format", machine.Blocked},
	{"BUSYKEY", machine.Blocked},
}

// classify tells what an error reply means for the step that got it.
func classify(reply string) machine.Outcome {
	for _, row := range texts {
		if strings.Contains(reply, row.has) {
			return row.outcome
		}
	}
	return machine.Unknown
}

// messages says what the message of a failed atomic migration means. The first row whose text is in it counts; anything
// else is tried again.
var messages = []struct {
	has     string
	outcome machine.Outcome
	assist  bool // the next attempt holds writes back
}{
	// The nodes have no credentials for each other, or wrong ones; MIGRATE can bring them along.
	{"AUTH", machine.Switch, false},
	{"unauthenticated", machine.Switch, false},
	{"WRONGPASS", machine.Switch, false},
	{"NOPERM", machine.Switch, false},
	{"unknown subcommand", machine.Switch, false},
	{"Unknown subcommand", machine.Switch, false},
	{"OOM", machine.Blocked, false},
	{"out of memory", machine.Blocked, false},
	{"invalid CRLF", machine.Again, true},
	{"Protocol error", machine.Again, true},
}
