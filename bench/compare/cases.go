//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"slotproxy/bench/load"
)

// loadCase is one load. Cases are told apart by their values, so the same one is measured once, however many sets it is in.
type loadCase struct {
	op       string // of ops
	many     int    // keys of one MGET or MSET; subscribers of a PUBLISH
	pipeline int
	clients  int
	size     int // bytes of a value
	nodes    int // of the cluster; of the servers that twemproxy divides keys among
	keys     int // in the cluster
	one      bool
	tls      bool // of clients; never behind the proxy
	// share makes it an open load, of so many percent of what slotproxy with one loop can do; 0: a closed one. Every contender gets the
	// same rate, or latencies could not be compared.
	share int
}

// The default case, around which every other one differs in one thing.
const (
	defaultClients = 50
	defaultSize    = 64
	defaultNodes   = 3
	defaultKeys    = 100_000
)

// maxData bounds the values of one size, of which every server holds a copy.
const maxData = 64 << 20

// ops are the commands of cases.
var ops = map[string]struct {
	many bool // a number follows the name
	make func(many int) []load.Op
}{
	"GET":  {false, func(int) []load.Op { return []load.Op{load.Get(1)} }},
	"SET":  {false, func(int) []load.Op { return []load.Op{load.Set(1)} }},
	"MGET": {true, func(many int) []load.Op { return []load.Op{load.MGet(1, many)} }},
	"MSET": {true, func(many int) []load.Op { return []load.Op{load.MSet(1, many)} }},
	// A block of four commands, which counts as one.
	"MULTI": {false, func(int) []load.Op { return []load.Op{load.Multi(1)} }},
	"EVALSHA": {false, func(int) []load.Op {
		return []load.Op{{Name: "EVALSHA", Weight: 1, Commands: []string{"EVALSHA " + scriptName + " 1 {key}"}, Keys: 1}}
	}},
	// To its audience when it has one: publishTo.
	"PUBLISH": {true, func(int) []load.Op { return []load.Op{load.Publish(1)} }},
	// As many GET as SET, and with a number as many MGET of so many keys: the garbage collector is watched meanwhile.
	mixed: {true, mixOps},
}

const mixed = "MIX"

func mixOps(many int) []load.Op {
	list := []load.Op{load.Get(1), load.Set(1)}
	if many > 0 {
		list = append(list, load.MGet(1, many))
	}
	return list
}

// basic is a case of the default around which others are.
func basic(op string, many, pipeline int) loadCase {
	return loadCase{op: op, many: many, pipeline: pipeline, clients: defaultClients, size: defaultSize, nodes: defaultNodes, keys: defaultKeys}
}

// distinct is how many keys the load uses.
func (c *loadCase) distinct() int {
	if c.one {
		return 1
	}
	return min(c.keys, max(maxData/c.size, 1))
}

// heavy cases have more under way at once than the default at pipeline 16, and leave memory behind in proxies that would be counted in
// the next case. So has a case in which the collector is watched: what it did before is none of it.
func (c *loadCase) heavy() bool {
	const each = 1000 // bytes that a command costs a proxy, beside its values
	return c.watched() || c.clients*c.pipeline*max(c.many, 1)*(c.size+each) > 1<<20
}

// watched tells that the garbage collector is what the case is about.
func (c *loadCase) watched() bool { return c.op == mixed }

func (c *loadCase) loadOps() []load.Op { return ops[c.op].make(c.many) }

// saturating is the closed load whose commands a second are the measure of a rate.
func (c *loadCase) saturating() loadCase {
	full := *c
	full.share, full.one = 0, false
	return full
}

// String is the case as -cases takes it.
func (c loadCase) String() string {
	text := c.op
	if c.many > 0 {
		text += strconv.Itoa(c.many)
	}
	text += ":" + strconv.Itoa(c.pipeline)
	if c.size != defaultSize {
		text += ":size=" + sizeText(c.size)
	}
	for _, v := range []struct {
		name           string
		value, without int
	}{{"clients", c.clients, defaultClients}, {"nodes", c.nodes, defaultNodes}, {"keys", c.keys, defaultKeys}, {"rate", c.share, 0}} {
		if v.value != v.without {
			text += fmt.Sprintf(":%s=%d", v.name, v.value)
		}
	}
	if c.one {
		text += ":onekey"
	}
	if c.tls {
		text += ":tls"
	}
	return text
}

// title is the case for people.
func (c loadCase) title() string {
	words := strings.Split(c.String(), ":")
	title := words[0] + ", pipeline " + words[1]
	for _, w := range words[2:] {
		name, value, given := strings.Cut(w, "=")
		switch {
		case w == "onekey":
			title += ", one key"
		case w == "tls":
			title += ", TLS"
		case name == "size":
			title += ", values of " + value
		case name == "keys":
			title += ", " + value + " keys in the cluster"
		case name == "rate":
			title += ", at " + value + " % of saturation"
		case given && value == "1":
			title += ", one " + strings.TrimSuffix(name, "s")
		default:
			title += ", " + value + " " + name
		}
	}
	return title
}

// sizeText is 64, 16KiB, 1MiB.
func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.Itoa(n>>10) + "KiB"
	}
	return strconv.Itoa(n)
}

// parseCases reads a list such as GET:1,MGET100:1,GET:16:size=16KiB:clients=1000:nodes=12:keys=1000000:onekey:tls.
func parseCases(text string) ([]loadCase, error) {
	var list []loadCase
	for _, item := range strings.Split(text, ",") {
		c, err := parseCase(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("case %q: %w", item, err)
		}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}

func parseCase(text string) (loadCase, error) {
	words := strings.Split(text, ":")
	if len(words) < 2 {
		return loadCase{}, fmt.Errorf("a case begins with a command and its pipeline, such as GET:16")
	}
	name := strings.TrimRight(words[0], "0123456789")
	c := basic(name, 0, 0)
	op, known := ops[name]
	if !known {
		return c, fmt.Errorf("no command %q", name)
	}
	var err error
	if number := words[0][len(name):]; number != "" {
		if c.many, err = between("number behind "+name, number, 1, 10_000); err != nil {
			return c, err
		}
	}
	if !op.many && c.many > 0 {
		return c, fmt.Errorf("%s has no number", name)
	}
	if op.many && c.many == 0 && name != "PUBLISH" && name != mixed {
		return c, fmt.Errorf("how many keys has a %s? %s10, say", name, name)
	}
	if c.pipeline, err = between("pipeline", words[1], 1, 1000); err != nil {
		return c, err
	}
	for _, w := range words[2:] {
		if err := c.set(w); err != nil {
			return c, err
		}
	}
	return c, nil
}

// set takes one word of a case behind the pipeline.
func (c *loadCase) set(word string) (err error) {
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "size":
		sizes, err := load.ParseSizes(value)
		if err != nil || len(sizes) != 1 || sizes[0].Min != sizes[0].Max || sizes[0].Min < 1 || sizes[0].Min > maxData {
			return fmt.Errorf("a size is 1 to %s bytes, not %q", sizeText(maxData), value)
		}
		c.size = sizes[0].Min
	case "clients":
		c.clients, err = between(name, value, 1, 9500) // servers and slotproxy admit 10000
	case "nodes":
		c.nodes, err = between(name, value, 3, 100) // a cluster has at least three
	case "keys":
		c.keys, err = between(name, value, 1, 100_000_000) // of about 100 bytes each, the shortest
	case "rate":
		c.share, err = between(name, value, 1, 100) // percent
	case "onekey":
		c.one = true
	case "tls":
		c.tls = true
	default:
		return fmt.Errorf("no setting %q: there are size, clients, nodes, keys, rate, onekey, tls", word)
	}
	return err
}

func between(what, text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s: %d to %d, not %q", what, least, most, text)
	}
	return n, nil
}

// set is a list of cases, with what is usual for it.
type set struct {
	cases   func() []loadCase
	need    func() map[loadCase][]string // contenders of a case; nil: all
	rounds  int
	seconds float64
}

// The sets of cases. Those that are named one by one are measured as quick is.
var sets = map[string]set{
	quick:    {quickCases, nil, 5, 1.5},
	bySet:    {barCases, barSides, 5, 1.5},
	"full":   {fullCases, nil, 5, 1.5},
	"growth": {growthCases, nil, 5, 1.5},
	// The p99 of a tenth of the saturation wants some thousand commands.
	byRate: {rateCases, rateSides, 5, 2},
	// A collection is rare: a minute has some of each kind.
	byGC: {gcCases, gcSides, 1, 60},
}

// Names of sets that others must know.
const (
	quick  = "quick"
	bySet  = "bars"
	byRate = "rates"
	byGC   = "gc"
)

func quickCases() []loadCase {
	return []loadCase{basic("GET", 0, 1), basic("SET", 0, 1), basic("GET", 0, 16), basic("SET", 0, 16)}
}

// fullCases is the matrix of issue 5: each thing varies around the default, at pipeline 1 and 16, and not all of them at once.
func fullCases() []loadCase {
	list := barCases()
	for _, op := range []string{"GET", "SET"} {
		for _, pipeline := range []int{1, 16, 100} {
			list = append(list, basic(op, 0, pipeline))
		}
		for _, size := range []int{16, 1 << 10, 16 << 10, 1 << 20} {
			for _, pipeline := range []int{1, 16} {
				c := basic(op, 0, pipeline)
				if c.size = size; size*pipeline <= 1<<20 { // beyond, memory is measured
					list = append(list, c)
				}
			}
		}
	}
	for _, pipeline := range []int{1, 16} {
		list = append(list, vary(pipeline, func(c *loadCase, n int) { c.clients = n }, 1, 1000, 8000)...)
		list = append(list, vary(pipeline, func(c *loadCase, n int) { c.nodes = n }, 12, 30)...)
		list = append(list, vary(pipeline, func(c *loadCase, _ int) { c.tls = true }, 1)...)
		list = append(list, basic("MULTI", 0, pipeline), basic("EVALSHA", 0, pipeline))
	}
	for _, keys := range []int{10, 100} {
		list = append(list, basic("MGET", keys, 1), basic("MSET", keys, 1))
	}
	return distinct(append(list, basic("PUBLISH", 100, 1)))
}

// growthCases are what a cost may grow with.
func growthCases() []loadCase {
	list := vary(1, func(c *loadCase, n int) { c.clients = n }, 1, 10, 50, 200, 1000, 4000, 8000)
	list = append(list, vary(1, func(c *loadCase, n int) { c.op, c.many = "MGET", n }, 1, 2, 5, 10, 20, 50, 100)...)
	list = append(list, vary(1, func(c *loadCase, n int) { c.nodes = n }, 3, 6, 12, 30)...)
	for exponent := 3; exponent <= 7; exponent++ {
		list = append(list, vary(1, func(c *loadCase, n int) { c.keys = n }, int(math.Pow10(exponent)))...)
	}
	return distinct(list)
}

// rateCases are open loads from far below to near what slotproxy can do, and the closed one that everybody's saturation is seen by.
// haproxy has one server: on one key the wake-ups of as many servers are compared.
func rateCases() []loadCase {
	list := []loadCase{basic("GET", 0, 1)}
	for _, one := range []bool{false, true} {
		list = append(list, vary(1, func(c *loadCase, n int) { c.share, c.one = n, one }, 10, 50, 80)...)
	}
	return list
}

func rateSides() map[loadCase][]string {
	need := map[loadCase][]string{}
	for _, at := range rateCases() {
		need[at] = []string{direct, judged, haproxy, twem}
		if at.one {
			need[at] = []string{direct, judged, haproxy}
		}
	}
	return need
}

// gcCases keep slotproxy as busy as it can be, with commands that it passes on and commands that it splits.
func gcCases() []loadCase {
	return []loadCase{basic(mixed, 0, 16), basic(mixed, 0, 1), basic(mixed, 10, 1)}
}

func gcSides() map[loadCase][]string {
	need := map[loadCase][]string{}
	for _, at := range gcCases() {
		need[at] = []string{judged, twoLoops}
	}
	return need
}

// vary makes cases of GET.
func vary(pipeline int, set func(c *loadCase, n int), to ...int) []loadCase {
	var list []loadCase
	for _, n := range to {
		c := basic("GET", 0, pipeline)
		set(&c, n)
		list = append(list, c)
	}
	return list
}

func distinct(list []loadCase) []loadCase {
	var once []loadCase
	for _, c := range list {
		if !slices.Contains(once, c) {
			once = append(once, c)
		}
	}
	return once
}

// scene is what cases share: servers, and how much is in them.
type scene struct{ nodes, keys int }

// scenes sorts cases by what is to be set up for them: the fewest nodes first, then the fewest keys, but the default before both.
func scenes(cases []loadCase) (order []scene, by map[scene][]loadCase) {
	by = map[scene][]loadCase{}
	for _, c := range cases {
		s := scene{c.nodes, c.keys}
		if by[s] == nil {
			order = append(order, s)
		}
		by[s] = append(by[s], c)
	}
	slices.SortFunc(order, func(a, b scene) int {
		if a.nodes != b.nodes {
			return a.nodes - b.nodes
		}
		return a.rank() - b.rank()
	})
	return order, by
}

func (s scene) rank() int {
	if s.keys == defaultKeys {
		return 0
	}
	return s.keys
}
