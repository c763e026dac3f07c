package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"slotproxy/migrate/machine"
)

func TestRepliesOfServersMeanWhatTheyMean(t *testing.T) {
	const remote = "ERR Target instance replied with error: "
	for reply, want := range map[string]machine.Outcome{
		"NOREPLICAS Not enough good replicas to write.":                                                machine.Again,
		"TRYAGAIN Multiple keys request during rehashing of slot":                                      machine.Again,
		"LOADING Valkey is loading the dataset in memory":                                              machine.Again,
		"BUSY Redis is busy running a script.":                                                         machine.Again,
		"ERR Slot import in progress.":                                                                 machine.Again,
		remote + "CLUSTERDOWN The cluster is down":                                                     machine.Again,
		"ERR I'm not the owner of hash slot 5":                                                         machine.Unknown,
		"ERR I'm already the owner of hash slot 5":                                                     machine.Unknown,
		"ERR Can't assign hashslot 5 to a different node while I still hold keys for this hash slot.":  machine.Unknown,
		"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)": machine.Unknown,
		"IOERR error or timeout reading to target instance":                                            machine.Unknown,
		remote + "MOVED 5 127.0.0.1:7001":                                                              machine.Unknown,
		"a text that no server has said so far":                                                        machine.Unknown,
		"ERR Unknown node 0123":                                                                        machine.NodeLost,
		"ERR I don't know about node 0123":                                                             machine.NodeLost,
		"ERR Please use SETSLOT only with masters.":                                                    machine.NodeLost,
		"ERR Target node is not a master":                                                              machine.NodeLost,
		remote + "READONLY You can't write against a read only replica.":                               machine.NodeLost,
		remote + "OOM command not allowed when used memory > 'maxmemory'.":                             machine.Blocked,
		remote + "ERR DUMP payload version or checksum are wrong":                                      machine.Blocked,
		remote + "BUSYKEY Target key name already exists.":                                             machine.Blocked,
		remote + "WRONGPASS invalid username-password pair or user is disabled.":                       machine.Fatal,
		"NOPERM User mover has no permissions to run the 'cluster|setslot' command":                    machine.Fatal,
		"ERR unknown command 'CLUSTER', with args beginning with: 'SETSLOT'":                           machine.Fatal,
		"NOAUTH Authentication required.":                                                              machine.Fatal,
	} {
		if got := classify(reply); got != want {
			t.Errorf("%q: outcome %d, want %d", reply, got, want)
		}
	}
}

func TestAnErrorWithoutAnAnswerLeavesInDoubtOnlyWhatMayHaveChanged(t *testing.T) {
	broken := errors.New("connection reset")
	for _, tc := range []struct {
		err     error
		changes bool
		want    machine.Outcome
	}{
		{nil, true, machine.Done},
		{broken, true, machine.Unknown},
		{broken, false, machine.NodeLost},
		{fmt.Errorf("while: %w", fail(machine.Blocked, "no")), true, machine.Blocked},
		{&refusal{"a:1", "MIGRATE", "NOREPLICAS"}, true, machine.Again},
	} {
		if got, _ := outcome(tc.err, tc.changes); got != tc.want {
			t.Errorf("%v of a step that changes something %v: outcome %d, want %d", tc.err, tc.changes, got, tc.want)
		}
	}
}

func TestSlotsAreNamedInRanges(t *testing.T) {
	for _, tc := range []struct {
		slots []uint16
		want  string
	}{{nil, ""}, {[]uint16{7}, "7"}, {[]uint16{9, 5, 3, 4}, "3-5 9"}, {[]uint16{0, 1, 16383}, "0-1 16383"}} {
		if got := named(tc.slots); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.slots, got, tc.want)
		}
	}
	if got := tidy("3-5 9-9 100-101"); got != "3-5 9 100-101" {
		t.Errorf("as a server writes it: %q", got)
	}
}

func TestConnectionsThatMayStillDoSomethingAreSuspect(t *testing.T) {
	list := strings.Join([]string{
		"id=1 addr=a:1 name= idle=0 flags=N qbuf=0 cmd=restore-asking user=default",
		"id=2 addr=a:2 name= idle=5 flags=N qbuf=0 cmd=restore-asking user=default",
		"id=3 addr=a:3 name= idle=0 flags=N qbuf=0 cmd=NULL user=default",
		"id=4 addr=a:4 name=app idle=0 flags=N qbuf=0 cmd=select user=default",
		"id=5 addr=a:5 name=x idle=0 flags=N qbuf=900 cmd=migrate user=default",
		"id=6 addr=a:6 name=x idle=0 flags=N qbuf=0 cmd=migrate user=default",
		"id=7 addr=a:7 name=x idle=0 flags=b qbuf=0 cmd=cluster|setslot user=default",
		"id=8 addr=a:8 name=x idle=0 flags=N qbuf=26 cmd=client|list user=default",
		"",
	}, "\n")
	if got := slices.Sorted(maps.Keys(restoring(list))); !slices.Equal(got, []string{"1", "3"}) {
		t.Errorf("restoring: %v", got)
	}
	if got := slices.Sorted(maps.Keys(commanded(list))); !slices.Equal(got, []string{"5", "7"}) {
		t.Errorf("commanded: %v", got)
	}
}

func TestAVersionIsComparedByItsMaker(t *testing.T) {
	for _, tc := range []struct {
		f    facts
		want bool
	}{
		{facts{valkey: true, version: [3]int{8, 0, 1}}, true},
		{facts{valkey: true, version: [3]int{7, 2, 5}}, false},
		{facts{valkey: true, version: [3]int{9, 1, 0}}, true},
		{facts{version: [3]int{8, 4, 0}}, false}, // Redis 8 does not know SETSLOT ... TIMEOUT
	} {
		if got := tc.f.atLeast(8, 0); got != tc.want {
			t.Errorf("%v: %v", &tc.f, got)
		}
	}
}

func TestOnlyConnectionsOfMIGRATEAreClosed(t *testing.T) {
	clients := strings.Join([]string{
		"id=1 addr=10.0.0.1:5 name= idle=0 flags=N cmd=restore-asking",
		"id=2 addr=10.0.0.9:5 name= idle=9 flags=N cmd=restore-asking",
		"id=3 addr=10.0.0.1:6 name= idle=9 flags=N cmd=select",
		"id=4 addr=10.0.0.1:7 name= idle=9 flags=N cmd=auth",
		"id=5 addr=10.0.0.9:6 name= idle=0 flags=N cmd=select",
		"id=6 addr=10.0.0.1:8 name=app idle=0 flags=N cmd=select",
		"id=7 addr=10.0.0.1:9 name= idle=0 flags=N cmd=get",
		"id=8 addr=[::1]:9 name= idle=0 flags=S cmd=replconf", "",
	}, "\n")
	if got, want := migrating(clients, "10.0.0.1"), []string{"1", "2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("%v would be closed, want %v", got, want)
	}
}
