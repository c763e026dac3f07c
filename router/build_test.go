package router

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// mustBuild builds and checks a table.
func mustBuild(t *testing.T, views ...*View) *Table {
	t.Helper()
	table, err := Build(views)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	checkTable(t, table)
	return table
}

// ownerOf returns the letter of the node that owns a slot, "-" for none.
func ownerOf(table *Table, slot uint16) string {
	if n := table.Node(slot); n != nil {
		return n.ID[:1]
	}
	return "-"
}

// Lines of nodes at their addresses. Each is followed by flags, primary and so on.
const (
	lineA = "$A 10.0.0.1:7000@1 "
	lineB = "$B 10.0.0.2:7000@1 "
	lineC = "$C 10.0.0.3:7000@1 "
	lineD = "$D 10.0.0.4:7000@1 "
)

func TestBuildDecidesWhoOwnsASlot(t *testing.T) {
	tests := []struct {
		name  string
		views [][]string
		want  string // owner of slot 7
	}{
		{"one view is believed", [][]string{
			{lineA + "myself,master - 0 0 1 connected 0-100", lineB + "master - 0 0 2 connected 101-200"}}, "a"},
		{"the higher epoch wins over the old owner's own line", [][]string{
			{lineA + "myself,master - 0 0 1 connected 7", lineB + "master - 0 0 2 connected"},
			{lineA + "master - 0 0 1 connected", lineB + "myself,master - 0 0 2 connected 7"}}, "b"},
		{"gossip that is behind does not count against the owner's denial", [][]string{
			{lineA + "myself,master - 0 0 5 connected", lineB + "master - 0 0 2 connected 7", lineC + "master - 0 0 1 connected"},
			{lineA + "master - 0 0 5 connected 7", lineB + "master - 0 0 2 connected", lineC + "myself,master - 0 0 1 connected"}}, "b"},
		{"an epoch that rose since does not strengthen an old claim", [][]string{
			{lineA + "master - 0 0 1 connected 7", lineB + "master - 0 0 2 connected", lineC + "myself,master - 0 0 3 connected"},
			{lineA + "master - 0 0 9 connected", lineB + "master - 0 0 2 connected 7", lineD + "myself,master - 0 0 4 connected", lineC + "master - 0 0 3 connected"}}, "b"},
		{"a replica that took over is believed before the others heard of it", [][]string{
			{lineA + "master,fail - 0 0 1 connected 7", lineB + "slave $A 0 0 1 connected", lineC + "myself,master - 0 0 2 connected"},
			{lineA + "master,fail - 0 0 1 connected", lineB + "myself,master - 0 0 3 connected 7", lineC + "master - 0 0 2 connected"}}, "b"},
		{"of equal epochs the own word counts", [][]string{
			{lineA + "master - 0 0 1 connected 7", lineB + "master - 0 0 1 connected", lineC + "myself,master - 0 0 2 connected"},
			{lineA + "master - 0 0 1 connected", lineB + "myself,master - 0 0 1 connected 7", lineC + "master - 0 0 2 connected"}}, "b"},
		{"nobody", [][]string{{lineA + "myself,master - 0 0 1 connected 8"}}, "-"},
		{"an owner without address is none", [][]string{
			{lineA + "myself,master - 0 0 1 connected 8", "$B :0@0 master,noaddr - 0 0 2 connected 7"}}, "-"},
	}
	for _, tt := range tests {
		var views []*View
		for _, lines := range tt.views {
			views = append(views, mustParse(t, "10.0.0.9:7000", lines...))
		}
		if got := ownerOf(mustBuild(t, views...), 7); got != tt.want {
			t.Errorf("%s: slot 7 belongs to %s, want %s", tt.name, got, tt.want)
		}
		rand.Shuffle(len(views), func(i, j int) { views[i], views[j] = views[j], views[i] })
		if got := ownerOf(mustBuild(t, views...), 7); got != tt.want {
			t.Errorf("%s, views in another order: slot 7 belongs to %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestBuildDecidesWhoBelongsToTheCluster(t *testing.T) {
	full := []string{lineA + "myself,master - 0 0 1 connected 0-16383", lineB + "slave $A 0 0 1 connected"}
	asB := []string{lineA + "master - 0 0 1 connected 0-16383", lineB + "myself,slave $A 0 0 1 connected"}
	tests := []struct {
		name  string
		views [][]string
		want  string
	}{
		{"a lonely seed is left out", [][]string{full, {lineD + "myself,master - 0 0 9 connected"}}, "ab"},
		{"also when it answers first", [][]string{{lineD + "myself,master - 0 0 9 connected"}, full}, "ab"},
		{"a node that two of three forgot is gone", [][]string{full, asB,
			{lineA + "master - 0 0 1 connected 0-16383", lineB + "slave $A 0 0 1 connected", lineC + "myself,slave $A 0 0 1 connected", lineD + "master - 0 0 2 connected"}}, "abc"},
		{"a node that was asked is in, though only it knows of itself yet", [][]string{full,
			{lineA + "master - 0 0 1 connected 0-16383", lineB + "slave $A 0 0 1 connected", lineD + "myself,master - 0 0 0 connected"}}, "abd"},
		{"of two nodes at one address the failed one is a memory", [][]string{
			{lineA + "myself,master - 0 0 1 connected 0-16383", lineB + "master,fail - 0 0 3 disconnected", "$C 10.0.0.2:7000@1 master - 0 0 0 connected"}}, "ac"},
		{"a node asked at two addresses counts once", [][]string{full, full, full, asB}, "ab"},
	}
	for _, tt := range tests {
		var views []*View
		for _, lines := range tt.views {
			views = append(views, mustParse(t, "10.0.0.9:7000", lines...))
		}
		got := ""
		for _, n := range mustBuild(t, views...).Nodes {
			got += n.ID[:1]
		}
		if got != tt.want {
			t.Errorf("%s: nodes %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestBuildKnowsRolesFailuresAndAddresses(t *testing.T) {
	table := mustBuild(t,
		mustParse(t, "localhost:7000",
			"$A :7000@1 myself,master - 0 0 1 connected 0-16383", lineB+"master - 0 0 3 connected", lineC+"master,fail - 0 0 2 disconnected"),
		mustParse(t, "10.0.0.2:7000",
			lineA+"master,fail? - 0 0 1 connected 0-16383", lineB+"myself,slave $A 0 0 3 connected", lineC+"master,fail - 0 0 2 disconnected"))
	want := []Node{
		{ID: idA, Addr: "10.0.0.1:7000", Host: "10.0.0.1", Port: 7000, Primary: true, Epoch: 1, Slots: Slots},
		{ID: idB, Addr: "10.0.0.2:7000", Host: "10.0.0.2", Port: 7000, PrimaryID: idA, Epoch: 3},
		{ID: idC, Addr: "10.0.0.3:7000", Host: "10.0.0.3", Port: 7000, Primary: true, Failed: true, Epoch: 2},
	}
	for i := range want {
		if table.Nodes[i] != want[i] {
			t.Errorf("node %d = %+v, want %+v", i, table.Nodes[i], want[i])
		}
	}
	if got := table.Primaries(); len(got) != 1 || got[0] != 0 {
		t.Errorf("Primaries() = %v, want only the first node: one is a replica, one has failed", got)
	}
}

func TestOfTwoOpinionsAboutANodeTheNewerCounts(t *testing.T) {
	behind := []string{lineA + "myself,master - 0 0 2 connected 0-16383", lineC + "master - 0 0 1 connected", lineB + "slave $A 0 0 2 connected"}
	informed := []string{lineA + "master - 0 0 2 connected 0-16383", lineC + "slave $A 0 0 2 connected", lineB + "myself,slave $A 0 0 2 connected"}
	for _, lines := range [][][]string{{behind, informed}, {informed, behind}} {
		table := mustBuild(t, mustParse(t, "x:1", lines[0]...), mustParse(t, "x:1", lines[1]...))
		if n := table.Nodes[table.ByID(idC)]; n.Primary || n.PrimaryID != idA {
			t.Errorf("node %+v, want a replica: that opinion has the higher epoch", n)
		}
	}
}

func TestBuildKnowsOpenSlots(t *testing.T) {
	source := lineA + "myself,master - 0 0 1 connected 0-16383 [7->-$B]"
	notMoving := lineA + "myself,master - 0 0 1 connected 0-16383"
	otherA := lineA + "master - 0 0 1 connected 0-16383"
	target := lineB + "myself,master - 0 0 2 connected [7-<-$A]"
	otherB := lineB + "master - 0 0 2 connected"
	open := map[uint16]Open{7: {Source: idA, Target: idB}}
	tests := []struct {
		name  string
		views [][]string
		want  map[uint16]Open
	}{
		{"the source says so", [][]string{{source, otherB}}, open},
		{"both say so", [][]string{{source, otherB}, {otherA, target}}, open},
		{"only the target was asked", [][]string{{otherA, target}}, open},
		{"a forgotten mark of the target", [][]string{{notMoving, otherB}, {otherA, target}}, nil},
		{"a mark that outlived the move", [][]string{
			{lineA + "myself,master - 0 0 1 connected 0-6 [7->-$B]", lineB + "master - 0 0 3 connected 7"}}, nil},
	}
	for _, tt := range tests {
		var views []*View
		for _, lines := range tt.views {
			views = append(views, mustParse(t, "10.0.0.9:7000", lines...))
		}
		if got := mustBuild(t, views...).Open; !maps.Equal(got, tt.want) {
			t.Errorf("%s: open slots %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBuildRefusesNothing(t *testing.T) {
	for _, views := range [][]*View{nil, {nil}, {{Myself: idA}}} {
		if _, err := Build(views); err == nil {
			t.Errorf("Build(%v) succeeds, want an error", views)
		}
	}
}

func TestByAddrFindsEveryNameOfANode(t *testing.T) {
	table := &Table{Nodes: []Node{
		{ID: idA, Addr: "127.0.0.1:16379", Host: "10.0.0.1", Hostname: "a.example", Port: 7000, Primary: true},
		{ID: idB, Addr: "[::1]:7000", Host: "::1", Port: 7000},
		{ID: idC, Addr: "10.0.0.3:7000", Host: "10.0.0.3", Port: 7000, Primary: true, Failed: true},
		{ID: idD, Addr: "10.0.0.3:7000", Host: "10.0.0.3", Port: 7000},
	}}
	tests := []struct {
		addr string
		want int
	}{
		{"127.0.0.1:16379", 0}, // to dial, after the map of addresses
		{"10.0.0.1:7000", 0},   // announced
		{"a.example:7000", 0},
		{"10.0.0.1:16379", -1},
		{"[::1]:7000", 1},
		{"::1:7000", 1},
		{"10.0.0.3:7000", 3}, // the one that has not failed
		{"", -1}, {":7000", -1}, {"?:7000", -1}, {"a.example", -1}, {"10.0.0.1:70000", -1}, {"10.0.0.1:07000", -1},
	}
	for _, tt := range tests {
		if got := table.ByAddr(tt.addr); got != tt.want {
			t.Errorf("ByAddr(%q) = %d, want %d", tt.addr, got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { table.ByAddr("10.0.0.3:7000") }); n != 0 {
		t.Errorf("ByAddr allocates %v times, want 0", n)
	}
}

func TestRandomViewsGiveSoundTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := []string{idA, idB, idC, idD}
	for range 300 {
		var views []*View
		for range 1 + rng.IntN(4) {
			views = append(views, randomView(rng, ids))
		}
		checkTable(t, mustBuild(t, views...))
	}
}

// randomView makes a view as no healthy cluster would give it.
func randomView(rng *rand.Rand, ids []string) *View {
	v := &View{Myself: ids[rng.IntN(len(ids))], open: map[uint16]Open{}}
	for _, id := range ids {
		if id == v.Myself || rng.IntN(3) > 0 {
			n := Node{ID: id, Addr: id + ":1", Host: id, Port: 1, Primary: rng.IntN(2) == 0, Epoch: rng.Uint64N(5)}
			v.Nodes = append(v.Nodes, ViewNode{Node: n, Guessed: rng.IntN(2) == 0})
		}
	}
	for slot := range v.owner {
		v.owner[slot] = int16(rng.IntN(len(v.Nodes)+1) - 1)
		if at := v.owner[slot]; at >= 0 {
			v.Nodes[at].Slots++
		}
	}
	for range rng.IntN(5) {
		v.open[uint16(rng.IntN(Slots))] = Open{Source: ids[rng.IntN(len(ids))], Target: ids[rng.IntN(len(ids))]}
	}
	return v
}
