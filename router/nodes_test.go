package router

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// IDs of nodes in tests: forty times one digit.
var (
	idA = strings.Repeat("a", nodeIDLen)
	idB = strings.Repeat("b", nodeIDLen)
	idC = strings.Repeat("c", nodeIDLen)
	idD = strings.Repeat("d", nodeIDLen)
)

// nodesText writes a CLUSTER NODES reply in short form: A, B, C and D stand for the IDs.
func nodesText(lines ...string) []byte {
	text := strings.Join(lines, "\n") + "\n"
	return []byte(strings.NewReplacer("$A", idA, "$B", idB, "$C", idC, "$D", idD).Replace(text))
}

func mustParse(t *testing.T, asked string, lines ...string) *View {
	t.Helper()
	v, err := ParseNodes(nodesText(lines...), asked)
	if err != nil {
		t.Fatalf("ParseNodes: %v\n%s", err, nodesText(lines...))
	}
	return v
}

func TestParseNodesOfARealCluster(t *testing.T) {
	// Valkey 9.1 with host names and an IPv6 address, one slot on its way from the node asked.
	v := mustParse(t, "127.0.0.1:17901",
		"$B ::1:17902@27902,host2.example master - 0 1795240615649 2 connected 8001-16383",
		"$A 127.0.0.1:17901@27901,host1.example myself,master - 0 0 0 connected 0-8000 [93->-$B] [94-<-$B]",
		"$C 127.0.0.1:17903@27903,host3.example,shard-id=$D slave $A 0 1795240615548 1 disconnected",
		"$D 127.0.0.1:17904@27904 master,fail - 1795240615548 1795240615548 3 connected")
	if v.Myself != idA || len(v.Nodes) != 4 {
		t.Fatalf("asked node %s and %d nodes, want %s and 4", v.Myself, len(v.Nodes), idA)
	}
	want := []ViewNode{
		{Node: Node{ID: idB, Addr: "[::1]:17902", Host: "::1", Hostname: "host2.example", Port: 17902, Primary: true, Epoch: 2, Slots: 8383}, Linked: true},
		{Node: Node{ID: idA, Addr: "127.0.0.1:17901", Host: "127.0.0.1", Hostname: "host1.example", Port: 17901, Primary: true, Slots: 8001}, Linked: true},
		{Node: Node{ID: idC, Addr: "127.0.0.1:17903", Host: "127.0.0.1", Hostname: "host3.example", Port: 17903, PrimaryID: idA, Epoch: 1}},
		{Node: Node{ID: idD, Addr: "127.0.0.1:17904", Host: "127.0.0.1", Port: 17904, Primary: true, Failed: true, Epoch: 3}, Linked: true},
	}
	for i := range want {
		if v.Nodes[i] != want[i] {
			t.Errorf("node %d = %+v, want %+v", i, v.Nodes[i], want[i])
		}
	}
	open := map[uint16]Open{93: {Source: idA, Target: idB}, 94: {Source: idB, Target: idA}}
	if !maps.Equal(v.open, open) {
		t.Errorf("open slots %v, want %v", v.open, open)
	}
	for slot, at := range map[int]int16{0: 1, 8000: 1, 8001: 0, 16383: 0} {
		if v.owner[slot] != at {
			t.Errorf("slot %d belongs to node %d, want %d", slot, v.owner[slot], at)
		}
	}
}

func TestParseNodesAddresses(t *testing.T) {
	tests := []struct {
		name, field, flags, asked string
		addr, hostname            string // addr "" if the node is left out
	}{
		{"plain", "10.0.0.1:7000@17000", "master", "x:1", "10.0.0.1:7000", ""},
		{"without bus port", "10.0.0.1:7000", "master", "x:1", "10.0.0.1:7000", ""},
		{"ipv6 without brackets", "::1:7000@17000", "master", "x:1", "[::1]:7000", ""},
		{"ipv6 with brackets", "[fe80::1]:7000@17000", "master", "x:1", "[fe80::1]:7000", ""},
		{"host name", "10.0.0.1:7000@17000,a.example", "master", "x:1", "10.0.0.1:7000", "a.example"},
		{"host name and more", "10.0.0.1:7000@17000,a.example,shard-id=7,tls-port=0", "master", "x:1", "10.0.0.1:7000", "a.example"},
		{"no host name but more", "10.0.0.1:7000@17000,,shard-id=7", "master", "x:1", "10.0.0.1:7000", ""},
		{"no host name and no place for it", "10.0.0.1:7000@17000,shard-id=7", "master", "x:1", "10.0.0.1:7000", ""},
		{"myself without address", ":7000@17000", "myself,master", "proxy.example:7009", "proxy.example:7000", ""},
		{"myself without address, asked by ipv6", ":7000@17000", "myself,master", "[::1]:7009", "[::1]:7000", ""},
		{"other without address", ":7000@17000", "master", "x:1", "", ""},
		{"unknown address", "?:7000@17000", "master", "x:1", "", ""},
		{"noaddr", "10.0.0.1:7000@17000", "master,noaddr", "x:1", "", ""},
		{"port 0", ":0@0", "master,fail,noaddr", "x:1", "", ""},
		{"handshake", "10.0.0.1:7000@17000", "handshake", "x:1", "", ""},
	}
	for _, tt := range tests {
		lines := []string{"$B " + tt.field + " " + tt.flags + " - 0 0 1 connected 5"}
		if !strings.Contains(tt.flags, "myself") {
			lines = append(lines, "$A 10.0.0.9:1@2 myself,master - 0 0 0 connected")
		}
		v := mustParse(t, tt.asked, lines...)
		n := Node{}
		for i := range v.Nodes {
			if v.Nodes[i].ID == idB {
				n = v.Nodes[i].Node
			}
		}
		if n.Addr != tt.addr || n.Hostname != tt.hostname && n.Addr != "" {
			t.Errorf("%s: address %q, host name %q, want %q, %q", tt.name, n.Addr, n.Hostname, tt.addr, tt.hostname)
		}
		if owned := v.owner[5] >= 0; owned != (tt.addr != "") {
			t.Errorf("%s: slot 5 has an owner: %v", tt.name, owned)
		}
	}
}

func TestParseNodesRefusesDamage(t *testing.T) {
	me := "$A 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5"
	tests := []struct{ name, text string }{
		{"nothing", ""},
		{"an error", "ERR no"},
		{"no line of its own", "$B 10.0.0.2:7000@17000 master - 0 0 1 connected"},
		{"two lines of its own", me + "\n$B 10.0.0.2:7000@17000 myself,master - 0 0 1 connected"},
		{"a node twice", me + "\n$A 10.0.0.2:7000@17000 master - 0 0 1 connected"},
		{"short id", "aaaa 10.0.0.1:7000@17000 myself,master - 0 0 1 connected"},
		{"id in capitals", strings.Repeat("A", 40) + " 10.0.0.1:7000@17000 myself,master - 0 0 1 connected"},
		{"cut off in the middle", me + "\n$B 10.0.0.2:7000@17000 master -"},
		{"port too large", "$A 10.0.0.1:70000@1 myself,master - 0 0 1 connected"},
		{"port with a sign", "$A 10.0.0.1:+7000@1 myself,master - 0 0 1 connected"},
		{"no port", "$A 10.0.0.1 myself,master - 0 0 1 connected"},
		{"long host name", "$A 10.0.0.1:1@1," + strings.Repeat("x", 256) + " myself,master - 0 0 1 connected"},
		{"negative epoch", "$A 10.0.0.1:7000@17000 myself,master - 0 0 -1 connected"},
		{"strange link", "$A 10.0.0.1:7000@17000 myself,master - 0 0 1 5-6"},
		{"strange primary", "$A 10.0.0.1:7000@17000 myself,slave x 0 0 1 connected"},
		{"slot too large", me + " 16384"},
		{"range backwards", me + " 9-8"},
		{"range without end", me + " 9-"},
		{"slot of two owners", me + "\n$B 10.0.0.2:7000@17000 master - 0 0 1 connected 5-6"},
		{"slot twice", me + " 5"},
		{"open slot of another node", me + "\n$B 10.0.0.2:7000@17000 master - 0 0 1 connected [9->-$A]"},
		{"open slot without node", me + " [9->-]"},
		{"open slot without end", me + " [9->-$B"},
		{"open slot too large", me + " [16384->-$B]"},
		{"too many nodes", strings.Repeat(me+"\n", maxNodes+1)},
		{"too long", strings.Repeat("\n", maxNodesReply+1)},
	}
	for _, tt := range tests {
		if v, err := ParseNodes(nodesText(tt.text), "10.0.0.1:7000"); err == nil {
			t.Errorf("%s: got %d nodes, want an error", tt.name, len(v.Nodes))
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: error of %d bytes", tt.name, len(err.Error()))
		}
	}
}

// FuzzParseNodes looks for input that ends the process or gives a view that contradicts itself.
func FuzzParseNodes(f *testing.F) {
	f.Add(string(nodesText("$A 10.0.0.1:7000@17000,h myself,master - 0 0 1 connected 0-5 7 [9->-$B] [10-<-$B]",
		"$B ::1:7000@17000 slave,fail? $A 0 0 1 disconnected")), "x:1")
	f.Add(string(nodesText("$A :0@0 myself,noaddr - 0 0 1 connected 16383")), ":")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, raw, asked string) {
		v, err := ParseNodes([]byte(raw), asked)
		if err != nil {
			return
		}
		counts := make([]int, len(v.Nodes))
		for slot, at := range v.owner {
			if at >= 0 {
				counts[at]++
			} else if at != -1 {
				t.Fatalf("slot %d has owner %d", slot, at)
			}
		}
		for i, n := range v.Nodes {
			if n.Slots != counts[i] || n.Addr == "" || n.Port == 0 || n.Host == "" {
				t.Fatalf("node %+v owns %d slots", n, counts[i])
			}
		}
		table, err := Build([]*View{v})
		if err != nil {
			if len(v.Nodes) > 0 {
				t.Fatalf("Build: %v", err)
			}
			return
		}
		checkTable(t, table)
	})
}

// checkTable checks what holds for every table.
func checkTable(t *testing.T, table *Table) {
	t.Helper()
	counts := make([]int, len(table.Nodes))
	for slot, at := range table.Owner {
		if int(at) >= len(table.Nodes) || at < -1 {
			t.Fatalf("slot %d has owner %d of %d", slot, at, len(table.Nodes))
		}
		if at >= 0 {
			counts[at]++
		}
	}
	for i, n := range table.Nodes {
		if n.Slots != counts[i] {
			t.Fatalf("node %d says %d slots and owns %d", i, n.Slots, counts[i])
		}
		if n.Epoch > table.Epoch {
			t.Fatalf("node %d has epoch %d, the table %d", i, n.Epoch, table.Epoch)
		}
	}
	for slot, open := range table.Open {
		if n := table.Node(slot); n == nil || n.ID != open.Source {
			t.Fatalf("slot %d is open at %q, but %v owns it", slot, open.Source, n)
		}
	}
}

func BenchmarkParseNodes(b *testing.B) {
	// A thousand nodes, the most the cluster specification advises, and slots in pieces as after many moves.
	var text strings.Builder
	for n := range 1000 {
		flags := "master"
		if n == 0 {
			flags = "myself,master"
		}
		fmt.Fprintf(&text, "%040x 10.0.%d.%d:7000@17000 %s - 0 0 %d connected", n, n/250, n%250, flags, n)
		for slot := n; slot < Slots; slot += 1000 {
			fmt.Fprintf(&text, " %d", slot)
		}
		text.WriteString("\n")
	}
	raw := []byte(text.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseNodes(raw, "10.0.0.1:7000"); err != nil {
			b.Fatal(err)
		}
	}
}
