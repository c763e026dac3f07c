package repair_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"slotproxy/migrate/engine"
	"slotproxy/migrate/repair"
)

// What real nodes settle by themselves within a second, or show for a moment only, is told by scripted ones.

// script is a cluster that says what it is told to say: CLUSTER NODES by address, and keys of slot 7 by address.
type script struct {
	nodes   map[string]string
	keys    map[string]int64
	slot    map[string]string // what the keys are of, when it is not slot 7
	exports map[string][]any
	shards  map[string]string // what nodes call their shards, by address; none as of Redis 7.0
	sent    []string          // what changes something
	refuse  string            // what to refuse of that
	after   func(line string)
}

func (s *script) Do(_ context.Context, addr string, commands ...[]string) ([]any, error) {
	text, there := s.nodes[addr]
	if !there {
		return nil, errors.New("connection refused")
	}
	var out []any
	for _, c := range commands {
		switch line := strings.Join(c, " "); {
		case line == "CLUSTER NODES":
			out = append(out, text)
		case line == "INFO keyspace":
			out = append(out, fmt.Sprintf("# Keyspace\r\ndb0:keys=%d,expires=0\r\n", s.keys[addr]))
		case line == "CLUSTER GETSLOTMIGRATIONS" && s.exports[addr] != nil:
			out = append(out, s.exports[addr])
		case line == "CLUSTER MYSHARDID" && s.shards[addr] != "":
			out = append(out, s.shards[addr])
		case line == "TIME":
			out = append(out, []any{"1000", "0"})
		case strings.HasPrefix(line, "CLUSTER COUNTKEYSINSLOT"):
			n := int64(0)
			if c[2] == cmp.Or(s.slot[addr], "7") {
				n = s.keys[addr]
			}
			out = append(out, n)
		case strings.HasPrefix(line, "CLUSTER SETSLOT"), strings.HasPrefix(line, "CLUSTER BUMPEPOCH"), strings.HasPrefix(line, "CLUSTER ADDSLOTSRANGE"):
			s.sent = append(s.sent, addr+" "+line)
			if s.refuse != "" && strings.Contains(line, s.refuse) {
				out = append(out, engine.ServerError("ERR refused"))
				continue
			}
			if s.after != nil {
				s.after(addr + " " + line)
			}
			out = append(out, "OK")
		case strings.HasPrefix(line, "CLUSTER GETKEYSINSLOT"):
			out = append(out, []any{})
		case strings.HasPrefix(line, "SELECT"):
			out = append(out, "OK")
		default:
			out = append(out, engine.ServerError("ERR not in the script"))
		}
	}
	return out, nil
}

func (s *script) Session(_ context.Context, addr string) (engine.Session, error) {
	return scriptSession{s, addr}, nil
}
func (s *script) Login() (user, password string) { return "", "" }

type scriptSession struct {
	s    *script
	addr string
}

func (c scriptSession) Do(ctx context.Context, commands ...[]string) ([]any, error) {
	return c.s.Do(ctx, c.addr, commands...)
}
func (scriptSession) Close() {}

// Nodes a, b and c are primaries at ports 1 to 3, d is a replica of b at port 4.
var nodeIDs = []string{strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40), strings.Repeat("d", 40)}

// view writes CLUSTER NODES as node i gives it: the slots of each node, and what it shows of itself as open.
func view(i int, slots [3]string, open string) string {
	var b strings.Builder
	for k, id := range nodeIDs {
		flags, of, own := "master", "-", ""
		if k == 3 {
			flags, of = "slave", nodeIDs[1]
		} else {
			own = " " + slots[k]
		}
		if k == i {
			flags = "myself," + flags
			own += " " + open
		}
		fmt.Fprintf(&b, "%s 127.0.0.1:%d@1000%d %s %s 0 0 %d connected%s\n", id, k+1, k+1, flags, of, k+1, strings.TrimRight(own, " "))
	}
	return b.String()
}

// failed is a view in which b has failed, and its replica follows c.
func failed(view string) string {
	view = strings.Replace(view, "master - 0 0 2", "master,fail - 0 0 2", 1)
	return strings.Replace(view, "slave "+nodeIDs[1], "slave "+nodeIDs[2], 1)
}

func addrOf(i int) string { return "127.0.0.1:" + strconv.Itoa(i+1) }

func TestEachRowOfTheTableHasItsCommands(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	without := [3]string{"0-6 8-5000", "5001-10000", "10001-16383"}
	withB := [3]string{"0-6 8-5000", "7 5001-10000", "10001-16383"}
	onlyB := [3]string{"0-6 8-5000", "7", "5001-16383"}
	a, b := nodeIDs[0], nodeIDs[1]
	tests := []struct {
		name   string
		views  [4]string // "" does not answer
		keys   map[int]int64
		kind   string
		repair []string
	}{
		{"all is well", [4]string{view(0, calm, ""), view(1, calm, ""), view(2, calm, ""), view(3, calm, "")}, nil, "", nil},
		{"the owner is away", [4]string{"", view(1, calm, ""), view(2, calm, ""), view(3, calm, "")}, nil, "failed-owner", nil},
		{"the owner has failed, and its successor does not know of the slot", [4]string{failed(view(0, onlyB, "")), "", failed(view(2, onlyB, "")), failed(view(3, onlyB, ""))},
			map[int]int64{2: 1}, "no-owner", []string{addrOf(2) + " CLUSTER DELSLOTSRANGE 7 7", addrOf(2) + " CLUSTER ADDSLOTSRANGE 7 7", addrOf(2) + " CLUSTER BUMPEPOCH"}},
		{"the owner has failed, and nobody has what it had", [4]string{failed(view(0, onlyB, "")), "", failed(view(2, onlyB, "")), failed(view(3, onlyB, ""))},
			nil, "failed-owner", nil},
		{"the owner has failed, and its replica may follow", [4]string{view(0, onlyB, ""), "", view(2, onlyB, ""), view(3, onlyB, "")},
			map[int]int64{2: 1}, "failed-owner", nil},
		{"the owner has failed with all of its slots", [4]string{failed(view(0, withB, "")), "", failed(view(2, withB, "")), failed(view(3, withB, ""))},
			map[int]int64{2: 1}, "failed-owner", nil},
		{"two claims, the higher epoch counts", [4]string{view(0, calm, ""), view(1, withB, ""), view(2, calm, ""), view(3, calm, "")},
			map[int]int64{0: 2}, "two-owners", []string{
				addrOf(0) + " MIGRATE the keys of slot 7 that " + addrOf(1) + " does not have there, drop the rest, then CLUSTER SETSLOT 7 NODE " + b,
				addrOf(1) + " CLUSTER BUMPEPOCH"}},
		{"nobody claims it, one has keys", [4]string{view(0, without, ""), view(1, without, ""), view(2, without, ""), view(3, without, "")},
			map[int]int64{2: 1}, "no-owner", []string{addrOf(2) + " CLUSTER ADDSLOTSRANGE 7 7", addrOf(2) + " CLUSTER BUMPEPOCH"}},
		{"nobody claims it, two have keys", [4]string{view(0, without, ""), view(1, without, ""), view(2, without, ""), view(3, without, "")},
			map[int]int64{0: 1, 2: 1}, "no-owner", nil},
		{"the former owner still moves it", [4]string{view(0, withB, "[7->-"+b+"]"), view(1, withB, ""), view(2, withB, ""), view(3, withB, "")},
			nil, "stale-migrating", []string{addrOf(0) + " CLUSTER SETSLOT 7 STABLE, unless it has keys of it by then"}},
		{"the former owner still moves it and has keys", [4]string{view(0, withB, "[7->-"+b+"]"), view(1, withB, ""), view(2, withB, ""), view(3, withB, "")},
			map[int]int64{0: 3}, "stale-migrating", []string{addrOf(0) + " CLUSTER SETSLOT 7 IMPORTING " + b,
				addrOf(0) + " MIGRATE the keys of slot 7 that " + addrOf(1) + " does not have there, drop the rest", addrOf(0) + " CLUSTER SETSLOT 7 STABLE, unless it has keys of it by then"}},
		{"the owner imports it", [4]string{view(0, calm, "[7-<-"+b+"]"), view(1, calm, ""), view(2, calm, ""), view(3, calm, "")},
			nil, "stale-importing", []string{addrOf(0) + " CLUSTER SETSLOT 7 STABLE"}},
		{"to a node that is gone, a third has keys", [4]string{view(0, calm, "[7->-"+strings.Repeat("e", 40)+"]"), view(1, calm, ""), view(2, calm, ""), view(3, calm, "")},
			map[int]int64{2: 1}, "dead-target", []string{addrOf(2) + " CLUSTER SETSLOT 7 IMPORTING " + a, addrOf(0) + " CLUSTER SETSLOT 7 MIGRATING " + nodeIDs[2],
				addrOf(0) + " MIGRATE the keys of slot 7, then CLUSTER SETSLOT 7 NODE " + nodeIDs[2] + " everywhere"}},
		{"to a node that is gone, nobody has keys", [4]string{view(0, calm, "[7->-"+strings.Repeat("e", 40)+"]"), view(1, calm, ""), view(2, calm, ""), view(3, calm, "")},
			nil, "dead-target", []string{addrOf(0) + " CLUSTER SETSLOT 7 STABLE, unless another node has keys of it by then: they move on"}},
		{"to a node that does not answer", [4]string{view(0, calm, "[7->-"+b+"]"), "", view(2, calm, ""), view(3, calm, "")}, nil, "dead-target", nil},
		{"open on a replica only", [4]string{view(0, calm, ""), view(1, calm, ""), view(2, calm, ""), view(3, calm, "[7-<-"+a+"]")},
			nil, "open-on-replica", []string{addrOf(1) + " CLUSTER SETSLOT 7 STABLE"}},
		{"orphans", [4]string{view(0, calm, ""), view(1, calm, ""), view(2, calm, ""), view(3, calm, "")}, map[int]int64{1: 4}, "orphans", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{nodes: map[string]string{}, keys: map[string]int64{}}
			for i, v := range tt.views {
				if v != "" {
					s.nodes[addrOf(i)] = v
				}
			}
			for i, n := range tt.keys {
				s.keys[addrOf(i)] = n
			}
			d := &repair.Doctor{Nodes: s, Seeds: []string{addrOf(2)}, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)}
			if strings.HasPrefix(tt.name, "the owner has failed") {
				d.Meant = func(slot uint16) string { return map[uint16]string{7: b}[slot] }
			}
			r, err := d.Check(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if tt.kind == "" {
				if !r.OK || !r.Agree || r.Covered != 16384 {
					t.Errorf("got %+v, want a healthy cluster", r)
				}
				return
			}
			f := find(r, tt.kind)
			if f == nil {
				t.Fatalf("got %+v, want %s", r.Findings, tt.kind)
			}
			if !slices.Equal(f.Repair, tt.repair) {
				t.Errorf("got repair\n  %s\nwant\n  %s", strings.Join(f.Repair, "\n  "), strings.Join(tt.repair, "\n  "))
			}
		})
	}
}

func TestAnExportThatHearsNothingIsCancelled(t *testing.T) {
	calm := [3]string{"0-5000", "5001-10000", "10001-16383"}
	s := &script{nodes: map[string]string{}, exports: map[string][]any{}}
	for i := range nodeIDs {
		s.nodes[addrOf(i)] = view(i, calm, "")
	}
	job := func(state, ack string) []any {
		return []any{"name", "x", "operation", "EXPORT", "slot_ranges", "1-5", "target_node", nodeIDs[1], "state", state, "last_ack_time", ack}
	}
	for _, tt := range []struct {
		state, ack string
		stuck      bool
	}{{"replicating", "990", false}, {"replicating", "900", true}, {"failover-granted", "900", false}, {"success", "900", false}} {
		s.exports[addrOf(0)] = []any{job(tt.state, tt.ack)}
		r, err := (&repair.Doctor{Nodes: s, Seeds: []string{addrOf(0)}, Log: slog.New(slog.DiscardHandler)}).Check(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		f := find(r, "stuck-export")
		if (f != nil) != tt.stuck || f != nil && !slices.Equal(f.Repair, []string{addrOf(0) + " CLUSTER CANCELSLOTMIGRATIONS"}) {
			t.Errorf("%s, heard at %s of 1000: got %+v, stuck is %v", tt.state, tt.ack, f, tt.stuck)
		}
	}
}
