package admin

import (
	"strings"
	"time"

	"slotproxy/proxy"
	"slotproxy/router"
)

// Backend is what the console shows. Its methods are called from many goroutines
// at once; what they return is not changed by the console.
type Backend interface {
	Info(section string) string        // text in the form of INFO; all sections for ""
	Nodes() []router.Node              // of the current table
	Table() *router.Table              // nil before the first one
	Clients() []proxy.ClientInfo       // of all loops
	Config(pattern string) [][2]string // settings whose name matches the glob, secrets masked
	Ready() (ok bool, why string)      // why tells what is missing
}

// role is what a caller may do; a higher one includes the lower.
type role uint8

const (
	viewer   role = iota // looks
	operator             // changes the proxy or the cluster
)

// command is one entry of the table.
type command struct {
	name     string // behind PROXY, lower case, one or two words
	args     string // for HELP
	help     string // one line for HELP
	role     role
	min, max int // arguments behind the name
	run      func(b Backend, args []string, r *reply)
}

// commands is everything that PROXY can do, in the order of HELP. HELP itself is
// the console's, since it reads this table.
var commands = []command{
	{"info", "[section]", "Counters, table and memory of the proxy in the form of INFO.", viewer, 0, 1, showInfo},
	{"nodes", "", "Nodes of the cluster as the proxy sees them.", viewer, 0, 0, showNodes},
	{"slots", "", "Slot ranges with their owners: start, end, address, id.", viewer, 0, 0, showSlots},
	{"clients", "", "Clients of the data port.", viewer, 0, 0, showClients},
	{"config get", "<glob>", "Settings whose name matches, with their value.", viewer, 1, 1, showConfig},
	{"ready", "", "READY when the proxy can serve, else an error that says why not.", viewer, 0, 0, showReady},
}

func showInfo(b Backend, args []string, r *reply) {
	section := ""
	if len(args) > 0 {
		section = strings.ToLower(args[0])
	}
	r.prose(b.Info(section))
}

func showNodes(b Backend, _ []string, r *reply) {
	nodes := b.Nodes()
	r.array(len(nodes))
	for i := range nodes {
		n := &nodes[i]
		role := "replica"
		if n.Primary {
			role = "primary"
		}
		r.dict(7)
		r.pair("id", n.ID)
		r.pair("addr", n.Addr)
		r.pair("role", role)
		r.count("slots", n.Slots)
		r.text("epoch")
		r.number(int64(n.Epoch))
		r.text("failed")
		r.flag(n.Failed)
		r.pair("primary", n.PrimaryID)
	}
}

// slotRange is a run of slots with one owner, an index into Table.Nodes.
type slotRange struct {
	first, last int
	owner       int16
}

// ranges leaves out slots that nobody owns.
func ranges(t *router.Table) []slotRange {
	var list []slotRange
	for slot, owner := range t.Owner {
		if owner < 0 {
			continue
		}
		if n := len(list); n > 0 && list[n-1].owner == owner && list[n-1].last == slot-1 {
			list[n-1].last = slot
			continue
		}
		list = append(list, slotRange{slot, slot, owner})
	}
	return list
}

func showSlots(b Backend, _ []string, r *reply) {
	t := b.Table()
	if t == nil {
		r.array(0)
		return
	}
	list := ranges(t)
	r.array(len(list))
	for _, s := range list {
		r.array(4)
		r.number(int64(s.first))
		r.number(int64(s.last))
		r.text(t.Nodes[s.owner].Addr)
		r.text(t.Nodes[s.owner].ID)
	}
}

func showClients(b Backend, _ []string, r *reply) {
	clients := b.Clients()
	r.array(len(clients))
	for i := range clients {
		c := &clients[i]
		r.dict(15)
		r.text("id")
		r.number(int64(c.ID))
		r.pair("addr", c.Addr)
		r.pair("laddr", c.Local)
		r.pair("name", c.Name)
		r.pair("lib-name", c.LibName)
		r.pair("lib-ver", c.LibVer)
		r.pair("user", c.User)
		r.count("db", c.DB)
		r.count("resp", c.Proto)
		r.count("age", int(c.Age/time.Second))
		r.count("idle", int(c.Idle/time.Second))
		r.pair("cmd", c.Command)
		r.count("queued", c.Queued)
		r.count("in", c.In)
		r.count("out", c.Out)
	}
}

func showConfig(b Backend, args []string, r *reply) {
	settings := b.Config(args[0])
	r.dict(len(settings))
	for _, s := range settings {
		r.pair(s[0], s[1])
	}
}

func showReady(b Backend, _ []string, r *reply) {
	if ok, why := b.Ready(); !ok {
		r.fail("NOTREADY " + why)
		return
	}
	r.simple("READY")
}
