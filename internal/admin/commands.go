package admin

import (
	"context"
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

// command is one entry of the table.
type command struct {
	name     string // behind PROXY, lower case, one or two words
	args     string // for HELP
	help     string // one line for HELP
	role     role
	min, max int  // arguments behind the name
	slow     bool // asks nodes, so it may take long, and not many at one time
	run      func(ctx context.Context, c *call, r *reply)
}

// commands is everything that PROXY can do, in the order of HELP. HELP itself is
// the console's, since it reads this table.
var commands = []command{
	{"info", "[section]", "Counters, table and memory of the proxy in the form of INFO.", viewer, 0, 1, false, showInfo},
	{"nodes", "", "Nodes of the cluster as the proxy sees them.", viewer, 0, 0, false, showNodes},
	{"slots", "", "Slot ranges with their owners: start, end, address, id.", viewer, 0, 0, false, showSlots},
	{"clients", "", "Clients of the data port.", viewer, 0, 0, false, showClients},
	{"config get", "<glob>", "Settings whose name matches, with their value.", viewer, 1, 1, false, showConfig},
	{"ready", "", "READY when the proxy can serve, else an error that says why not.", viewer, 0, 0, false, showReady},

	{"reshard", "FROM <node...|ALL> TO <node> SLOTS <count> [<job option>...]", "Moves so many slots to a node. Answers the id of the job.",
		operator, 6, many, true, reshard},
	{"move", "SLOTSRANGE <start> <end> [<start> <end>...] TO <node> [<job option>...]", "Moves these slots to a node. Answers the id of the job.",
		operator, 5, many, true, move},
	{"rebalance", "[BY SLOTS|KEYS|OPS] [WEIGHT <node> <weight>...] [THRESHOLD <percent>] [USEEMPTY] [<job option>...]",
		"Gives each primary its share; USEEMPTY: also those without slots. Answers the id of the job.", operator, 0, many, true, rebalance},
	{"evacuate", "<node> [<job option>...]", "Moves all slots of a node to the others. Answers the id of the job.", operator, 1, many, true, evacuate},
	{"execute", "<plan> [<job option>...]", "Carries out a plan that DRYRUN JSON gave, if the cluster is as it was then. Answers the id of the job.", operator, 1, many, true, execute},
	{"jobs", "", "Jobs, the newest first.", viewer, 0, 0, false, showJobs},
	{"job", "<id>", "One job: how far it is, what it does now, what clients noticed.", viewer, 1, 1, false, showJob},
	{"pause", "<id>", "Finishes the slots in hand and begins no others.", operator, 1, 1, false, pause},
	{"resume", "<id>", "Goes on with a job that was paused.", operator, 1, 1, false, resume},
	{"cancel", "<id>", "Finishes or takes back the slots in hand and ends the job. What has moved stays where it is.", operator, 1, 1, false, cancel},

	{"check", "", "Finds what is wrong with the cluster.", viewer, 0, 0, true, check},
	{"fix", "[ORPHANS KEEP|MERGE|DELETE] [DRYRUN]", "Repairs what is wrong with the cluster; ORPHANS are keys on nodes that do not own their slots.",
		admin, 0, 3, true, fix},
	{"addnode", "<host:port> [REPLICAOF <node>]", "Adds a node, as an empty primary or as a replica.", operator, 1, 3, true, addNode},
	{"delnode", "<node>", "Removes a node that has no slots.", admin, 1, 1, true, delNode},
	{"create", "<host:port> [<host:port>...] [REPLICAS <count>] [DRYRUN]", "Makes one cluster of empty nodes.", admin, 1, many, true, create},
}

func showInfo(_ context.Context, c *call, r *reply) {
	section := ""
	if len(c.args) > 0 {
		section = strings.ToLower(c.args[0])
	}
	r.prose(c.backend.Info(section))
}

func showNodes(_ context.Context, c *call, r *reply) {
	nodes := c.backend.Nodes()
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

func showSlots(_ context.Context, c *call, r *reply) {
	t := c.backend.Table()
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

func showClients(_ context.Context, c *call, r *reply) {
	clients := c.backend.Clients()
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

func showConfig(_ context.Context, c *call, r *reply) {
	settings := c.backend.Config(c.args[0])
	r.dict(len(settings))
	for _, s := range settings {
		r.pair(s[0], s[1])
	}
}

func showReady(_ context.Context, c *call, r *reply) {
	if ok, why := c.backend.Ready(); !ok {
		r.fail("NOTREADY " + why)
		return
	}
	r.simple("READY")
}
